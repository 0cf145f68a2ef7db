//! Floods of reset requests: they neither invalidate the owner's tokens nor fill the owner's
//! mailbox.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, eventually, on_each_database,
    smtp::{Behaviour, SmtpServer},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Requests a reset and waits until it is handled.
async fn request(server: &TestServer, database: &Database) {
    server.client.request_password_reset(EMAIL).await.unwrap();
    // It is handled after a random fraction of a second.
    server.clock.advance(SECOND);
    eventually("the request is handled", async || {
        database.text("SELECT CAST(count(*) AS TEXT) FROM outgoing_mails") == "0"
    })
    .await;
}

/// Whether a token is valid, without using it.
async fn is_good(server: &TestServer, token: &str) -> bool {
    match server.client.reset_password(token, "short").await {
        Err(status) if status.code() == Code::InvalidArgument => true,
        Err(status) if status.code() == Code::Unauthenticated => false,
        other => panic!("{other:?}"),
    }
}

async fn refused(server: &TestServer, token: &str) {
    let refusal = server
        .client
        .reset_password(token, "yet another password")
        .await;
    refusal.expect_refusal(Code::Unauthenticated, "RESET_TOKEN_INVALID");
}

on_each_database! {
    /// With a request per minute for an hour, every mailed token is valid for its ten minutes,
    /// one is always valid, and few mails are sent.
    async fn requests_do_not_invalidate_tokens(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut mailed: Vec<(DateTime<Utc>, String)> = Vec::new();
        for _ in 0..60 {
            request(&server, &database).await;
            while let Some(mail) = server.outbox.unseen() {
                mailed.push((server.clock.now(), mail.reset_token()));
            }
            let mut good = 0;
            for (at, token) in mailed.iter().rev().take(3) {
                let age = (server.clock.now() - at).to_std().unwrap();
                let expected = age < 10 * MINUTE - 30 * SECOND;
                if expected || age > 10 * MINUTE {
                    assert_eq!(is_good(&server, token).await, expected, "{age:?}");
                }
                good += usize::from(expected);
            }
            assert!((1..=2).contains(&good), "{good}");
            server.clock.advance(MINUTE - SECOND);
        }
        assert!((10..=12).contains(&mailed.len()), "{}", mailed.len());
    }

    /// A flood of requests causes one mail.
    async fn a_flood_of_requests_is_one_mail(database: Database) {
        for ttl in ["1m", "10m", "1h"] {
            let setting = format!("--reset-ttl={ttl}");
            let server = TestServer::start_with(&database, &[&setting]).await;
            let _ = server.client.register(EMAIL, PASSWORD).await;
            for _ in 0..20 {
                request(&server, &database).await;
            }
            let token = server.outbox.next().await.reset_token();
            assert!(server.outbox.unseen().is_none(), "{ttl}");
            server.client.reset_password(&token, PASSWORD).await.unwrap();
            assert_eq!(server.outbox.next().await.subject(), "Your password was changed");
            // After a password change, a new request is mailed at once.
            request(&server, &database).await;
            let token = server.outbox.next().await.reset_token();
            server.client.reset_password(&token, PASSWORD).await.unwrap();
        }
    }

    /// An older token stays valid beside the new one; the use of either, or a password change,
    /// invalidates both.
    async fn using_one_of_two_tokens_invalidates_both(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for used in 0..3 {
            let mut tokens = Vec::new();
            for _ in 0..2 {
                request(&server, &database).await;
                loop {
                    let mail = server.outbox.next().await;
                    if mail.body.contains("reset_token=") {
                        tokens.push(mail.reset_token());
                        break;
                    }
                }
                server.clock.advance(6 * MINUTE);
            }
            server.clock.advance(3 * MINUTE);
            assert!(!is_good(&server, &tokens[0]).await, "15 minutes old");
            assert!(is_good(&server, &tokens[1]).await);
            request(&server, &database).await;
            tokens[0] = server.outbox.next().await.reset_token();
            match tokens.get(used) {
                Some(token) => {
                    server.client.reset_password(token, PASSWORD).await.unwrap();
                }
                None => {
                    let session_id = server.login().await.session_id;
                    let change = server.client.change_password(&session_id, PASSWORD, NEW_PASSWORD);
                    change.await.unwrap();
                }
            }
            for token in &tokens {
                refused(&server, token).await;
            }
        }
    }

    /// Failed attempts do not invalidate mailed tokens, and the next attempt sends a new one.
    async fn a_failed_mail_does_not_invalidate_tokens(database: Database) {
        let smtp = SmtpServer::start().await;
        let url = format!("--smtp-url={}", smtp.url("", "127.0.0.1"));
        let server = TestServer::start_with(&database, &[&url]).await;
        server.register().await;
        request(&server, &database).await;
        let first = smtp.next().await.mail.reset_token();
        server.clock.advance(6 * MINUTE);
        smtp.behave(Behaviour::RefuseMessage("451 later"));
        server.client.request_password_reset(EMAIL).await.unwrap();
        for tries in 1..4 {
            server.clock.advance(10 * SECOND);
            let failed = format!(
                "SELECT CAST(count(*) AS TEXT) FROM outgoing_mails
                 WHERE tries >= {tries} AND claimed_until IS NULL"
            );
            eventually("a failed attempt", async || database.text(&failed) != "0").await;
            assert!(is_good(&server, &first).await, "{tries}");
        }
        smtp.behave(Behaviour::Accept);
        server.clock.advance(30 * SECOND);
        let second = smtp.next().await.mail.reset_token();
        assert!(is_good(&server, &first).await && is_good(&server, &second).await);
    }

    /// With delivery in the reply, each reply has a new token, and the mailed one stays valid.
    async fn tokens_in_replies_are_new(database: Database) {
        let server = TestServer::start_with(&database, &["--reset-delivery=response"]).await;
        server.register().await;
        let mailed = server.reset_token().await;
        let mut last = String::new();
        for _ in 0..3 {
            let next = server.reset_token_in_reply().await;
            assert_ne!(next, last);
            assert!(is_good(&server, &next).await && is_good(&server, &mailed).await);
            last = next;
        }
        server.client.reset_password(&last, NEW_PASSWORD).await.unwrap();
        refused(&server, &mailed).await;
    }
}
