//! A database that loses its latest changes while nodes follow it: no node accepts an ended
//! session, and no stream of revocations skips one.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bienvenue::proto::v1::watch_revocations_response::Event;
use diesel::connection::SimpleConnection as _;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use crate::{
    harness::{
        Cluster, EMAIL, Expect as _, PASSWORD, PATIENCE, Process, Watcher,
        database::{connect_postgres, text_of},
        eventually_blocking, eventually_some, postgres, refused,
        server::Client,
        watch::session_ended,
    },
    nodes::BOUND,
};

/// How long the ended sessions are checked repeatedly.
const OBSERVED: Duration = Duration::from_secs(1);

const LOST_LOGOUTS: usize = 10;
const LOGOUTS: usize = 15;

/// An open session.
struct Open {
    id: String,
    handle: String,
}

/// A node in its own process, with a client.
struct Node {
    process: Process,
    client: Client,
}

impl Node {
    async fn start(folder: &Path, database_url: &str) -> Self {
        let settings = ["--bcrypt-cost=4", "--database-url", database_url];
        let process = Process::start_watched(folder, &settings);
        let client = Client::connect(process.address).await;
        Self { process, client }
    }

    /// Repeats a call until the node reaches its database; returns that result.
    async fn retry_unavailable<T, F: Future<Output = Result<T, Status>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, Status> {
        eventually_some("an answer other than UNAVAILABLE", async || {
            let answer = call().await;
            match &answer {
                Err(status) if status.code() == Code::Unavailable => None,
                _ => Some(answer),
            }
        })
        .await
    }

    async fn login(&self) -> Open {
        let login = self
            .retry_unavailable(|| self.client.login(EMAIL, PASSWORD))
            .await;
        let login = login.unwrap();
        Open {
            handle: login.session.unwrap().handle,
            id: login.session_id,
        }
    }

    async fn logins(&self, many: usize) -> Vec<Open> {
        let mut opened = Vec::new();
        for _ in 0..many {
            opened.push(self.login().await);
        }
        opened
    }

    async fn logout(&self, session: &Open) {
        let logout = self
            .retry_unavailable(|| self.client.logout(&session.id))
            .await;
        logout.unwrap();
    }

    async fn accepts(&self, session: &Open) -> bool {
        let check = self
            .retry_unavailable(|| self.client.check(&session.id))
            .await;
        check.is_ok()
    }

    /// Checks sessions for a while; returns the largest number accepted at once.
    async fn accepted_of(&self, sessions: &[Open]) -> usize {
        let (start, mut most) = (Instant::now(), 0);
        while start.elapsed() < OBSERVED {
            let checks = sessions.iter().map(|session| self.accepts(session));
            let accepted = join_all(checks).await.into_iter().filter(|ok| *ok);
            most = most.max(accepted.count());
            sleep(Duration::from_millis(50)).await;
        }
        most
    }

    async fn watch(&self, since: Option<i64>) -> Result<Watcher, Status> {
        self.retry_unavailable(|| self.process.watch(since)).await
    }

    /// Waits until the node follows the log, and so checks sessions from memory.
    async fn until_following(&self) {
        let heartbeats = async {
            let mut watcher = self.watch(None).await.unwrap();
            // The first message of a stream is read from the database.
            while watcher.next().await.is_err() {
                watcher = self.watch(None).await.unwrap();
            }
        };
        timeout(PATIENCE, heartbeats).await.expect("a heartbeat");
    }

    /// The next event, on a new stream where the former was interrupted.
    async fn event(&self, watcher: &mut Watcher) -> (i64, Event) {
        loop {
            match watcher.next_event().await {
                Ok(event) => return event,
                Err(status) => drop(refused(&status, Code::Unavailable, "UNAVAILABLE")),
            }
            *watcher = self.watch(Some(watcher.last)).await.unwrap();
        }
    }
}

/// Two nodes on one cluster.
struct Trial {
    cluster: Cluster,
    user_id: i64,
    /// The node stopped during the rollback.
    stopped: Node,
    other: Node,
    _folder: TempDir,
}

impl Trial {
    async fn start(cluster: Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stopped = Node::start(folder.path(), cluster.url()).await;
        let other = Node::start(folder.path(), cluster.url()).await;
        let user = other.client.register(EMAIL, PASSWORD).await.unwrap();
        Self {
            cluster,
            user_id: user.id,
            stopped,
            other,
            _folder: folder,
        }
    }

    /// Runs a blocking operation on the cluster.
    async fn cluster<T: Send + 'static>(
        mut self,
        order: impl FnOnce(&mut Cluster) -> T + Send + 'static,
    ) -> (Self, T) {
        let done = spawn_blocking(move || {
            let result = order(&mut self.cluster);
            (self, result)
        });
        done.await.unwrap()
    }

    /// Copies the files of the cluster.
    async fn saved(self) -> Self {
        let save = |cluster: &mut Cluster| {
            cluster.stop();
            cluster.save();
            cluster.start();
        };
        self.cluster(save).await.0
    }

    /// Replaces the cluster's files with the copy.
    async fn restored(self) -> Self {
        let restore = |cluster: &mut Cluster| {
            cluster.stop();
            cluster.restore();
            cluster.start();
        };
        self.cluster(restore).await.0
    }

    fn nodes(&self) -> [&Node; 2] {
        [&self.stopped, &self.other]
    }

    /// Loads these sessions into both nodes' memory.
    async fn load(&self, sessions: &[Open]) {
        for node in self.nodes() {
            node.until_following().await;
            for session in sessions {
                assert!(node.accepts(session).await);
            }
        }
    }

    /// Ends sessions on the other node; returns the last revision, once both nodes have
    /// announced it.
    async fn log_out(&self, sessions: &[Open]) -> i64 {
        let mut watchers = Vec::new();
        for node in self.nodes() {
            watchers.push(node.watch(None).await.unwrap());
        }
        for session in sessions {
            self.other.logout(session).await;
        }
        let mut last = 0;
        for (node, watcher) in self.nodes().into_iter().zip(&mut watchers) {
            for session in sessions {
                let (revision, event) = node.event(watcher).await;
                assert_eq!(event, session_ended(&session.handle, self.user_id));
                last = revision;
            }
        }
        last
    }

    fn url(&self) -> String {
        self.cluster.url().to_owned()
    }

    /// Runs unrelated transactions.
    async fn use_transaction_ids(&self, many: usize) {
        let url = self.url();
        let used = spawn_blocking(move || {
            let mut connection = connect_postgres(&url);
            for _ in 0..many {
                connection
                    .batch_execute("SELECT pg_current_xact_id()")
                    .unwrap();
            }
        });
        used.await.unwrap();
    }
}

fn on_a_cluster<C: Future<Output = ()>>(case: impl FnOnce(Cluster) -> C) {
    let Some(cluster) = Cluster::on_a_socket() else {
        postgres::skipped("a rollback of PostgreSQL", "beside TEST_POSTGRES_URL");
        return;
    };
    Runtime::new().unwrap().block_on(case(cluster));
}

/// The common part of both kinds of rollback. `prepare` saves the earlier state, and
/// `roll_back` restores it.
async fn rolls_back<P, R>(
    cluster: Cluster,
    prepare: impl FnOnce(Trial) -> P,
    roll_back: impl FnOnce(Trial) -> R,
) where
    P: Future<Output = Trial>,
    R: Future<Output = Trial>,
{
    let trial = Trial::start(cluster).await;
    let kept = trial.other.logins(3).await;
    let lost = trial.other.logins(LOST_LOGOUTS).await;
    let ended = trial.other.logins(LOGOUTS).await;
    let common = trial.log_out(&[trial.other.login().await]).await;
    let trial = prepare(trial).await;
    for sessions in [&kept, &lost, &ended] {
        trial.load(sessions).await;
    }
    let opened = trial.stopped.logins(3).await;
    trial.load(&opened).await;
    let lost_revision = trial.log_out(&lost).await;
    trial.use_transaction_ids(200).await;

    trial.stopped.process.signal("STOP");
    let trial = roll_back(trial).await;
    let late = trial.other.logins(3).await;
    for session in &ended {
        trial.other.logout(session).await;
    }
    sleep(BOUND).await;
    trial.stopped.process.signal("CONT");
    trial.stopped.until_following().await;

    let mut accepted = Vec::new();
    for node in trial.nodes() {
        let mut accepted_here = Vec::new();
        for sessions in [&late, &kept, &ended, &opened] {
            accepted_here.push(node.accepted_of(sessions).await);
        }
        accepted.push(accepted_here);
    }
    assert_eq!(accepted, [[3, 3, 0, 0], [3, 3, 0, 0]]);
    for node in trial.nodes() {
        let resumed = node.watch(Some(lost_revision)).await.map(drop);
        resumed.expect_refusal(Code::OutOfRange, "REVISION_SWEPT");
        let mut resumed = node.watch(Some(common)).await.unwrap();
        for session in &ended {
            let event = resumed.event().await.1;
            assert_eq!(event, session_ended(&session.handle, trial.user_id));
        }
        node.watch(None).await.unwrap();
    }
}

/// Files of an earlier state, on the same timeline, with the same next transaction ids.
#[test]
fn a_restored_copy_of_the_files_is_noticed() {
    on_a_cluster(|cluster| rolls_back(cluster, Trial::saved, Trial::restored));
}

/// An asynchronous replica without the latest changes is promoted.
#[test]
fn a_promoted_replica_is_noticed() {
    on_a_cluster(|cluster| {
        let replicate = |trial: Trial| async move {
            let (trial, replica) = trial.cluster(Cluster::replicate).await;
            detach(trial.url(), replica).await;
            trial
        };
        let promote = |trial: Trial| async move {
            let promote = |cluster: &mut Cluster| {
                cluster.stop();
                cluster.promote();
            };
            trial.cluster(promote).await.0
        };
        rolls_back(cluster, replicate, promote)
    });
}

/// Waits until a replica has caught up with its primary, and disconnects it.
async fn detach(primary: String, replica: String) {
    let detached = spawn_blocking(move || {
        let end = text_of(&primary, "SELECT pg_current_wal_flush_lsn()::text");
        let has_all = format!("SELECT (pg_last_wal_replay_lsn() >= '{end}')::text");
        eventually_blocking("the replica catches up", || {
            text_of(&replica, &has_all) == "true"
        });
        connect_postgres(&replica)
            .batch_execute("ALTER SYSTEM RESET primary_conninfo")
            .unwrap();
        connect_postgres(&replica)
            .batch_execute("SELECT pg_reload_conf()")
            .unwrap();
        let receivers = "SELECT count(*)::text FROM pg_stat_wal_receiver";
        eventually_blocking("the replica stops receiving", || {
            text_of(&replica, receivers) == "0"
        });
    });
    detached.await.unwrap();
}

/// A rollback of logins only leaves the log unchanged.
#[test]
fn lost_logins_are_noticed() {
    on_a_cluster(|cluster| async move {
        let trial = Trial::start(cluster).await;
        let kept = trial.other.logins(1).await;
        let last = trial.log_out(&[trial.other.login().await]).await;
        let trial = trial.saved().await;
        trial.load(&kept).await;
        let lost = trial.other.logins(5).await;
        trial.load(&lost).await;
        let trial = trial.restored().await;
        sleep(BOUND).await;
        for node in trial.nodes() {
            node.until_following().await;
        }
        for node in trial.nodes() {
            assert_eq!(node.accepted_of(&lost).await, 0);
            assert!(node.accepts(&kept[0]).await);
            // The log is complete.
            node.watch(Some(last)).await.unwrap();
        }
    });
}

/// A restart without a loss.
#[test]
fn a_restart_of_postgres_loses_nothing() {
    on_a_cluster(|cluster| async move {
        let trial = Trial::start(cluster).await;
        let sessions = trial.other.logins(4).await;
        trial.load(&sessions).await;
        let last = trial.log_out(&sessions[..1]).await;
        let restart = |cluster: &mut Cluster| {
            cluster.stop();
            cluster.start();
        };
        let (trial, ()) = trial.cluster(restart).await;
        let mut resumed = Vec::new();
        for node in trial.nodes() {
            resumed.push(node.watch(Some(last)).await.unwrap());
        }
        trial.other.logout(&sessions[1]).await;
        for (node, mut watcher) in trial.nodes().into_iter().zip(resumed) {
            let (revision, event) = node.event(&mut watcher).await;
            assert_eq!(event, session_ended(&sessions[1].handle, trial.user_id));
            assert!(revision > last);
            assert!(node.accepts(&sessions[2]).await);
        }
        sleep(BOUND).await;
        for node in trial.nodes() {
            assert_eq!(node.accepted_of(&sessions[..2]).await, 0);
        }
    });
}
