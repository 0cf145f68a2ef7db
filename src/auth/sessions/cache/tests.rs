//! The cache against a plain model of it.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::auth::sessions::cache::{seen_queue::MAX_SEEN, *};
use crate::domain::{Client, CredentialVersion, Email, SessionHandle};

fn digest(number: u64) -> SessionDigest {
    SessionDigest::from_bytes(&Sha256::digest(number.to_be_bytes())).unwrap()
}

fn session(number: u64) -> (SessionDigest, Session, SessionOwner) {
    let user_id = UserId((number % 5) as i64 + 1);
    let moment = DateTime::from_timestamp_micros(1_790_000_000_000_001 + number as i64).unwrap();
    let session = Session {
        handle: SessionHandle::generate(),
        user_id,
        credential_version: CredentialVersion(7),
        created_at: moment,
        last_seen_at: moment,
        client: Client::new(&format!("agent {}", number % 3), Ipv4Addr::LOCALHOST.into()),
    };
    let owner = SessionOwner {
        id: user_id,
        email: Email::parse(&format!("user{user_id:?}@example.com").replace(['(', ')'], ""))
            .unwrap(),
        created_at: moment,
    };
    (digest(number), session, owner)
}

fn insert(cache: &SessionCache, number: u64) {
    cache.insert(cache.begin_reading(), [session(number)]);
}

/// The result of a look-up, without its lock.
#[derive(Debug)]
enum Seen {
    Cached(Session, SessionOwner),
    Known,
    Absent,
}

impl From<Lookup<'_>> for Seen {
    fn from(found: Lookup<'_>) -> Self {
        match found {
            Lookup::Cached(cached) => Self::Cached(cached.session(cached.times()), cached.owner()),
            Lookup::Known => Self::Known,
            Lookup::Absent => Self::Absent,
        }
    }
}

fn look_up(cache: &SessionCache, number: u64) -> Seen {
    cache.look_up(digest(number), |found| Seen::from(found))
}

fn is_cached(cache: &SessionCache, number: u64) -> bool {
    matches!(look_up(cache, number), Seen::Cached(..))
}

fn is_known(cache: &SessionCache, number: u64) -> bool {
    matches!(look_up(cache, number), Seen::Known)
}

fn is_absent(cache: &SessionCache, number: u64) -> bool {
    matches!(look_up(cache, number), Seen::Absent)
}

/// A slow check has read the session before it ended, and another check has been refused
/// since.
#[test]
fn a_reading_from_before_a_refusal_is_not_used() {
    let cache = SessionCache::new(10);
    assert_eq!(cache.complete(cache.clear()), Completion::Complete);
    let (digest, session, owner) = session(3);
    let slow = cache.begin_reading();
    assert!(is_absent(&cache, 3));
    cache.insert_looked_up(slow, digest, session.clone(), owner.clone());
    assert!(is_known(&cache, 3), "the next check reads it again");
    cache.insert_looked_up(cache.begin_reading(), digest, session, owner);
    assert!(is_cached(&cache, 3));
}

#[test]
fn inserted_details_are_returned() {
    let cache = SessionCache::new(10);
    let (digest, session, owner) = session(3);
    cache.insert(
        cache.begin_reading(),
        [(digest, session.clone(), owner.clone())],
    );
    let Seen::Cached(cached, its_owner) = cache.look_up(digest, |found| Seen::from(found)) else {
        panic!("it is not cached");
    };
    assert_eq!(format!("{cached:?}"), format!("{session:?}"));
    assert_eq!(its_owner, owner);
}

#[test]
fn an_unknown_session_is_absent_only_from_a_complete_cache() {
    let cache = SessionCache::new(10);
    let first = cache.clear();
    assert!(is_known(&cache, 1));
    let second = cache.clear();
    assert_eq!(cache.complete(first), Completion::Superseded);
    assert!(is_known(&cache, 1));
    assert_eq!(cache.complete(second), Completion::Complete);
    assert!(is_absent(&cache, 1));
    cache.insert_known(cache.begin_reading(), [digest(1)]);
    assert!(is_known(&cache, 1));
    cache.remove(digest(1));
    assert!(is_absent(&cache, 1));
}

#[test]
fn an_invalidation_during_a_reading_is_respected() {
    for (what, record) in [
        (
            "remove",
            (|cache| cache.remove(digest(1))) as fn(&SessionCache),
        ),
        ("drop_details", |cache| cache.drop_details(digest(1))),
        ("user", |cache| {
            cache.mark_user_stale(session(1).2.id);
            cache.drop_stale_users();
        }),
        ("clear", |cache| {
            cache.clear();
        }),
    ] {
        let cache = SessionCache::new(10);
        let generation = cache.clear();
        assert_eq!(cache.complete(generation), Completion::Complete);
        let reading = cache.begin_reading();
        record(&cache);
        cache.insert(reading, [session(1), session(2)]);
        assert!(!is_cached(&cache, 1), "{what}");
        // A session that may exist is never reported as absent.
        assert_eq!(is_absent(&cache, 1), what == "remove", "{what}");
        assert_eq!(is_cached(&cache, 2), what != "clear", "{what}");
        insert(&cache, 1);
        assert!(is_cached(&cache, 1), "{what}");
    }
}

#[test]
fn too_long_a_reading_inserts_no_details() {
    let cache = SessionCache::new(10);
    let generation = cache.clear();
    assert_eq!(cache.complete(generation), Completion::Complete);
    let reading = cache.begin_reading();
    for number in 0..4_097 {
        cache.remove(digest(1_000 + number));
    }
    cache.insert(reading, [session(1)]);
    assert!(!is_cached(&cache, 1) && !is_absent(&cache, 1));
}

#[test]
fn details_of_a_stale_user_are_used_again_after_another_reading() {
    let cache = SessionCache::new(10);
    for number in 0..10 {
        insert(&cache, number);
    }
    cache.mark_user_stale(session(1).2.id);
    for number in 0..10 {
        assert_eq!(is_cached(&cache, number), number % 5 != 1, "{number}");
    }
    insert(&cache, 1);
    assert!(!is_cached(&cache, 1), "it has not been dropped yet");
    cache.drop_stale_users();
    assert!(!is_cached(&cache, 6));
    insert(&cache, 1);
    assert!(is_cached(&cache, 1));
}

#[test]
fn unused_entries_are_evicted_first() {
    let cache = SessionCache::new(100);
    for number in 0..100 {
        insert(&cache, number);
    }
    // One full round of the hand, so that later uses can be told from earlier ones.
    insert(&cache, 100);
    let used: Vec<u64> = (0..101).filter(|number| number % 2 == 0).collect();
    for round in 0..40 {
        let kept = used.iter().filter(|number| is_cached(&cache, **number));
        assert!(kept.count() >= 49, "{round}");
        insert(&cache, 1_000 + round);
    }
    let cached = (0..2_000).filter(|number| is_cached(&cache, *number));
    assert_eq!(cached.count(), 100);
}

/// The digest of one of the many sessions that fill a cache.
fn filler(number: usize) -> SessionDigest {
    let mut bytes = [0; 32];
    let spread = (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    SessionDigest::from_bytes(&bytes).unwrap()
}

/// Room that becomes free during a load does not make up for an omitted digest.
#[test]
fn a_digest_without_room_leaves_the_cache_incomplete() {
    let cache = SessionCache::new(0);
    let generation = cache.clear();
    let reading = cache.begin_reading();
    cache.insert_known(reading, (0..MIN_KNOWN_LIMIT).map(filler));
    assert_eq!(cache.complete(generation), Completion::Complete);
    cache.insert_known(reading, [filler(5)]);
    assert!(is_absent(&cache, 1), "a known digest needs no room");
    cache.insert_known(reading, [filler(MIN_KNOWN_LIMIT)]);
    assert!(is_known(&cache, 1));
    cache.remove(filler(0));
    assert_eq!(cache.complete(generation), Completion::NoRoom);
    assert!(is_known(&cache, 1));
    let next = cache.clear();
    cache.insert_known(cache.begin_reading(), [filler(MIN_KNOWN_LIMIT)]);
    assert_eq!(cache.complete(next), Completion::Complete);
    assert!(is_absent(&cache, 1));
}

/// Also of sessions whose reply is in progress.
#[test]
fn user_agents_are_dropped_with_their_last_session() {
    let cache = SessionCache::new(10);
    let strings = |cache: &SessionCache| lock(&cache.0.shards[0]).user_agent_count();
    for number in 0..6 {
        insert(&cache, number);
    }
    assert_eq!(strings(&cache), 3);
    let reply = look_up(&cache, 1);
    cache.remove(digest(1));
    assert_eq!(strings(&cache), 3, "another session has it");
    let other_reply = look_up(&cache, 4);
    cache.drop_details(digest(4));
    assert_eq!(strings(&cache), 2);
    for reply in [reply, other_reply] {
        let Seen::Cached(session, _) = reply else {
            panic!("it is not cached");
        };
        assert_eq!(&**session.client.user_agent(), "agent 1");
    }
    insert(&cache, 4);
    let reply = look_up(&cache, 4);
    cache.clear();
    assert_eq!(strings(&cache), 0);
    insert(&cache, 4);
    drop(reply);
    assert_eq!(strings(&cache), 1);
}

#[test]
fn a_use_is_visible_and_queued() {
    let cache = SessionCache::new(10);
    insert(&cache, 1);
    let mut used = session(1).1.last_seen_at;
    let marks: [&dyn Fn(DateTime<Utc>); 2] = [&|now| cache.mark_seen(digest(1), now), &|now| {
        cache.look_up(digest(1), |found| match found {
            Lookup::Cached(mut cached) => cached.mark_seen(now),
            _ => panic!("it is not cached"),
        });
    }];
    for mark_seen in marks {
        used += chrono::TimeDelta::hours(1);
        mark_seen(used);
        let Seen::Cached(session, _) = look_up(&cache, 1) else {
            panic!("it is not cached");
        };
        assert_eq!(session.last_seen_at, used);
        assert_eq!(cache.take_seen(usize::MAX), [(digest(1), used)]);
        assert!(cache.take_seen(usize::MAX).is_empty());
    }
}

#[test]
fn a_use_survives_an_older_reading() {
    let cache = SessionCache::new(10);
    insert(&cache, 1);
    let used = session(1).1.last_seen_at + chrono::TimeDelta::hours(1);
    cache.mark_seen(digest(1), used);
    insert(&cache, 1);
    assert_eq!(cache.last_seen_at(digest(1)), Some(used));
}

#[test]
fn a_use_without_room_is_retried() {
    let cache = SessionCache::new(10);
    insert(&cache, 1);
    insert(&cache, 2);
    let before = session(1).1.last_seen_at;
    let used = before + chrono::TimeDelta::hours(1);
    for number in 0..MAX_SEEN as u64 {
        cache.mark_seen(digest(1_000 + number), used);
    }
    let marks: [&dyn Fn(u64); 2] = [&|number| cache.mark_seen(digest(number), used), &|number| {
        cache.look_up(digest(number), |found| match found {
            Lookup::Cached(mut cached) => cached.mark_seen(used),
            _ => panic!("it is not cached"),
        });
    }];
    for (number, mark_seen) in (1..).zip(marks) {
        mark_seen(number);
        let unchanged = session(number).1.last_seen_at;
        assert_eq!(cache.last_seen_at(digest(number)), Some(unchanged));
    }
    assert_eq!(cache.take_seen(usize::MAX).len(), MAX_SEEN);
    for (number, mark_seen) in (1..).zip(marks) {
        mark_seen(number);
        assert_eq!(cache.last_seen_at(digest(number)), Some(used));
    }
    let taken = cache.take_seen(usize::MAX);
    assert_eq!(taken, [(digest(1), used), (digest(2), used)]);
    cache.return_seen(taken);
    assert_eq!(cache.seen_count(), 2);
    assert_eq!(cache.take_seen(1), [(digest(2), used)]);
    assert_eq!(cache.take_seen(1), [(digest(1), used)]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(u64),
    InsertKnown(u64),
    Remove(u64),
    DropDetails(u64),
    MarkUserStale(i64),
    DropStaleUsers,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_u64..60;
    prop_oneof![
        6 => number.clone().prop_map(Step::Insert),
        1 => number.clone().prop_map(Step::InsertKnown),
        2 => number.clone().prop_map(Step::Remove),
        1 => number.prop_map(Step::DropDetails),
        1 => (1_i64..6).prop_map(Step::MarkUserStale),
        1 => Just(Step::DropStaleUsers),
    ]
}

proptest! {
    /// The cache returns the details inserted last or reports the session as known, and
    /// never reports a known session as absent.
    #[test]
    fn the_cache_agrees_with_a_model(steps in proptest::collection::vec(step(), 1..400), most in 0_usize..50) {
        let cache = SessionCache::new(most);
        let generation = cache.clear();
        prop_assert_eq!(cache.complete(generation), Completion::Complete);
        // Whether the details may be cached.
        let mut model: HashMap<u64, bool> = HashMap::new();
        let mut stale_users = HashSet::new();
        for step in steps {
            match step {
                Step::Insert(number) => {
                    insert(&cache, number);
                    let may = !stale_users.contains(&session(number).2.id);
                    model.entry(number).and_modify(|cached| *cached |= may).or_insert(may);
                }
                Step::InsertKnown(number) => {
                    cache.insert_known(cache.begin_reading(), [digest(number)]);
                    model.entry(number).or_insert(false);
                }
                Step::Remove(number) => {
                    cache.remove(digest(number));
                    model.remove(&number);
                }
                Step::DropDetails(number) => {
                    cache.drop_details(digest(number));
                    model.entry(number).and_modify(|cached| *cached = false);
                }
                Step::MarkUserStale(user_id) => {
                    cache.mark_user_stale(UserId(user_id));
                    stale_users.insert(UserId(user_id));
                    for (number, cached) in &mut model {
                        *cached &= session(*number).2.id != UserId(user_id);
                    }
                }
                Step::DropStaleUsers => {
                    cache.drop_stale_users();
                    stale_users.clear();
                }
            }
            let mut cached = 0;
            // One by one, and all at once in another order.
            let order: Vec<u64> = (0..60).map(|number| number * 7 % 60).collect();
            let digests: Vec<SessionDigest> = order.iter().map(|number| digest(*number)).collect();
            let mut all: Vec<Option<Seen>> = order.iter().map(|_| None).collect();
            cache.look_up_many(&digests, |index, found| {
                assert!(all[index].replace(found.into()).is_none(), "each is reported once");
            });
            for (number, lookup) in order.into_iter().zip(all) {
                let lookup = lookup.expect("each is reported");
                prop_assert_eq!(format!("{lookup:?}"), format!("{:?}", look_up(&cache, number)));
                match (lookup, model.get(&number)) {
                    (Seen::Absent, None) | (Seen::Known, Some(_)) => {}
                    (Seen::Cached(session, owner), Some(true)) => {
                        cached += 1;
                        prop_assert_eq!(session.created_at, self::session(number).1.created_at);
                        prop_assert_eq!(owner, self::session(number).2);
                    }
                    (lookup, model) => prop_assert!(false, "{:?} of {:?}", lookup, model),
                }
            }
            prop_assert!(cached <= most);
        }
    }
}
