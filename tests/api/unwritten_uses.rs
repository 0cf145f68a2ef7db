//! The last use of a session is written up to a second later. Until then its row may seem to have
//! expired.

use std::time::Duration;

use bienvenue::proto::v1::LoginResponse;

use crate::harness::{Database, NEW_PASSWORD, PASSWORD, TestServer, eventually, on_each_database};

const MINUTE: Duration = Duration::from_secs(60);

/// Sessions used a minute before their idle limit, whose rows do not show this use, and are past
/// the limit now.
async fn used_sessions(
    server: &TestServer,
    database: &Database,
    many: usize,
) -> Vec<LoginResponse> {
    let logins = server.logins(many).await;
    server.clock.advance(119 * MINUTE);
    for login in &logins {
        server.client.check(&login.session_id).await.unwrap();
    }
    // Written, and then taken back: no job will write it again.
    eventually("the uses are written", async || {
        database.text("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE last_seen_at > created_at")
            == many.to_string()
    })
    .await;
    database.execute("UPDATE sessions SET last_seen_at = created_at");
    server.clock.advance(5 * MINUTE);
    logins
}

fn handle_of(login: &LoginResponse) -> &str {
    &login.session.as_ref().unwrap().handle
}

on_each_database! {
    /// Ended sessions count as open until then.
    async fn sessions_with_an_unwritten_use_can_be_ended(database: Database) {
        let limits = ["--session-idle=2h", "--session-sweep=1d"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let logins = used_sessions(&server, &database, 5).await;
        let ids: Vec<&str> = logins.iter().map(|login| login.session_id.as_str()).collect();
        server.client.logout(ids[0]).await.unwrap();
        server.client.revoke_session(ids[1], handle_of(&logins[2])).await.unwrap();
        assert_eq!(server.client.revoke_other_sessions(ids[1]).await.unwrap(), 2);
        server.client.revoke_session(ids[1], handle_of(&logins[1])).await.unwrap();
        for session_id in ids {
            server.client.expect_no_session(session_id).await;
        }
    }

    /// The stored times do not tell whether an authenticated session is open.
    async fn a_password_is_changed_with_an_unwritten_use(database: Database) {
        let limits = ["--session-idle=2h", "--session-sweep=1d"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let login = used_sessions(&server, &database, 1).await.remove(0);
        server.client.change_password(&login.session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        server.client.expect_no_session(&login.session_id).await;
    }
}
