//! Keyboards, forms and copied cells put invisible characters around an e-mail, or into it.

use serde_json::json;
use tonic::Code;

use crate::{
    harness::{
        Database, EMAIL, Expect as _, NEW_PASSWORD, PASSWORD, TestServer, on_each_database,
        requests::Session, status::violation,
    },
    import::{HASH, SourceFile, TABLE, import, imported},
};

/// All ASCII white space, on both sides.
const PADDED: [&str; 4] = [
    "Ada@Example.com ",
    " ada@example.com",
    "\tADA@example.com\r\n",
    " \x0C\n ada@Example.com \t ",
];

/// E-mails with an invisible or confusable character, and the words of the error that name
/// it.
const INVISIBLE: [(&str, &str); 6] = [
    (
        "eve@example.com\u{A0}",
        "character 16 is U+00A0 (a no-break space)",
    ),
    (
        "\u{FEFF}eve@example.com",
        "character 1 is U+FEFF (a byte order mark)",
    ),
    (
        "e\u{200B}ve@example.com",
        "character 2 is U+200B (a zero-width space)",
    ),
    (
        "eve\u{FF20}example.com",
        "character 4 is U+FF20 (a fullwidth @)",
    ),
    ("\u{435}ve@example.com", "character 1 is U+0435 (\u{435})"),
    (" e ve@example.com", "character 2 is a space"),
];

on_each_database! {
    async fn white_space_around_an_email_is_not_part_of_it(database: Database) {
        for registered in PADDED {
            database_without_users(&database).await;
            let server = TestServer::start(&database).await;
            let user = server.client.register(registered, PASSWORD).await.unwrap();
            assert_eq!(user.email, EMAIL, "{registered:?}");
            for email in PADDED.into_iter().chain([EMAIL]) {
                let login = server.client.login(email, PASSWORD).await.unwrap();
                assert_eq!(login.user.unwrap().email, EMAIL, "{email:?}");
                let taken = server.client.register(email, PASSWORD).await;
                taken.expect_refusal(Code::AlreadyExists, "EMAIL_TAKEN");
            }
            server.stop().await;
        }
        let server = TestServer::start(&database).await;
        server.client.request_password_reset(PADDED[3]).await.unwrap();
        let mail = server.outbox.next().await;
        assert_eq!(mail.only_recipient(), EMAIL);
        // The padded address is refused as a password, like the address.
        let padded = " ada@example.com ";
        let refusal = server.client.reset_password(&mail.reset_token(), padded).await;
        refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
    }

    /// A form's reply repeats the e-mail in its sender's spelling, without the white space.
    async fn a_form_is_trimmed_too(database: Database) {
        let server = TestServer::start(&database).await;
        let mut client = Session::new(server.address);
        for (path, message) in [
            ("/users", "user created"),
            ("/sessions", "logged in"),
            ("/reset_password", "reset token sent"),
        ] {
            let fields = [("email", "\tAda@Example.com \r\n"), ("password", PASSWORD)];
            let done = client.post(path).data(fields).await;
            assert_eq!(done.json(), json!({ "email": "Ada@Example.com", "message": message }));
        }
        assert_eq!(client.get("/profile").await.json(), json!({ "email": EMAIL }));
        let token = server.outbox.next().await.reset_token();
        let fields = [("email", "ada@example.com "), ("reset_token", &token), ("new_password", NEW_PASSWORD)];
        let done = client.put("/reset_password").data(fields).await;
        assert_eq!(done.json(), json!({ "email": EMAIL, "message": "Password updated" }));
        server.stop().await;

        let server = TestServer::start_with(&database, &["--reset-delivery=response"]).await;
        let mut client = Session::new(server.address);
        let reply = client.post("/reset_password").data([("email", "  ada@example.com\n")]).await;
        assert_eq!(reply.json()["email"], EMAIL);
        for (email, expected_text) in INVISIBLE {
            let refused = client.post("/users").data([("email", email), ("password", PASSWORD)]).await;
            assert_eq!(refused.status_code, 400, "{email:?}");
            assert!(refused.message().starts_with("email is not an address: "), "{refused:?}");
            assert!(refused.message().contains(expected_text), "{email:?} {}", refused.message());
        }
    }

    async fn invisible_characters_are_named(database: Database) {
        let server = TestServer::start(&database).await;
        for (email, expected_text) in INVISIBLE {
            for refusal in [
                server.client.register(email, PASSWORD).await.map(drop),
                server.client.login(email, PASSWORD).await.map(drop),
                server.client.request_password_reset(email).await,
            ] {
                let details = refusal.expect_refusal(Code::InvalidArgument, "INVALID_FIELD");
                let (field, description) = violation(&details);
                assert_eq!(field, "email");
                assert!(description.contains(expected_text), "{email:?} {description}");
            }
        }
    }

    async fn an_import_trims_emails(database: Database) {
        let source = SourceFile::from_sql(&format!(
            "{TABLE};
             INSERT INTO users VALUES (1, ' Ada@Example.com' || char(13, 10), '{HASH}', NULL, NULL);
             INSERT INTO users VALUES (2, char(9) || 'bob@example.com ', '{HASH}', NULL, NULL);
             INSERT INTO users VALUES (3, 'eve@example.com' || char(160), '{HASH}', NULL, NULL);"
        ));
        let ended = import(&source.url(), database.url(), &["--skip-bad"]);
        let expected_text = "row 3, id 3, \"eve@example.com\\u{a0}\": its e-mail is not an address: \
                    character 16 is U+00A0 (a no-break space)";
        assert!(ended.output.contains(expected_text), "{ended:?}");
        imported(ended, 2);
        let server = TestServer::start(&database).await;
        let login = server.client.login(EMAIL, PASSWORD).await.unwrap();
        assert_eq!(login.user.unwrap().email, EMAIL);
        server.client.login("bob@example.com", PASSWORD).await.unwrap();
    }
}

async fn database_without_users(database: &Database) {
    let server = TestServer::start(database).await;
    database.execute("DELETE FROM users");
    server.stop().await;
}
