//! From a signal to the end.

use std::time::{Duration, Instant};

use tokio::{net::TcpStream, time::sleep};
use tonic::Code;

use crate::harness::{EMAIL, PASSWORD, Process, server::Client};

/// A hash that takes long enough to be caught in the middle, even optimised.
const SLOW: &str = "--bcrypt-cost=13";

/// A registration that is being hashed.
async fn begin(process: &Process) -> tokio::task::JoinHandle<Result<(), tonic::Status>> {
    let client = Client::connect(process.address).await;
    let registration =
        tokio::spawn(async move { client.register(EMAIL, PASSWORD).await.map(drop) });
    // In work once a thread of its own burns for it.
    let start = cpu_ticks(process);
    while cpu_ticks(process) < start + 3 {
        sleep(Duration::from_millis(1)).await;
    }
    registration
}

/// User time of the process, in the kernel's ticks of 10 ms.
fn cpu_ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(11).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_finishes_and_nothing_new_begins() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(folder.path(), &[SLOW]);
        let address = process.address;
        let registration = begin(&process).await;
        process.signal(signal);
        // Nobody is let in any more, as soon as the signal has been heard.
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        registration.await.unwrap().expect("it finishes");
        let (status, log) = process.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("stopping") && log.contains("stopped"), "{log}");

        // And it was no lie.
        let process = Process::start(folder.path(), &["--bcrypt-cost=4"]);
        let client = Client::connect(process.address).await;
        client.login(EMAIL, PASSWORD).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &["--bcrypt-cost=16"]);
    let registration = begin(&process).await;
    process.signal("TERM");
    while TcpStream::connect(process.address).await.is_ok() {
        sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    process.signal("TERM");
    let (status, _) = process.wait();
    assert_eq!(status.code(), Some(130));
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(registration.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_holds() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=16", "--shutdown-timeout=100ms"];
    let process = Process::start(folder.path(), &settings);
    let registration = begin(&process).await;
    let start = Instant::now();
    process.signal("TERM");
    let (status, log) = process.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("cut off"), "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    let cut = registration.await.unwrap().unwrap_err();
    assert!(
        matches!(
            cut.code(),
            Code::Unknown | Code::Unavailable | Code::Cancelled | Code::Internal
        ),
        "{cut:?}"
    );
}
