//! More logins than the cores can hash.

use std::time::Duration;

use tonic::Code;

use crate::harness::{
    Database, PASSWORD, Process, TestServer, on_each_database, refused, server::Client,
};

on_each_database! {
    /// What does not fit in the queue is told at once when to come back, and
    /// sessions are checked meanwhile.
    async fn the_queue_is_bounded_and_sessions_are_not_held_up(database: Database) {
        let settings = ["--hash-threads=1"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // Dearer hashes from here on.
        server.stop().await;
        let settings = ["--hash-threads=1", "--bcrypt-cost=10"];
        let server = TestServer::start_with(&database, &settings).await;

        let tries = (0..12).map(|n| {
            let client = server.client.clone();
            tokio::spawn(async move { client.register(&format!("u{n}@example.com"), PASSWORD).await })
        });
        let tries: Vec<_> = tries.collect();
        server.client.check(&session_id).await.unwrap();
        assert!(tries.iter().any(|tried| !tried.is_finished()), "the check did not wait");
        let mut overloaded = 0;
        for tried in tries {
            if let Err(status) = tried.await.unwrap() {
                let details = refused(&status, Code::ResourceExhausted, "OVERLOADED");
                let delay = details.retry_info().unwrap().retry_delay;
                assert_eq!(delay, Some(Duration::from_secs(2)));
                overloaded += 1;
            }
        }
        assert!((1..=10).contains(&overloaded), "{overloaded} of 12");
        // Afterwards there is room again.
        server.client.register("later@example.com", PASSWORD).await.unwrap();
    }

    /// A caller that leaves is taken out of the queue, not worked for.
    async fn a_caller_that_left_is_not_worked_for(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            "--hash-threads=1",
            "--bcrypt-cost=13",
            // However busy the machine is.
            "--request-timeout=60s",
            "--hash-max-wait=30s",
            "--database-url",
            database.url(),
        ];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        let register = |email: &'static str| {
            let client = client.clone();
            tokio::spawn(async move { client.register(email, PASSWORD).await })
        };
        let start = process.cpu_time();
        let first = register("first@example.com");
        process.is_hashing().await;
        // They wait for their turn, and leave.
        let waiting: Vec<_> = (0..5).map(|_| register("second@example.com")).collect();
        client.check("sess_nobody").await.unwrap_err();
        for one in waiting {
            one.abort();
            let _ = one.await;
        }
        first.await.unwrap().unwrap();
        let after_first = process.cpu_time();
        client
            .register("third@example.com", PASSWORD)
            .await
            .unwrap();
        let (first, third) = (after_first - start, process.cpu_time() - after_first);
        // Five more would have come before it.
        assert!(third < first * 3, "{third:?} after {first:?}");
        process.signal("TERM");
        let (_, log) = process.wait();
        assert_eq!(log.matches("CANCELLED").count(), 5, "{log}");
    }
}
