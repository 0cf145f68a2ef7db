//! The hash of an abandoned call is not computed.

use std::time::{Duration, Instant};

use bienvenue::proto::v1::LoginRequest;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    runtime::Runtime,
    task::JoinHandle,
    time::{sleep, sleep_until},
};
use tonic::{Code, Status};

use crate::harness::{
    Calibration, EMAIL, PASSWORD, Process,
    raw::{self, framed},
    refused,
    requests::form,
    server::Client,
};

/// A server with one hashing thread, and hashes that take far longer than the detection of
/// a closed connection.
struct Setup {
    process: Process,
    calibration: Calibration,
    _folder: tempfile::TempDir,
}

impl Setup {
    async fn set() -> Self {
        let calibration = Calibration::at_least(Duration::from_millis(500)).await;
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            "--hash-threads=1",
            // Longer than a busy machine needs.
            "--request-timeout=60s",
            "--hash-max-wait=30s",
            &calibration.setting(),
        ];
        Self {
            process: Process::start(folder.path(), &settings),
            calibration,
            _folder: folder,
        }
    }

    /// Waits until the server is idle, having used far less CPU time than the rest of a hash.
    async fn until_idle(&self) {
        let start = self.process.cpu_time();
        let mut used = Duration::ZERO;
        let mut quiet = 0;
        while quiet < 20 {
            sleep(Duration::from_millis(10)).await;
            let now = self.process.cpu_time() - start;
            quiet = if now == used { quiet + 1 } else { 0 };
            used = now;
            let most = self.calibration.hash / 3;
            assert!(
                used < most,
                "{used:?} of a hash of {:?}",
                self.calibration.hash
            );
        }
    }
}

/// A login that computes a hash, as one with an unknown e-mail does too.
fn login(client: &Client) -> JoinHandle<Result<(), Status>> {
    let client = client.clone();
    tokio::spawn(async move { client.login(EMAIL, PASSWORD).await.map(drop) })
}

/// Both the computed call and the queued ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_stops_its_hash() {
    let setup = Setup::set().await;
    let client = Client::connect(setup.process.address).await;
    let logins: Vec<_> = (0..20).map(|_| login(&client)).collect();
    setup.process.until_hashing().await;
    for login in &logins {
        login.abort();
    }
    setup.until_idle().await;
    for login in logins {
        assert!(login.await.unwrap_err().is_cancelled());
    }
    // The connection still works.
    client.check("sess_unknown").await.unwrap_err();
    setup.process.signal("TERM");
    let (_, log) = setup.process.wait();
    assert!(log.contains("CANCELLED"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_stops_its_hashes() {
    let setup = Setup::set().await;
    let address = setup.process.address;
    // A runtime's end closes its connections without GOAWAY.
    let elsewhere = Runtime::new().unwrap();
    elsewhere.spawn(async move {
        let client = Client::connect(address).await;
        client.login(EMAIL, PASSWORD).await
    });
    setup.process.until_hashing().await;
    elsewhere.shutdown_background();
    setup.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_stops_the_hash_of_its_form() {
    let setup = Setup::set().await;
    let body = form(&[("email", EMAIL), ("password", PASSWORD)]);
    let request = format!(
        "POST /sessions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(setup.process.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    setup.process.until_hashing().await;
    drop(socket);
    setup.until_idle().await;
}

/// A deadline that the server could have met, had it not been stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_passed_deadline_stops_its_hash() {
    let setup = Setup::set().await;
    let address = setup.process.address;
    // By then the server knows how long a hash takes, and accepts the deadline.
    let client = Client::connect(address).await;
    login(&client).await.unwrap().unwrap_err();
    let deadline = Instant::now() + setup.calibration.hash * 3;
    let timeout = format!("{}m", (setup.calibration.hash * 3).as_millis());
    let login = tokio::spawn(async move {
        let request = LoginRequest {
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        };
        // Unlike a tonic client, it waits for the reply.
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("grpc-timeout", timeout.as_str()),
        ];
        let path = "/bienvenue.v1.AuthService/Login";
        let response = raw::http1(address, "POST", path, &headers, &framed(&request)).await;
        raw::status(&response.headers)
    });
    setup.process.until_hashing().await;
    setup.process.signal("STOP");
    sleep_until((deadline + Duration::from_millis(100)).into()).await;
    setup.process.signal("CONT");
    setup.until_idle().await;
    let status = login.await.unwrap();
    refused(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}
