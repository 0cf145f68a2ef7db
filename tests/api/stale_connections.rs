//! Connections that are open and cannot do the work.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use diesel::connection::SimpleConnection as _;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::harness::{
    Cluster, Database, EMAIL, Expect as _, PASSWORD, Process,
    database::{connect_postgres, text_of},
    postgres,
    server::Client,
};

/// How soon everything works once the database does, whatever was wrong with it.
const RECOVERY: Duration = Duration::from_secs(15);

const PATIENCE: Duration = Duration::from_secs(30);

async fn recovers(client: &Client) {
    let start = Instant::now();
    let recovered = async {
        while client.login(EMAIL, PASSWORD).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(RECOVERY, recovered).await.expect("a login");
    println!("recovered after {:?}", start.elapsed());
}

/// Such connections answer SELECT 1, and refuse whatever writes.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_database_that_was_read_only() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    let (_, name) = database.server_and_name();
    database.execute(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    let close = "SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'bienvenue'";
    assert_ne!(database.text(close), "0");
    for _ in 0..10 {
        let refused = client.login(EMAIL, PASSWORD).await;
        refused.expect_refusal(Code::Unavailable, "UNAVAILABLE");
        client.check(&session_id).await.unwrap();
    }
    database.batch(&format!(
        "BEGIN READ WRITE;
         ALTER DATABASE {name} RESET default_transaction_read_only;
         COMMIT"
    ));
    recovers(&client).await;
    // All of them, not the one that was asked.
    for _ in 0..10 {
        client.login(EMAIL, PASSWORD).await.unwrap();
    }
}

fn signal(name: &str, process: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), process])
        .status();
    assert!(sent.expect("kill runs").success());
}

/// The kernel acknowledges whatever is sent to such a process.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_of_the_log_is_replaced() {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped("a stopped process of the log", "beside TEST_POSTGRES_URL");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--database-url", cluster.url()];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    let following = "SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity
                     WHERE application_name = 'bienvenue revocations'";
    let stopped = text_of(cluster.url(), following);
    signal("STOP", &stopped);
    // What the node has in memory counts no more: the database is asked.
    client.check(&session_id).await.unwrap();
    let replaced = async {
        let is_one = |pids: &str| pids.split(' ').any(|pid| !pid.is_empty() && pid != stopped);
        while !is_one(&text_of(cluster.url(), following)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(RECOVERY, replaced).await.expect("another process");
    let fresh = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    client.check(&fresh).await.unwrap();
    connect_postgres(cluster.url())
        .batch_execute("DELETE FROM sessions")
        .unwrap();
    let ended = async {
        while client.check(&fresh).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the log is followed");
    signal("CONT", &stopped);
    let gone = async {
        let is_there = |pids: &str| pids.split(' ').any(|pid| pid == stopped);
        while is_there(&text_of(cluster.url(), following)) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("its connection ends");
    drop(process);
}
