//! Whatever was acknowledged is there after a kill -9.

use crate::harness::{Database, PASSWORD, Process, on_each_database, server::Client};

on_each_database! {
    async fn what_was_acknowledged_survives_a_kill(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = ["--bcrypt-cost=4", "--database-url", database.url()];
        let mut process = Process::start(folder.path(), &settings);
        let mut acknowledged = 0;
        for round in 0..5 {
            let client = Client::connect(process.address).await;
            let users = (0..8).map(|n| {
                let (client, email) = (client.clone(), format!("u{n}-{round}@example.com"));
                // Each writes until the process is gone, and remembers what it
                // was told.
                tokio::spawn(async move {
                    let mut told = Told { email, registered: false, open: None, ended: vec![] };
                    if client.register(&told.email, PASSWORD).await.is_err() {
                        return told;
                    }
                    told.registered = true;
                    while let Ok(login) = client.login(&told.email, PASSWORD).await {
                        match client.logout(&login.session_id).await {
                            Ok(()) => told.ended.push(login.session_id),
                            Err(_) => break,
                        }
                        match client.login(&told.email, PASSWORD).await {
                            Ok(login) => told.open = Some(login.session_id),
                            Err(_) => break,
                        }
                    }
                    told
                })
            });
            let users: Vec<_> = users.collect();
            tokio::time::sleep(std::time::Duration::from_millis(40 + 35 * round)).await;
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
                if told.registered {
                    client.login(&told.email, PASSWORD).await.unwrap();
                }
                for session_id in &told.ended {
                    client
                        .has_no_session(session_id).await;
                }
                if let Some(session_id) = &told.open {
                    client.check(session_id).await.unwrap();
                }
            }
        }
        assert!(acknowledged > 50, "only {acknowledged} were acknowledged: no test");
    }
}

/// What a user was told before the end.
struct Told {
    email: String,
    registered: bool,
    open: Option<String>,
    ended: Vec<String>,
}
