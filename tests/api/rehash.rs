//! Hashes that are not what would be stored today are replaced at the next
//! successful login, and nothing else changes.

use bienvenue::{
    db::{Db, UserBy},
    domain::{Email, HashedPassword},
};
use tonic::Code;

use crate::harness::{Database, EMAIL, Expect as _, PASSWORD, TestServer, on_each_database};

/// What other services have stored for [`FOREIGN_PASSWORD`], at their lowest
/// parameters; from the vectors in `src/passwords/stored/vectors.rs`.
#[rustfmt::skip]
const FOREIGN: [&str; 9] = [
    "$2a$04$CshIw/h86YEgnehncf0eNORO3vnVuNc7sMAnO9UN6baKXk0jvJYlq",
    "$2y$04$d.JlfYbbc4hp1FbHq.SZWOCut8BJWTnkD2dNXC9QzydUd6/ufB.12",
    "$bcrypt-sha256$2b,4$.97szDyVq6Sr0mXuM8B5Xu$vkZNFv.TWKgdEQh/IlZR4FVQsRqrNEy",
    "$bcrypt-sha256$v=2,t=2b,r=4$nvPy1ECQxG5z/qjTYz8EiO$XWIBGfRpN.ErKv6CMIKbCMi477DDcpq",
    "bcrypt_sha256$$2b$04$V0gYtaHIhuz8N8tadU.thuqkpm.j6/7rGouXQsRPGLDIxc5t.VjQ2",
    "scrypt:16:2:3$U3EDKQNuJduKbN9o$1edbe409cb94a9025e00ee09f76c635e92b554cbde6cb4fff5339c87126cb3728f6cb939db91169ed6e63b7c23e47330d68e14ea7a370393996529380a1f220f",
    "pbkdf2:sha256:10$nMYJikzV$e86bd136155bf0ba76aa5508a7106c430fdf005222651cbf5931bde91698b7cd",
    "pbkdf2_sha256$7$0gIDZbkX3LtSSYcPglilyO$xt6UeF6Amn4rhpNgIi1gr+rJ7xC3l8KMtGGg5jgG0hE=",
    "$argon2id$v=19$m=16,t=2,p=2$28f/ASCXGifF8McKhC7p0Q$SGlbEUguAq9BoCjpzPX7agsMRWzNeXNgIahaz2hDdFE",
];
const FOREIGN_PASSWORD: &str = "Correct-Horse 7!";

fn stored(database: &Database) -> String {
    database.text("SELECT hashed_password FROM users WHERE id = 1")
}

on_each_database! {
    /// Whatever a user came with, their password works and is kept our way.
    async fn foreign_formats_become_ours(database: Database) {
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
            assert_eq!(stored(&database), ours, "once is enough");
            server.client.check(&session_id).await.unwrap();
        }
    }

    /// A changed cost reaches each user at their next login; sessions and reset
    /// tokens outlive it.
    async fn another_cost_becomes_the_configured_one(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let before = server.login().await.session_id;
        server.stop().await;
        for cost in [5, 4] {
            let setting = format!("--bcrypt-cost={cost}");
            let server = TestServer::start_with(&database, &[&setting]).await;
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

    /// To change a password one may know it in a foreign format, too.
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
        server.still_serves().await;
    }

    /// A password that was changed meanwhile is not put back.
    async fn a_late_rehash_changes_nothing(database: Database) {
        let server = TestServer::start(&database).await;
        server.register().await;
        let url = database.url().parse().unwrap();
        let db = tokio::task::spawn_blocking(move || Db::open(&url, 2)).await.unwrap().unwrap();
        let by = UserBy::Email(Email::parse(EMAIL).unwrap());
        let user = db.find_user_by(by).await.unwrap().unwrap();
        let session_id = server.login().await.session_id;
        server.client.change_password(&session_id, PASSWORD, "another new password").await.unwrap();
        let late = HashedPassword::new("$2b$04$late".to_owned());
        db.rehash_user(&user, late).await.unwrap();
        server.client.login(EMAIL, "another new password").await.unwrap();
    }
}
