//! An unresponsive PostgreSQL: its host dies without closing connections and another takes
//! its address, or one of its processes stops.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use diesel::{PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _};
use tokio::{
    runtime::Runtime,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::sleep,
};
use tonic::Code;

use crate::harness::{
    Cluster, EMAIL, Host, PASSWORD, PATIENCE, Process, database::connect_postgres, eventually,
    eventually_within, ports::free_port, postgres, refused, server::Client,
};

/// The time limit for the first login once the database is back.
const RECOVERY: Duration = Duration::from_secs(5);

/// Longer than the limit of a unit of work plus the time to abandon its connection.
const LONG: Duration = Duration::from_secs(8);

/// Longer than TCP's delay of an acknowledgement.
const ACKNOWLEDGED: Duration = Duration::from_millis(200);

/// The server's number of connections.
const CONNECTIONS: usize = 4;

/// The condition for the server's working connections.
const WORKING: &str = "application_name = 'bienvenue'";

struct Setup {
    url: String,
    process: Process,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Setup {
    async fn set(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connections = format!("--database-connections={CONNECTIONS}");
        let settings = [
            "--bcrypt-cost=4",
            "--database-url",
            cluster.url(),
            &connections,
        ];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        client.register(EMAIL, PASSWORD).await.unwrap();
        Self {
            url: cluster.url().to_owned(),
            process,
            client,
            _folder: folder,
        }
    }

    /// Callers with one login after the other; each fails with `Unavailable` at worst.
    fn keep_logging_in(&self) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for _ in 0..2 * CONNECTIONS {
            let client = self.client.clone();
            callers.spawn(async move {
                loop {
                    if let Err(status) = client.login(EMAIL, PASSWORD).await {
                        refused(&status, Code::Unavailable, "UNAVAILABLE");
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        callers
    }

    /// Waits for a login; returns how long it took.
    async fn recovers(&self, patience: Duration) -> Duration {
        let start = Instant::now();
        eventually_within(patience, "a login", async || {
            self.client.login(EMAIL, PASSWORD).await.is_ok()
        })
        .await;
        start.elapsed()
    }

    /// Locks the table of users, and waits until each of the server's connections waits for the
    /// lock.
    async fn lock_users(&self) -> (PgConnection, JoinSet<()>) {
        let url = self.url.clone();
        let locker = spawn_blocking(move || {
            let mut locker = connect_postgres(&url);
            locker
                .batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
                .unwrap();
            locker
        });
        let locker = locker.await.unwrap();
        let callers = self.keep_logging_in();
        let mut observer = connect_postgres(&self.url);
        let is_waiting = format!("wait_event_type = 'Lock' AND {WORKING}");
        eventually("each connection waits for the lock", async || {
            count(&mut observer, &is_waiting) >= CONNECTIONS
        })
        .await;
        (locker, callers)
    }

    /// Checks that all connections of the pool can be used at once.
    async fn has_every_connection(&self) {
        let (mut locker, callers) = self.lock_users().await;
        locker.batch_execute("ROLLBACK").unwrap();
        drop(callers);
        self.client.login(EMAIL, PASSWORD).await.unwrap();
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    number: i64,
}

/// The numbers returned by a query.
fn numbers(connection: &mut PgConnection, sql: &str) -> Vec<i64> {
    let rows: Vec<Number> = diesel::sql_query(sql).load(connection).expect(sql);
    rows.into_iter().map(|row| row.number).collect()
}

fn count(connection: &mut PgConnection, condition: &str) -> usize {
    let sql = format!("SELECT pid::bigint AS number FROM pg_stat_activity WHERE {condition}");
    numbers(connection, &sql).len()
}

#[test]
fn a_database_host_that_dies_is_replaced() {
    let Some(host) = Host::new() else {
        return;
    };
    let Some(cluster) = Cluster::on_a_host(host.address, host.command("setpriv")) else {
        postgres::skipped(
            "the test of a dying database host",
            "beside TEST_POSTGRES_URL",
        );
        return;
    };
    // The cluster inside the host ends first.
    let inside = Inside { cluster, host };
    Runtime::new().unwrap().block_on(kill_host_silently(inside));
}

struct Inside {
    cluster: Cluster,
    host: Host,
}

impl Inside {
    /// Cuts the host off for a while, and has another host, without those connections, answer at
    /// the same address.
    async fn replace_after(mut self, away: Duration) -> Self {
        self.host.cut();
        let cut = Instant::now();
        let replace = move || {
            self.cluster.kill();
            self.host.forget_connections();
            std::thread::sleep(away.saturating_sub(cut.elapsed()));
            self.cluster.start();
            self.host.mend();
            self
        };
        spawn_blocking(replace).await.unwrap()
    }
}

async fn kill_host_silently(mut inside: Inside) {
    let setup = Setup::set(&inside.cluster).await;
    for away in [Duration::ZERO, LONG] {
        // The host has acknowledged every query before it dies: no retransmission will reveal
        // the loss.
        let (locker, callers) = setup.lock_users().await;
        sleep(ACKNOWLEDGED).await;
        inside = inside.replace_after(away).await;
        let took = setup.recovers(PATIENCE).await;
        println!("away for {away:?} with queries in progress: a login after {took:?}");
        assert!(took < RECOVERY, "{took:?} after {away:?}");
        drop((locker, callers));
        setup.has_every_connection().await;

        // The connections are idle when the host dies.
        inside = inside.replace_after(away).await;
        let took = setup.recovers(PATIENCE).await;
        println!("away for {away:?} with idle connections: a login after {took:?}");
        assert!(took < RECOVERY, "{took:?} after {away:?}");
        setup.has_every_connection().await;
    }
}

#[test]
fn stopped_database_processes_are_abandoned() {
    let Some(cluster) = Cluster::on_a_port(free_port()) else {
        postgres::skipped(
            "the test of stopped database processes",
            "beside TEST_POSTGRES_URL",
        );
        return;
    };
    Runtime::new().unwrap().block_on(stop_processes(cluster));
}

async fn stop_processes(cluster: Cluster) {
    let setup = Setup::set(&cluster).await;
    setup.has_every_connection().await;
    let mut looking = connect_postgres(cluster.url());
    let pids = format!("SELECT pid::bigint AS number FROM pg_stat_activity WHERE {WORKING}");
    let stopped = numbers(&mut looking, &pids);
    assert_eq!(stopped.len(), CONNECTIONS);
    signal("STOP", &stopped);
    // The kernel acknowledges all data sent to them.
    let callers = setup.keep_logging_in();
    let took = setup.recovers(PATIENCE).await;
    println!("processes stopped: a login after {took:?}");
    drop(callers);
    // In addition to the stopped ones.
    setup.has_every_connection().await;
    assert!(count(&mut looking, WORKING) <= 2 * CONNECTIONS);
    signal("CONT", &stopped);
    eventually("the stopped connections close", async || {
        let open = numbers(&mut looking, &pids);
        !open.iter().any(|pid| stopped.contains(pid))
    })
    .await;
    setup.has_every_connection().await;
    assert!(count(&mut looking, WORKING) <= CONNECTIONS);
    setup.process.signal("TERM");
    let (status, log) = setup.process.wait();
    assert!(status.success());
    for line in ["is abandoned", "an abandoned connection"] {
        assert!(log.contains(line), "{log}");
    }
}

fn signal(name: &str, processes: &[i64]) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes.iter().map(i64::to_string))
        .status();
    assert!(sent.expect("kill runs").success());
}

/// A login does not use a connection that the database has closed.
#[tokio::test(flavor = "multi_thread")]
async fn connections_closed_by_the_database_are_not_used() {
    let Some(database) = crate::harness::Database::postgres().await else {
        return;
    };
    let server = crate::harness::TestServer::start(&database).await;
    server.register().await;
    for _ in 0..5 {
        let logins: Vec<JoinHandle<_>> = (0..8)
            .map(|_| {
                let client = server.client.clone();
                tokio::spawn(async move { client.login(EMAIL, PASSWORD).await })
            })
            .collect();
        for login in logins {
            login.await.unwrap().unwrap();
        }
        let closed = format!(
            "SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity
             WHERE datname = current_database() AND {WORKING}"
        );
        assert_ne!(database.text(&closed), "0");
    }
}
