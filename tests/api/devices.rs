//! Sessions on several devices: listing, and revocation of one or all others.

use std::{collections::BTreeSet, time::Duration};

use bienvenue::proto::v1::LoginResponse;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer, eventually, on_each_database,
    status::violation,
};

const HOUR: Duration = Duration::from_secs(3_600);

on_each_database! {
    /// A user's own sessions are listed, and no others.
    async fn sessions_are_listed(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let first = server.login().await;
        server.clock.advance(HOUR);
        let second = server.login().await;
        let other = server.client.login("bob@example.com", PASSWORD).await.unwrap();

        // The last seen come first.
        let listed = server.client.list_sessions(&second.session_id).await.unwrap();
        let handles: Vec<&str> = listed.iter().map(|session| session.handle.as_str()).collect();
        let (first_handle, second_handle) = (
            first.session.clone().unwrap().handle,
            second.session.clone().unwrap().handle,
        );
        assert_eq!(handles, [&second_handle, &first_handle]);
        assert_eq!(listed[0], second.session.unwrap());
        assert!(listed[0].current && !listed[1].current);
        // Listing uses the listing session, not the listed ones.
        assert_eq!(listed[1].last_seen_at, first.session.as_ref().unwrap().last_seen_at);
        assert!(listed[1].user_agent.starts_with("tonic/"));
        assert_eq!(listed[1].ip, "127.0.0.1");

        let listed = server.client.list_sessions(&first.session_id).await.unwrap();
        assert_eq!(listed[0].handle, first_handle);
        assert!(listed[0].current && !listed[1].current);
        let listed = server.client.list_sessions(&other.session_id).await.unwrap();
        assert_eq!(listed.len(), 1);
        for session_id in ["", "sess_unknown"] {
            server
                .client
                .list_sessions(session_id)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
    }

    /// Pages hold every session exactly once, while all are used and others are opened.
    async fn sessions_are_listed_in_pages(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut open = Vec::new();
        for _ in 0..6 {
            open.extend(server.logins(41).await);
            server.clock.advance(HOUR);
        }
        let session_id = open[0].session_id.clone();
        let handles = |logins: &[LoginResponse]| -> BTreeSet<String> {
            let sessions = logins.iter().map(|login| login.session.clone().unwrap());
            sessions.map(|session| session.handle).collect()
        };
        let all = handles(&open);
        for (page_size, expected) in [(0, 100), (100, 100), (101, 100), (i32::MAX, 100), (7, 7)] {
            let (mut token, mut pages, mut listed) = (String::new(), 0, Vec::new());
            let mut more = Vec::new();
            loop {
                let page = server.client.list_page(&session_id, page_size, &token).await.unwrap();
                let is_last = page.next_page_token.is_empty();
                assert!(is_last || page.sessions.len() == expected, "{}", page.sessions.len());
                let seen = page.sessions.iter().map(|session| session.last_seen_at.unwrap().seconds);
                assert!(seen.is_sorted_by(|one, next| one >= next), "the last seen come first");
                listed.extend(page.sessions);
                pages += 1;
                if is_last {
                    break;
                }
                token = page.next_page_token;
                // The first session is used, and another is opened.
                server.clock.advance(HOUR);
                server.client.check(&open[pages].session_id).await.unwrap();
                more.push(server.login().await.session_id);
            }
            assert_eq!(pages, open.len().div_ceil(expected), "{page_size}");
            let current = listed.iter().filter(|session| session.current);
            assert_eq!(current.count(), 1);
            let found: BTreeSet<String> =
                listed.iter().map(|session| session.handle.clone()).collect();
            assert_eq!((listed.len(), &found), (all.len(), &all), "{page_size}");
            for session_id in more {
                server.client.logout(&session_id).await.unwrap();
            }
        }
        // The first page has the last opened sessions.
        let first: BTreeSet<String> = server
            .client
            .list_sessions(&session_id)
            .await
            .unwrap()
            .into_iter()
            .map(|session| session.handle)
            .collect();
        assert!(first.is_superset(&handles(&open[open.len() - 82..])));
    }

    /// Invalid page sizes and tokens are refused.
    async fn invalid_pages_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.logins(3).await.remove(0).session_id;
        let page = server.client.list_page(&session_id, 1, "").await.unwrap();
        let token = page.next_page_token;
        for (page_size, page_token, field) in [
            (-1, "", "page_size"),
            (i32::MIN, &token, "page_size"),
            (1, "x", "page_token"),
            (1, &token[1..], "page_token"),
            (1, &format!("{token}="), "page_token"),
            (1, &format!(" {token}"), "page_token"),
            (1, &session_id, "page_token"),
            (1, &"A".repeat(10_000), "page_token"),
        ] {
            let refusal = server.client.list_page(&session_id, page_size, page_token).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            assert_eq!(violation(&details).0, field);
        }
        server
            .client
            .list_page("", -1, "x")
            .await
            .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        // Another user's token still lists the caller's own sessions.
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let other = server.client.login("bob@example.com", PASSWORD).await.unwrap();
        let page = server.client.list_page(&other.session_id, 1, &token).await.unwrap();
        assert!(page.sessions.is_empty());
    }

    /// Expired sessions are not listed, counted or revoked.
    async fn expired_sessions_are_not_found(database: Database) {
        let limits = ["--session-idle=2h", "--session-sweep=1d"];
        let server = TestServer::start_with(&database, &limits).await;
        server.register().await;
        let old = server.login().await.session.unwrap().handle;
        server.clock.advance(3 * HOUR);
        let session_id = server.login().await.session_id;
        assert_eq!(server.client.list_sessions(&session_id).await.unwrap().len(), 1);
        server
            .client
            .revoke_session(&session_id, &old)
            .await
            .expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(server.client.revoke_other_sessions(&session_id).await.unwrap(), 0);
    }

    /// A session is revoked by its handle, in the database before the reply.
    async fn a_session_is_revoked_by_its_handle(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let (phone, laptop) = (server.login().await, server.login().await);
        let handle = phone.session.unwrap().handle;
        server.client.revoke_session(&laptop.session_id, &handle).await.unwrap();
        server.client.expect_no_session(&phone.session_id).await;
        server.client.check(&laptop.session_id).await.unwrap();
        // The caller's own session as well.
        let own = laptop.session.unwrap().handle;
        server.client.revoke_session(&laptop.session_id, &own).await.unwrap();
        server.client.expect_no_session(&laptop.session_id).await;
        server
            .client
            .revoke_session(&laptop.session_id, &own)
            .await
            .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
    }

    /// Another user's handle is refused exactly like an unknown one.
    async fn handles_of_others_and_unknown_handles_are_refused_alike(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let own = server.login().await.session_id;
        let other = server.client.login("bob@example.com", PASSWORD).await.unwrap();
        let foreign = other.session.unwrap().handle;
        let mut refusals = Vec::new();
        for handle in [
            &foreign,
            "00000000-0000-4000-8000-000000000000",
            &foreign.to_uppercase(),
            &foreign.replace('-', ""),
            &format!("{foreign}\0"),
            "no handle",
            &other.session_id,
            &"x".repeat(10_000),
        ] {
            let refusal = server.client.revoke_session(&own, handle).await;
            refusals.push(refusal.as_ref().unwrap_err().message().to_owned());
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            assert_eq!(violation(&details).0, "handle");
        }
        refusals.dedup();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let details = server
            .client
            .revoke_session(&own, "")
            .await
            .expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
        let (field, problem) = violation(&details);
        assert_eq!(field, "handle");
        assert!(problem.starts_with("is missing"), "{problem}");
        server.client.check(&other.session_id).await.unwrap();
    }

    /// All but the caller's.
    async fn all_other_sessions_are_revoked(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let foreign = server.client.login("bob@example.com", PASSWORD).await.unwrap().session_id;
        let kept = server.login().await.session_id;
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(server.login().await.session_id);
        }
        assert_eq!(server.client.revoke_other_sessions(&kept).await.unwrap(), 3);
        for other in &others {
            server.client.expect_no_session(other).await;
            server
                .client
                .revoke_other_sessions(other)
                .await
                .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        }
        assert_eq!(server.client.revoke_other_sessions(&kept).await.unwrap(), 0);
        server.client.check(&kept).await.unwrap();
        server.client.check(&foreign).await.unwrap();
    }

    /// A damaged row does not hide the others, and can be revoked.
    async fn a_damaged_session_can_be_ended(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let own = server.login().await.session_id;
        for all in [true, false] {
            let damaged = server.login().await;
            let handle = damaged.session.unwrap().handle;
            let poison = format!("UPDATE sessions SET ip = 'nowhere' WHERE handle = '{handle}'");
            assert_eq!(database.execute(&poison), 1);
            assert_eq!(server.client.list_sessions(&own).await.unwrap().len(), 1);
            if all {
                assert_eq!(server.client.revoke_other_sessions(&own).await.unwrap(), 1);
            } else {
                server.client.revoke_session(&own, &handle).await.unwrap();
            }
            server.client.expect_no_session(&damaged.session_id).await;
            assert_eq!(count(&database), 1);
        }
    }

    /// Of two sessions that revoke each other, one stays.
    async fn sessions_that_revoke_each_other_at_once_leave_one(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for _ in 0..25 {
            let mut ids = Vec::new();
            for _ in 0..4 {
                ids.push(server.login().await.session_id);
            }
            let revocations = ids.iter().cloned().map(|id| {
                let client = server.client.clone();
                tokio::spawn(async move { client.revoke_other_sessions(&id).await })
            });
            let mut revoked = Vec::new();
            for revocation in revocations.collect::<Vec<_>>() {
                match revocation.await.unwrap() {
                    Ok(count) => revoked.push(count),
                    late => {
                        late.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
                    }
                }
            }
            assert_eq!(revoked, [3]);
            let mut alive = 0;
            for id in &ids {
                alive += usize::from(server.client.check(id).await.is_ok());
            }
            assert_eq!(alive, 1);
            for id in &ids {
                let _ = server.client.logout(id).await;
            }
        }
    }

    /// Expired rows are deleted in batches, and others stay.
    async fn expired_sessions_are_swept(database: Database) {
        let settings = ["--session-idle=2h", "--session-absolute=5h", "--session-sweep=20ms"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let (idle, busy) = (server.login().await.session_id, server.login().await.session_id);
        // More than one batch.
        let copy = match database.is_sqlite() {
            true => "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200)
                 INSERT INTO sessions SELECT randomblob(32), 'h' || n, user_id, created_at,
                     last_seen_at, user_agent, ip, credential_version FROM n,
                     (SELECT * FROM sessions LIMIT 1)",
            false => "INSERT INTO sessions SELECT sha256(n::text::bytea), 'h' || n, user_id,
                     created_at, last_seen_at, user_agent, ip, credential_version
                 FROM generate_series(1, 1200) n, (SELECT * FROM sessions LIMIT 1) one",
        };
        assert_eq!(database.execute(copy), 1_200);
        // Aged by the server's clock, which may differ from the database's.
        let age = |column: &str, hours: i64, of: &str| {
            let then = server.clock.now() - chrono::TimeDelta::hours(hours);
            let then = then.format("%Y-%m-%d %H:%M:%S");
            database.execute(&format!("UPDATE sessions SET {column} = '{then}' WHERE {of}"))
        };
        let handle = server.client.check(&busy).await.unwrap().session.unwrap().handle;
        let is_busy = format!("handle = '{handle}'");
        // For a day after their expiry, they stay.
        assert_eq!(age("last_seen_at", 25, &format!("NOT {is_busy}")), 1_201);
        assert_eq!(age("created_at", 28, &is_busy), 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(count(&database), 1_202);
        age("last_seen_at", 27, &format!("NOT {is_busy}"));
        until_count_is(&database, 1).await;
        server.client.until_session_ends(&idle).await;
        server.client.check(&busy).await.unwrap();
        // The absolute limit, too.
        assert_eq!(age("created_at", 30, &is_busy), 1);
        until_count_is(&database, 0).await;
        server.client.until_session_ends(&busy).await;
    }

    /// `X-Forwarded-For` counts only from a trusted proxy.
    async fn the_client_address_behind_a_trusted_proxy(database: Database) {
        let forged = "192.0.2.66, 198.51.100.7";
        for (settings, expected) in [
            (&[][..], "127.0.0.1"),
            (&["--trusted-proxies=10.0.0.0/8"], "127.0.0.1"),
            (&["--trusted-proxies=10.0.0.0/8,127.0.0.0/8"], "198.51.100.7"),
        ] {
            let server = TestServer::start_with(&database, settings).await;
            let _ = server.client.register(EMAIL, PASSWORD).await;
            let mut request = tonic::Request::new(bienvenue::proto::v1::LoginRequest {
                email: EMAIL.into(),
                password: PASSWORD.into(),
            });
            let metadata = request.metadata_mut();
            metadata.insert("x-forwarded-for", forged.parse().unwrap());
            metadata.insert("x-real-ip", "192.0.2.66".parse().unwrap());
            metadata.insert("forwarded", "for=192.0.2.66".parse().unwrap());
            let login = server.client.stub().login(request).await.unwrap().into_inner();
            assert_eq!(login.session.unwrap().ip, expected);
        }
    }
}

fn count(database: &Database) -> usize {
    let text = database.text("SELECT CAST(count(*) AS TEXT) FROM sessions");
    text.parse().unwrap()
}

async fn until_count_is(database: &Database, sessions: usize) {
    eventually(format!("{sessions} sessions are left"), async || {
        count(database) == sessions
    })
    .await;
}
