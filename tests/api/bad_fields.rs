//! Invalid fields get the codes of the table, and the next request on the connection is
//! served.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use diesel::connection::SimpleConnection as _;
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, on_each_database,
    status::violation,
};

on_each_database! {
    /// Missing, empty and over-long fields; control characters and NUL.
    async fn invalid_fields_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long_email = format!("a@{}.com", "b".repeat(250));
        let long_password = "kP3 ".repeat(257);
        for (email, password, field, expected_text) in [
            ("", PASSWORD, "email", "is missing"),
            ("eve", PASSWORD, "email", "one @"),
            ("eve@a@example.com", PASSWORD, "email", "one @"),
            ("eve @example.com", PASSWORD, "email", "before the @"),
            ("eve\0@example.com", PASSWORD, "email", "before the @"),
            ("eve\r\nbcc@example.com", PASSWORD, "email", "before the @"),
            ("\"eve\"@example.com", PASSWORD, "email", "before the @"),
            ("eve@[127.0.0.1]", PASSWORD, "email", "after the @"),
            ("eve@exam\0ple.com", PASSWORD, "email", "after the @"),
            (" \r\n", PASSWORD, "email", "is missing"),
            (&long_local, PASSWORD, "email", "too long"),
            (&long_email, PASSWORD, "email", "too long"),
            ("eve@example.com", "", "password", "is missing"),
            ("eve@example.com", "seven77", "password", "at least 8 characters"),
            ("eve@example.com", &long_password, "password", "at most 1,024 bytes"),
            ("eve@example.com", "with a \0 inside", "password", "control character"),
            ("eve@example.com", "with a \u{1B}[31m", "password", "control character"),
            ("eve@example.com", "Password1", "password", "everybody tries first"),
            ("eve@example.com", "BIENVENUE", "password", "everybody tries first"),
            ("eve@example.com", "Eve@EXAMPLE.com", "password", "address itself"),
        ] {
            let refusal = server.client.register(email, password).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            let (named, description) = violation(&details);
            assert_eq!(named, field, "{email:?} {password:?}");
            assert!(description.contains(expected_text), "{description}");
        }
        for (email, password, field) in [
            ("", PASSWORD, "email"),
            ("eve\0@example.com", PASSWORD, "email"),
            (&long_email, PASSWORD, "email"),
            (EMAIL, "", "password"),
        ] {
            let refusal = server.client.login(email, password).await;
            let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
            assert_eq!(violation(&details).0, field);
        }
        // A login compares passwords that the policy would refuse.
        for password in ["seven77", "with a \0 inside", &long_password, &"x".repeat(15_000)] {
            server
                .client
                .login(EMAIL, password)
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        server.expect_service().await;
    }

    /// SQL, templates and format strings are ordinary text.
    async fn nothing_in_a_field_is_interpreted(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for payload in [
            "' OR '1'='1",
            "'; DROP TABLE users; --",
            "{{7*7}}",
            "%n%s%x",
            "$(reboot) `reboot`",
            "<script>alert(1)</script>",
            "\\x00\\u0000",
        ] {
            server
                .client
                .login(EMAIL, payload)
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            server
                .client
                .expect_no_session(payload).await;
            let email = format!("{}@example.com", payload.replace([' ', '\\', ';', '(', ')', '<', '>'], "_"));
            let user = server.client.register(&email, payload).await;
            if let Ok(user) = user {
                assert_eq!(user.email, email.to_ascii_lowercase());
                server.client.login(&email, payload).await.unwrap();
            }
        }
        server.expect_service().await;
    }

    /// Only the exact bytes of an issued `session_id` are accepted.
    async fn altered_session_ids_are_refused(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let login = server.login().await;
        let (good, handle) = (login.session_id, login.session.unwrap().handle);
        let secret = good.strip_prefix("sess_").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
        // The last character has two unused bits.
        let last = secret.chars().next_back().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let twin = alphabet.find(last).map(|at| &alphabet[at + 1..at + 2]).unwrap();
        let recased: String = good.chars().map(|c| if c.is_lowercase() {
            c.to_ascii_uppercase()
        } else {
            c.to_ascii_lowercase()
        }).collect();
        let mut other = bytes.clone();
        other[31] ^= 1;
        let bad = [
            String::new(),
            good[..good.len() - 1].to_owned(),
            good[..good.len() / 2].to_owned(),
            "sess_".to_owned(),
            secret.to_owned(),
            format!("{good}A"),
            format!("{good}="),
            format!("{good}\0"),
            format!("{good}\n"),
            format!(" {good}"),
            recased,
            format!("{}{twin}", &good[..good.len() - 1]),
            format!("sess_{}", URL_SAFE_NO_PAD.encode(&other)),
            format!("sess_{}", base64::engine::general_purpose::STANDARD.encode(&bytes)),
            format!("sess_{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            format!("rst_{secret}"),
            good.replace('_', "%5F"),
            "A".repeat(10_000),
            "\u{1F511}".repeat(12),
        ];
        for session_id in &bad {
            for refusal in [
                server.client.check(session_id).await.map(drop),
                server.client.logout(session_id).await,
                server.client.list_sessions(session_id).await.map(drop),
                server.client.revoke_session(session_id, &handle).await,
                server.client.revoke_other_sessions(session_id).await.map(drop),
                server
                    .client
                    .change_password(session_id, PASSWORD, NEW_PASSWORD)
                    .await
                    .map(drop),
            ] {
                refusal.expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
            }
        }
        server.client.check(&good).await.unwrap();
    }

    /// A login with a damaged or ruinously expensive stored hash fails, does not reveal the
    /// account, and does not delay other logins.
    async fn a_damaged_stored_hash_is_a_wrong_password(database: Database) {
        let server = TestServer::start(&database).await;
        let user = server.register().await;
        server.client.register("bob@example.com", PASSWORD).await.unwrap();
        let good = database.text("SELECT hashed_password FROM users WHERE id = 1");
        let unknown = server.client.login("eve@example.com", PASSWORD).await.unwrap_err();
        for damaged in [
            good.replace("$04$", "$31$"),
            good.replace("$04$", "$17$"),
            good.replace("$04$", "$xx$"),
            good[..40].to_owned(),
            String::new(),
            "correct horse battery".to_owned(),
            "\u{1F511}".repeat(15),
            "$bcrypt-sha256$v=2,t=2b,r=31$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2".to_owned(),
        ] {
            let sql = format!("UPDATE users SET hashed_password = '{damaged}' WHERE id = {}", user.id);
            assert_eq!(database.execute(&sql), 1);
            let refusal = server.client.login(EMAIL, PASSWORD).await.unwrap_err();
            assert_eq!(refusal.message(), unknown.message());
            assert_eq!(refusal.details(), unknown.details());
            server.client.login("bob@example.com", PASSWORD).await.unwrap();
        }
        database.execute(&format!("UPDATE users SET hashed_password = '{good}' WHERE id = 1"));
        server.expect_service().await;
    }
}

/// A BLOB in the column: only SQLite stores one, and only on request.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_hash_of_invalid_utf8_is_a_wrong_password() {
    let database = Database::sqlite();
    let server = TestServer::start(&database).await;
    let user = server.register().await;
    for n in 0..8 {
        let email = format!("u{n}@example.com");
        server.client.register(&email, PASSWORD).await.unwrap();
    }
    let poison = format!(
        "PRAGMA ignore_check_constraints = ON;
         UPDATE users SET hashed_password = X'FF' WHERE id = {}",
        user.id
    );
    database.connect_sqlite().batch_execute(&poison).unwrap();
    // Other logins, with known and unknown e-mails, are not affected.
    for n in 0..8 {
        let email = format!("u{n}@example.com");
        server.client.login(&email, PASSWORD).await.unwrap();
        let email = format!("unknown{n}@example.com");
        server
            .client
            .login(&email, PASSWORD)
            .await
            .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    }
    // A different reply would reveal the account.
    server
        .client
        .login(EMAIL, PASSWORD)
        .await
        .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
    let token = server.reset_token().await;
    let reset = server.client.reset_password(&token, NEW_PASSWORD).await;
    reset.unwrap();
    server.client.login(EMAIL, NEW_PASSWORD).await.unwrap();
}
