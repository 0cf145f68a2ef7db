//! Units of work that end sessions of several users at once: on PostgreSQL they lock rows and
//! must not deadlock.

use std::sync::Arc;

use bienvenue::{
    db::{ChangePasswordError, ChangeProof, Db, DbError, PasswordChange, UserBy},
    domain::{
        Client, CredentialVersion, Email, HashedPassword, Session, SessionDigest, SessionHandle,
        SessionToken, UserId,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::Digest as _;
use tokio::task::{JoinSet, spawn_blocking};

use crate::{
    harness::{
        Database, EMAIL, PASSWORD, Random, TestServer, on_each_database,
        requests::Session as Browser,
    },
    session_cache::unknown,
};

/// The limit of sessions per user.
const MAX_SESSIONS: usize = 1_000;

const ROUNDS: usize = 30;

const OTHER: &str = "bob@example.com";

/// Gives a user the maximal number of sessions, the first seen longest ago. The session ids
/// begin with `unknown(offset)`.
fn fill(database: &Database, user_id: i64, offset: usize) {
    let rows: Vec<String> = (offset..offset + MAX_SESSIONS)
        .map(|number| {
            let digest: String = sha2::Sha256::digest(unknown(number))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let digest = match database.is_sqlite() {
                true => format!("X'{digest}'"),
                false => format!("decode('{digest}', 'hex')"),
            };
            let seen = long_ago() + TimeDelta::seconds(i64::try_from(number).unwrap());
            let seen = seen.format("%Y-%m-%d %H:%M:%S");
            format!(
                "({digest}, '00000000-0000-4000-8000-{number:012}', {user_id}, '{seen}', '{seen}', \
                 '', '192.0.2.1', 0)"
            )
        })
        .collect();
    database.batch(&format!(
        "INSERT INTO sessions (digest, handle, user_id, created_at, last_seen_at, user_agent, ip,
             credential_version) VALUES {}",
        rows.join(", ")
    ));
}

/// Before any session of a test was last seen, and not long enough ago for expiry.
fn long_ago() -> DateTime<Utc> {
    crate::harness::server::TestClock::default().now() - TimeDelta::hours(2)
}

on_each_database! {
    /// Two users at the limit of sessions log in, each presenting the other's oldest session, so
    /// that each login ends sessions of both.
    async fn logins_that_end_each_others_sessions_do_not_deadlock(database: Database) {
        let server = TestServer::start(&database).await;
        let users = [EMAIL, OTHER];
        for (n, email) in users.into_iter().enumerate() {
            let user = server.client.register(email, PASSWORD).await.unwrap();
            fill(&database, user.id, n * MAX_SESSIONS);
        }
        server.stop().await;
        let server = TestServer::start(&database).await;
        for round in 0..ROUNDS {
            let login = async |user: usize| {
                let others_oldest = unknown((1 - user) * MAX_SESSIONS + round);
                let login = Browser::new(server.address)
                    .post("/sessions")
                    .data([("email", users[user]), ("password", PASSWORD)])
                    .cookies("session_id", &others_oldest)
                    .await;
                assert_eq!(login.status_code, 200, "round {round}, {}: {}", users[user], login.text());
            };
            tokio::join!(login(0), login(1));
        }
        let most = database.text("SELECT CAST(max(n) AS TEXT) FROM
            (SELECT count(*) AS n FROM sessions GROUP BY user_id) AS counted");
        assert_eq!(most, MAX_SESSIONS.to_string());
    }

    /// All units of work that open, end, update or sweep sessions, at once, for a few users.
    async fn concurrent_session_changes_do_not_deadlock(database: Database) {
        let url = database.url().parse().unwrap();
        let db = spawn_blocking(move || Db::open(&url, 8)).await.unwrap().unwrap();
        let mut users = Vec::new();
        for n in 0..3 {
            let email = Email::parse(&format!("u{n}@example.com")).unwrap();
            users.push(db.add_user(email, hash("old"), long_ago()).await.unwrap().id);
        }
        let (users, mut random) = (Arc::new(users), Random::from_environment());
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let (db, users, mut random) = (db.clone(), Arc::clone(&users), random.fork());
            tasks.spawn(async move {
                let mut known: Vec<SessionDigest> = Vec::new();
                for _ in 0..150 {
                    let user_id = *random.pick(&users).unwrap();
                    let held = random.pick(&known).copied();
                    step(&db, user_id, held, &mut known, &mut random).await?;
                }
                Ok::<_, DbError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    }
}

fn hash(text: &str) -> HashedPassword {
    HashedPassword::new(text.to_owned())
}

/// A random unit of work; its opened sessions are added to `known`.
async fn step(
    db: &Db,
    user_id: UserId,
    held: Option<SessionDigest>,
    known: &mut Vec<SessionDigest>,
    random: &mut Random,
) -> Result<(), DbError> {
    let now = long_ago();
    match (random.below(10), held) {
        (0, Some(held)) => drop(db.remove_session(held).await?),
        (1, Some(held)) => drop(db.remove_other_sessions(held, |_| true).await?),
        (2, _) => {
            let used = known.iter().map(|digest| (*digest, now)).collect();
            db.mark_sessions_seen(used).await?;
        }
        (3, _) => drop(db.remove_expired_sessions(now, now, 20).await?),
        (4, Some(held)) => {
            let Some((_, user)) = db.find_session(held).await? else {
                return Ok(());
            };
            let change = PasswordChange {
                user,
                proof: ChangeProof::Session(held),
                hashed_password: hash("new"),
                opened: None,
                at: now,
            };
            if let Err(ChangePasswordError::Db(error)) = db.change_password(change).await {
                return Err(error);
            }
        }
        _ => {
            let user = db.find_user_by(UserBy::Id(user_id)).await?;
            let digest = SessionToken::generate().unwrap().digest();
            let session = Session {
                handle: SessionHandle::generate(),
                user_id,
                credential_version: user
                    .map_or(CredentialVersion(0), |user| user.credential_version),
                created_at: now,
                last_seen_at: now,
                client: Client::new("a browser", "192.0.2.1".parse().unwrap()),
            };
            // Possibly another user's.
            db.add_session(digest, session, held, 4).await?;
            known.push(digest);
        }
    }
    Ok(())
}
