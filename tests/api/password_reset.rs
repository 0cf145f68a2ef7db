//! `RequestPasswordReset` and `ResetPassword`.

use std::{sync::Arc, time::Duration};

use tokio::sync::Barrier;
use tonic::Code;

use crate::harness::{
    AT_ONCE, Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, ROUNDS, TestServer, eventually,
    on_each_database, refused, smtp::SmtpServer, status::violation,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

on_each_database! {
    /// From the request to a login with the new password.
    async fn a_password_is_reset(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        let before = server.login().await.session_id;
        server.client.request_password_reset("ADA@Example.com").await.unwrap();
        let mail = server.outbox.next().await;
        assert_eq!(mail.only_recipient(), EMAIL);
        assert_eq!(mail.subject(), "Set a new password");
        let token = mail.reset_token();
        let link = format!(
            "http://localhost:{}/reset_password?email=ada%40example.com&reset_token={token}",
            server.address.port()
        );
        assert_eq!(mail.reset_link(), link);
        assert!(token.starts_with("rst_") && token.len() == 47, "{token}");
        // The request changes nothing.
        server.client.check(&before).await.unwrap();

        assert_eq!(server.client.reset_password(&token, NEW_PASSWORD).await.unwrap(), user);
        server.client.expect_no_session(&before).await;
        server
            .client
            .login(EMAIL, PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
        let notice = server.outbox.next().await;
        assert_eq!(notice.subject(), "Your password was changed");
        assert_eq!(notice.only_recipient(), EMAIL);
        // The token works once.
        server
            .client
            .reset_password(&token, PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
        assert!(server.outbox.unseen().is_none());
    }

    /// Only the digest is stored, and waiting mails contain no token.
    async fn tokens_are_not_stored(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let token = server.reset_token().await;
        let stored = match database.is_sqlite() {
            true => database.text("SELECT lower(hex(reset_token)) FROM users"),
            false => database.text("SELECT encode(reset_token, 'hex') FROM users"),
        };
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&token);
        let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(stored, expected);
        if database.is_sqlite() {
            for file in ["", "-wal"] {
                let bytes = std::fs::read(format!("{}{file}", database.path())).unwrap();
                for secret in [&token[..], &token[4..]] {
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{file}");
                }
            }
        }
    }

    /// The reply does not reveal whether an address has an account.
    async fn an_unknown_address_is_answered_alike_and_gets_no_mail(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for email in ["eve@example.com", EMAIL, "unknown@example.com"] {
            server.client.request_password_reset(email).await.unwrap();
        }
        // By then the earlier requests have been handled.
        assert_eq!(server.outbox.next().await.only_recipient(), EMAIL);
        let waiting = || database.text("SELECT CAST(count(*) AS TEXT) FROM outgoing_mails");
        eventually("an empty outbox", async || waiting() == "0").await;
        assert!(server.outbox.unseen().is_none());
        for (email, expected_text) in [("", "is missing"), ("eve", "one @"), ("e\r\nBcc: x@a", "before the @")] {
            let refusal = server.client.request_password_reset(email).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (field, description) = violation(&details);
            assert!(field == "email" && description.contains(expected_text), "{description}");
        }
    }

    /// A token expires at the end of its lifetime.
    async fn a_token_expires(database: Database) {
        for (settings, minutes) in [(&[][..], 10), (&["--reset-ttl=1h"], 60)] {
            let server = TestServer::start_with(&database, settings).await;
            let _ = server.client.register(EMAIL, PASSWORD).await;
            // After the interval in which the previous round prevents another mail.
            server.clock.advance(minutes * HOUR / 5);
            let token = server.reset_token().await;
            // The clock also advances with the test.
            server.clock.advance((minutes - 1) * MINUTE);
            let too_short = server.client.reset_password(&token, "short").await;
            too_short.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            server.clock.advance(MINUTE);
            server
                .client
                .reset_password(&token, NEW_PASSWORD)
                .await
                .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        }
    }

    /// A newer token does not end the former one; a password change ends both.
    async fn a_password_change_ends_all_tokens(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let older = server.reset_token().await;
        server.clock.advance(6 * MINUTE);
        let newer = server.reset_token().await;
        assert_ne!(older, newer);
        let session_id = server.login().await.session_id;
        server.client.change_password(&session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        for token in [older, newer] {
            server
                .client
                .reset_password(&token, "yet another password")
                .await
                .expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        }
        server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
    }

    /// A reset requested before a password change is not mailed after it.
    async fn a_request_does_not_outlive_a_change(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.stop().await;
        let url = format!("--smtp-url={}", smtp.url("", "127.0.0.1"));
        let server = TestServer::start_with(&database, &[&url]).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        server.client.request_password_reset(EMAIL).await.unwrap();
        server.client.change_password(&session_id, PASSWORD, NEW_PASSWORD).await.unwrap();
        smtp.restart();
        server.clock.advance(MINUTE / 2);
        assert_eq!(smtp.next().await.mail.subject(), "Your password was changed");
        eventually("an empty outbox", async || {
            database.text("SELECT CAST(count(*) AS TEXT) FROM outgoing_mails") == "0"
        })
        .await;
        assert!(smtp.is_empty());
    }

    /// Concurrent requests are limited, to leave capacity for other calls.
    async fn too_many_concurrent_requests_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let (release, held) = database.hold_writes();
        let asking = (0..20).map(|n| {
            let client = server.client.clone();
            tokio::spawn(async move {
                client.request_password_reset(&format!("u{n}@example.com")).await
            })
        });
        let asking: Vec<_> = asking.collect();
        server.client.check(&session_id).await.unwrap();
        eventually("4 answers", async || {
            asking.iter().filter(|asked| asked.is_finished()).count() >= 4
        })
        .await;
        drop(release);
        held.join().unwrap();
        let mut overloaded = 0;
        for asked in asking {
            if let Err(status) = asked.await.unwrap() {
                refused(&status, Code::ResourceExhausted, "OVERLOADED");
                overloaded += 1;
            }
        }
        assert_eq!(overloaded, 4);
        server.client.request_password_reset(EMAIL).await.unwrap();
    }

    /// An invalid new password does not use the token up.
    async fn a_refused_password_leaves_the_token(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let token = server.reset_token().await;
        for (new, expected_text) in [
            ("", "is missing"),
            ("seven77", "at least 8"),
            ("Password1", "everybody tries first"),
            ("ada@EXAMPLE.com", "address itself"),
            ("with a \u{1B}[31m", "control character"),
            (&"kP3 ".repeat(257), "at most 1,024"),
        ] {
            let refusal = server.client.reset_password(&token, new).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (field, description) = violation(&details);
            assert!(field == "new_password" && description.contains(expected_text), "{field} {description}");
        }
        server.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
    }

    /// Only the exact bytes of a mailed token are accepted.
    async fn altered_tokens_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // A missing token does not match users without one.
        for token in ["", "rst_", "null", "None"] {
            let refusal = server.client.reset_password(token, NEW_PASSWORD).await;
            refusal.expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        }
        let token = server.reset_token().await;
        let secret = token.strip_prefix("rst_").unwrap();
        for bad in [
            token[..46].to_owned(),
            format!("{token}A"),
            format!("{token}="),
            format!("{token}\0"),
            format!(" {token}"),
            secret.to_owned(),
            format!("sess_{secret}"),
            session_id.clone(),
            session_id.replace("sess_", "rst_"),
            token.to_uppercase(),
            format!("rst_{}", "A".repeat(43)),
            "A".repeat(10_000),
        ] {
            let refusal = server.client.reset_password(&bad, NEW_PASSWORD).await;
            refusal.expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
        }
        // A reset token is not a session id.
        server.client.expect_no_session(&token).await;
        server.client.expect_no_session(&token.replace("rst_", "sess_")).await;
        server.client.check(&session_id).await.unwrap();
        server.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
    }

    /// Of many concurrent uses of a token, one succeeds.
    async fn a_token_is_used_once(database: Database) {
        let server = TestServer::start_with(&database, &["--reset-delivery=response"]).await;
        server.register().await;
        for round in 0..ROUNDS {
            let token = server.reset_token_in_reply().await;
            let barrier = Arc::new(Barrier::new(AT_ONCE));
            let tries = (0..AT_ONCE).map(|n| {
                let (client, barrier) = (server.client.clone(), Arc::clone(&barrier));
                let (token, password) = (token.clone(), format!("new password {round} {n}"));
                tokio::spawn(async move {
                    barrier.wait().await;
                    client.reset_password(&token, &password).await.map(|_| password)
                })
            });
            let mut winners = Vec::new();
            for tried in tries.collect::<Vec<_>>() {
                match tried.await.unwrap() {
                    Ok(password) => winners.push(password),
                    Err(lost) => {
                        refused(&lost, Code::Unauthenticated, "RESET_TOKEN_INVALID");
                    }
                }
            }
            assert_eq!(winners.len(), 1);
            server.client.login(EMAIL, &winners[0]).await.unwrap();
        }
    }

    /// Links depend on the setting only, not on the request's host.
    async fn links_are_below_the_public_url(database: Database) {
        let settings = ["--public-url=https://accounts.example.com/auth/"];
        let server = TestServer::start_with(&database, &settings).await;
        server.register().await;
        let mut request = tonic::Request::new(bienvenue::proto::v1::RequestPasswordResetRequest {
            email: EMAIL.into(),
        });
        for (name, value) in [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "host=evil.example"),
            ("host", "evil.example"),
            ("origin", "https://evil.example"),
        ] {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        server.client.stub().request_password_reset(request).await.unwrap();
        let mail = server.outbox.next().await;
        let start = "https://accounts.example.com/auth/reset_password?email=ada%40example.com&reset_token=rst_";
        assert!(mail.reset_link().starts_with(start), "{}", mail.reset_link());
        assert!(!format!("{mail:?}").contains("evil"), "{mail:?}");
    }
}
