//! Outdated hashes are replaced at the next successful login, and nothing else changes.

use std::time::Duration;

use bienvenue::{
    db::{DatabaseUrl, Db, UserBy, UserChange},
    domain::{Email, HashedPassword},
};
use tonic::Code;

use crate::harness::{
    Database, EMAIL, Expect as _, PASSWORD, TestServer,
    foreign_hashes::{FOREIGN, FOREIGN_PASSWORD},
    on_each_database,
};

fn stored(database: &Database) -> String {
    database.text("SELECT hashed_password FROM users WHERE id = 1")
}

on_each_database! {
    /// A foreign hash is verified and replaced with the service's own.
    async fn foreign_formats_are_replaced(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        for foreign in FOREIGN {
            database.execute(&format!("UPDATE users SET hashed_password = '{foreign}' WHERE id = 1"));
            for wrong in ["Correct-Horse 7", "correct-horse 7!", "Correct-Horse 7! ", PASSWORD] {
                server
                    .client
                    .login(EMAIL, wrong)
                    .await
                    .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
            }
            assert_eq!(stored(&database), foreign, "a wrong password replaces nothing");
            let session_id = server.client.login(EMAIL, FOREIGN_PASSWORD).await.unwrap().session_id;
            let ours = stored(&database);
            assert!(ours.starts_with("$2b$04$"), "{foreign} became {ours}");
            server.client.login(EMAIL, FOREIGN_PASSWORD).await.unwrap();
            assert_eq!(stored(&database), ours, "it is replaced once");
            server.client.check(&session_id).await.unwrap();
        }
    }

    /// A changed cost is applied at each user's next login; sessions and reset tokens stay valid.
    async fn a_changed_cost_is_applied(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let before = server.login().await.session_id;
        server.stop().await;
        for cost in [5, 4] {
            let setting = format!("--bcrypt-cost={cost}");
            let server = TestServer::start_with(&database, &[&setting]).await;
            // The second time, after the interval in which the first prevents another mail.
            server.clock.advance(Duration::from_secs(if cost == 4 { 600 } else { 0 }));
            let token = server.reset_token().await;
            server.login().await;
            assert!(stored(&database).starts_with(&format!("$2b$0{cost}$")));
            server.client.check(&before).await.unwrap();
            if cost == 4 {
                server.client.reset_password(&token, PASSWORD).await.unwrap();
            }
            server.stop().await;
        }
    }

    /// `ChangePassword` verifies foreign formats, too.
    async fn a_foreign_password_can_be_changed(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        for foreign in FOREIGN {
            database.execute(&format!("UPDATE users SET hashed_password = '{foreign}' WHERE id = 1"));
            server
                .client
                .change_password(&session_id, PASSWORD, "another new password")
                .await
                .expect_refusal(Code::Unauthenticated, "INVALID_CREDENTIALS");
        }
        server
            .client
            .change_password(&session_id, FOREIGN_PASSWORD, PASSWORD)
            .await
            .unwrap();
        server.expect_service().await;
    }

    /// A rehash does not overwrite a password changed in the meantime.
    async fn a_late_rehash_changes_nothing(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let session_id = server.login().await.session_id;
        // One process may open the file.
        server.stop().await;
        let by = UserBy::Email(Email::parse(EMAIL).unwrap());
        let user = open(&database).await.find_user_by(by).await.unwrap().unwrap();
        let server = TestServer::start(&database).await;
        server.client.change_password(&session_id, PASSWORD, "another new password").await.unwrap();
        server.stop().await;
        let late = HashedPassword::new("$2b$04$late".to_owned());
        let replaced = UserChange::ReplaceHash { before: user.hashed_password, after: late };
        assert!(!open(&database).await.update_user(user.id, replaced).await.unwrap());
        let server = TestServer::start(&database).await;
        server.client.login(EMAIL, "another new password").await.unwrap();
    }
}

async fn open(database: &Database) -> Db {
    let url = database.url().parse().unwrap();
    loop {
        let opening = {
            let url = DatabaseUrl::clone(&url);
            tokio::task::spawn_blocking(move || Db::open(&url, 2))
        };
        match opening.await.unwrap() {
            Ok(db) => return db,
            // A stopped server releases the file after a moment.
            Err(error) => assert!(error.to_string().contains("another bienvenue"), "{error}"),
        }
    }
}
