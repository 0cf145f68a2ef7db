//! How long a service may cache the replies to its checks.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bienvenue::proto::v1::{GetUserBySessionResponse, watch_revocations_response::Event};
use futures_util::future::join_all;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, Process, TestServer, Watcher, eventually,
    eventually_within, on_each_database, server::Client, watch::head,
};

const MINUTE: Duration = Duration::from_secs(60);

/// After this long without a heartbeat, cached replies are not used.
const SILENCE: Duration = Duration::from_secs(1);

/// The additional time that a busy machine may take.
const LEEWAY: Duration = Duration::from_secs(2);

/// A cache in a service, by the rules of `WatchRevocations`.
struct Cache {
    client: Client,
    state: Arc<Mutex<State>>,
    following: JoinHandle<()>,
}

struct State {
    kept: HashMap<String, (GetUserBySessionResponse, Instant)>,
    /// The revision of the last event of a session or a user.
    ended: HashMap<String, i64>,
    users: HashMap<i64, i64>,
    /// Events before this revision are unknown.
    floor: i64,
    /// The time of the last heartbeat.
    heard: Option<Instant>,
    revision: i64,
}

impl Cache {
    async fn start(address: SocketAddr, watched: SocketAddr) -> Self {
        let mut watcher = Watcher::begin(watched, None).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            kept: HashMap::new(),
            ended: HashMap::new(),
            users: HashMap::new(),
            floor: watcher.last,
            heard: Some(Instant::now()),
            revision: watcher.last,
        }));
        let follows = Arc::clone(&state);
        let following = tokio::spawn(async move {
            loop {
                let next = timeout(SILENCE, watcher.next()).await;
                if let Ok(Ok((revision, event))) = next {
                    follows.lock().unwrap().take(revision, event);
                    continue;
                }
                follows.lock().unwrap().heard = None;
                let last = Some(watcher.last);
                while let Ok(Err(_)) | Err(_) = timeout(SILENCE, Watcher::begin(watched, last))
                    .await
                    .map(|begun| begun.map(|begun| watcher = begun))
                {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self {
            client: Client::connect(address).await,
            state,
            following,
        }
    }

    /// Whether the cache holds a session.
    fn holds(&self, session_id: &str) -> bool {
        let mut state = self.state.lock().unwrap();
        let now = Instant::now();
        if state.heard.is_none_or(|heard| now - heard > SILENCE) {
            return false;
        }
        state.kept.retain(|_, (_, until)| *until > now);
        state.kept.contains_key(session_id)
    }

    /// Checks a session and caches the reply.
    async fn check(&self, session_id: &str) -> bool {
        let asked = Instant::now();
        let Ok(answer) = self.client.check(session_id).await else {
            return false;
        };
        self.state.lock().unwrap().keep(session_id, answer, asked);
        true
    }

    fn revision(&self) -> i64 {
        self.state.lock().unwrap().revision
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl State {
    fn keep(&mut self, session_id: &str, answer: GetUserBySessionResponse, asked: Instant) {
        let session = answer.session.as_ref().unwrap();
        let overtaken = [
            Some(self.floor),
            self.ended.get(&session.handle).copied(),
            self.users.get(&answer.user.as_ref().unwrap().id).copied(),
        ];
        if overtaken
            .into_iter()
            .flatten()
            .all(|event| answer.revision >= event)
        {
            let cache_for = Duration::try_from(answer.cache_for.unwrap()).unwrap();
            self.kept
                .insert(session_id.to_owned(), (answer, asked + cache_for));
        }
    }

    fn take(&mut self, revision: i64, event: Event) {
        self.revision = revision;
        match event {
            Event::Heartbeat(_) => self.heard = Some(Instant::now()),
            Event::SessionEnded(ended) => {
                self.kept.retain(|_, (answer, _)| {
                    answer.session.as_ref().unwrap().handle != ended.handle
                });
                self.ended.insert(ended.handle, revision);
            }
            Event::UserSessionsEnded(ended) => self.drop_user(ended.user_id, revision),
            Event::UserChanged(changed) => self.drop_user(changed.user_id, revision),
        }
    }

    fn drop_user(&mut self, user_id: i64, revision: i64) {
        self.kept
            .retain(|_, (answer, _)| answer.user.as_ref().unwrap().id != user_id);
        self.users.insert(user_id, revision);
    }
}

on_each_database! {
    /// `cache_for` ends with the session at the latest, and is at most five minutes or the step
    /// of `last_seen_at`.
    async fn cache_for_is_limited(database: Database) {
        for (limits, longest) in [
            (["--session-idle=7d", "--session-absolute=30d"], 5 * MINUTE),
            (["--session-idle=10m", "--session-absolute=25m"], MINUTE),
        ] {
            let server = TestServer::start_with(&database, &limits).await;
            let _ = server.client.register(EMAIL, PASSWORD).await;
            let session_id = server.login().await.session_id;
            for minutes in [0, 1, 8, 9, 6] {
                server.clock.advance(minutes * MINUTE);
                let before = server.clock.now();
                let answer = server.client.check(&session_id).await.unwrap();
                let cache_for = Duration::try_from(answer.cache_for.unwrap()).unwrap();
                let ends = answer.session.unwrap().expires_at.unwrap();
                let ends = Duration::new(ends.seconds.cast_unsigned(), ends.nanos.cast_unsigned());
                let before = Duration::from_micros(before.timestamp_micros().cast_unsigned());
                assert!(!cache_for.is_zero());
                assert!(cache_for <= ends - before, "{cache_for:?}");
                assert!(cache_for <= longest, "{cache_for:?}");
                assert!(cache_for > longest - MINUTE / 2 || minutes == 6, "{cache_for:?}");
            }
            // Close to the session's end, until that end.
            if longest == MINUTE {
                server.clock.advance(MINUTE / 2);
                let answer = server.client.check(&session_id).await.unwrap();
                let cache_for = Duration::try_from(answer.cache_for.unwrap()).unwrap();
                assert!(cache_for <= MINUTE / 2, "{cache_for:?}");
            }
            server.stop().await;
        }
    }

    /// After a heartbeat with a revision, no reply is older than it.
    async fn a_reply_includes_all_announced_revisions(database: Database) {
        let server = TestServer::start_watched(&database, &[]).await;
        server.register().await;
        let kept = server.login().await.session_id;
        let mut watcher = server.watch(None).await.unwrap();
        for _ in 0..10 {
            let before = server.client.check(&kept).await.unwrap().revision;
            let ended = server.login().await.session_id;
            server.client.logout(&ended).await.unwrap();
            let last = head(&database);
            assert!(last > before);
            assert_eq!(watcher.until(last).await.len(), 1);
            let revision = server.client.check(&kept).await.unwrap().revision;
            assert_eq!(revision, last);
        }
    }

    /// A cache that follows the rules drops a session ended on any node, by any means, within
    /// the promised time.
    async fn a_cache_drops_ended_sessions_in_time(database: Database) {
        let near = TestServer::start_watched(&database, &[]).await;
        near.register().await;
        // On SQLite there is no other node.
        let other = match database.is_sqlite() {
            true => None,
            false => Some(TestServer::start(&database).await),
        };
        let far = other.as_ref().map_or(&near.client, |other| &other.client);
        let cache = Cache::start(near.address, near.admin_address.unwrap()).await;
        let logins = near.logins(40).await;
        let session_ids: Vec<String> = logins.into_iter().map(|login| login.session_id).collect();
        let ended: Vec<Mutex<Option<Instant>>> = session_ids.iter().map(|_| Mutex::default()).collect();
        let (cached, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let checks = join_all((0..4).map(|_| async {
            while !is_over.load(Ordering::SeqCst) {
                for (session_id, ended) in session_ids.iter().zip(&ended) {
                    let ended = *ended.lock().unwrap();
                    if cache.holds(session_id) {
                        cached.fetch_add(1, Ordering::SeqCst);
                        let stale = ended.map_or(Duration::ZERO, |ended| ended.elapsed());
                        assert!(stale < SILENCE + LEEWAY, "{stale:?}");
                    } else {
                        cache.check(session_id).await;
                    }
                }
                tokio::task::yield_now().await;
            }
        }));
        let ends = async {
            // By then the cache is in use.
            eventually("100 answers from the cache", async || {
                cached.load(Ordering::SeqCst) >= 100
            })
            .await;
            for (session_id, ended) in session_ids[..30].iter().zip(&ended) {
                far.logout(session_id).await.unwrap();
                *ended.lock().unwrap() = Some(Instant::now());
                sleep(Duration::from_millis(5)).await;
            }
            let last = &session_ids[39];
            far.change_password(last, PASSWORD, NEW_PASSWORD).await.unwrap();
            let last = head(&database);
            let limit = SILENCE + LEEWAY;
            let is_current = async || cache.revision() >= last;
            eventually_within(limit, "the last revision reaches the cache", is_current).await;
            for session_id in &session_ids {
                assert!(!cache.holds(session_id));
            }
            is_over.store(true, Ordering::SeqCst);
        };
        tokio::join!(async { drop(checks.await) }, ends);
    }
}

/// A stopped node sends no heartbeats, so its caches turn themselves off, and resume without
/// a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_cache_does_not_rely_on_a_stopped_node() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
    let still = Process::start_watched(folder.path(), &settings);
    let other = TestServer::start(&database).await;
    let user = other.register().await;
    let ended = other.login().await;
    let kept = other.login().await;
    let cache = Cache::start(still.address, still.admin_address.unwrap()).await;
    for login in [&ended, &kept] {
        assert!(cache.check(&login.session_id).await);
        assert!(cache.holds(&login.session_id));
    }
    still.signal("STOP");
    let start = Instant::now();
    other.client.logout(&ended.session_id).await.unwrap();
    eventually_within(SILENCE + LEEWAY, "the cache is dropped", async || {
        !cache.holds(&ended.session_id)
    })
    .await;
    assert!(!cache.holds(&kept.session_id));
    assert!(start.elapsed() >= SILENCE / 2, "{:?}", start.elapsed());
    // Long enough for a new stream.
    sleep(SILENCE).await;
    still.signal("CONT");
    let start = Instant::now();
    while !cache.holds(&kept.session_id) {
        assert!(!cache.holds(&ended.session_id), "user {}", user.id);
        assert!(start.elapsed() < SILENCE + LEEWAY, "it does not recover");
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!cache.holds(&ended.session_id));
}
