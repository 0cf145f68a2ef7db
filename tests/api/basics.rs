//! The main functions: register, log in, check, log out.

use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database, refused, server::Client,
};

on_each_database! {
    /// From the registration to the ended session.
    async fn a_user_registers_logs_in_is_checked_and_logs_out(database: Database) {
        let server = TestServer::start(&database).await;
        let client = &server.client;

        let user = client.register("Ada@Example.COM", PASSWORD).await.unwrap();
        assert_eq!((user.id, user.email.as_str()), (1, EMAIL));

        let login = client.login("ada@EXAMPLE.com", PASSWORD).await.unwrap();
        assert_eq!(login.user.as_ref(), Some(&user));
        let session = login.session.unwrap();
        assert!(session.current);
        assert_eq!(session.ip, "127.0.0.1");
        assert!(session.user_agent.starts_with("tonic/"), "{}", session.user_agent);

        let checked = client.check(&login.session_id).await.unwrap();
        assert_eq!(checked.user, Some(user));
        assert_eq!(checked.session, Some(session));

        client.logout(&login.session_id).await.unwrap();
        client
            .expect_no_session(&login.session_id).await;
        client
            .logout(&login.session_id)
            .await
            .expect_refusal(Code::Unauthenticated, "SESSION_INVALID");
        server.stop().await;
    }

    /// Each device has its own session.
    async fn logging_out_on_one_device_leaves_the_other(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let phone = server.login().await.session_id;
        let laptop = server.login().await.session_id;
        assert_ne!(phone, laptop);
        server.client.logout(&phone).await.unwrap();
        server.client.check(&laptop).await.unwrap();
    }

    /// The message is the Flask service's.
    async fn an_address_is_registered_once(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let again = server.client.register("ADA@example.com", "another password").await;
        assert_eq!(
            again.as_ref().unwrap_err().message(),
            "User ada@example.com already exists"
        );
        again.expect_refusal(Code::AlreadyExists, "EMAIL_TAKEN");
        server.login().await;
    }

    /// Unknown e-mails and wrong passwords get the same reply.
    async fn a_refused_login_does_not_reveal_accounts(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let unknown = server.client.login("eve@example.com", PASSWORD).await.unwrap_err();
        let wrong = server.client.login(EMAIL, "wrong horse battery").await.unwrap_err();
        assert_eq!(unknown.message(), wrong.message());
        assert_eq!(unknown.details(), wrong.details());
        for status in [unknown, wrong] {
            refused(&status, Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
    }

    /// Passwords are compared exactly, without truncation or changes.
    async fn passwords_are_compared_exactly(database: Database) {
        let server = TestServer::start(&database).await;
        for (n, length) in [16, 71, 72, 73, 128, 1_024].into_iter().enumerate() {
            let email = format!("user{n}@example.com");
            // Repeated characters would be a common password.
            let password: String = "kP\u{F8}3 ".chars().cycle().scan(0, |bytes, c| {
                *bytes += c.len_utf8();
                (*bytes <= length).then_some(c)
            }).collect();
            server.client.register(&email, &password).await.unwrap();
            server.client.login(&email, &password).await.unwrap();
            let mut cut = password.clone();
            cut.pop();
            for other in [
                format!("{cut}x"),
                cut,
                format!("{password} "),
                format!("{password}\0"),
                format!("{password}\0{password}"),
                password.to_uppercase(),
            ] {
                server
                    .client
                    .login(&email, &other)
                    .await
                    .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            }
        }
        // The exception: equivalent encodings of a character are equal (NFC).
        server.client.register("n@example.com", "caf\u{E9} au lait").await.unwrap();
        server.client.login("n@example.com", "cafe\u{301} au lait").await.unwrap();
    }

    /// Of many concurrent registrations of an address, one succeeds.
    async fn a_race_for_an_address_has_one_winner(database: Database) {
        let server = TestServer::start(&database).await;
        for round in 0..8 {
            let spellings = [format!("race{round}@example.com"), format!("RACE{round}@Example.Com")];
            let tries = (0..32).map(|n| {
                let (client, email) = (server.client.clone(), spellings[n % 2].clone());
                tokio::spawn(async move { client.register(&email, PASSWORD).await })
            });
            let mut winners = 0;
            for tried in tries.collect::<Vec<_>>() {
                match tried.await.unwrap() {
                    Ok(_) => winners += 1,
                    lost => {
                        lost.expect_refusal(Code::AlreadyExists, "EMAIL_TAKEN");
                    }
                }
            }
            assert_eq!(winners, 1);
        }
    }

    /// No check succeeds after the reply to a logout, under load.
    async fn no_check_after_a_logout_succeeds(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for _ in 0..5 {
            let session_id = server.login().await.session_id;
            let checks = (0..8).map(|_| {
                let (client, session_id) = (server.client.clone(), session_id.clone());
                tokio::spawn(async move { while client.check(&session_id).await.is_ok() {} })
            });
            let checks: Vec<_> = checks.collect();
            server.client.logout(&session_id).await.unwrap();
            for _ in 0..50 {
                server
                    .client
                    .expect_no_session(&session_id).await;
            }
            for check in checks {
                check.await.unwrap();
            }
        }
    }

    /// The database contains no usable secret.
    async fn secrets_are_not_stored(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        let stored = database.text("SELECT hashed_password FROM users");
        assert!(stored.starts_with("$2b$04$"), "{stored}");
        let digest = match database.is_sqlite() {
            true => database.text("SELECT lower(hex(digest)) FROM sessions"),
            false => database.text("SELECT encode(digest, 'hex') FROM sessions"),
        };
        use sha2::Digest as _;
        let expected: String = sha2::Sha256::digest(&session_id)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(digest, expected);
        server.stop().await;
        if database.is_sqlite() {
            let file = std::fs::read(database.path()).unwrap();
            for secret in [PASSWORD, &session_id, &session_id[5..]] {
                let found = file.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
                assert!(!found, "{secret}");
            }
        }
    }

    /// The health service and the reflection service.
    async fn health_and_reflection_answer(database: Database) {
        use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
        let server = TestServer::start(&database).await;
        let mut health = HealthClient::new(server.client.channel.clone());
        for service in ["", "bienvenue.v1.AuthService"] {
            let request = HealthCheckRequest { service: service.into() };
            let status = health.check(request).await.unwrap().into_inner().status();
            assert_eq!(status.as_str_name(), "SERVING");
        }
        let request = HealthCheckRequest { service: "unknown".into() };
        health.check(request).await.expect_refusal(Code::NotFound, "NOT_FOUND");

        assert_eq!(reflected(&server.client).await, Ok(vec![
            "bienvenue.v1.AuthService".to_owned(),
            "grpc.health.v1.Health".to_owned(),
            "grpc.reflection.v1.ServerReflection".to_owned(),
        ]));
        server.stop().await;
        let server = TestServer::start_with(&database, &["--reflection=off"]).await;
        assert_eq!(reflected(&server.client).await, Err(Code::Unimplemented));
    }

    /// A loopback address may have a proxy on the same machine in front of it.
    async fn reflection_is_off_by_default_behind_a_proxy(database: Database) {
        for (settings, is_on) in [
            (&["--public-url=https://accounts.example.com"][..], false),
            (&["--trusted-proxies=127.0.0.1"], false),
            (&["--trusted-proxies=10.0.0.0/8", "--public-url=http://localhost:1"], false),
            (&["--public-url=http://localhost:1"], true),
            (&["--trusted-proxies=127.0.0.1", "--reflection=on"], true),
            (&["--public-url=https://accounts.example.com", "--reflection=on"], true),
        ] {
            let server = TestServer::start_watched(&database, settings).await;
            let public = reflected(&server.client).await;
            assert_eq!(public.is_ok(), is_on, "{settings:?}");
            // The internal listener follows the same rule.
            let internal = Client::connect(server.admin_address.unwrap()).await;
            assert_eq!(reflected(&internal).await.is_ok(), is_on, "{settings:?}");
            server.stop().await;
        }
    }
}

/// The services listed by reflection.
async fn reflected(client: &Client) -> Result<Vec<String>, Code> {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = futures_util::stream::iter([request]);
    let answers = reflection.server_reflection_info(requests).await;
    let answer = answers
        .map_err(|status| status.code())?
        .into_inner()
        .message()
        .await
        .map_err(|status| status.code())?;
    match answer.and_then(|answer| answer.message_response) {
        Some(MessageResponse::ListServicesResponse(list)) => {
            let mut names: Vec<_> = list.service.into_iter().map(|one| one.name).collect();
            names.sort();
            Ok(names)
        }
        other => panic!("{other:?}"),
    }
}
