//! Acknowledged writes survive a kill -9.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::{
    sync::mpsc::{self, UnboundedSender},
    task::spawn_blocking,
    time::sleep,
};

use crate::harness::{
    Database, PASSWORD, Process, Random, eventually, on_each_database, server::Client,
};

const ROUNDS: usize = 50;

/// The number of concurrent writers.
const USERS: usize = 6;

/// The number of earlier rounds' users checked again in each round.
const SAMPLE: usize = 2;

on_each_database! {
    async fn acknowledged_writes_survive_a_kill(database: Database) {
        let start = Instant::now();
        let mut random = Random::from_environment();
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
        let mut process = Process::start(folder.path(), &settings);
        let mut users_so_far: Vec<Acknowledged> = Vec::new();
        for round in 0..ROUNDS {
            let client = Client::connect(process.address).await;
            let (tell, mut acknowledged) = mpsc::unbounded_channel();
            let users = (0..USERS).map(|n| {
                let (client, tell) = (client.clone(), tell.clone());
                let email = format!("u{n}-{round}@example.com");
                // Each writes until the process ends, and records its replies.
                tokio::spawn(async move {
                    let mut user = Acknowledged::new(email);
                    user.write(&client, &tell).await;
                    user
                })
            });
            let users: Vec<_> = users.collect();
            // Any moment between two replies, or before the first.
            for _ in 0..random.below(40) {
                acknowledged.recv().await.unwrap();
            }
            sleep(Duration::from_micros(random.within(0..4_000) as u64)).await;
            process.signal("KILL");
            let mut touched = Vec::new();
            for user in users {
                touched.push(user.await.unwrap());
            }
            drop(process);
            until_idle(&database).await;
            process = Process::start(folder.path(), &settings);
            let client = Client::connect(process.address).await;
            let older = (0..SAMPLE).filter_map(|_| random.pick(&users_so_far));
            let checks = touched.iter().chain(older).map(|user| user.check(&client));
            join_all(checks).await;
            users_so_far.extend(touched);
        }
        let count = |count: fn(&Acknowledged) -> usize| users_so_far.iter().map(count).sum::<usize>();
        let registered = count(|user| usize::from(user.registered));
        let ended = count(|user| user.ended.len());
        let changes = count(|user| user.former.len());
        let open = count(|user| usize::from(user.unanswered_change.is_some()));
        println!(
            "{ROUNDS} kills in {:?}: {registered} users, {ended} ended sessions and {changes} \
             changed passwords were acknowledged and held; {open} changes were not answered",
            start.elapsed()
        );
        assert!(registered > 2 * ROUNDS, "only {registered} were registered: no test");
        assert!(ended > 2 * ROUNDS, "only {ended} sessions were ended: no test");
        assert!(changes > ROUNDS, "only {changes} passwords were changed: no test");
        if database.is_sqlite() {
            let checked = "SELECT group_concat(integrity_check) FROM pragma_integrity_check";
            assert_eq!(database.text(checked), "ok");
            let orphans = "SELECT count(*) || '' FROM pragma_foreign_key_check";
            assert_eq!(database.text(orphans), "0");
        }
    }
}

/// Waits until PostgreSQL has finished the killed process's statements, commits among them.
async fn until_idle(database: &Database) {
    if database.is_sqlite() {
        return;
    }
    let others = "SELECT count(*)::text FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'";
    eventually("the server's connections end", async || {
        let database = database.clone();
        let count = spawn_blocking(move || database.text(others)).await;
        count.unwrap() == "0"
    })
    .await;
}

/// The replies that a user received before the kill.
struct Acknowledged {
    email: String,
    registered: bool,
    password: String,
    /// The new password of an unanswered change, with an unknown outcome.
    unanswered_change: Option<String>,
    former: Vec<String>,
    open: Option<String>,
    ended: Vec<String>,
}

impl Acknowledged {
    fn new(email: String) -> Self {
        Self {
            email,
            registered: false,
            password: PASSWORD.to_owned(),
            unanswered_change: None,
            former: vec![],
            open: None,
            ended: vec![],
        }
    }

    async fn write(&mut self, client: &Client, acknowledged: &UnboundedSender<()>) {
        if client.register(&self.email, PASSWORD).await.is_err() {
            return;
        }
        self.registered = true;
        let _ = acknowledged.send(());
        while let Ok(login) = client.login(&self.email, &self.password).await {
            match client.logout(&login.session_id).await {
                Ok(()) => self.ended.push(login.session_id),
                Err(_) => break,
            }
            let _ = acknowledged.send(());
            let Ok(login) = client.login(&self.email, &self.password).await else {
                break;
            };
            let new = format!("new password {}", self.former.len());
            // Until the reply, the outcome is unknown.
            let open = self.open.take();
            match client
                .change_password(&login.session_id, &self.password, &new)
                .await
            {
                Ok(fresh) => {
                    self.ended.push(login.session_id);
                    self.ended.extend(open);
                    self.former.push(std::mem::replace(&mut self.password, new));
                    self.open = Some(fresh.session_id);
                    let _ = acknowledged.send(());
                }
                Err(_) => {
                    self.unanswered_change = Some(new);
                    break;
                }
            }
        }
    }

    async fn check(&self, client: &Client) {
        if !self.registered {
            return;
        }
        let known = client.login(&self.email, &self.password).await.is_ok();
        let changed = match &self.unanswered_change {
            Some(new) => client.login(&self.email, new).await.is_ok(),
            None => false,
        };
        assert!(known != changed, "exactly one password is good");
        for former in self.former.iter().rev().take(2) {
            client.login(&self.email, former).await.unwrap_err();
        }
        for session_id in &self.ended {
            client.expect_no_session(session_id).await;
        }
        // An unanswered change may have ended the session.
        if let (Some(session_id), false) = (&self.open, changed) {
            client.check(session_id).await.unwrap();
        }
    }
}
