//! The lifetime of sessions.

use std::time::Duration;

use tonic::Code;

use crate::harness::{Database, Expect as _, TestServer, on_each_database};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

on_each_database! {
    /// An unused session ends at the idle limit.
    async fn an_idle_session_ends(database: Database) {
        let limits = ["--session-idle=2h", "--session-absolute=5h"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // A minute's leeway, since the clock also advances with the test.
        server.clock.advance(2 * HOUR - 60 * SECOND);
        server.client.check(&session_id).await.unwrap();
        server.clock.advance(2 * HOUR);
        for refusal in [
            server.client.check(&session_id).await.map(drop),
            server.client.logout(&session_id).await,
        ] {
            refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
    }

    /// A continuously used session ends at the absolute limit.
    async fn the_absolute_limit_ends_a_used_session(database: Database) {
        let limits = ["--session-idle=2h", "--session-absolute=5h"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        for _ in 0..4 {
            server.clock.advance(HOUR);
            server.client.check(&session_id).await.unwrap();
        }
        server.clock.advance(HOUR);
        server
            .client
            .expect_no_session(&session_id).await;
    }

    /// Checks within a quarter of an hour write nothing; a later one updates `last_seen_at`.
    async fn last_seen_moves_in_coarse_steps(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let seen = async || {
            let session = server.client.check(&session_id).await.unwrap().session.unwrap();
            let (seen, ends) = (session.last_seen_at.unwrap(), session.expires_at.unwrap());
            assert_eq!(ends.seconds - seen.seconds, 7 * 24 * 3_600);
            (seen.seconds, seen.nanos)
        };
        let first = seen().await;
        server.clock.advance(450 * SECOND);
        assert_eq!(seen().await, first);
        server.clock.advance(451 * SECOND);
        let second = seen().await;
        assert!((901..930).contains(&(second.0 - first.0)), "{first:?} {second:?}");
        assert_eq!(seen().await, second);
    }

    /// Open and ended sessions survive a restart.
    async fn sessions_survive_a_restart(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let (kept, ended) = (server.login().await.session_id, server.login().await.session_id);
        server.client.logout(&ended).await.unwrap();
        server.stop().await;
        let server = TestServer::start(&database).await;
        server.client.check(&kept).await.unwrap();
        server
            .client
            .expect_no_session(&ended).await;
    }

    /// Deleting a user ends the user's sessions.
    async fn a_deleted_user_has_no_sessions(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        let session_id = server.login().await.session_id;
        if database.is_sqlite() {
            // SQLite's own client does not enforce foreign keys by default.
            database.execute("DELETE FROM sessions");
        }
        database.execute(&format!("DELETE FROM users WHERE id = {}", user.id));
        server.client.until_session_ends(&session_id).await;
        // Ids are not reused.
        assert!(server.register().await.id > user.id);
    }
}
