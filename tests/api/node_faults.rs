//! Three nodes on one PostgreSQL while something fails: never stale, and well again
//! by themselves.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use diesel::{PgConnection, connection::SimpleConnection as _};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    harness::{
        Cluster, Database, Random,
        database::connect_postgres,
        history::{Outcome, Rules, Verdict},
        nodes::{Held, Load, NODES, Nodes},
        postgres,
    },
    nodes::BOUND,
};

/// How soon each node has to answer when the fault is over.
const RECOVERY: Duration = Duration::from_secs(5);

/// How many ends of sessions show that all goes on.
const REVOCATIONS: usize = 10;

const CHECKERS: usize = 2;

/// How long those may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the connection on which a node listens for revocations is known by.
const LISTENING: &str = "bienvenue revocations";

/// Nodes under load, and a session that nobody ends.
struct Trial {
    nodes: Arc<Nodes>,
    load: Load,
    witness: Arc<Held>,
}

impl Trial {
    async fn start(database_url: &str) -> Self {
        let mut random = Random::from_environment();
        let nodes = Arc::new(Nodes::start(database_url).await);
        let user = nodes.register(0).await.unwrap();
        let witness = nodes.login(0, user, 0).await.unwrap();
        let load = Load::start(&nodes, BOUND, CHECKERS, &mut random).await;
        let trial = Self {
            nodes,
            load,
            witness,
        };
        trial.goes_on().await;
        trial
    }

    /// Sessions are ended, and that is acknowledged.
    async fn goes_on(&self) {
        let count = || {
            self.nodes
                .history
                .count(|one| one.request.revokes() && one.outcome == Outcome::Done)
        };
        let before = count();
        let more = async {
            while count() < before + REVOCATIONS {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, more).await.expect("it goes on");
    }

    /// The fault is over: from now on, each node has so long until it answers.
    async fn recovers(&self) {
        let over = self.nodes.history.now();
        let mut answers = JoinSet::new();
        for node in 0..NODES {
            let (nodes, witness) = (Arc::clone(&self.nodes), Arc::clone(&self.witness));
            answers.spawn(async move {
                // What is neither is for the judge.
                while nodes.history.now() < over + PATIENCE
                    && nodes.check(node, &witness).await == Outcome::Unavailable
                {}
                (node, nodes.history.now() - over)
            });
        }
        for (node, took) in answers.join_all().await {
            println!("node {node} answers after {took:?}");
            assert!(took < RECOVERY, "node {node} answers after {took:?}");
        }
        self.goes_on().await;
        // What has ended since then is checked when the bound is over.
        sleep(BOUND).await;
    }

    async fn end(self) -> Verdict {
        self.load.stop().await;
        let verdict = self.nodes.history.judge(Rules {
            bound: BOUND,
            faults: true,
        });
        println!("in {:?}, {verdict}", self.nodes.history.now());
        assert_eq!(verdict.violations.len(), 0, "{verdict}");
        verdict
    }
}

#[test]
fn postgres_is_killed_and_comes_back() {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped("the kill of PostgreSQL", "beside TEST_POSTGRES_URL");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(is_killed_and_comes_back(cluster));
}

async fn is_killed_and_comes_back(mut cluster: Cluster) {
    let trial = Trial::start(cluster.url()).await;
    // A moment, and then for longer than anybody waits for it.
    for (orders, away) in [
        (Cluster::kill as fn(&mut Cluster), Duration::ZERO),
        (Cluster::stop, Duration::from_millis(2_500)),
    ] {
        cluster = ordered(cluster, orders).await;
        sleep(away).await;
        cluster = ordered(cluster, Cluster::start).await;
        trial.recovers().await;
    }
    let verdict = trial.end().await;
    let away: usize = verdict
        .counts
        .iter()
        .filter(|((_, outcome), _)| *outcome == Outcome::Unavailable.name())
        .map(|(_, count)| count)
        .sum();
    assert!(away > 0, "nobody noticed: no test");
}

async fn ordered(mut cluster: Cluster, order: fn(&mut Cluster)) -> Cluster {
    let done = spawn_blocking(move || {
        order(&mut cluster);
        cluster
    });
    done.await.unwrap()
}

#[test]
fn all_connections_are_cut() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(are_all_cut);
    }
}

async fn are_all_cut(database: Database) {
    let trial = Trial::start(database.url()).await;
    for _ in 0..8 {
        let cut = cut(&database, "true").await;
        assert!(cut >= NODES, "{cut} were cut: no test");
        sleep(Duration::from_millis(200)).await;
    }
    trial.recovers().await;
    trial.end().await;
}

#[test]
fn the_listening_connection_is_cut() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(listening_is_cut);
    }
}

async fn listening_is_cut(database: Database) {
    let trial = Trial::start(database.url()).await;
    let mut all = 0;
    for _ in 0..8 {
        all += cut(&database, &format!("application_name = '{LISTENING}'")).await;
        sleep(Duration::from_millis(200)).await;
    }
    println!("{all} listening connections were cut");
    trial.recovers().await;
    trial.end().await;
    assert!(all >= NODES, "{all} were cut: no test");
}

/// Ends the connections to a database that meet a condition; returns how many.
async fn cut(database: &Database, condition: &str) -> usize {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    );
    let database = database.clone();
    let cut = spawn_blocking(move || database.text(&sql));
    cut.await.unwrap().parse().unwrap()
}

#[test]
fn a_node_is_stopped_for_longer_than_the_bound() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(is_stopped);
    }
}

/// The node that is stopped, and the others.
const STOPPED: usize = 2;

/// How long it cannot catch up when it goes on.
const HOLD: Duration = Duration::from_millis(100);

async fn is_stopped(database: Database) {
    let trial = Trial::start(database.url()).await;
    let (nodes, stopped) = (&trial.nodes, &trial.nodes.processes[STOPPED]);
    let mut refused = 0;
    for _ in 0..2 {
        let sessions = known_everywhere(nodes).await;
        trial.load.avoid(Some(STOPPED));
        stopped.signal("STOP");
        let began = nodes.history.now();
        // In three ways, and the last is left alone.
        for session in &sessions[0] {
            nodes.logout(0, session).await;
        }
        nodes.revoke_others(1, &sessions[1][0]).await;
        let _ = nodes.change_password(0, &sessions[2][0]).await;
        let until = (began + 2 * BOUND).max(nodes.history.now() + BOUND) + BOUND / 20;
        sleep(until - nodes.history.now()).await;

        let waiting_before = bytes_waiting(stopped.address);
        let mut answers = JoinSet::new();
        for session in sessions.into_iter().flatten() {
            let nodes = Arc::clone(nodes);
            answers.spawn(async move { nodes.check(STOPPED, &session).await });
        }
        while bytes_waiting(stopped.address) <= waiting_before {
            sleep(Duration::from_millis(1)).await;
        }
        let held = hold_reads(&database);
        stopped.signal("CONT");
        trial.load.avoid(None);
        while bytes_waiting(stopped.address) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(HOLD).await;
        drop(held);
        let answers = answers.join_all().await;
        refused += answers
            .iter()
            .filter(|outcome| **outcome == Outcome::SessionInvalid)
            .count();
        trial.recovers().await;
    }
    println!("{refused} checks that had waited were refused");
    assert!(refused > 0, "nothing ended, or nobody said so: no test");
    trial.end().await;
}

/// Keeps every node from reading what has ended, until it is dropped: one that goes on
/// has to answer before it can catch up, or to wait. `None` where the stopped node
/// itself is in the way.
fn hold_reads(database: &Database) -> Option<PgConnection> {
    let tables = database.text(
        "SELECT string_agg(tablename, ', ' ORDER BY tablename <> 'sessions') FROM pg_tables
         WHERE schemaname = 'public'
             AND (tablename = 'sessions' OR tablename LIKE '%revocation%')",
    );
    let mut connection = connect_postgres(database.url());
    let lock =
        format!("SET lock_timeout = '500ms'; BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE");
    let held = connection.batch_execute(&lock);
    println!("reading is held up: {held:?}");
    held.ok().map(|()| connection)
}

/// Sessions of four users, which each node has checked.
async fn known_everywhere(nodes: &Nodes) -> Vec<Vec<Arc<Held>>> {
    let mut all = Vec::new();
    for _ in 0..4 {
        let user = nodes.register(0).await.unwrap();
        let mut sessions = Vec::new();
        for n in 0..6 {
            let session = nodes.login(n % STOPPED, user, 0).await.unwrap();
            for node in 0..NODES {
                nodes.check(node, &session).await;
            }
            sessions.push(session);
        }
        all.push(sessions);
    }
    all
}

/// How much has been sent to a server that it has not read (proc(5), net/tcp).
fn bytes_waiting(address: SocketAddr) -> u64 {
    let port = format!(":{:04X}", address.port());
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let waiting = sockets.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, queues) = (fields.get(1)?, fields.get(4)?);
        let (_, received) = queues.split_once(':')?;
        local
            .ends_with(&port)
            .then(|| u64::from_str_radix(received, 16).ok())?
    });
    waiting.sum()
}
