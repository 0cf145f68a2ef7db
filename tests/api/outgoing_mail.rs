//! From a request to a mail, with failing mail servers: the reply does not depend on them,
//! and no mail is lost.

use std::time::{Duration, Instant};

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, Process, TestServer, eventually, on_each_database,
    outbox::mails_in,
    server::Client,
    smtp::{Behaviour, SmtpServer, Stage},
};

/// Longer than the back-off after a failed attempt, and shorter than a node's claim.
const LATER: Duration = Duration::from_secs(30);

fn count(database: &Database, of: &str) -> usize {
    let text = database.text(&format!(
        "SELECT CAST(count(*) AS TEXT) FROM outgoing_mails {of}"
    ));
    text.parse().unwrap()
}

fn waiting(database: &Database) -> usize {
    count(database, "")
}

async fn until_any(database: &Database, of: &str) {
    eventually(format!("a mail {of}"), async || count(database, of) > 0).await;
}

/// Waits until a mail is claimed.
async fn until_claimed(database: &Database) {
    until_any(database, "WHERE claimed_until IS NOT NULL").await;
}

/// Waits for a failed attempt to send a mail.
async fn until_failed(database: &Database) {
    until_any(database, "WHERE tries > 0 AND claimed_until IS NULL").await;
}

async fn until_all_sent(database: &Database) {
    eventually("an empty outbox", async || waiting(database) == 0).await;
}

async fn start(database: &Database, smtp: &SmtpServer) -> TestServer {
    let url = format!("--smtp-url={}", smtp.url("", "127.0.0.1"));
    let settings = [url.as_str(), "--mail-from=Accounts <post@example.com>"];
    TestServer::start_with(database, &settings).await
}

on_each_database! {
    /// The reset and its notice are sent over real SMTP.
    async fn mails_go_to_the_smtp_server(database: Database) {
        let smtp = SmtpServer::start().await;
        let server = start(&database, &smtp).await;
        server.register().await;
        server.client.request_password_reset(EMAIL).await.unwrap();
        let received = smtp.next().await;
        assert_eq!(received.to, [EMAIL]);
        assert_eq!(received.from, "post@example.com");
        assert_eq!(received.mail.only_recipient(), EMAIL);
        let token = received.mail.reset_token();
        server.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
        let notice = smtp.next().await;
        assert_eq!(notice.to, [EMAIL]);
        assert_eq!(notice.mail.subject(), "Your password was changed");
        until_all_sent(&database).await;
        assert!(smtp.is_empty());
    }

    /// With any failure of the server, the request succeeds and the mail waits.
    async fn a_mail_waits_for_a_failing_server(database: Database) {
        let smtp = SmtpServer::start().await;
        let server = start(&database, &smtp).await;
        server.register().await;
        for behaviour in [
            Behaviour::RefuseConnection("554 no"),
            // A permanent reply about the settings may be corrected.
            Behaviour::RefuseSender("550 5.7.1 not an address of ours"),
            Behaviour::RefuseRecipient("530 5.7.0 log in first"),
            Behaviour::RefuseRecipient("451 later"),
            Behaviour::RefuseData("451 later"),
            Behaviour::RefuseMessage("452 full"),
            Behaviour::DieInData,
        ] {
            smtp.behave(behaviour);
            server.client.request_password_reset(EMAIL).await.unwrap();
            until_failed(&database).await;
            assert_eq!(waiting(&database), 1, "{behaviour:?}");
            smtp.behave(Behaviour::Accept);
            server.clock.advance(LATER);
            let mail = smtp.next().await.mail;
            assert_eq!(mail.only_recipient(), EMAIL);
            // The token's lifetime begins when it is sent.
            server.client.reset_password(&mail.reset_token(), PASSWORD).await.unwrap();
            assert_eq!(smtp.next().await.mail.subject(), "Your password was changed");
            until_all_sent(&database).await;
        }
        assert!(smtp.is_empty(), "each mail arrives once");
    }

    /// Requests do not wait for an unresponsive server.
    async fn an_unresponsive_server_delays_no_request(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.behave(Behaviour::Hang(Stage::Greeting));
        let server = start(&database, &smtp).await;
        server.register().await;
        let start = Instant::now();
        for n in 0..8 {
            server.client.register(&format!("u{n}@example.com"), PASSWORD).await.unwrap();
            server.client.request_password_reset(&format!("u{n}@example.com")).await.unwrap();
        }
        server.expect_service().await;
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(waiting(&database), 8);
    }

    /// Several waiting requests become one mail.
    async fn waiting_requests_share_one_mail(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.behave(Behaviour::RefuseMessage("451 later"));
        let server = start(&database, &smtp).await;
        server.register().await;
        for _ in 0..3 {
            server.client.request_password_reset(EMAIL).await.unwrap();
        }
        until_failed(&database).await;
        for _ in 0..3 {
            server.client.request_password_reset(EMAIL).await.unwrap();
        }
        assert_eq!(waiting(&database), 1);
        smtp.behave(Behaviour::Accept);
        server.clock.advance(LATER);
        let token = smtp.next().await.mail.reset_token();
        until_all_sent(&database).await;
        assert!(smtp.is_empty());
        server.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
    }

    /// Concurrent requests become one.
    async fn concurrent_requests_share_one_mail(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for _ in 0..10 {
            let asking = (0..14).map(|_| {
                let client = server.client.clone();
                tokio::spawn(async move { client.request_password_reset(EMAIL).await })
            });
            for asked in asking.collect::<Vec<_>>() {
                asked.await.unwrap().unwrap();
            }
            assert!(waiting(&database) <= 1);
        }
        until_all_sent(&database).await;
        let mut mails = 0;
        while server.outbox.unseen().is_some() {
            mails += 1;
        }
        assert!((1..=10).contains(&mails), "{mails}");
    }

    /// An unreadable row does not delay other mails.
    async fn a_damaged_row_stops_no_other_mail(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        database.execute(
            "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
             VALUES ('password_changed', 'broken', '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0)",
        );
        database.execute("UPDATE users SET email = 'BOB@example.com' WHERE email = 'bob@example.com'");
        database.execute(
            "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
             VALUES ('password_changed', 'BOB@example.com', '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0)",
        );
        server.client.request_password_reset(EMAIL).await.unwrap();
        assert_eq!(server.outbox.next().await.only_recipient(), EMAIL);
        until_any(&database, "WHERE email = 'broken' AND tries > 0 AND claimed_until IS NULL").await;
    }

    /// A mail that waits at a stop, or is being sent at a kill, is sent after the restart.
    async fn a_stop_or_kill_loses_no_mail(database: Database) {
        let smtp = SmtpServer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let url = smtp.url("", "127.0.0.1");
        let settings = ["--bcrypt-cost=4", "--database-url", database.url(), "--smtp-url", &url];
        for signal in ["TERM", "KILL"] {
            smtp.behave(match signal {
                "TERM" => Behaviour::RefuseMessage("451 later"),
                _ => Behaviour::Hang(Stage::Receipt),
            });
            let process = Process::start(folder.path(), &settings);
            let client = Client::connect(process.address).await;
            let _ = client.register(EMAIL, PASSWORD).await;
            client.request_password_reset(EMAIL).await.unwrap();
            match signal {
                "TERM" => until_failed(&database).await,
                _ => until_claimed(&database).await,
            }
            process.signal(signal);
            process.wait();
            assert_eq!(waiting(&database), 1, "{signal}");

            smtp.behave(Behaviour::Accept);
            let server = start(&database, &smtp).await;
            // After the killed process's claim has expired.
            server.clock.advance(3 * LATER);
            let token = smtp.next().await.mail.reset_token();
            server.client.reset_password(&token, PASSWORD).await.unwrap();
            assert_eq!(smtp.next().await.mail.subject(), "Your password was changed");
            until_all_sent(&database).await;
            server.stop().await;
        }
        assert!(smtp.is_empty());
    }

    /// A permanent refusal is not retried.
    async fn a_permanently_refused_mail_is_dropped(database: Database) {
        let smtp = SmtpServer::start().await;
        let folder = tempfile::tempdir().unwrap();
        let url = smtp.url("", "127.0.0.1");
        let settings = ["--bcrypt-cost=4", "--database-url", database.url(), "--smtp-url", &url];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        let refusals = [
            (Behaviour::RefuseRecipient("550 5.1.1 no such user"), "refused the recipient: 550 5.1.1 no such user"),
            (Behaviour::RefuseData("554 5.5.1 no valid recipients"), "refused the message: 554 5.5.1 no valid recipients"),
            (Behaviour::RefuseMessage("552 5.2.2 full"), "refused the message: 552 5.2.2 full"),
        ];
        for (n, (behaviour, _)) in refusals.into_iter().enumerate() {
            smtp.behave(behaviour);
            let email = format!("u{n}@example.com");
            client.register(&email, PASSWORD).await.unwrap();
            client.request_password_reset(&email).await.unwrap();
            // Long before the limit of twelve attempts.
            until_all_sent(&database).await;
        }
        // The next mail is sent, and notices are handled alike.
        smtp.behave(Behaviour::Accept);
        client.request_password_reset("u0@example.com").await.unwrap();
        let token = smtp.next().await.mail.reset_token();
        smtp.behave(Behaviour::RefuseRecipient("550 5.1.1 no such user"));
        client.reset_password(&token, NEW_PASSWORD).await.unwrap();
        until_all_sent(&database).await;
        assert!(smtp.is_empty());
        process.signal("TERM");
        let (_, log) = process.wait();
        for (_, cause) in refusals {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(cause)).collect();
            assert!(!lines.is_empty(), "{cause}: {log}");
            for line in lines {
                let is_one = ["WARN", "refused for good and is not tried again", "tries=1"];
                assert!(is_one.iter().all(|word| line.contains(word)), "{line}");
            }
        }
        let ends = log.lines().filter(|line| line.contains("refused for good"));
        assert_eq!(ends.count(), 4, "{log}");
        assert!(!log.contains("could not be sent") && !log.contains("given up"), "{log}");
        assert!(!log.contains("rst_") && !log.contains("@example.com"), "{log}");
    }

    /// Attempts are limited in time and number.
    async fn a_mail_is_dropped_after_its_last_attempt(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.behave(Behaviour::RefuseRecipient("450 4.2.1 come back"));
        let server = start(&database, &smtp).await;
        server.register().await;
        server.client.request_password_reset(EMAIL).await.unwrap();
        let mut tries = 0;
        while tries < 11 {
            tries += 1;
            until_any(&database, &format!("WHERE tries = {tries} AND claimed_until IS NULL")).await;
            // The clock may have jumped, so a single late attempt does not drop it.
            server.clock.advance(Duration::from_secs(700));
        }
        until_all_sent(&database).await;
        assert!(smtp.is_empty());
    }

    /// An unwritable folder is logged, and the mail is sent once it is corrected.
    async fn an_unwritable_folder_is_logged(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let outbox = folder.path().join("outbox");
        std::fs::write(&outbox, "in the way").unwrap();
        let setting = format!("--outbox={}", outbox.display());
        let settings = ["--bcrypt-cost=4", "--database-url", database.url(), &setting];
        let process = Process::start(folder.path(), &settings);
        let client = Client::connect(process.address).await;
        client.register(EMAIL, PASSWORD).await.unwrap();
        client.request_password_reset(EMAIL).await.unwrap();
        until_failed(&database).await;
        assert_eq!(waiting(&database), 1);
        std::fs::remove_file(&outbox).unwrap();
        // A retry follows within a second or two.
        until_all_sent(&database).await;
        assert_eq!(mails_in(&outbox).len(), 1);
        process.signal("TERM");
        let (_, log) = process.wait();
        let start = log.lines().find(|line| line.contains("mail goes to")).expect("a line at start");
        assert!(start.contains("outbox") && start.contains("INFO"), "{start}");
        let failed = log.lines().find(|line| line.contains("could not be sent")).expect("a line");
        assert!(failed.contains("WARN") && failed.contains("outbox"), "{failed}");
        assert!(log.contains("a mail was sent"), "{log}");
        assert!(!log.contains("rst_") && !log.contains(EMAIL), "{log}");
    }

    /// A flood of requests for unknown addresses delays other mail only briefly.
    async fn requests_for_unknown_addresses_are_removed_in_batches(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let flood = match database.is_sqlite() {
            true => "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200)
                 INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
                 SELECT 'password_reset', 'unknown' || n || '@example.com',
                     '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0 FROM n",
            false => "INSERT INTO outgoing_mails (kind, email, created_at, due_at, tries)
                 SELECT 'password_reset', 'unknown' || n || '@example.com',
                     '2020-01-01 00:00:00', '2020-01-01 00:00:00', 0
                 FROM generate_series(1, 1200) n",
        };
        assert_eq!(database.execute(flood), 1_200);
        server.client.request_password_reset(EMAIL).await.unwrap();
        assert_eq!(server.outbox.next().await.only_recipient(), EMAIL);
        until_all_sent(&database).await;
        assert!(server.outbox.unseen().is_none());
    }

    /// The time of the reply does not reveal an account: it does not wait for the mail.
    async fn the_reply_does_not_wait_for_the_mail(database: Database) {
        let smtp = SmtpServer::start().await;
        smtp.behave(Behaviour::Slow(Duration::from_millis(400)));
        let server = start(&database, &smtp).await;
        server.register().await;
        for email in [EMAIL, "eve@example.com"] {
            let mut fastest = Duration::MAX;
            for _ in 0..5 {
                let start = Instant::now();
                server.client.request_password_reset(email).await.unwrap();
                fastest = fastest.min(start.elapsed());
            }
            assert!(fastest < Duration::from_millis(400), "{email}: {fastest:?}");
        }
    }
}

/// Several nodes on one database send each mail once.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_send_each_mail_once() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let smtp = SmtpServer::start().await;
    let nodes = [start(&database, &smtp).await, start(&database, &smtp).await];
    for n in 0..20 {
        nodes[0]
            .client
            .register(&format!("u{n}@example.com"), PASSWORD)
            .await
            .unwrap();
    }
    for n in 0..20 {
        let email = format!("u{n}@example.com");
        nodes[n % 2]
            .client
            .request_password_reset(&email)
            .await
            .unwrap();
    }
    let mut recipients = std::collections::BTreeSet::new();
    for _ in 0..20 {
        recipients.insert(smtp.next().await.mail.only_recipient().to_owned());
    }
    assert_eq!(recipients.len(), 20);
    until_all_sent(&database).await;
    assert!(smtp.is_empty());
}
