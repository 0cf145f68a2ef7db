//! Mail through a real server, which accepts, refuses or defers it.

use std::time::Duration;

use crate::harness::{
    Database, NEW_PASSWORD, PASSWORD, TestServer, aiosmtpd::Aiosmtpd, on_each_database,
};

/// Longer than the back-off after one deferral.
const LATER: Duration = Duration::from_secs(30);

on_each_database! {
    async fn a_real_server_accepts_defers_and_refuses(database: Database) {
        let Some(smtp) = Aiosmtpd::start() else {
            return;
        };
        let url = format!("--smtp-url=smtp://127.0.0.1:{}", smtp.port);
        let settings = [url.as_str(), "--mail-from=Accounts <post@example.com>"];
        let server = TestServer::start_with(&database, &settings).await;

        // One at a time, for a known order of replies.
        for (email, answers) in [
            ("ada@example.com", &[("RCPT", "250"), ("DATA", "250")][..]),
            ("gone@example.com", &[("RCPT", "550")]),
            ("spam@example.com", &[("RCPT", "250"), ("DATA", "554")]),
            ("later@example.com", &[("RCPT", "451")]),
        ] {
            server.client.register(email, PASSWORD).await.unwrap();
            server.client.request_password_reset(email).await.unwrap();
            for (command, code) in answers {
                let reply = smtp.next().await;
                assert_eq!((reply.command.as_str(), reply.to.as_str()), (*command, email));
                assert!(reply.text.starts_with(code), "{reply:?}");
            }
        }
        // The deferred mail is retried, the permanently refused one is not.
        server.clock.advance(LATER);
        let recipient = smtp.next().await;
        let message = smtp.next().await;
        for reply in [&recipient, &message] {
            assert_eq!(reply.to, "later@example.com");
            assert!(reply.text.starts_with("250"), "{reply:?}");
        }
        let token = message.mail.expect("a mail").reset_token();
        server.client.reset_password(&token, NEW_PASSWORD).await.unwrap();
        let notice = [smtp.next().await, smtp.next().await];
        let subject = notice[1].mail.as_ref().expect("a notice").subject();
        assert_eq!(subject, "Your password was changed");
        server.stop().await;
        assert!(smtp.is_quiet());
        let waiting = database.text("SELECT CAST(count(*) AS TEXT) FROM outgoing_mails");
        assert_eq!(waiting, "0");
    }
}
