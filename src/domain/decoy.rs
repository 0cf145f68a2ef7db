//! The sample of users whose stored hashes stand in for those of unknown e-mails.
//!
//! Each slot holds one user, drawn with equal probability from all users, each slot
//! independently of the others. The share of slots with a certain kind of hash is
//! therefore the share of users who have it, give or take its standard deviation of at
//! most 0.8 % (for 4,096 slots). A kind that one user in a thousand has is missing from
//! the sample in 2 % of databases, one that one in 500 has in 0.03 %.
//!
//! The sample moves no more than that takes. When `n` users have grown to `n + k`, a slot
//! is given to one of the newcomers with probability `k / (n + k)`, and otherwise keeps
//! its user (reservoir sampling, one reservoir of size one for each slot). So the e-mail
//! of a slot gets another kind of decoy in two cases only: its user's hash was replaced,
//! as a known e-mail's hash is at a login; or so many people have registered that the
//! slot was given away.

use super::UserId;

/// One place in the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecoySlot(u16);

impl DecoySlot {
    /// How many slots there are: a power of two, so that no slot is more likely than
    /// another.
    pub const COUNT: u16 = 4_096;

    /// The slot for a number that is uniformly distributed.
    pub fn from_random(number: u64) -> Self {
        Self((number % u64::from(Self::COUNT)) as u16)
    }

    /// All slots, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// Which slots are given to which of some newcomers, when `considered` users have been
/// sampled before them. Nothing is given away where there are no newcomers.
///
/// # Errors
///
/// When the operating system gives no randomness.
pub fn give_slots(
    considered: u64,
    newcomers: &[UserId],
) -> Result<Vec<(DecoySlot, UserId)>, getrandom::Error> {
    let users = considered.saturating_add(newcomers.len() as u64);
    let drawn = DecoySlot::all().zip(random_below(users)?);
    // A number among all users: the first of them are the newcomers.
    Ok(drawn
        .filter_map(|(slot, number)| Some((slot, *newcomers.get(number)?)))
        .collect())
}

/// Which users take the slots that have lost theirs: some of those who are in the
/// sample, since they are a sample of all users too.
///
/// # Errors
///
/// When the operating system gives no randomness.
pub fn refill_slots(
    empty: &[DecoySlot],
    sampled: &[UserId],
) -> Result<Vec<(DecoySlot, UserId)>, getrandom::Error> {
    let drawn = empty.iter().zip(random_below(sampled.len() as u64)?);
    Ok(drawn
        .filter_map(|(slot, number)| Some((*slot, *sampled.get(number)?)))
        .collect())
}

/// A number below `end` for each slot, each of them equally likely.
fn random_below(end: u64) -> Result<impl Iterator<Item = usize>, getrandom::Error> {
    let mut bytes = vec![0; usize::from(DecoySlot::COUNT) * 8];
    getrandom::fill(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().copied().map(u64::from_le_bytes).collect();
    Ok(numbers.into_iter().map(move |number| {
        let share = (u128::from(number) * u128::from(end)) >> 64;
        usize::try_from(share).unwrap_or(usize::MAX)
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn users(ids: std::ops::Range<i64>) -> Vec<UserId> {
        ids.map(UserId).collect()
    }

    /// Chance alone is beyond any of these bounds once in millions of runs: they are six
    /// standard deviations wide.
    #[test]
    fn every_user_has_the_same_share_of_the_slots() {
        let mut sample: HashMap<DecoySlot, UserId> = HashMap::new();
        let mut considered = 0;
        for newcomers in [users(0..1), users(1..4), users(4..4), users(4..8)] {
            let before = sample.clone();
            let given = give_slots(considered, &newcomers).unwrap();
            let moved = given.len() as f64;
            sample.extend(given);
            considered += newcomers.len() as u64;
            let slots = f64::from(DecoySlot::COUNT);
            let share = newcomers.len() as f64 / considered as f64;
            let deviation = (slots * share * (1.0 - share)).sqrt();
            assert!(
                (moved - slots * share).abs() <= 6.0 * deviation,
                "{moved} moved"
            );
            let kept = before.iter().filter(|(slot, user)| sample[slot] == **user);
            assert_eq!(
                kept.count(),
                before.len() - if before.is_empty() { 0 } else { moved as usize }
            );
        }
        assert_eq!(sample.len(), usize::from(DecoySlot::COUNT));
        let mut slots: HashMap<UserId, u32> = HashMap::new();
        for user in sample.into_values() {
            *slots.entry(user).or_default() += 1;
        }
        assert_eq!(slots.len(), 8);
        // 512 each, and a standard deviation of 21.
        assert!(
            slots.values().all(|slots| (385..640).contains(slots)),
            "{slots:?}"
        );
    }

    #[test]
    fn lost_slots_go_to_users_of_the_sample() {
        let empty: Vec<_> = DecoySlot::all().take(100).collect();
        let given = refill_slots(&empty, &users(7..9)).unwrap();
        assert_eq!(given.len(), 100);
        for user in users(7..9) {
            let slots = given.iter().filter(|(_, given)| *given == user).count();
            assert!((20..=80).contains(&slots), "{slots}");
        }
        assert!(refill_slots(&empty, &[]).unwrap().is_empty());
        assert!(give_slots(0, &[]).unwrap().is_empty());
    }
}
