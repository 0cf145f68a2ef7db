//! Three nodes on one PostgreSQL during faults: checks are never stale, and the nodes
//! recover by themselves.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use diesel::{PgConnection, connection::SimpleConnection as _};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use crate::{
    harness::{
        Cluster, Database, PATIENCE, Random,
        database::connect_postgres,
        eventually,
        history::{Outcome, Report, Rules},
        nodes::{Load, NODES, Nodes, OpenSession},
        postgres,
    },
    nodes::BOUND,
};

/// The time limit for each node's first reply after a fault.
const RECOVERY: Duration = Duration::from_secs(5);

/// The number of revocations that shows progress.
const REVOCATIONS: usize = 10;

const CHECKERS: usize = 2;

/// The application name of a node's connection for revocations.
const LISTENING: &str = "bienvenue revocations";

/// Nodes under load, and a session that stays open.
struct Trial {
    nodes: Arc<Nodes>,
    load: Load,
    witness: Arc<OpenSession>,
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
        trial.makes_progress().await;
        trial
    }

    /// Waits for acknowledged revocations.
    async fn makes_progress(&self) {
        let count = || {
            self.nodes
                .history
                .count(|one| one.request.revokes() && one.outcome == Outcome::Done)
        };
        let before = count();
        eventually("more revocations", async || count() >= before + REVOCATIONS).await;
    }

    /// Expects each node to answer within [`RECOVERY`] from now.
    async fn recovers(&self) {
        let over = self.nodes.history.now();
        let mut answers = JoinSet::new();
        for node in 0..NODES {
            let (nodes, witness) = (Arc::clone(&self.nodes), Arc::clone(&self.witness));
            answers.spawn(async move {
                // The history checker examines other outcomes.
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
        self.makes_progress().await;
        // Sessions ended until now are checked once the bound has passed.
        sleep(BOUND).await;
    }

    async fn end(self) -> Report {
        self.load.stop().await;
        let report = self.nodes.history.check(Rules {
            bound: BOUND,
            faults: true,
        });
        println!("in {:?}, {report}", self.nodes.history.now());
        assert_eq!(report.violations.len(), 0, "{report}");
        report
    }
}

#[test]
fn nodes_recover_from_a_killed_postgres() {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped("the kill of PostgreSQL", "beside TEST_POSTGRES_URL");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(kill_and_restart(cluster));
}

async fn kill_and_restart(mut cluster: Cluster) {
    let trial = Trial::start(cluster.url()).await;
    // Briefly, and then for longer than any call waits.
    for (operation, away) in [
        (Cluster::kill as fn(&mut Cluster), Duration::ZERO),
        (Cluster::stop, Duration::from_millis(2_500)),
    ] {
        cluster = on_cluster(cluster, operation).await;
        sleep(away).await;
        cluster = on_cluster(cluster, Cluster::start).await;
        trial.recovers().await;
    }
    let report = trial.end().await;
    let away: usize = report
        .counts
        .iter()
        .filter(|((_, outcome), _)| *outcome == Outcome::Unavailable.name())
        .map(|(_, count)| count)
        .sum();
    assert!(away > 0, "no call was affected: no test");
}

async fn on_cluster(mut cluster: Cluster, operation: fn(&mut Cluster)) -> Cluster {
    let done = spawn_blocking(move || {
        operation(&mut cluster);
        cluster
    });
    done.await.unwrap()
}

#[test]
fn nodes_recover_from_cut_connections() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(cut_all_connections);
    }
}

async fn cut_all_connections(database: Database) {
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
fn nodes_recover_from_a_cut_listening_connection() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(cut_listening_connections);
    }
}

async fn cut_listening_connections(database: Database) {
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

/// Ends the connections to a database that meet a condition; returns their number.
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
fn a_node_stopped_beyond_the_bound_is_never_stale() {
    if let Some(database) = Database::postgres_blocking() {
        database.run(stop_a_node);
    }
}

/// The stopped node.
const STOPPED: usize = 2;

/// How long its reading of the log is delayed after it continues.
const HOLD: Duration = Duration::from_millis(100);

async fn stop_a_node(database: Database) {
    let trial = Trial::start(database.url()).await;
    let (nodes, stopped) = (&trial.nodes, &trial.nodes.processes[STOPPED]);
    let mut refused = 0;
    for _ in 0..2 {
        let sessions = known_everywhere(nodes).await;
        trial.load.avoid(Some(STOPPED));
        stopped.signal("STOP");
        let began = nodes.history.now();
        // In three ways; the last user's sessions stay open.
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
        eventually("the stopped node has unread requests", async || {
            bytes_waiting(stopped.address) > waiting_before
        })
        .await;
        let held = hold_reads(&database);
        stopped.signal("CONT");
        trial.load.avoid(None);
        eventually("the node has read its requests", async || {
            bytes_waiting(stopped.address) == 0
        })
        .await;
        sleep(HOLD).await;
        drop(held);
        let answers = answers.join_all().await;
        refused += answers
            .iter()
            .filter(|outcome| **outcome == Outcome::SessionInvalid)
            .count();
        trial.recovers().await;
    }
    println!("{refused} delayed checks were refused");
    assert!(refused > 0, "no check was refused: no test");
    trial.end().await;
}

/// Blocks the reading of the log by all nodes until dropped: a continued node has to answer
/// before it can catch up, or wait. `None` where the stopped node itself holds the lock.
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
    println!("reading is blocked: {held:?}");
    held.ok().map(|()| connection)
}

/// Sessions of four users, checked on each node.
async fn known_everywhere(nodes: &Nodes) -> Vec<Vec<Arc<OpenSession>>> {
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

/// The number of unread bytes in a server's sockets (proc(5), net/tcp).
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
