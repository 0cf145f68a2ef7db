//! Whatever was acknowledged is there after a kill -9.

use tokio::sync::mpsc::{self, UnboundedSender};

use crate::harness::{Database, PASSWORD, Process, on_each_database, server::Client};

on_each_database! {
    async fn what_was_acknowledged_survives_a_kill(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
        let mut process = Process::start(folder.path(), &settings);
        let (mut acknowledged, mut changes) = (0, 0);
        for round in 0..5 {
            let client = Client::connect(process.address).await;
            let (changed, mut changes_so_far) = mpsc::unbounded_channel();
            let users = (0..8).map(|n| {
                let (client, email) = (client.clone(), format!("u{n}-{round}@example.com"));
                let changed = changed.clone();
                // Each writes until the process is gone, and remembers what it
                // was told.
                tokio::spawn(async move {
                    let mut told = Told::new(email);
                    told.write(&client, &changed).await;
                    told
                })
            });
            let users: Vec<_> = users.collect();
            for _ in 0..=2 * round {
                changes_so_far.recv().await.unwrap();
            }
            process.signal("KILL");
            let mut told = Vec::new();
            for user in users {
                told.push(user.await.unwrap());
            }
            drop(process);
            process = Process::start(folder.path(), &settings);
            let client = Client::connect(process.address).await;
            for told in told {
                acknowledged += usize::from(told.registered) + told.ended.len();
                changes += told.former.len();
                told.check(&client).await;
            }
        }
        assert!(acknowledged > 50, "only {acknowledged} were acknowledged: no test");
        assert!(changes >= 25, "only {changes} passwords were changed: no test");
    }
}

/// What a user was told before the end.
struct Told {
    email: String,
    registered: bool,
    password: String,
    /// A change that was not answered: it took place or it did not.
    perhaps: Option<String>,
    former: Vec<String>,
    open: Option<String>,
    ended: Vec<String>,
}

impl Told {
    fn new(email: String) -> Self {
        Self {
            email,
            registered: false,
            password: PASSWORD.to_owned(),
            perhaps: None,
            former: vec![],
            open: None,
            ended: vec![],
        }
    }

    async fn write(&mut self, client: &Client, changed: &UnboundedSender<()>) {
        if client.register(&self.email, PASSWORD).await.is_err() {
            return;
        }
        self.registered = true;
        while let Ok(login) = client.login(&self.email, &self.password).await {
            match client.logout(&login.session_id).await {
                Ok(()) => self.ended.push(login.session_id),
                Err(_) => break,
            }
            let Ok(login) = client.login(&self.email, &self.password).await else {
                break;
            };
            let new = format!("new password {}", self.former.len());
            // Until it is answered, nobody knows.
            self.open = None;
            match client
                .change_password(&login.session_id, &self.password, &new)
                .await
            {
                Ok(fresh) => {
                    self.ended.push(login.session_id);
                    self.former.push(std::mem::replace(&mut self.password, new));
                    self.open = Some(fresh.session_id);
                    let _ = changed.send(());
                }
                Err(_) => {
                    self.perhaps = Some(new);
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
        let changed = match &self.perhaps {
            Some(new) => client.login(&self.email, new).await.is_ok(),
            None => false,
        };
        assert!(known != changed, "one password, not none and not two");
        for former in &self.former {
            client.login(&self.email, former).await.unwrap_err();
        }
        for session_id in &self.ended {
            client.has_no_session(session_id).await;
        }
        // A change that was not answered may have ended it.
        if let (Some(session_id), false) = (&self.open, changed) {
            client.check(session_id).await.unwrap();
        }
    }
}
