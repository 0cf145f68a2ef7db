//! Password hashing: the formats of stored hashes, the limits on their cost, and the engine
//! of `bcrypt-lanes` that computes them. This module does not know users or sessions.

mod admission;
mod calibrate;
mod purpose;
mod stored;

use std::{io, sync::Arc, time::Duration};

pub use bcrypt_lanes::{DEFAULT_SHARE, MAX_SHARE, MIN_SHARE};
use bcrypt_lanes::{Engine, EngineConfig, EngineError, JobOptions};
use thiserror::Error;

use self::stored::{Family, NewHash, StoredHash};
pub use self::{
    admission::Admission,
    calibrate::{Calibration, CalibrationError},
    purpose::Purpose,
    stored::{
        MAX_COST, MIN_COST, Pepper, PepperScheme, UnreadableHash, Verdict, check, pepper_prefixes,
        peppered,
    },
};
use crate::{
    deadline::{Deadline, Source},
    domain::{HashedPassword, NewPassword, Password},
};

/// The cost of new hashes, and the resources for computing hashes.
#[derive(Clone, Copy, Debug)]
pub struct HashingSettings {
    /// The bcrypt cost of new hashes, [`MIN_COST`] to [`MAX_COST`].
    pub cost: u32,
    /// The number of hashing threads, usually one for each core. Each computes several
    /// hashes at a time.
    pub threads: usize,
    /// The base of both limits on the wait until a hash begins. A hash is admitted if its
    /// estimated wait is at most three quarters of this, and refused later only if its wait
    /// exceeds twice this value.
    pub max_wait: Duration,
    /// The guaranteed share of the threads' cores while hashes wait, in percent:
    /// [`MIN_SHARE`] to [`MAX_SHARE`].
    pub share: u8,
}

/// Hashes and verifies passwords on dedicated threads. Cheap to clone; all clones share the
/// threads, which end when the last clone is dropped.
///
/// Dropping the future of a call cancels its work; hashes other than bcrypt run to their
/// end once begun. A call that could not begin within the longest wait, or not end before
/// its deadline, is refused at once.
#[derive(Clone)]
pub struct Passwords {
    cost: u32,
    engine: Engine<Source>,
    decoy: Arc<HashedPassword>,
    pepper: Option<Pepper>,
}

/// The reason for which hashing cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The operating system provided no randomness for salts.
    #[error("no randomness")]
    NoRandomness(#[from] getrandom::Error),
    /// The operating system refused a thread.
    #[error("no threads to hash on")]
    NoThreads(#[from] io::Error),
}

/// The reason for a missing result. None of the variants says anything about the password.
#[derive(Debug, Error)]
pub enum HashingError {
    /// The hash could not begin soon enough, or not end before the deadline.
    #[error("no hashing capacity in time")]
    Overloaded {
        /// The time after which a retry is expected to be admitted.
        retry_after: Duration,
    },
    /// The stored hash cannot be read, or its cost exceeds the limits. The call took the
    /// time of a readable hash.
    #[error("a stored hash is refused")]
    Unreadable(#[from] UnreadableHash),
    /// The operating system provided no randomness for a salt.
    #[error("no randomness")]
    NoRandomness(#[source] getrandom::Error),
    /// The computation panicked.
    #[error("a hashing job did not finish")]
    Panicked,
}

impl Passwords {
    /// Proves the lanes, which takes a few milliseconds, and starts the threads.
    ///
    /// # Errors
    ///
    /// If the operating system provides no randomness or no threads.
    pub fn new(settings: HashingSettings) -> Result<Self, StartError> {
        Ok(Self {
            cost: settings.cost,
            engine: Engine::start(EngineConfig {
                threads: settings.threads,
                max_wait: settings.max_wait,
                share: settings.share,
                class_weights: Purpose::WEIGHTS.to_vec(),
            })?,
            decoy: Arc::new(stored::decoy(settings.cost)?),
            pepper: None,
        })
    }

    /// Sets the pepper for the hashes of a service that used one.
    pub fn with_pepper(self, pepper: Option<Pepper>) -> Self {
        Self { pepper, ..self }
    }

    /// Whether a pepper is set.
    pub fn has_pepper(&self) -> bool {
        self.pepper.is_some()
    }

    /// Checks whether a hash would be admitted now, which takes about a microsecond. Use
    /// cases read the database after this, so that a refusal costs nothing else. Reserves
    /// nothing: other calls may take the room meanwhile.
    ///
    /// Only the load by bcrypt is checked. Imported hashes in other formats are refused as
    /// well while bcrypt keeps the cores busy; the load by those formats is checked once
    /// the hash has been read.
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
            .check_admission(self.cost, admission.job_options())?;
        Ok(admission)
    }

    /// Computes the hash to store for a new password, at the configured cost.
    ///
    /// # Errors
    ///
    /// [`HashingError`], never `Unreadable`.
    pub async fn hash(
        &self,
        password: NewPassword,
        admission: Admission,
    ) -> Result<HashedPassword, HashingError> {
        self.new_hash(&Password::from(password), admission.job_options())
            .await
    }

    /// Computes a replacement for an outdated hash of a verified password, if that can
    /// begin at once without slowing other hashes down. The password policy does not apply,
    /// since the password is not a new one.
    ///
    /// # Errors
    ///
    /// [`HashingError`], never `Unreadable`; `Overloaded` unless it can begin at once.
    pub async fn rehash_if_idle(
        &self,
        password: &Password,
        deadline: Deadline,
    ) -> Result<HashedPassword, HashingError> {
        let options = JobOptions {
            only_if_idle: true,
            ..admission::job_options(Purpose::Login, deadline)
        };
        self.new_hash(password, options).await
    }

    async fn new_hash(
        &self,
        password: &Password,
        options: JobOptions<Source>,
    ) -> Result<HashedPassword, HashingError> {
        let new = NewHash::of(password.as_bytes(), self.cost);
        let new = new.map_err(HashingError::NoRandomness)?;
        let input = new.input(password.as_bytes());
        let digest = self.engine.bcrypt(input, options).await?;
        Ok(new.with(&digest))
    }

    /// Compares a password with a stored hash, and determines whether the hash should be
    /// replaced.
    ///
    /// The work depends on the stored hash and not on the result. It doubles for a password
    /// presented in another form than NFC, since other services may have hashed that form.
    ///
    /// # Errors
    ///
    /// [`HashingError`]; for an unreadable hash, after the work of the configured cost.
    pub async fn verify(
        &self,
        password: &Password,
        stored: HashedPassword,
        admission: Admission,
    ) -> Result<Verdict, HashingError> {
        let options = admission.job_options();
        match StoredHash::parse(stored.expose(), self.pepper.as_ref()) {
            Ok(stored) => self.verdict(password, &stored, options).await,
            Err(unreadable) => {
                if let Ok(decoy) = StoredHash::parse(self.decoy.expose(), None) {
                    self.verdict(password, &decoy, options).await?;
                }
                Err(unreadable.into())
            }
        }
    }

    async fn verdict(
        &self,
        password: &Password,
        stored: &StoredHash,
        options: JobOptions<Source>,
    ) -> Result<Verdict, HashingError> {
        let in_nfc = self.matches(password.as_bytes(), stored, options);
        let as_presented = async {
            match password.unnormalized() {
                Some(presented) => self.matches(presented, stored, options).await,
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
        options: JobOptions<Source>,
    ) -> Result<bool, HashingError> {
        let password = stored.with_pepper(password);
        match &stored.family {
            Family::Bcrypt(hash) => {
                let digest = self.engine.bcrypt(hash.input(&password), options).await?;
                Ok(hash.matches(&password, &digest))
            }
            Family::Foreign(hash) => {
                let hash = Arc::clone(hash);
                let compare = move || hash.matches(&password);
                Ok(self.engine.run(compare, options).await?)
            }
        }
    }

    /// A stored hash of the configured cost without a known password. Verifying a password
    /// against it takes the time of a real hash.
    pub fn decoy(&self) -> HashedPassword {
        HashedPassword::clone(&self.decoy)
    }
}

impl From<EngineError> for HashingError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Overloaded { retry_after } => Self::Overloaded { retry_after },
            EngineError::Panicked => Self::Panicked,
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
            max_wait: Duration::from_secs(5),
            share: DEFAULT_SHARE,
        })
        .unwrap()
    }

    fn later() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    async fn hash(passwords: &Passwords, text: &str) -> HashedPassword {
        let admission = passwords.admission(Purpose::Registration, later()).unwrap();
        passwords.hash(chosen(text), admission).await.unwrap()
    }

    async fn verify(
        passwords: &Passwords,
        password: &Password,
        stored: HashedPassword,
    ) -> Result<Verdict, HashingError> {
        let admission = passwords.admission(Purpose::Login, later())?;
        passwords.verify(password, stored, admission).await
    }

    fn chosen(text: &str) -> NewPassword {
        let email = Email::parse("ada@example.com").unwrap();
        PasswordPolicy { min_length: 1 }
            .admit(text.to_owned(), &email)
            .unwrap()
    }

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
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
    async fn each_hash_of_a_password_is_different() {
        let passwords = passwords();
        let first = hash(&passwords, "correct horse").await;
        let second = hash(&passwords, "correct horse").await;
        assert_ne!(first, second);
    }

    #[tokio::test]
    async fn damaged_and_too_costly_hashes_are_refused() {
        let passwords = passwords();
        let good = hash(&passwords, "correct horse").await;
        let (head, tail) = good.expose().split_at(4);
        let too_costly = format!("{head}31{}", &tail[2..]);
        for stored in [too_costly, "".into(), "plain".into(), "\u{E9}".repeat(30)] {
            assert!(check(&stored).is_err());
            let password = Password::new("correct horse".into());
            let verdict = verify(&passwords, &password, HashedPassword::new(stored)).await;
            assert!(matches!(verdict, Err(HashingError::Unreadable(_))));
        }
    }

    #[tokio::test]
    async fn an_outdated_hash_is_replaced_by_a_current_one() {
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

            let replacement = passwords.rehash_if_idle(&password, later()).await.unwrap();
            assert_eq!(check(replacement.expose()), Ok(()));
            let verdict = verify(&passwords, &password, replacement);
            assert_eq!(verdict.await.unwrap(), Verdict::Right, "{text}");
        }
    }

    #[tokio::test]
    async fn the_decoy_is_readable_and_matches_no_password() {
        let passwords = passwords();
        let password = Password::new("anything".into());
        let verdict = verify(&passwords, &password, passwords.decoy()).await;
        assert!(matches!(verdict, Ok(Verdict::Wrong)));
    }
}
