//! Password hashing as a resource: what is stored, how it is computed, and how
//! the cores are shared. It knows nothing of users or sessions.

mod admission;
mod calibrate;
mod engine;
mod kernel;
mod purpose;
mod stored;

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;

pub use self::{
    admission::Admission,
    calibrate::{Calibration, CalibrationError},
    engine::{DEFAULT_SHARE, MAX_SHARE, MIN_SHARE},
    purpose::Purpose,
    stored::{
        MAX_COST, MIN_COST, Pepper, PepperScheme, UnreadableHash, Verdict, check, pepper_prefixes,
        peppered,
    },
};
use self::{
    engine::{Demand, Engine, EngineError},
    stored::{Family, NewHash, StoredHash},
};
use crate::{
    deadline::Deadline,
    domain::{HashedPassword, NewPassword, Password},
};

/// How much a hash costs and how long one may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// The bcrypt cost of new hashes, [`MIN_COST`] to [`MAX_COST`].
    pub cost: u32,
    /// How many threads hash, each several at a time: one for each core.
    pub threads: usize,
    /// The longest that a hash may wait to begin, by forecast; twice as long where the
    /// machine slows down meanwhile.
    pub max_wait: Duration,
    /// The least part of the time of these threads' cores that they get while somebody
    /// waits for a hash, in percent: [`MIN_SHARE`] to [`MAX_SHARE`].
    pub share: u8,
}

/// Hashes and verifies passwords on threads of their own. Cheap to clone; all
/// clones share the threads, which end with the last of them.
///
/// Dropping the future of a call ends its work, for bcrypt half way through. A
/// call that could not begin within the longest wait, or not end by its caller's
/// deadline, is refused at once.
#[derive(Clone)]
pub struct Passwords {
    cost: u32,
    engine: Engine,
    decoy: Arc<HashedPassword>,
    pepper: Option<Pepper>,
}

/// Why hashing cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// There are no salts without randomness.
    #[error("no randomness")]
    NoRandomness(#[from] getrandom::Error),
    /// The operating system gives no threads.
    #[error("no threads to hash on")]
    NoThreads(#[from] io::Error),
}

/// Why no answer could be given. None of these says anything about a password.
#[derive(Debug, Error)]
pub enum HashingError {
    /// It could not begin soon enough, or not end by the deadline.
    #[error("no hashing capacity in time")]
    Overloaded {
        /// When there is room for it, if no others come before.
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
    /// Starts the threads, and proves the lanes on each number of hashes at once:
    /// a few milliseconds of work.
    ///
    /// # Errors
    ///
    /// When the operating system gives no randomness or no threads.
    pub fn new(settings: HashingSettings) -> Result<Self, StartError> {
        Ok(Self {
            cost: settings.cost,
            engine: Engine::start(settings.threads, settings.max_wait, settings.share)?,
            decoy: Arc::new(stored::decoy(settings.cost)?),
            pepper: None,
        })
    }

    /// The same, which can also compare with the hashes of a service that had a pepper.
    pub fn with_pepper(self, pepper: Option<Pepper>) -> Self {
        Self { pepper, ..self }
    }

    /// Whether there is a pepper.
    pub fn has_pepper(&self) -> bool {
        self.pepper.is_some()
    }

    /// Asks whether a hash that is wanted now would be let in, which costs about a
    /// microsecond. Whatever a hash needs is looked up after this, so that a refusal
    /// costs nothing else. It reserves nothing: others may take the room meanwhile.
    ///
    /// Only bcrypt is asked. An imported hash in another format is refused along with
    /// everything else while bcrypt keeps the cores busy; where only those other formats
    /// do, that shows when the hash has been read.
    ///
    /// # Errors
    ///
    /// `Overloaded`.
    pub fn admission(
        &self,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Admission, HashingError> {
        let admission = Admission { purpose, deadline };
        self.engine
            .look(kernel::expansions(self.cost), admission.demand())?;
        Ok(admission)
    }

    /// Computes what to store for a new password, at the configured cost.
    ///
    /// # Errors
    ///
    /// [`HashingError`], never `Unreadable`.
    pub async fn hash(
        &self,
        password: NewPassword,
        admission: Admission,
    ) -> Result<HashedPassword, HashingError> {
        self.new_hash(&Password::from(password), admission.demand())
            .await
    }

    /// Computes what to store instead of a hash that was outdated, for a password
    /// that was right, if that can begin at once and costs nobody time. The policy is
    /// not asked: it was not when that was stored.
    ///
    /// # Errors
    ///
    /// [`HashingError`], never `Unreadable`; `Overloaded` unless it can begin at
    /// once.
    pub async fn rehash_if_idle(
        &self,
        password: &Password,
        deadline: Deadline,
    ) -> Result<HashedPassword, HashingError> {
        let demand = Demand {
            purpose: Purpose::Login,
            deadline,
            only_if_idle: true,
        };
        self.new_hash(password, demand).await
    }

    async fn new_hash(
        &self,
        password: &Password,
        demand: Demand,
    ) -> Result<HashedPassword, HashingError> {
        let new = NewHash::of(password.as_bytes(), self.cost);
        let new = new.map_err(HashingError::NoRandomness)?;
        let input = new.input(password.as_bytes());
        let digest = self.engine.bcrypt(input, demand).await?;
        Ok(new.with(&digest))
    }

    /// Whether the password is the one that was stored, and whether it should
    /// be stored anew.
    ///
    /// The work is what the stored hash asks for, never more nor less for the
    /// answer; twice that for a password that is presented in another form than
    /// NFC, since other services hashed what they were given.
    ///
    /// # Errors
    ///
    /// [`HashingError`]; for an unreadable hash, after the work of the
    /// configured cost.
    pub async fn verify(
        &self,
        password: &Password,
        stored: HashedPassword,
        admission: Admission,
    ) -> Result<Verdict, HashingError> {
        let demand = admission.demand();
        match StoredHash::parse(stored.expose(), self.pepper.as_ref()) {
            Ok(stored) => self.verdict(password, &stored, demand).await,
            Err(unreadable) => {
                if let Ok(decoy) = StoredHash::parse(self.decoy.expose(), None) {
                    self.verdict(password, &decoy, demand).await?;
                }
                Err(unreadable.into())
            }
        }
    }

    async fn verdict(
        &self,
        password: &Password,
        stored: &StoredHash,
        demand: Demand,
    ) -> Result<Verdict, HashingError> {
        let in_nfc = self.matches(password.as_bytes(), stored, demand);
        let as_presented = async {
            match password.unnormalized() {
                Some(presented) => self.matches(presented, stored, demand).await,
                None => Ok(false),
            }
        };
        let (in_nfc, as_presented) = tokio::try_join!(in_nfc, as_presented)?;
        Ok(stored.verdict(password, self.cost, in_nfc, as_presented))
    }

    async fn matches(
        &self,
        password: &[u8],
        stored: &StoredHash,
        demand: Demand,
    ) -> Result<bool, HashingError> {
        let password = stored.mixed(password);
        match &stored.family {
            Family::Bcrypt(hash) => {
                let digest = self.engine.bcrypt(hash.input(&password), demand).await?;
                Ok(hash.matches(&password, &digest))
            }
            Family::Foreign(hash) => {
                let hash = Arc::clone(hash);
                let compare = move || hash.matches(&password);
                Ok(self.engine.whole(compare, demand).await?)
            }
        }
    }

    /// A stored hash of the configured cost that belongs to nobody: verifying
    /// against it takes the time of a real one.
    pub fn decoy(&self) -> HashedPassword {
        HashedPassword::clone(&self.decoy)
    }
}

impl From<EngineError> for HashingError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            EngineError::Broken => Self::Broken,
        }
    }
}

/// Held by tests that need the cores for themselves, or take them all.
#[cfg(test)]
static ALL_CORES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Email, PasswordPolicy};

    fn passwords() -> Passwords {
        Passwords::new(HashingSettings {
            cost: MIN_COST,
            threads: 2,
            max_wait: Duration::from_secs(5),
            share: DEFAULT_SHARE,
        })
        .unwrap()
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    async fn hash(passwords: &Passwords, text: &str) -> HashedPassword {
        let admission = passwords.admission(Purpose::Registration, soon()).unwrap();
        passwords.hash(chosen(text), admission).await.unwrap()
    }

    async fn verify(
        passwords: &Passwords,
        password: &Password,
        stored: HashedPassword,
    ) -> Result<Verdict, HashingError> {
        let admission = passwords.admission(Purpose::Login, soon())?;
        passwords.verify(password, stored, admission).await
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
            let stored = hash(&passwords, &text).await;
            let mut last_flipped = "p".repeat(length - 1);
            last_flipped.push('q');
            for (presented, expected) in [
                (text.clone(), Verdict::Right),
                (last_flipped, Verdict::Wrong),
                (text.to_uppercase(), Verdict::Wrong),
                (format!("{text} "), Verdict::Wrong),
                (format!("{text}\0"), Verdict::Wrong),
                (format!("{text}\0{text}"), Verdict::Wrong),
                (String::new(), Verdict::Wrong),
            ] {
                let presented = Password::new(presented);
                let verdict = verify(&passwords, &presented, stored.clone()).await;
                assert_eq!(verdict.unwrap(), expected, "length {length}");
            }
        }
    }

    #[tokio::test]
    async fn the_same_password_is_stored_differently_each_time() {
        let passwords = passwords();
        let first = hash(&passwords, "correct horse").await;
        let second = hash(&passwords, "correct horse").await;
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn damaged_and_ruinous_hashes_are_refused_in_the_time_of_a_good_one() {
        let passwords = passwords();
        let good = hash(&passwords, "correct horse").await;
        let (head, tail) = good.expose().split_at(4);
        let ruinous = format!("{head}31{}", &tail[2..]);
        for stored in [ruinous, "".into(), "plain".into(), "\u{E9}".repeat(30)] {
            assert!(check(&stored).is_err());
            let password = Password::new("correct horse".into());
            let verdict = verify(&passwords, &password, HashedPassword::new(stored)).await;
            assert!(matches!(verdict, Err(HashingError::Unreadable(_))));
        }
    }

    #[tokio::test]
    async fn an_outdated_hash_is_replaced_by_one_that_is_not() {
        let passwords = passwords();
        for text in ["correct horse", "", "cafe\u{301}", &"long".repeat(300)] {
            let password = Password::new(text.into());
            let salt = "$5o0W4ZK1ZTm0CKQh$";
            let mut digest = [0; 32];
            pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
                text.as_bytes(),
                salt.trim_matches('$').as_bytes(),
                1,
                &mut digest,
            );
            let mut digits = [0; 64];
            let digits = base16ct::lower::encode_str(&digest, &mut digits).unwrap();
            let foreign = format!("pbkdf2:sha256:1{salt}{digits}");
            assert_eq!(check(&foreign), Ok(()));
            let verdict = verify(&passwords, &password, HashedPassword::new(foreign));
            assert_eq!(verdict.await.unwrap(), Verdict::Outdated, "{text}");

            let replaced = passwords.rehash_if_idle(&password, soon()).await.unwrap();
            assert_eq!(check(replaced.expose()), Ok(()));
            let verdict = verify(&passwords, &password, replaced);
            assert_eq!(verdict.await.unwrap(), Verdict::Right, "{text}");
        }
    }

    #[tokio::test]
    async fn the_decoy_is_readable_and_nobodys() {
        let passwords = passwords();
        let password = Password::new("anything".into());
        let verdict = verify(&passwords, &password, passwords.decoy()).await;
        assert!(matches!(verdict, Ok(Verdict::Wrong)));
    }
}
