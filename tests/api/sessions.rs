//! How long sessions live.

use std::time::Duration;

use tonic::Code;

use crate::harness::{Database, Expect as _, TestServer, on_each_database};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

on_each_database! {
    /// Unused, it ends at the idle limit.
    async fn an_idle_session_ends(database: Database) {
        let limits = ["--session-idle=2h", "--session-absolute=5h"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // The clock runs on while the test does: a minute's leeway.
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

    /// Used all the time, it ends at the absolute limit.
    async fn a_busy_session_ends_too(database: Database) {
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
            .has_no_session(&session_id).await;
    }

    /// Checks within a quarter of an hour write nothing; a later one notes the use.
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

    /// A session outlives the process, and so does its end.
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
            .has_no_session(&ended).await;
    }

    /// A user's end is the end of their sessions.
    async fn a_deleted_user_has_no_sessions(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        let session_id = server.login().await.session_id;
        if database.is_sqlite() {
            // SQLite's own client minds no foreign keys unless it is told to.
            database.execute("DELETE FROM sessions");
        }
        database.execute(&format!("DELETE FROM users WHERE id = {}", user.id));
        server.client.loses_session(&session_id).await;
        // An id is never given out twice.
        assert!(server.register().await.id > user.id);
    }
}
