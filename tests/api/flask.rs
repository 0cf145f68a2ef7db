//! The requests of the Flask service's client programs, end to end.

use serde_json::json;

use crate::harness::{
    Database, EMAIL, PASSWORD, TestServer, on_each_database,
    requests::{Response, Session},
};

/// Settings for those programs: short passwords, and reset tokens in the reply.
const AS_FLASK: [&str; 2] = ["--password-min-length=1", "--reset-delivery=response"];

const FIRST: &str = "b4l0u";
const SECOND: &str = "t4rt1fl3tt3";

async fn register_user(client: &mut Session, email: &str, password: &str) -> Response {
    let fields = [("email", email), ("password", password)];
    client.post("/users").data(fields).await
}

async fn log_in(client: &mut Session, email: &str, password: &str) -> Response {
    let fields = [("email", email), ("password", password)];
    client.post("/sessions").data(fields).await
}

/// Registers and logs in.
async fn enter(client: &mut Session, email: &str) {
    for step in [
        register_user(client, email, PASSWORD).await,
        log_in(client, email, PASSWORD).await,
    ] {
        assert_eq!(step.status_code, 200, "{step:?}");
    }
}

on_each_database! {
    /// A program that passes the cookie itself.
    async fn a_client_program_with_explicit_cookies(database: Database) {
        let server = TestServer::start_with(&database, &AS_FLASK).await;
        let new = || Session::new(server.address);

        let registered = register_user(&mut new(), EMAIL, FIRST).await;
        assert_eq!(registered.status_code, 200);
        assert_eq!(registered.json(), json!({ "email": EMAIL, "message": "user created" }));
        let again = register_user(&mut new(), EMAIL, FIRST).await;
        assert_eq!(again.status_code, 400);
        assert_eq!(again.json(), json!({ "message": "email already registered" }));

        let wrong = log_in(&mut new(), EMAIL, SECOND).await;
        assert_eq!((wrong.status_code, wrong.cookie("session_id")), (401, None));
        assert_eq!(new().get("/profile").await.status_code, 403);

        let login = log_in(&mut new(), EMAIL, FIRST).await;
        assert_eq!(login.status_code, 200);
        assert_eq!(login.json(), json!({ "email": EMAIL, "message": "logged in" }));
        let session_id = login.cookie("session_id").unwrap();
        let profile = new().get("/profile").cookies("session_id", &session_id).await;
        assert_eq!(profile.status_code, 200);
        assert_eq!(profile.json(), json!({ "email": EMAIL }));

        let home = new().delete("/sessions").cookies("session_id", &session_id).await;
        assert_eq!((home.status_code, home.path.as_str()), (200, "/"));
        assert_eq!(home.history, [302]);
        assert_eq!(home.json(), json!({ "message": "Bienvenue" }));
        for method in ["GET", "DELETE"] {
            let path = if method == "GET" { "/profile" } else { "/sessions" };
            let gone = new().call(method, path).cookies("session_id", &session_id).await;
            assert_eq!(gone.status_code, 403, "{method}");
        }

        let asked = new().post("/reset_password").data([("email", EMAIL)]).await;
        assert_eq!(asked.status_code, 200);
        let reset_token = asked.json()["reset_token"].as_str().unwrap().to_owned();
        assert_eq!(asked.json(), json!({ "email": EMAIL, "reset_token": reset_token }));
        let fields = [("email", EMAIL), ("reset_token", &reset_token), ("new_password", SECOND)];
        let updated = new().put("/reset_password").data(fields).await;
        assert_eq!(updated.status_code, 200);
        assert_eq!(updated.json(), json!({ "email": EMAIL, "message": "Password updated" }));

        assert_eq!(log_in(&mut new(), EMAIL, FIRST).await.status_code, 401);
        assert_eq!(log_in(&mut new(), EMAIL, SECOND).await.status_code, 200);
        let again = new().put("/reset_password").data(fields).await;
        assert_eq!(again.status_code, 403, "a token works once");
    }

    /// A program with a cookie jar, on one connection.
    async fn a_client_program_with_a_cookie_jar(database: Database) {
        let server = TestServer::start_with(&database, &AS_FLASK).await;
        let mut client = Session::new(server.address);
        enter(&mut client, EMAIL).await;
        assert_eq!(client.get("/profile").await.json(), json!({ "email": EMAIL }));
        // The jar's cookie and an explicit one: the request has it twice.
        let session_id = client.cookie("session_id").unwrap().to_owned();
        let twice = client.get("/profile").cookies("session_id", &session_id).await;
        assert_eq!(twice.json(), json!({ "email": EMAIL }));
        let away = client.delete("/sessions").allow_redirects(false).await;
        assert_eq!((away.status_code, away.header("location")), (302, Some("/")));
        assert_eq!(away.cookie("session_id").as_deref(), Some(""));
        assert_eq!(client.cookie("session_id"), None);
        assert_eq!(client.get("/profile").await.status_code, 403);
        assert_eq!(client.delete("/sessions").await.status_code, 403);
        log_in(&mut client, EMAIL, PASSWORD).await;
        assert_eq!(client.get("/profile").await.status_code, 200);
        assert_eq!(client.connections, 1);
    }

    /// Two users, one of them on two clients.
    async fn clients_side_by_side(database: Database) {
        let server = TestServer::start_with(&database, &AS_FLASK).await;
        let [mut ada, mut bob, mut elsewhere] = [0; 3].map(|_| Session::new(server.address));
        tokio::join!(enter(&mut ada, EMAIL), enter(&mut bob, "bob@example.com"));
        assert_eq!(log_in(&mut elsewhere, EMAIL, PASSWORD).await.status_code, 200);
        assert_eq!(ada.delete("/sessions").await.status_code, 200);
        assert_eq!(ada.get("/profile").await.status_code, 403);
        assert_eq!(elsewhere.get("/profile").await.json(), json!({ "email": EMAIL }));
        assert_eq!(bob.get("/profile").await.json(), json!({ "email": "bob@example.com" }));
        // A token works for its own user only, and a new password ends the sessions of its
        // own user only.
        let asked = ada.post("/reset_password").data([("email", EMAIL)]).await;
        let token = asked.json()["reset_token"].as_str().unwrap().to_owned();
        for (email, status) in [("bob@example.com", 403), (EMAIL, 200)] {
            let fields = [("email", email), ("reset_token", &token), ("new_password", SECOND)];
            assert_eq!(bob.put("/reset_password").data(fields).await.status_code, status);
        }
        assert_eq!(elsewhere.get("/profile").await.status_code, 403);
        assert_eq!(bob.get("/profile").await.status_code, 200);
    }

    /// The routes and the RPCs share users and sessions.
    async fn rpcs_and_routes_share_users_and_sessions(database: Database) {
        let server = TestServer::start(&database).await;
        let mut client = Session::new(server.address);
        enter(&mut client, EMAIL).await;
        let session_id = client.cookie("session_id").unwrap().to_owned();
        let checked = server.client.check(&session_id).await.unwrap();
        assert_eq!(checked.user.unwrap().email, EMAIL);
        assert_eq!(checked.session.unwrap().ip, "127.0.0.1");
        let session_id = server.login().await.session_id;
        let other = Session::new(server.address)
            .delete("/sessions")
            .cookies("session_id", &session_id)
            .await;
        assert_eq!(other.status_code, 200);
        server.client.expect_no_session(&session_id).await;
    }

    /// With delivery by mail, every address gets the same reply.
    async fn a_reset_by_mail_does_not_reveal_accounts(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let mut client = Session::new(server.address);
        for email in [EMAIL, "bob@example.com"] {
            let asked = client.post("/reset_password").data([("email", email)]).await;
            assert_eq!(asked.status_code, 200);
            assert_eq!(asked.json(), json!({ "email": email, "message": "reset token sent" }));
        }
        let asked = client.post("/reset_password").data([("email", "bob")]).await;
        assert_eq!(asked.status_code, 400);
        assert!(asked.message().starts_with("email is not an address"), "{asked:?}");
    }
}
