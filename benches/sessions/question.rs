//! What the server is asked, and what it has to answer.

use std::ops::Range;

use crate::ids::{Dice, LENGTH, session_id};

pub const CHECK: &str = "/bienvenue.v1.AuthService/GetUserBySession";
pub const BATCH_CHECK: &str = "/bienvenue.v1.AuthService/BatchGetUserBySession";
pub const LOGOUT: &str = "/bienvenue.v1.AuthService/Logout";

/// The most sessions of a batch.
pub const BATCH: usize = 256;

/// gRPC's OK and UNAUTHENTICATED.
pub const OK: u8 = 0;
pub const UNAUTHENTICATED: u8 = 16;

/// The least that an answer about one session has: its user and itself. In a batch
/// an error is shorter.
const LEAST: u64 = 160;

/// A kind of call.
#[derive(Clone)]
pub enum Question {
    /// Whose session is one of these, picked at random?
    Check(Range<u64>),
    /// Whose sessions are these 256 of them?
    BatchCheck(Range<u64>),
    /// Whose session is one that nobody was given?
    Forged,
}

impl Question {
    pub fn path(&self) -> &'static str {
        match self {
            Self::Check(_) | Self::Forged => CHECK,
            Self::BatchCheck(_) => BATCH_CHECK,
        }
    }

    /// How many sessions one call is about.
    pub fn sessions(&self) -> usize {
        match self {
            Self::Check(_) | Self::Forged => 1,
            Self::BatchCheck(_) => BATCH,
        }
    }

    /// How each call has to end.
    pub fn status(&self) -> u8 {
        match self {
            Self::Check(_) | Self::BatchCheck(_) => OK,
            Self::Forged => UNAUTHENTICATED,
        }
    }

    /// How many bytes of messages each answer has at least.
    pub fn least_bytes(&self) -> u64 {
        match self {
            Self::Check(_) | Self::BatchCheck(_) => LEAST * self.sessions() as u64,
            Self::Forged => 0,
        }
    }

    /// Writes the next message.
    pub fn write(&self, message: &mut Vec<u8>, dice: &mut Dice) {
        message.clear();
        for _ in 0..self.sessions() {
            let id = match self {
                Self::Check(numbers) | Self::BatchCheck(numbers) => {
                    session_id(numbers.start + dice.below(numbers.end - numbers.start))
                }
                Self::Forged => dice.forged(),
            };
            add(message, &id);
        }
    }
}

/// A message about one session: a check, or a logout.
pub fn about(session_id: &[u8; LENGTH]) -> Vec<u8> {
    let mut message = Vec::new();
    add(&mut message, session_id);
    message
}

/// The first field of each of these messages, which is a string.
fn add(message: &mut Vec<u8>, session_id: &[u8; LENGTH]) {
    message.extend_from_slice(&[0x0A, LENGTH as u8]);
    message.extend_from_slice(session_id);
}
