//! A service whose public URL has a path, which the proxy strips.

use crate::harness::{
    Database, EMAIL, NEW_PASSWORD, PASSWORD, TestServer, on_each_database, proxy::Proxy,
    requests::Session,
};

const PUBLIC_URL: &str = "http://example.com/auth";

on_each_database! {
    /// A redirect includes the path.
    async fn redirects_use_the_public_url(database: Database) {
        for (public_url, home) in [
            (PUBLIC_URL, "/auth/"),
            ("http://example.com/a/b/", "/a/b/"),
            ("http://example.com", "/"),
        ] {
            let setting = format!("--public-url={public_url}");
            let server = TestServer::start_with(&database, &[&setting]).await;
            let mut client = Session::new(server.address);
            let fields = [("email", EMAIL), ("password", PASSWORD)];
            client.post("/users").data(fields).await;
            client.post("/sessions").data(fields).await;
            let away = client.delete("/sessions").allow_redirects(false).await;
            assert_eq!((away.status_code, away.header("location")), (302, Some(home)));
            server.stop().await;
        }
    }

    /// Registration to password reset through nginx.
    async fn all_routes_work_through_nginx(database: Database) {
        let setting = format!("--public-url={PUBLIC_URL}");
        let server = TestServer::start_with(&database, &[&setting]).await;
        let Some(nginx) = Proxy::nginx_below("/auth/", server.address).await else {
            return;
        };
        let mut browser = Session::new(nginx.address);
        let fields = [("email", EMAIL), ("password", PASSWORD)];
        assert_eq!(browser.post("/auth/users").data(fields).await.status_code, 200);
        assert_eq!(browser.post("/auth/sessions").data(fields).await.status_code, 200);
        assert_eq!(browser.get("/auth/profile").await.status_code, 200);
        let home = browser.delete("/auth/sessions").await;
        assert_eq!((home.status_code, home.path.as_str()), (200, "/auth/"), "{home:?}");
        assert_eq!((home.history.as_slice(), home.message().as_str()), (&[302][..], "Bienvenue"));
        assert_eq!(browser.get("/auth/profile").await.status_code, 403);

        let asked = browser.post("/auth/reset_password").data([("email", EMAIL)]).await;
        assert_eq!(asked.status_code, 200);
        let mail = server.outbox.next().await;
        let link = mail.reset_link();
        let path = link.strip_prefix("http://example.com").unwrap();
        assert!(path.starts_with("/auth/reset_password?"), "{path}");
        let page = browser.get(path).await;
        assert!(page.text().contains("Set a new password"), "{page:?}");
        let token = mail.reset_token();
        // The page submits to its own URL.
        let fields = [("email", EMAIL), ("reset_token", &token), ("new_password", NEW_PASSWORD)];
        let done = browser.put("/auth/reset_password").data(fields).await;
        assert_eq!(done.status_code, 200, "{done:?}");
    }
}
