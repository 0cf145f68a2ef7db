//! Open but unusable database connections.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use diesel::connection::SimpleConnection as _;
use tonic::Code;

use crate::harness::{
    Cluster, Database, EMAIL, Expect as _, PASSWORD, Process,
    database::{connect_postgres, text_of},
    eventually, eventually_within, postgres,
    server::Client,
};

/// The time limit for a login once the database works again.
const RECOVERY: Duration = Duration::from_secs(15);

async fn recovers(client: &Client) {
    let start = Instant::now();
    eventually_within(RECOVERY, "a login", async || {
        client.login(EMAIL, PASSWORD).await.is_ok()
    })
    .await;
    println!("recovered after {:?}", start.elapsed());
}

/// Connections opened on a read-only database answer SELECT 1 and refuse writes.
#[tokio::test(flavor = "multi_thread")]
async fn read_only_connections_are_replaced() {
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
    // All of them, not only the used one.
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

/// The kernel acknowledges all data sent to a stopped process.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_connection_of_the_log_is_replaced() {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped(
            "the test of a stopped connection of the log",
            "beside TEST_POSTGRES_URL",
        );
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
    // The index is no longer current, so checks query the database.
    client.check(&session_id).await.unwrap();
    eventually_within(RECOVERY, "another connection", async || {
        let pids = text_of(cluster.url(), following);
        pids.split(' ').any(|pid| !pid.is_empty() && pid != stopped)
    })
    .await;
    let fresh = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    client.check(&fresh).await.unwrap();
    connect_postgres(cluster.url())
        .batch_execute("DELETE FROM sessions")
        .unwrap();
    eventually("the session ends", async || {
        client.check(&fresh).await.is_err()
    })
    .await;
    signal("CONT", &stopped);
    eventually("the stopped connection ends", async || {
        let pids = text_of(cluster.url(), following);
        !pids.split(' ').any(|pid| pid == stopped)
    })
    .await;
    drop(process);
}
