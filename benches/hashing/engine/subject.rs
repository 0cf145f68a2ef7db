//! What is measured: `Passwords` on one thread, and stored hashes to verify.

use std::time::Duration;

use bienvenue::{
    deadline::Deadline,
    domain::{HashedPassword, Password},
    passwords::{DEFAULT_SHARE, HashingSettings, Passwords, Purpose, Verdict},
};

/// Longer than any wait here.
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Subject {
    passwords: Passwords,
    /// One for each caller: nothing is gained by hashing the same twice.
    stored: Vec<(Password, HashedPassword)>,
}

impl Subject {
    pub fn new(cost: u32, callers: u32) -> Self {
        let settings = HashingSettings {
            cost,
            threads: 1,
            max_wait: PATIENCE,
            share: DEFAULT_SHARE,
        };
        let stored = (0..callers).map(|number| {
            let text = format!("correct horse {number}");
            let hash = bcrypt::hash(&text, cost).expect("a hash");
            (Password::new(text), HashedPassword::new(hash))
        });
        Self {
            passwords: Passwords::new(settings).expect("an engine"),
            stored: stored.collect(),
        }
    }

    pub fn caller(&self, number: u32) -> Caller {
        let (password, hash) = &self.stored[number as usize];
        Caller {
            passwords: self.passwords.clone(),
            password: password.clone(),
            hash: hash.clone(),
        }
    }
}

/// Somebody who logs in again and again.
pub struct Caller {
    passwords: Passwords,
    password: Password,
    hash: HashedPassword,
}

impl Caller {
    /// One bcrypt.
    pub async fn verify(&self) {
        let deadline = Deadline::after(PATIENCE);
        let admission = self.passwords.admission(Purpose::Login, deadline);
        let admission = admission.expect("room for one more");
        let verdict = self
            .passwords
            .verify(&self.password, self.hash.clone(), admission);
        assert_eq!(verdict.await.expect("a verdict"), Verdict::Right);
    }
}
