//! Password hashing as a resource: what is stored, how it is computed, and how
//! the cores are shared. It knows nothing of users or sessions.

mod kernel;
mod queue;
mod stored;

use std::{sync::Arc, time::Duration};

use thiserror::Error;

pub use self::stored::{MAX_COST, MIN_COST, UnreadableHash};
use self::{
    queue::{Queue, QueueError},
    stored::StoredHash,
};
use crate::domain::{HashedPassword, NewPassword, Password};

/// How much a hash costs and how many may go on.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// The bcrypt cost of new hashes, [`MIN_COST`] to [`MAX_COST`].
    pub cost: u32,
    /// How many hashes are computed at once.
    pub threads: usize,
    /// How many more may wait for their turn.
    pub queue: usize,
    /// The longest that one waits for its turn.
    pub max_wait: Duration,
}

/// Hashes and verifies passwords on threads of their own, a bounded number at
/// once. Cheap to clone; all clones share the bounds.
///
/// A caller that stops waiting gives up its place in the queue.
#[derive(Clone)]
pub struct Passwords {
    cost: u32,
    queue: Queue,
    decoy: Arc<HashedPassword>,
}

/// Why no answer could be given. None of these says anything about a password.
#[derive(Debug, Error)]
pub enum HashingError {
    /// The queue is full, or the wait in it was too long.
    #[error("no hashing capacity in time")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The stored hash cannot be read, or asks for more work than is allowed.
    /// As much work was done as for a readable one.
    #[error("a stored hash is refused")]
    Unreadable(#[from] UnreadableHash),
    /// The operating system gave no randomness for a salt.
    #[error("no randomness")]
    NoRandomness(#[source] getrandom::Error),
    /// The computation panicked.
    #[error("a hashing job did not finish")]
    Broken,
}

impl Passwords {
    /// Starts with an empty queue.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness.
    pub fn new(settings: HashingSettings) -> Result<Self, getrandom::Error> {
        Ok(Self {
            cost: settings.cost,
            queue: Queue::new(settings.threads, settings.queue, settings.max_wait),
            decoy: Arc::new(stored::decoy(settings.cost)?),
        })
    }

    /// Computes what to store for a new password, at the configured cost.
    ///
    /// # Errors
    ///
    /// [`HashingError`], never `Unreadable`.
    pub async fn hash(&self, password: NewPassword) -> Result<HashedPassword, HashingError> {
        let cost = self.cost;
        self.queue
            .run(move || stored::hash(password.as_bytes(), cost))
            .await?
            .map_err(HashingError::NoRandomness)
    }

    /// Whether the password is the one that was stored. The work depends on
    /// the stored hash's cost alone, never on the password or the answer.
    ///
    /// # Errors
    ///
    /// [`HashingError`]; for an unreadable hash, after the work of the
    /// configured cost.
    pub async fn verify(
        &self,
        password: Password,
        stored: HashedPassword,
    ) -> Result<bool, HashingError> {
        let parsed = StoredHash::parse(stored.expose());
        let decoy = Arc::clone(&self.decoy);
        self.queue
            .run(move || match parsed {
                Ok(stored) => Ok(stored.matches(password.as_bytes())),
                Err(unreadable) => {
                    if let Ok(decoy) = StoredHash::parse(decoy.expose()) {
                        decoy.matches(password.as_bytes());
                    }
                    Err(unreadable.into())
                }
            })
            .await?
    }

    /// A stored hash of the configured cost that belongs to nobody: verifying
    /// against it takes the time of a real one.
    pub fn decoy(&self) -> HashedPassword {
        HashedPassword::clone(&self.decoy)
    }
}

impl From<QueueError> for HashingError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            QueueError::Panicked => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Email, PasswordPolicy};

    fn passwords() -> Passwords {
        Passwords::new(HashingSettings {
            cost: MIN_COST,
            threads: 2,
            queue: 8,
            max_wait: Duration::from_secs(5),
        })
        .unwrap()
    }

    fn chosen(text: &str) -> NewPassword {
        let email = Email::parse("ada@example.com").unwrap();
        PasswordPolicy { min_length: 1 }
            .admit(text.to_owned(), &email)
            .unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_no_other() {
        let passwords = passwords();
        for length in [1, 71, 72, 73, 128, 1_024] {
            let text = "p".repeat(length);
            let stored = passwords.hash(chosen(&text)).await.unwrap();
            let mut last_flipped = "p".repeat(length - 1);
            last_flipped.push('q');
            for (presented, expected) in [
                (text.clone(), true),
                (last_flipped, false),
                (text.to_uppercase(), false),
                (format!("{text} "), false),
                (format!("{text}\0"), false),
                (format!("{text}\0{text}"), false),
                (String::new(), false),
            ] {
                let verdict = passwords
                    .verify(Password::new(presented), stored.clone())
                    .await
                    .unwrap();
                assert_eq!(verdict, expected, "length {length}");
            }
        }
    }

    #[tokio::test]
    async fn the_same_password_is_stored_differently_each_time() {
        let passwords = passwords();
        let first = passwords.hash(chosen("correct horse")).await.unwrap();
        let second = passwords.hash(chosen("correct horse")).await.unwrap();
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn damaged_and_ruinous_hashes_are_refused_in_the_time_of_a_good_one() {
        let passwords = passwords();
        let good = passwords.hash(chosen("correct horse")).await.unwrap();
        let (head, tail) = good.expose().split_at(4);
        let ruinous = format!("{head}31{}", &tail[2..]);
        for stored in [ruinous, "".into(), "plain".into(), "\u{E9}".repeat(30)] {
            let verdict = passwords
                .verify(
                    Password::new("correct horse".into()),
                    HashedPassword::new(stored),
                )
                .await;
            assert!(matches!(verdict, Err(HashingError::Unreadable(_))));
        }
    }

    #[tokio::test]
    async fn the_decoy_is_readable_and_nobodys() {
        let passwords = passwords();
        let verdict = passwords
            .verify(Password::new("anything".into()), passwords.decoy())
            .await;
        assert!(matches!(verdict, Ok(false)));
    }
}
