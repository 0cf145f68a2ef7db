//! `Db` itself, where no RPC calls for all of it yet.

use bienvenue::{
    db::{AddUserError, Db, UserBy, UserChanges},
    domain::{
        Client, CredentialVersion, Email, HashedPassword, PendingReset, ResetToken, Session,
        SessionDigest, SessionHandle, SessionToken, UserId,
    },
};
use chrono::{DateTime, Utc};
use tokio::task;

use crate::harness::{Database, on_each_database};

async fn open(database: &Database) -> Db {
    let url = database.url().parse().unwrap();
    task::spawn_blocking(move || Db::open(&url, 4))
        .await
        .unwrap()
        .unwrap()
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn hash(text: &str) -> HashedPassword {
    HashedPassword::new(text.to_owned())
}

/// A moment with all the precision that is kept.
fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_790_000_000_123_456).unwrap()
}

fn session(user_id: UserId) -> (SessionDigest, Session) {
    let session = Session {
        handle: SessionHandle::generate(),
        user_id,
        credential_version: CredentialVersion(0),
        created_at: moment(),
        last_seen_at: moment(),
        client: Client::new("a browser", "2001:db8::1".parse().unwrap()),
    };
    (SessionToken::generate().unwrap().digest(), session)
}

on_each_database! {
    /// A user is found by whatever names them, as they were written.
    async fn users_are_found_by_each_criterion(database: Database) {
        let db = open(&database).await;
        let added = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let other = db.add_user(email("bob@example.com"), hash("two"), moment()).await.unwrap();
        assert_ne!(added.id, other.id);
        let (digest, session) = session(added.id);
        assert!(db.add_session(digest, session, None).await.unwrap());
        let reset = PendingReset {
            digest: ResetToken::generate().unwrap().digest(),
            expires_at: moment(),
        };
        let changes = UserChanges { reset: Some(Some(reset)), ..UserChanges::default() };
        db.update_user(added.id, changes).await.unwrap();
        for by in [
            UserBy::Id(added.id),
            UserBy::Email(email("ADA@example.com")),
            UserBy::Session(digest),
            UserBy::ResetToken(reset.digest),
        ] {
            let found = db.find_user_by(by.clone()).await.unwrap().unwrap();
            assert_eq!(found.id, added.id, "{by:?}");
            assert_eq!(found.email, added.email);
            assert_eq!(found.hashed_password, hash("one"));
            assert_eq!(found.created_at, moment());
            assert_eq!(found.reset, Some(reset));
        }
        for by in [
            UserBy::Id(UserId(99)),
            UserBy::Id(UserId(i64::MIN)),
            UserBy::Id(UserId(i64::MAX)),
            UserBy::Email(email("eve@example.com")),
            UserBy::Session(SessionToken::generate().unwrap().digest()),
            UserBy::ResetToken(ResetToken::generate().unwrap().digest()),
        ] {
            assert!(db.find_user_by(by.clone()).await.unwrap().is_none(), "{by:?}");
        }
        let again = db.add_user(email("ada@example.com"), hash("x"), moment()).await;
        assert!(matches!(again, Err(AddUserError::EmailTaken)));
    }

    /// A change touches what it names, of one user.
    async fn users_are_updated(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("old"), moment()).await.unwrap();
        let other = db.add_user(email("bob@example.com"), hash("old"), moment()).await.unwrap();
        let reset = PendingReset {
            digest: ResetToken::generate().unwrap().digest(),
            expires_at: moment(),
        };
        let with_reset = UserChanges { reset: Some(Some(reset)), ..UserChanges::default() };
        let updated = db.update_user(user.id, with_reset).await.unwrap().unwrap();
        assert_eq!((updated.reset, updated.credential_version), (Some(reset), CredentialVersion(0)));
        let changes = UserChanges { hashed_password: Some(hash("new")), ..UserChanges::default() };
        let updated = db.update_user(user.id, changes.clone()).await.unwrap().unwrap();
        assert_eq!(updated.hashed_password, hash("new"));
        // A new password ends what the old one had opened.
        assert_eq!((updated.reset, updated.credential_version), (None, CredentialVersion(1)));
        assert_eq!((updated.id, updated.email), (user.id, user.email));
        let untouched = db.update_user(other.id, UserChanges::default()).await.unwrap().unwrap();
        assert_eq!(untouched.hashed_password, hash("old"));
        assert!(db.update_user(UserId(99), changes).await.unwrap().is_none());
        assert!(db.update_user(UserId(99), UserChanges::default()).await.unwrap().is_none());
    }

    /// A session comes back as it was written, and ends once.
    async fn sessions_are_kept_and_ended(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let (digest, session) = session(user.id);
        assert!(db.add_session(digest, session.clone(), None).await.unwrap());
        let later = moment() + chrono::TimeDelta::seconds(90);
        assert!(db.touch_session(digest, later).await);
        // A late note of an earlier check changes nothing.
        assert!(db.touch_session(digest, moment()).await);
        let (found, whose) = db.find_session(digest).await.unwrap().unwrap();
        assert_eq!(whose.id, user.id);
        assert_eq!((found.handle, found.user_id), (session.handle, user.id));
        assert_eq!((found.created_at, found.last_seen_at), (moment(), later));
        assert_eq!(found.client.user_agent(), "a browser");
        assert_eq!(found.client.ip(), session.client.ip());
        let ended = db.remove_session(digest).await.unwrap().unwrap();
        assert_eq!(ended.handle, session.handle);
        assert!(db.remove_session(digest).await.unwrap().is_none());
        // A note that comes too late does not bring it back.
        assert!(db.touch_session(digest, later).await);
        assert!(db.find_session(digest).await.unwrap().is_none());
    }

    /// A decoy is some user's hash, wherever the point lies.
    async fn decoys_are_sampled_from_what_is_stored(database: Database) {
        let db = open(&database).await;
        assert!(db.sample_hashed_password(7).await.unwrap().is_none());
        for n in 0..10 {
            let address = email(&format!("u{n}@example.com"));
            db.add_user(address, hash(&n.to_string()), moment()).await.unwrap();
        }
        // Gaps among the ids, at the start too.
        for id in [1, 2, 5, 10] {
            database.execute(&format!("DELETE FROM users WHERE id = {id}"));
        }
        let mut seen = std::collections::BTreeSet::new();
        for number in (0..100).chain([u32::MAX]) {
            let stored = db.sample_hashed_password(number).await.unwrap();
            seen.insert(stored.unwrap().expose().to_owned());
        }
        let expected: Vec<&str> = vec!["2", "3", "5", "6", "7", "8"];
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
    }

    /// What somebody else wrote into the tables is a fault, not a wrong answer.
    async fn poisoned_rows_are_faults(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let (digest, session) = session(user.id);
        assert!(db.add_session(digest, session, None).await.unwrap());
        for (poison, remedy) in [
            ("UPDATE users SET email = 'ADA@example.com'", "UPDATE users SET email = 'ada@example.com'"),
            ("UPDATE sessions SET ip = 'nowhere'", "UPDATE sessions SET ip = '::1'"),
            ("UPDATE sessions SET handle = 'none'", "UPDATE sessions SET handle = '00000000-0000-4000-8000-000000000000'"),
        ] {
            database.execute(poison);
            let found = db.find_session(digest).await;
            assert!(matches!(found, Err(bienvenue::db::DbError::Fault(_))), "{poison}");
            database.execute(remedy);
            db.find_session(digest).await.unwrap().unwrap();
        }
    }
}
