//! A PostgreSQL that falls silent: its host dies without a word and another one takes
//! its address, or one of its processes answers no more.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use diesel::{PgConnection, QueryableByName, RunQueryDsl as _, connection::SimpleConnection as _};
use tokio::{
    runtime::Runtime,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tonic::Code;

use crate::harness::{
    Cluster, EMAIL, Host, PASSWORD, Process, database::connect_postgres, postgres, refused,
    server::Client,
};

/// How soon somebody can log in once the database is back.
const RECOVERY: Duration = Duration::from_secs(5);

/// Longer than any unit of work may take, and than it takes to give a connection up.
const LONG: Duration = Duration::from_secs(8);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than TCP delays an acknowledgement.
const ACKNOWLEDGED: Duration = Duration::from_millis(200);

/// Of the server's connections.
const CONNECTIONS: usize = 4;

/// Those that it works with, by what they are known by.
const WORKING: &str = "application_name = 'bienvenue'";

struct Scene {
    url: String,
    process: Process,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Scene {
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

    /// Callers who log in one time after the other; `Unavailable` is all that they are
    /// told when they cannot.
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

    /// How long it takes until somebody can log in.
    async fn recovers(&self, patience: Duration) -> Duration {
        let start = Instant::now();
        let recovered = async {
            while self.client.login(EMAIL, PASSWORD).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(patience, recovered)
            .await
            .expect("nobody can log in");
        start.elapsed()
    }

    /// Locks the table of users, and waits until each of the server's connections waits
    /// for it.
    async fn all_wait(&self) -> (PgConnection, JoinSet<()>) {
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
        let all = async {
            let mut looking = connect_postgres(&self.url);
            while count(
                &mut looking,
                &format!("wait_event_type = 'Lock' AND {WORKING}"),
            ) < CONNECTIONS
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all).await.expect("each connection works");
        (locker, callers)
    }

    /// As many units of work as ever are under way at once.
    async fn has_every_connection(&self) {
        let (mut locker, callers) = self.all_wait().await;
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

/// The numbers that a query yields.
fn numbers(connection: &mut PgConnection, sql: &str) -> Vec<i64> {
    let rows: Vec<Number> = diesel::sql_query(sql).load(connection).expect(sql);
    rows.into_iter().map(|row| row.number).collect()
}

fn count(connection: &mut PgConnection, condition: &str) -> usize {
    let sql = format!("SELECT pid::bigint AS number FROM pg_stat_activity WHERE {condition}");
    numbers(connection, &sql).len()
}

#[test]
fn a_host_that_dies_silently() {
    let Some(host) = Host::new() else {
        return;
    };
    let Some(cluster) = Cluster::on_a_host(host.address, host.command("setpriv")) else {
        postgres::skipped("the database host that dies", "beside TEST_POSTGRES_URL");
        return;
    };
    // What runs inside ends first.
    let inside = Inside { cluster, host };
    Runtime::new().unwrap().block_on(dies_silently(inside));
}

struct Inside {
    cluster: Cluster,
    host: Host,
}

impl Inside {
    /// Cuts the host off, lets everybody wait, and has another one, which knows of no
    /// connection, answer at the same address.
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

async fn dies_silently(mut inside: Inside) {
    let scene = Scene::set(&inside.cluster).await;
    for away in [Duration::ZERO, LONG] {
        // It has taken every question, and acknowledged it, before it dies: nothing is
        // sent any more whose loss would be noticed.
        let (locker, callers) = scene.all_wait().await;
        sleep(ACKNOWLEDGED).await;
        inside = inside.replace_after(away).await;
        let took = scene.recovers(PATIENCE).await;
        println!("away for {away:?} while it was asked: a login after {took:?}");
        assert!(took < RECOVERY, "{took:?} after {away:?}");
        drop((locker, callers));
        scene.has_every_connection().await;

        // Nobody uses a connection when it dies.
        inside = inside.replace_after(away).await;
        let took = scene.recovers(PATIENCE).await;
        println!("away for {away:?} unnoticed: a login after {took:?}");
        assert!(took < RECOVERY, "{took:?} after {away:?}");
        scene.has_every_connection().await;
    }
}

#[test]
fn processes_that_are_stopped() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .unwrap()
        .port();
    let Some(cluster) = Cluster::on_a_port(port) else {
        postgres::skipped("processes that are stopped", "beside TEST_POSTGRES_URL");
        return;
    };
    Runtime::new().unwrap().block_on(are_stopped(cluster));
}

async fn are_stopped(cluster: Cluster) {
    let scene = Scene::set(&cluster).await;
    scene.has_every_connection().await;
    let mut looking = connect_postgres(cluster.url());
    let pids = format!("SELECT pid::bigint AS number FROM pg_stat_activity WHERE {WORKING}");
    let stopped = numbers(&mut looking, &pids);
    assert_eq!(stopped.len(), CONNECTIONS);
    signal("STOP", &stopped);
    // The kernel acknowledges whatever is sent to them.
    let callers = scene.keep_logging_in();
    let took = scene.recovers(PATIENCE).await;
    println!("processes stopped: a login after {took:?}");
    drop(callers);
    // Beside those that are stopped.
    scene.has_every_connection().await;
    assert!(count(&mut looking, WORKING) <= 2 * CONNECTIONS);
    signal("CONT", &stopped);
    let closed = async {
        while numbers(&mut looking, &pids)
            .iter()
            .any(|pid| stopped.contains(pid))
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, closed)
        .await
        .expect("they are not reused");
    scene.has_every_connection().await;
    assert!(count(&mut looking, WORKING) <= CONNECTIONS);
    scene.process.signal("TERM");
    let (status, log) = scene.process.wait();
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

/// Whoever logs in meets no connection that the server has closed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_has_closed() {
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
