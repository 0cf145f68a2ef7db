//! `ChangePassword`: a new password, given the old one.

use std::sync::Arc;

use tokio::sync::Barrier;
use tonic::Code;

use crate::harness::{
    AT_ONCE, Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, ROUNDS, TestServer,
    on_each_database, status::violation,
};

on_each_database! {
    /// The old password and all its sessions end, and the new session works.
    async fn a_password_is_changed(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        let other = server.login().await.session_id;
        let login = server.login().await;
        let changed = server
            .client
            .change_password(&login.session_id, PASSWORD, NEW_PASSWORD)
            .await
            .unwrap();
        let session = changed.session.unwrap();
        assert!(session.current);
        assert_ne!(session.handle, login.session.unwrap().handle);
        let checked = server.client.check(&changed.session_id).await.unwrap();
        assert_eq!((checked.user, checked.session), (Some(user), Some(session)));
        for ended in [&login.session_id, &other] {
            server.client.expect_no_session(ended).await;
        }
        server
            .client
            .login(EMAIL, PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
    }

    /// A notice goes to the stored address only.
    async fn a_notice_is_mailed(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        server.client.change_password(&session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        let notice = server.outbox.next().await;
        assert_eq!(notice.only_recipient(), EMAIL);
        assert_eq!(notice.subject(), "Your password was changed");
        let year = server.clock.now().format("%Y").to_string();
        assert!(notice.body.contains(&year) && notice.body.contains("UTC"), "{notice:?}");
        assert!(!notice.body.contains("reset_token"), "{notice:?}");
    }

    /// A refused change has no effect.
    async fn a_refused_change_has_no_effect(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let stored = || database.text("SELECT hashed_password FROM users");
        let before = stored();
        let change = async |current: &str, new: &str| {
            server.client.change_password(&session_id, current, new).await
        };
        for (current, new, field, expected_text) in [
            ("", NEW_PASSWORD, "current_password", "is missing"),
            (PASSWORD, "", "new_password", "is missing"),
            (PASSWORD, "seven77", "new_password", "at least 8"),
            (PASSWORD, &"kP3 ".repeat(257), "new_password", "at most 1,024"),
            (PASSWORD, "with a \0 inside", "new_password", "control character"),
            (PASSWORD, "Password1", "new_password", "everybody tries first"),
            (PASSWORD, "ADA@example.com", "new_password", "address itself"),
            // The new password is validated first, before any hashing.
            ("wrong", "seven77", "new_password", "at least 8"),
            (PASSWORD, PASSWORD, "new_password", "is the current password"),
        ] {
            let refusal = change(current, new).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (named, description) = violation(&details);
            assert_eq!(named, field, "{current:?} {new:?}");
            assert!(description.contains(expected_text), "{description}");
        }
        for wrong in ["wrong horse battery", "Correct horse battery", &"x".repeat(8_000)] {
            let refusal = change(wrong, NEW_PASSWORD).await;
            assert_eq!(refusal.as_ref().unwrap_err().message(), "the current password is wrong");
            refusal.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        for session_id in ["", "sess_unknown", &server.login().await.session_id[..20]] {
            server
                .client
                .change_password(session_id, PASSWORD, NEW_PASSWORD)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
        assert_eq!(stored(), before);
        server.client.check(&session_id).await.unwrap();
        server.expect_service().await;
        assert!(server.outbox.unseen().is_none(), "no notice without a change");
    }

    /// A session opened with a former password is invalid, even if its row remained.
    async fn a_session_of_a_former_password_is_invalid(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let old = server.login().await.session_id;
        database.execute("UPDATE users SET credential_version = credential_version + 1");
        let new = server.login().await.session_id;
        server.client.until_session_ends(&old).await;
        assert_eq!(server.client.list_sessions(&new).await.unwrap().len(), 1);
        for refusal in [
            server.client.list_sessions(&old).await.map(drop),
            server.client.revoke_other_sessions(&old).await.map(drop),
            server.client.change_password(&old, PASSWORD, NEW_PASSWORD).await.map(drop),
            server.client.logout(&old).await,
        ] {
            refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
        server.client.check(&new).await.unwrap();
    }

    /// A login verified with the old password leaves no session, in any interleaving.
    async fn no_login_survives_a_change(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut session_id = server.login().await.session_id;
        let mut passwords = [PASSWORD, NEW_PASSWORD];
        let (mut before, mut after) = (0, 0);
        for _ in 0..ROUNDS {
            let [old, new] = passwords;
            let barrier = Arc::new(Barrier::new(AT_ONCE));
            let logins = (1..AT_ONCE).map(|_| {
                let (client, barrier) = (server.client.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    client.login(EMAIL, old).await
                })
            });
            let logins: Vec<_> = logins.collect();
            barrier.wait().await;
            let changed = server.client.change_password(&session_id, old, new).await.unwrap();
            let mut opened = None;
            for login in logins {
                match login.await.unwrap() {
                    Ok(login) => {
                        before += 1;
                        opened = Some(login.session_id);
                    }
                    late => {
                        after += 1;
                        late.expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
                    }
                }
            }
            // The table has only the new session.
            let rows = database.text("SELECT CAST(count(*) AS TEXT) FROM sessions");
            assert_eq!(rows, "1", "only the new session is left");
            if let Some(opened) = opened {
                server.client.expect_no_session(&opened).await;
            }
            session_id = changed.session_id;
            server.client.check(&session_id).await.unwrap();
            passwords.reverse();
        }
        assert!(before > 0 && after > 0, "no race: {before} before, {after} after");
    }

    /// Of many concurrent changes, one succeeds.
    async fn a_race_of_changes_has_one_winner(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut session_id = server.login().await.session_id;
        let mut current = PASSWORD.to_owned();
        for round in 0..20 {
            let barrier = Arc::new(Barrier::new(32));
            let changes = (0..32).map(|n| {
                let (client, barrier) = (server.client.clone(), Arc::clone(&barrier));
                let (session_id, current) = (session_id.clone(), current.clone());
                let new = format!("new password {round} {n}");
                tokio::spawn(async move {
                    barrier.wait().await;
                    let changed = client.change_password(&session_id, &current, &new).await;
                    changed.map(|changed| (changed.session_id, new))
                })
            });
            let mut winners = Vec::new();
            for change in changes.collect::<Vec<_>>() {
                match change.await.unwrap() {
                    Ok(winner) => winners.push(winner),
                    Err(lost) => assert_eq!(lost.code(), Code::Unauthenticated, "{lost:?}"),
                }
            }
            assert_eq!(winners.len(), 1);
            (session_id, current) = winners.remove(0);
            server.client.check(&session_id).await.unwrap();
            server.client.login(EMAIL, &current).await.unwrap();
        }
    }
}
