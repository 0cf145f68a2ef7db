//! Nothing is hashed for callers who are gone.

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
    EMAIL, PASSWORD, Pace, Process,
    raw::{self, framed},
    refused,
    requests::form,
    server::Client,
};

/// The server with one hashing thread, and hashes that take far longer than to
/// notice that somebody has left.
struct Scene {
    process: Process,
    pace: Pace,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Self {
        let pace = Pace::at_least(Duration::from_millis(500)).await;
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            "--hash-threads=1",
            // However busy the machine is.
            "--request-timeout=60s",
            "--hash-max-wait=30s",
            &pace.setting(),
        ];
        Self {
            process: Process::start(folder.path(), &settings),
            pace,
            _folder: folder,
        }
    }

    /// From now on, it uses far less CPU time than the rest of a hash.
    async fn rests(&self) {
        let start = self.process.cpu_time();
        let mut used = Duration::ZERO;
        let mut quiet = 0;
        while quiet < 20 {
            sleep(Duration::from_millis(10)).await;
            let now = self.process.cpu_time() - start;
            quiet = if now == used { quiet + 1 } else { 0 };
            used = now;
            let most = self.pace.hash / 3;
            assert!(used < most, "{used:?} of a hash of {:?}", self.pace.hash);
        }
    }
}

/// A login with a hash to compute: for nobody costs no less than for a user.
fn login(client: &Client) -> JoinHandle<Result<(), Status>> {
    let client = client.clone();
    tokio::spawn(async move { client.login(EMAIL, PASSWORD).await.map(drop) })
}

/// Those who wait, too.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_dropped() {
    let scene = Scene::set().await;
    let client = Client::connect(scene.process.address).await;
    let logins: Vec<_> = (0..20).map(|_| login(&client)).collect();
    scene.process.is_hashing().await;
    for login in &logins {
        login.abort();
    }
    scene.rests().await;
    for login in logins {
        assert!(login.await.unwrap_err().is_cancelled());
    }
    // The connection is as good as before.
    client.check("sess_nobody").await.unwrap_err();
    scene.process.signal("TERM");
    let (_, log) = scene.process.wait();
    assert!(log.contains("CANCELLED"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed() {
    let scene = Scene::set().await;
    let address = scene.process.address;
    // What ends with its runtime says no goodbye.
    let elsewhere = Runtime::new().unwrap();
    elsewhere.spawn(async move {
        let client = Client::connect(address).await;
        client.login(EMAIL, PASSWORD).await
    });
    scene.process.is_hashing().await;
    elsewhere.shutdown_background();
    scene.rests().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_whose_sender_hangs_up() {
    let scene = Scene::set().await;
    let body = form(&[("email", EMAIL), ("password", PASSWORD)]);
    let request = format!(
        "POST /sessions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(scene.process.address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    scene.process.is_hashing().await;
    drop(socket);
    scene.rests().await;
}

/// A deadline that could have been met, had the server not been held up.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes() {
    let scene = Scene::set().await;
    let address = scene.process.address;
    // It knows by then what a hash takes, and that the deadline could be met.
    let client = Client::connect(address).await;
    login(&client).await.unwrap().unwrap_err();
    let deadline = Instant::now() + scene.pace.hash * 3;
    let timeout = format!("{}m", (scene.pace.hash * 3).as_millis());
    let login = tokio::spawn(async move {
        let request = LoginRequest {
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        };
        // Unlike a tonic client, it waits for the answer.
        let headers = [
            ("content-type", "application/grpc-web+proto"),
            ("grpc-timeout", timeout.as_str()),
        ];
        let path = "/bienvenue.v1.AuthService/Login";
        let response = raw::http1(address, "POST", path, &headers, &framed(&request)).await;
        raw::status(&response.headers)
    });
    scene.process.is_hashing().await;
    scene.process.signal("STOP");
    sleep_until((deadline + Duration::from_millis(100)).into()).await;
    scene.process.signal("CONT");
    scene.rests().await;
    let status = login.await.unwrap();
    refused(&status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}
