//! The index against a plain model of it.

use std::{collections::HashMap, net::Ipv4Addr};

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::auth::sessions::cache::*;
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

fn keep(index: &SessionIndex, number: u64) {
    index.keep(index.begin_reading(), [session(number)]);
}

/// What was said.
#[derive(Debug)]
enum Said {
    Held(Session, SessionOwner),
    Known,
    Nothing,
}

impl From<Found<'_>> for Said {
    fn from(found: Found<'_>) -> Self {
        match found {
            Found::Held(held) => Self::Held(held.session(held.times()), held.owner()),
            Found::Known => Self::Known,
            Found::Nothing => Self::Nothing,
        }
    }
}

fn look_up(index: &SessionIndex, number: u64) -> Said {
    index.look_up(digest(number), |found| Said::from(found))
}

fn is_held(index: &SessionIndex, number: u64) -> bool {
    matches!(look_up(index, number), Said::Held(..))
}

fn is_known(index: &SessionIndex, number: u64) -> bool {
    matches!(look_up(index, number), Said::Known)
}

fn is_nothing(index: &SessionIndex, number: u64) -> bool {
    matches!(look_up(index, number), Said::Nothing)
}

/// A check that read it before it ended is slow; another one has been refused meanwhile.
#[test]
fn what_was_refused_as_unknown_is_not_said_from_an_earlier_reading() {
    let index = SessionIndex::new(10);
    assert_eq!(index.complete(index.clear()), Completion::Complete);
    let (digest, session, owner) = session(3);
    let slow = index.begin_reading();
    assert!(is_nothing(&index, 3));
    index.keep_looked_up(slow, digest, session.clone(), owner.clone());
    assert!(is_known(&index, 3), "the next check reads it again");
    index.keep_looked_up(index.begin_reading(), digest, session, owner);
    assert!(is_held(&index, 3));
}

#[test]
fn what_is_kept_is_said() {
    let index = SessionIndex::new(10);
    let (digest, session, owner) = session(3);
    index.keep(
        index.begin_reading(),
        [(digest, session.clone(), owner.clone())],
    );
    let Said::Held(held, its_owner) = index.look_up(digest, |found| Said::from(found)) else {
        panic!("it is not held");
    };
    assert_eq!(format!("{held:?}"), format!("{session:?}"));
    assert_eq!(its_owner, owner);
}

#[test]
fn nothing_is_said_of_what_is_unknown_before_it_is_complete() {
    let index = SessionIndex::new(10);
    let first = index.clear();
    assert!(is_known(&index, 1));
    let second = index.clear();
    assert_eq!(index.complete(first), Completion::Superseded);
    assert!(is_known(&index, 1));
    assert_eq!(index.complete(second), Completion::Complete);
    assert!(is_nothing(&index, 1));
    index.note(index.begin_reading(), [digest(1)]);
    assert!(is_known(&index, 1));
    index.end(digest(1));
    assert!(is_nothing(&index, 1));
}

#[test]
fn what_is_forgotten_while_it_is_read_is_not_held() {
    for (what, forget) in [
        ("end", (|index| index.end(digest(1))) as fn(&SessionIndex)),
        ("release", |index| index.release(digest(1))),
        ("user", |index| {
            index.release_user(session(1).2.id);
            index.drop_released();
        }),
        ("clear", |index| {
            index.clear();
        }),
    ] {
        let index = SessionIndex::new(10);
        let generation = index.clear();
        assert_eq!(index.complete(generation), Completion::Complete);
        let reading = index.begin_reading();
        forget(&index);
        index.keep(reading, [session(1), session(2)]);
        assert!(!is_held(&index, 1), "{what}");
        // What may still be there is never said not to be.
        assert_eq!(is_nothing(&index, 1), what == "end", "{what}");
        assert_eq!(is_held(&index, 2), what != "clear", "{what}");
        keep(&index, 1);
        assert!(is_held(&index, 1), "{what}");
    }
}

#[test]
fn who_reads_for_too_long_holds_nothing() {
    let index = SessionIndex::new(10);
    let generation = index.clear();
    assert_eq!(index.complete(generation), Completion::Complete);
    let reading = index.begin_reading();
    for number in 0..4_097 {
        index.end(digest(1_000 + number));
    }
    index.keep(reading, [session(1)]);
    assert!(!is_held(&index, 1) && !is_nothing(&index, 1));
}

#[test]
fn what_is_released_of_a_user_is_said_again_once_it_was_read_again() {
    let index = SessionIndex::new(10);
    for number in 0..10 {
        keep(&index, number);
    }
    index.release_user(session(1).2.id);
    for number in 0..10 {
        assert_eq!(is_held(&index, number), number % 5 != 1, "{number}");
    }
    keep(&index, 1);
    assert!(!is_held(&index, 1), "it has not been dropped yet");
    index.drop_released();
    assert!(!is_held(&index, 6));
    keep(&index, 1);
    assert!(is_held(&index, 1));
}

#[test]
fn the_least_used_makes_room() {
    let index = SessionIndex::new(100);
    for number in 0..100 {
        keep(&index, number);
    }
    // Once round, so that what is used from now on is told from the rest.
    keep(&index, 100);
    let used: Vec<u64> = (0..101).filter(|number| number % 2 == 0).collect();
    for round in 0..40 {
        let kept = used.iter().filter(|number| is_held(&index, **number));
        assert!(kept.count() >= 49, "{round}");
        keep(&index, 1_000 + round);
    }
    let held = (0..2_000).filter(|number| is_held(&index, *number));
    assert_eq!(held.count(), 100);
}

#[test]
fn what_finds_no_place_at_all_leaves_it_incomplete() {
    let index = SessionIndex::new(0);
    let generation = index.clear();
    let numbers = 0..LEAST_KNOWN as u64;
    let digests = numbers.map(|number| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        SessionDigest::from_bytes(&bytes).unwrap()
    });
    index.note(index.begin_reading(), digests);
    assert_eq!(index.complete(generation), Completion::NoRoom);
    assert!(is_known(&index, 1));
}

#[test]
fn a_use_is_said_and_waits_to_be_noted() {
    let index = SessionIndex::new(10);
    keep(&index, 1);
    let mut used = session(1).1.last_seen_at;
    let touches: [&dyn Fn(DateTime<Utc>); 2] = [&|now| index.touch(digest(1), now), &|now| {
        index.look_up(digest(1), |found| match found {
            Found::Held(mut held) => held.touch(now),
            _ => panic!("it is not held"),
        });
    }];
    for touch in touches {
        used += chrono::TimeDelta::hours(1);
        touch(used);
        let Said::Held(session, _) = look_up(&index, 1) else {
            panic!("it is not held");
        };
        assert_eq!(session.last_seen_at, used);
        assert_eq!(index.take_touched(usize::MAX), [(digest(1), used)]);
        assert!(index.take_touched(usize::MAX).is_empty());
    }
}

#[test]
fn a_use_outlasts_what_was_read_before_it() {
    let index = SessionIndex::new(10);
    keep(&index, 1);
    let used = session(1).1.last_seen_at + chrono::TimeDelta::hours(1);
    index.touch(digest(1), used);
    keep(&index, 1);
    assert_eq!(index.last_seen_at(digest(1)), Some(used));
}

#[test]
fn a_use_without_room_is_tried_again() {
    let index = SessionIndex::new(10);
    keep(&index, 1);
    keep(&index, 2);
    let before = session(1).1.last_seen_at;
    let used = before + chrono::TimeDelta::hours(1);
    for number in 0..MOST_TOUCHED as u64 {
        index.touch(digest(1_000 + number), used);
    }
    let touches: [&dyn Fn(u64); 2] = [&|number| index.touch(digest(number), used), &|number| {
        index.look_up(digest(number), |found| match found {
            Found::Held(mut held) => held.touch(used),
            _ => panic!("it is not held"),
        });
    }];
    for (number, touch) in (1..).zip(touches) {
        touch(number);
        let unchanged = session(number).1.last_seen_at;
        assert_eq!(index.last_seen_at(digest(number)), Some(unchanged));
    }
    assert_eq!(index.take_touched(usize::MAX).len(), MOST_TOUCHED);
    for (number, touch) in (1..).zip(touches) {
        touch(number);
        assert_eq!(index.last_seen_at(digest(number)), Some(used));
    }
    let taken = index.take_touched(usize::MAX);
    assert_eq!(taken, [(digest(1), used), (digest(2), used)]);
    index.give_back_touched(taken);
    assert_eq!(index.touched(), 2);
    assert_eq!(index.take_touched(1), [(digest(2), used)]);
    assert_eq!(index.take_touched(1), [(digest(1), used)]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Keep(u64),
    Note(u64),
    End(u64),
    Release(u64),
    ReleaseUser(i64),
    DropReleased,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_u64..60;
    prop_oneof![
        6 => number.clone().prop_map(Step::Keep),
        1 => number.clone().prop_map(Step::Note),
        2 => number.clone().prop_map(Step::End),
        1 => number.prop_map(Step::Release),
        1 => (1_i64..6).prop_map(Step::ReleaseUser),
        1 => Just(Step::DropReleased),
    ]
}

proptest! {
    /// It says of each session what was kept of it last, or that it does not know;
    /// and of none that is known that there is none.
    #[test]
    fn it_is_what_the_model_is(steps in proptest::collection::vec(step(), 1..400), most in 0_usize..50) {
        let index = SessionIndex::new(most);
        let generation = index.clear();
        prop_assert_eq!(index.complete(generation), Completion::Complete);
        // Whether details may be held.
        let mut model: HashMap<u64, bool> = HashMap::new();
        let mut suspects = HashSet::new();
        for step in steps {
            match step {
                Step::Keep(number) => {
                    keep(&index, number);
                    let may = !suspects.contains(&session(number).2.id);
                    model.entry(number).and_modify(|held| *held |= may).or_insert(may);
                }
                Step::Note(number) => {
                    index.note(index.begin_reading(), [digest(number)]);
                    model.entry(number).or_insert(false);
                }
                Step::End(number) => {
                    index.end(digest(number));
                    model.remove(&number);
                }
                Step::Release(number) => {
                    index.release(digest(number));
                    model.entry(number).and_modify(|held| *held = false);
                }
                Step::ReleaseUser(user_id) => {
                    index.release_user(UserId(user_id));
                    suspects.insert(UserId(user_id));
                    for (number, held) in &mut model {
                        *held &= session(*number).2.id != UserId(user_id);
                    }
                }
                Step::DropReleased => {
                    index.drop_released();
                    suspects.clear();
                }
            }
            let mut held = 0;
            // One by one, and all at once in some order.
            let order: Vec<u64> = (0..60).map(|number| number * 7 % 60).collect();
            let digests: Vec<SessionDigest> = order.iter().map(|number| digest(*number)).collect();
            let mut all: Vec<Option<Said>> = order.iter().map(|_| None).collect();
            index.look_up_many(&digests, |place, found| {
                assert!(all[place].replace(found.into()).is_none(), "it is said once");
            });
            for (number, said) in order.into_iter().zip(all) {
                let said = said.expect("each is told of");
                prop_assert_eq!(format!("{said:?}"), format!("{:?}", look_up(&index, number)));
                match (said, model.get(&number)) {
                    (Said::Nothing, None) | (Said::Known, Some(_)) => {}
                    (Said::Held(session, owner), Some(true)) => {
                        held += 1;
                        prop_assert_eq!(session.created_at, self::session(number).1.created_at);
                        prop_assert_eq!(owner, self::session(number).2);
                    }
                    (said, model) => prop_assert!(false, "{:?} of {:?}", said, model),
                }
            }
            prop_assert!(held <= most);
        }
    }
}
