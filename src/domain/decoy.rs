//! The sample of users whose stored hashes serve as decoys for unknown e-mails.
//!
//! Each slot holds one user, drawn with equal probability from all users and independently
//! of other slots. The share of slots with a certain kind of hash is therefore the share of
//! users with that kind, with a standard deviation of at most 0.8 % (for 4,096 slots). A
//! kind that one user in 1,000 has is missing from the sample in 2 % of databases, a kind
//! that one in 500 has in 0.03 %.
//!
//! The sample changes as little as possible. When `n` users have grown to `n + k`, a slot
//! is assigned to a new user with probability `k / (n + k)` and otherwise keeps its user
//! (reservoir sampling, with one reservoir of size one for each slot). So the e-mail of a
//! slot gets another kind of decoy in two cases only: its user's hash was replaced, as a
//! known e-mail's hash is at a login; or the slot was reassigned after many registrations.

use super::UserId;

/// A slot of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DecoySlot(u16);

impl DecoySlot {
    /// The number of slots. It is a power of two, so that all slots are equally likely.
    pub const COUNT: u16 = 4_096;

    /// The slot for a uniformly distributed number.
    pub fn from_random(number: u64) -> Self {
        Self((number % u64::from(Self::COUNT)) as u16)
    }

    /// All slots, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its index.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The slots to assign to new users, when `considered` users were sampled before. Without
/// new users no slot is reassigned.
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
    // A number among all users, of which the first are the new ones.
    Ok(drawn
        .filter_map(|(slot, number)| Some((slot, *newcomers.get(number)?)))
        .collect())
}

/// The users for slots whose user was removed. They are drawn from the sample, which stands
/// for all users.
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

/// A uniformly distributed number below `end` for each slot.
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

    /// The bounds are six standard deviations wide, so chance exceeds them once in millions
    /// of runs.
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
