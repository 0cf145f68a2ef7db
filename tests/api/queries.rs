//! `Db` itself, for cases that no RPC reaches.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bienvenue::{
    db::{
        AddUserError, ChangePasswordError, ChangeProof, Claimed, Db, DbError, LoginTarget,
        MailKind, OfferedReset, PasswordChange, Preference, UserBy, UserChange, import::Target,
    },
    domain::{
        Client, CredentialVersion, DecoySlot, Email, HashedPassword, NewReset, PendingReset,
        Revision, Session, SessionDigest, SessionHandle, SessionTimes, SessionToken, User, UserId,
    },
};
use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection as _;
use tokio::task;

use crate::harness::{Database, database::connect_postgres, on_each_database};

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

/// A time with all the stored precision.
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

/// The decoys of unknown e-mails in the first slots.
async fn decoys(db: &Db, slots: usize) -> Vec<Option<String>> {
    let mut stored = Vec::new();
    for slot in DecoySlot::all().take(slots) {
        match db
            .find_login_target(email("unknown@example.com"), slot)
            .await
            .unwrap()
        {
            LoginTarget::Decoy(decoy) => stored.push(decoy.map(|hash| hash.expose().to_owned())),
            LoginTarget::User(user) => panic!("{user:?}"),
        }
    }
    stored
}

/// A reset token created this many seconds after [`moment`].
fn reset(seconds: i64) -> NewReset {
    let now = moment() + chrono::TimeDelta::seconds(seconds);
    NewReset::generate(now + chrono::TimeDelta::seconds(600)).unwrap()
}

/// The same, for mails with a token.
fn add_token(reset: PendingReset, now: DateTime<Utc>) -> UserChange {
    UserChange::AddResetToken { reset, now }
}

fn offered(
    seconds: i64,
) -> OfferedReset<impl FnOnce() -> Result<NewReset, getrandom::Error> + Send + 'static> {
    OfferedReset {
        unless_mailed_since: moment() + chrono::TimeDelta::seconds(seconds - 300),
        make: move || Ok(reset(seconds)),
    }
}

on_each_database! {
    /// A user is found by each key, unchanged.
    async fn users_are_found_by_each_criterion(database: Database) {
        let db = open(&database).await;
        let added = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let other = db.add_user(email("bob@example.com"), hash("two"), moment()).await.unwrap();
        assert_ne!(added.id, other.id);
        let (digest, session) = session(added.id);
        assert!(db.add_session(digest, session, None, 10).await.unwrap().is_some());
        let reset = reset(0).pending;
        assert!(db.update_user(added.id, add_token(reset, moment())).await.unwrap());
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
            assert_eq!(found.resets.newest, Some(reset));
        }
        for by in [
            UserBy::Id(UserId(99)),
            UserBy::Id(UserId(i64::MIN)),
            UserBy::Id(UserId(i64::MAX)),
            UserBy::Email(email("eve@example.com")),
            UserBy::Session(SessionToken::generate().unwrap().digest()),
            UserBy::ResetToken(self::reset(0).pending.digest),
        ] {
            assert!(db.find_user_by(by.clone()).await.unwrap().is_none(), "{by:?}");
        }
        let again = db.add_user(email("ada@example.com"), hash("x"), moment()).await;
        assert!(matches!(again, Err(AddUserError::EmailTaken)));
    }

    /// A reset token is added to one user, and changes nothing else.
    async fn a_reset_token_is_added_to_one_user(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let other = db.add_user(email("bob@example.com"), hash("two"), moment()).await.unwrap();
        let reset = reset(0).pending;
        assert!(db.update_user(user.id, add_token(reset, moment())).await.unwrap());
        assert!(!db.update_user(UserId(99), add_token(reset, moment())).await.unwrap());
        for (before, newest) in [(user, Some(reset)), (other, None)] {
            let after = db.find_user_by(UserBy::Id(before.id)).await.unwrap().unwrap();
            assert_eq!(after.resets.newest, newest);
            assert_eq!(after.hashed_password, before.hashed_password);
            assert_eq!(after.credential_version, before.credential_version);
        }
    }

    /// A session is read back unchanged, and ends once.
    async fn sessions_are_kept_and_ended(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let (digest, session) = session(user.id);
        assert!(db.add_session(digest, session.clone(), None, 10).await.unwrap().is_some());
        let later = moment() + chrono::TimeDelta::seconds(90);
        db.mark_sessions_seen(vec![(digest, later)]).await.unwrap();
        // A late update with an earlier time has no effect.
        db.mark_sessions_seen(vec![(digest, moment())]).await.unwrap();
        let (found, owner) = db.find_session(digest).await.unwrap().unwrap();
        assert_eq!(owner.id, user.id);
        assert_eq!((found.handle, found.user_id), (session.handle, user.id));
        assert_eq!((found.created_at, found.last_seen_at), (moment(), later));
        assert_eq!(&**found.client.user_agent(), "a browser");
        assert_eq!(found.client.ip(), session.client.ip());
        let ended = db.remove_session(digest).await.unwrap().unwrap();
        assert_eq!(ended.times, Some(SessionTimes { created_at: moment(), last_seen_at: later }));
        assert!(db.remove_session(digest).await.unwrap().is_none());
        // An update after the end does not restore the session.
        db.mark_sessions_seen(vec![(digest, later)]).await.unwrap();
        assert!(db.find_session(digest).await.unwrap().is_none());
    }

    /// Of several uses of a session in one write, the latest counts, in whatever order.
    async fn the_latest_of_several_uses_is_written(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let after = |seconds| moment() + chrono::TimeDelta::seconds(seconds);
        for order in [[90, 30, 60], [30, 60, 90], [60, 90, 30]] {
            let (digest, session) = session(user.id);
            assert!(db.add_session(digest, session, None, 10).await.unwrap().is_some());
            let uses = order.into_iter().map(|seconds| (digest, after(seconds)));
            db.mark_sessions_seen(uses.collect()).await.unwrap();
            let (found, _) = db.find_session(digest).await.unwrap().unwrap();
            assert_eq!(found.last_seen_at, after(90), "{order:?}");
        }
    }

    /// Mails dated too late are made due in batches, and without waiting for a mail that another
    /// unit of work has locked.
    async fn mails_dated_too_late_are_made_due_in_batches(database: Database) {
        let db = open(&database).await;
        let at = |seconds| moment() + chrono::TimeDelta::seconds(seconds);
        let claim = async |now: i64, until: i64| {
            let claim = db.claim_outgoing_mail(Preference::Fresh, at(now), at(until), offered(now));
            match claim.await.unwrap() {
                Claimed::Mail(claim) => claim.id,
                _ => panic!("a mail is due"),
            }
        };
        for (address, due) in [("a", 0), ("b", 900), ("c", 1_000), ("d", 1_001), ("e", 1_002)] {
            let address = email(&format!("{address}@example.com"));
            db.request_password_reset(address, at(0), at(due)).await.unwrap();
        }
        let claimed = claim(0, 2_000).await;
        let bound = async |limit| {
            db.bound_outgoing_mails(at(1_000), at(1_500), at(10), limit).await.unwrap()
        };
        let count = |condition: &str| {
            let count = format!("SELECT CAST(count(*) AS TEXT) FROM outgoing_mails WHERE {condition}");
            database.text(&count)
        };
        if !database.is_sqlite() {
            let mut holder = connect_postgres(database.url());
            let lock = format!("BEGIN; SELECT FROM outgoing_mails WHERE id = {claimed} FOR UPDATE");
            holder.batch_execute(&lock).unwrap();
            assert_eq!(bound(1).await, 1);
            assert_eq!(bound(5).await, 1);
            assert_eq!(bound(5).await, 0, "the locked mail is skipped");
            holder.batch_execute("ROLLBACK").unwrap();
            assert_eq!(bound(5).await, 1);
        } else {
            assert_eq!((bound(1).await, bound(1).await, bound(5).await), (1, 1, 1));
        }
        assert_eq!(bound(5).await, 0);
        assert_eq!(count("claimed_until IS NULL"), "5");
        let due = |seconds| format!("due_at = '{}'", at(seconds).format("%Y-%m-%d %H:%M:%S%.6f"));
        assert_eq!(count(&due(10)), "2");
        assert_eq!((count(&due(0)), count(&due(900)), count(&due(1_000))), ("1".into(), "1".into(), "1".into()));
    }

    /// A page of the log has at most the requested number of entries, wherever it begins.
    async fn a_page_of_the_log_is_no_longer_than_requested(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        for _ in 0..5 {
            let (digest, session) = session(user.id);
            assert!(db.add_session(digest, session, None, 10).await.unwrap().is_some());
            db.remove_session(digest).await.unwrap().unwrap();
        }
        let (mut after, mut entries) = (Revision::default(), 0);
        loop {
            let page = db.revocations_after(after, 2).await.unwrap();
            assert!(page.revocations.len() <= 2, "{}", page.revocations.len());
            entries += page.revocations.len();
            if !page.has_more {
                break;
            }
            after = page.revocations.last().unwrap().revision;
        }
        assert_eq!(entries, 5);
    }

    /// At the limit, a user's least recently seen session is removed, and no other user's.
    async fn the_least_recently_seen_session_is_removed(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let other = db.add_user(email("bob@example.com"), hash("two"), moment()).await.unwrap();
        let (foreign, others) = session(other.id);
        assert!(db.add_session(foreign, others, None, 3).await.unwrap().is_some());
        let mut digests = Vec::new();
        for minutes in [5, 1, 3, 0, 4] {
            let (digest, mut session) = session(user.id);
            session.last_seen_at = moment() + chrono::TimeDelta::minutes(minutes);
            assert!(db.add_session(digest, session, None, 3).await.unwrap().is_some());
            digests.push(digest);
        }
        let mut left = Vec::new();
        for digest in digests {
            left.push(db.find_session(digest).await.unwrap().is_some());
        }
        // 5 1 3, then 0 replaces 1, and 4 replaces 0.
        assert_eq!(left, [true, false, true, false, true]);
        assert!(db.find_session(foreign).await.unwrap().is_some());
    }

    /// Both of two tokens are valid, a token whose mail failed is replaced, and a request soon
    /// after a mail is dropped.
    async fn two_reset_tokens_are_kept(database: Database) {
        let db = open(&database).await;
        let ada = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let at = |seconds| moment() + chrono::TimeDelta::seconds(seconds);
        let claim = async |seconds: i64| {
            let (now, offered) = (at(seconds), offered(seconds));
            db.request_password_reset(email("ada@example.com"), now, now).await.unwrap();
            let claimed = db.claim_outgoing_mail(Preference::Fresh, now, at(seconds + 60), offered);
            match claimed.await.unwrap() {
                Claimed::Mail(claim) => Some((claim.id, claim.reset.unwrap().pending.digest)),
                Claimed::Skipped => None,
                Claimed::Nothing => panic!("a mail is due"),
            }
        };
        let is_known = async |digest| {
            db.find_user_by(UserBy::ResetToken(digest)).await.unwrap().is_some()
        };
        let (id, failed) = claim(0).await.unwrap();
        db.remove_outgoing_mail(id, None).await.unwrap();
        let (id, first) = claim(10).await.unwrap();
        assert!(!is_known(failed).await && is_known(first).await);
        db.remove_mailed_reset(id, at(10), first, at(11)).await.unwrap();
        assert_eq!(claim(310).await, None);
        assert!(!db.has_due_mail(at(1_000)).await.unwrap(), "the request is dropped");
        let (id, second) = claim(311).await.unwrap();
        assert!(is_known(first).await && is_known(second).await);
        db.remove_mailed_reset(id, at(311), second, at(311)).await.unwrap();
        let (_, third) = claim(612).await.unwrap();
        assert!(!is_known(first).await && is_known(second).await && is_known(third).await);
        // Tokens that expired long ago are removed, and tokens with an impossibly late
        // expiry.
        for (before, after, removed) in [(1_212, 1_212, 0), (1_213, 5_000, 1), (1_213, 0, 0)] {
            let done = db.remove_reset_tokens(at(before), at(after), 10).await.unwrap();
            assert_eq!(done, removed, "{before} {after}");
            assert_eq!(is_known(second).await && is_known(third).await, before == 1_212);
        }
        let late = reset(612).pending;
        assert!(db.update_user(ada.id, add_token(late, at(612))).await.unwrap());
        assert_eq!(db.remove_reset_tokens(at(0), at(1_211), 10).await.unwrap(), 1);
        assert!(!is_known(late.digest).await);
    }

    /// All users are equally likely, even with gaps between ids; and slots change only as far
    /// as new users require.
    async fn decoys_are_a_sample_of_the_users(database: Database) {
        let db = open(&database).await;
        let add = async |n: usize| {
            let address = email(&format!("u{n}@example.com"));
            db.add_user(address, hash(&n.to_string()), moment()).await.unwrap().id
        };
        let sample = async || assert!(!db.sample_decoys().await.unwrap(), "the sample is complete");
        sample().await;
        assert_eq!(decoys(&db, 1).await, [None]);
        for n in 0..40 {
            add(n).await;
        }
        database.execute("UPDATE users SET id = id + 5000000000 WHERE id > 10");
        database.execute("DELETE FROM users WHERE id = 1");
        if !database.is_sqlite() {
            database.text("SELECT CAST(setval(pg_get_serial_sequence('users', 'id'), 6000000000) AS TEXT)");
        }
        sample().await;
        let count = |condition: &str| -> usize {
            let count = format!("SELECT CAST(count(*) AS TEXT) FROM decoys WHERE {condition}");
            database.text(&count).parse().unwrap()
        };
        let slots = usize::from(DecoySlot::COUNT);
        assert_eq!(count("1 = 1"), slots);
        // 105 each, give or take 10; these bounds fail by chance once in 10^7 runs.
        for id in (2..=10).chain(5_000_000_011..=5_000_000_040_i64) {
            let times = count(&format!("user_id = {id}"));
            assert!((40..=170).contains(&times), "{times} for user {id}");
        }

        let before = decoys(&db, 100).await;
        sample().await;
        assert_eq!(decoys(&db, 100).await, before, "no new users");
        database.execute("UPDATE users SET hashed_password = 'another'");
        assert_eq!(decoys(&db, 100).await, vec![Some("another".to_owned()); 100]);
        // The number of users doubles: new users get half of the slots on average.
        for n in 40..79 {
            add(n).await;
        }
        sample().await;
        let kept = decoys(&db, 100).await;
        let kept = kept.iter().filter(|stored| stored.as_deref() == Some("another")).count();
        assert!((20..=80).contains(&kept), "{kept} of 100 slots are unchanged");

        // The slots of deleted users are given to others.
        database.execute("DELETE FROM users WHERE hashed_password = 'another'");
        sample().await;
        assert_eq!(count("1 = 1"), slots);
        assert_eq!(count("user_id NOT IN (SELECT id FROM users)"), 0);
        assert!(decoys(&db, 100).await.iter().all(Option::is_some));
        database.execute("DELETE FROM users");
        sample().await;
        sample().await;
        assert_eq!(decoys(&db, 1).await, [None]);
        let last = add(99).await;
        sample().await;
        assert_eq!(count(&format!("user_id = {}", last.0)), slots);
    }

    /// A known e-mail finds its user, not a decoy.
    async fn a_known_email_has_no_decoy(database: Database) {
        let db = open(&database).await;
        let ada = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let slot = DecoySlot::from_random(0);
        let find = async |address: &str| db.find_login_target(email(address), slot).await.unwrap();
        for _ in 0..2 {
            let found = find("ada@example.com").await;
            assert!(matches!(found, LoginTarget::User(user) if user.id == ada.id));
            db.sample_decoys().await.unwrap();
        }
        // A damaged user in a slot does not affect other logins.
        database.execute("UPDATE users SET email = 'ADA@example.com'");
        let found = find("eve@example.com").await;
        assert!(matches!(found, LoginTarget::Decoy(Some(stored)) if stored == hash("one")));
        if database.is_sqlite() {
            database.execute("UPDATE users SET created_at = 'never'");
            let found = find("eve@example.com").await;
            assert!(matches!(found, LoginTarget::Decoy(Some(stored)) if stored == hash("one")));
            database.execute("UPDATE users SET email = 'ada@example.com'");
            let found = db.find_login_target(email("ada@example.com"), slot).await;
            assert!(matches!(found, Err(DbError::Fault(_))), "{found:?}");
        }
    }

    /// Imported users may have ids below those sampled before.
    async fn imported_users_become_decoys(database: Database) {
        let db = open(&database).await;
        let ada = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        database.execute("UPDATE users SET id = 1000");
        db.sample_decoys().await.unwrap();
        for (id, address) in [(7, "bob@example.com"), (2000, "eve@example.com")] {
            let url = database.url().parse().unwrap();
            let imported = User { id: UserId(id), email: email(address), ..ada.clone() };
            task::spawn_blocking(move || {
                let mut target = Target::open(&url).unwrap();
                target.add(&[imported]).unwrap();
                target.commit().unwrap();
            })
            .await
            .unwrap();
            db.sample_decoys().await.unwrap();
            let count = format!("SELECT CAST(count(*) AS TEXT) FROM decoys WHERE user_id = {id}");
            let slots: u32 = database.text(&count).parse().unwrap();
            assert!(slots > 1_000, "user {id} has {slots} slots");
        }
    }

    /// A mail is claimed by one sender at a time, and requests for one address are merged.
    async fn mails_are_claimed_once_and_in_order(database: Database) {
        let db = open(&database).await;
        let ada = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        db.add_user(email("bob@example.com"), hash("two"), moment()).await.unwrap();
        let at = |seconds| moment() + chrono::TimeDelta::seconds(seconds);
        let request = async |address: &str, now: i64, due: i64| {
            db.request_password_reset(email(address), at(now), at(due)).await.unwrap();
        };
        let claim_by = async |preference: Preference, now: i64| {
            let claim = db.claim_outgoing_mail(preference, at(now), at(now + 60), offered(now));
            let Claimed::Mail(claim) = claim.await.unwrap() else {
                return None;
            };
            let mail = claim.mail.unwrap();
            Some((claim.id, claim.tries, mail.created_at, mail.user.map(|user| user.id)))
        };
        let claim = async |now: i64| claim_by(Preference::Fresh, now).await;

        for due in [3, 5, 1] {
            request("ada@example.com", 0, due).await;
        }
        assert!(!db.has_due_mail(at(2)).await.unwrap(), "the first request set the time");
        assert_eq!(claim(2).await, None);
        assert!(db.has_due_mail(at(3)).await.unwrap());
        let (first, tries, created_at, user) = claim(3).await.unwrap();
        assert_eq!((tries, created_at, user), (1, at(0), Some(ada.id)));
        let given = db.find_user_by(UserBy::Id(ada.id)).await.unwrap().unwrap();
        assert!(given.resets.newest.is_some());
        assert_eq!(claim(3).await, None, "it is claimed");
        // A request during the sending may have missed that mail.
        request("ada@example.com", 4, 5).await;
        assert_eq!(claim(5).await, None);
        db.remove_outgoing_mail(first, Some(created_at)).await.unwrap();
        let (again, tries, created_at, _) = claim(5).await.unwrap();
        assert_eq!((again, tries, created_at), (first, 1, at(4)));
        // The claim has expired.
        let (again, tries, ..) = claim(65).await.unwrap();
        assert_eq!((again, tries), (first, 2));
        db.postpone_outgoing_mail(first, at(66)).await.unwrap();

        request("bob@example.com", 70, 70).await;
        request("eve@example.com", 70, 69).await;
        // The fewest attempts first, or the longest due.
        let (unknown_mail, _, _, recipient) = claim(70).await.unwrap();
        assert_eq!(recipient, None);
        let (longest, ..) = claim_by(Preference::LongestDue, 70).await.unwrap();
        assert_eq!(longest, first);
        let (second, tries, ..) = claim(70).await.unwrap();
        assert!(second != first && tries == 1);
        for (id, created_at) in [(first, at(4)), (second, at(70)), (unknown_mail, at(70))] {
            db.remove_outgoing_mail(id, Some(created_at)).await.unwrap();
        }
        assert_eq!(claim(200).await, None);
        for n in 0..5 {
            request(&format!("u{n}@example.com"), 200, 200 + n).await;
        }
        assert_eq!(db.remove_mail_without_user(at(203), 3).await.unwrap(), 3);
        assert_eq!(db.remove_mail_without_user(at(203), 3).await.unwrap(), 1);
        assert_eq!(db.remove_mail_without_user(at(203), 3).await.unwrap(), 0);
        assert!(db.has_due_mail(at(204)).await.unwrap(), "one mail is not due yet");
    }

    /// A reset token is created only for a claimed mail of a kind with a token.
    async fn a_token_is_created_only_for_a_mail_with_one(database: Database) {
        let db = open(&database).await;
        let ada = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let claim = async |seconds: i64| {
            let now = moment() + chrono::TimeDelta::seconds(seconds);
            let (offered, made) = (offered(seconds), Arc::clone(&made));
            let offered = OfferedReset {
                unless_mailed_since: offered.unless_mailed_since,
                make: move || {
                    made.fetch_add(1, Ordering::SeqCst);
                    (offered.make)()
                },
            };
            let until = now + chrono::TimeDelta::seconds(60);
            db.claim_outgoing_mail(Preference::Fresh, now, until, offered).await.unwrap()
        };
        // Nothing is due.
        assert!(matches!(claim(0).await, Claimed::Nothing));
        assert_eq!(made.load(Ordering::SeqCst), 0);
        db.request_password_reset(email("ada@example.com"), moment(), moment()).await.unwrap();
        let Claimed::Mail(mail) = claim(0).await else {
            panic!("a mail is due");
        };
        let reset = mail.reset.unwrap().pending;
        assert_eq!(made.load(Ordering::SeqCst), 1);
        db.remove_mailed_reset(mail.id, moment(), reset.digest, moment()).await.unwrap();
        // Dropped, since another was sent a moment ago.
        db.request_password_reset(email("ada@example.com"), moment(), moment()).await.unwrap();
        assert!(matches!(claim(1).await, Claimed::Skipped));
        assert_eq!(made.load(Ordering::SeqCst), 1);
        // A notice.
        let change = PasswordChange {
            user: db.find_user_by(UserBy::Id(ada.id)).await.unwrap().unwrap(),
            proof: ChangeProof::ResetToken(reset.digest),
            hashed_password: hash("new"),
            opened: None,
            at: moment(),
        };
        db.change_password(change).await.unwrap();
        let Claimed::Mail(mail) = claim(2).await else {
            panic!("a mail is due");
        };
        assert_eq!(mail.mail.unwrap().kind, MailKind::PasswordChanged);
        assert!(mail.reset.is_none());
        assert_eq!(made.load(Ordering::SeqCst), 1);
        // A request for an unknown address.
        db.request_password_reset(email("eve@example.com"), moment(), moment()).await.unwrap();
        assert!(matches!(claim(2).await, Claimed::Mail(_)));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    /// Concurrent requests, claims and password changes lock the same rows without deadlocks.
    async fn mails_and_changes_do_not_block_each_other(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let until = moment() + chrono::TimeDelta::seconds(60);
        let mut tasks = task::JoinSet::new();
        for _ in 0..4 {
            let (db, id) = (db.clone(), user.id);
            tasks.spawn(async move {
                for _ in 0..40 {
                    db.request_password_reset(email("ada@example.com"), moment(), moment()).await?;
                    let offered = offered(0);
                    let claim = db
                        .claim_outgoing_mail(Preference::Fresh, moment(), until, offered)
                        .await?;
                    if let Claimed::Mail(claim) = claim {
                        let (id, at) = (claim.id, moment());
                        match claim.reset {
                            Some(reset) => {
                                let digest = reset.pending.digest;
                                db.remove_mailed_reset(id, at, digest, at).await?;
                            }
                            None => db.remove_outgoing_mail(id, Some(at)).await?,
                        }
                    }
                    db.remove_mail_without_user(moment(), 5).await?;
                    let by = UserBy::Id(id);
                    let user = db.find_user_by(by).await?.unwrap();
                    if let Some(reset) = user.resets.newest {
                        let change = PasswordChange {
                            user,
                            proof: ChangeProof::ResetToken(reset.digest),
                            hashed_password: hash("new"),
                            opened: None,
                            at: moment(),
                        };
                        match db.change_password(change).await {
                            Err(ChangePasswordError::Db(error)) => return Err(error),
                            _changed_or_late => {}
                        }
                    }
                }
                Ok::<_, DbError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    }

    /// An invalid row is a fault, not a wrong result.
    async fn damaged_rows_are_faults(database: Database) {
        let db = open(&database).await;
        let user = db.add_user(email("ada@example.com"), hash("one"), moment()).await.unwrap();
        let (digest, session) = session(user.id);
        assert!(db.add_session(digest, session, None, 10).await.unwrap().is_some());
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
