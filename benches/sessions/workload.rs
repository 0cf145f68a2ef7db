//! The requests, and the expected replies.

use std::ops::Range;

use crate::ids::{LENGTH, Random, session_id};

pub const CHECK: &str = "/bienvenue.v1.AuthService/GetUserBySession";
pub const BATCH_CHECK: &str = "/bienvenue.v1.AuthService/BatchGetUserBySession";
pub const LOGOUT: &str = "/bienvenue.v1.AuthService/Logout";

/// The sessions in a batch, the maximum.
pub const BATCH: usize = 256;

/// gRPC's OK and UNAUTHENTICATED.
pub const OK: u8 = 0;
pub const UNAUTHENTICATED: u8 = 16;

/// The minimal size of a reply with a session and its user. Errors in a batch are shorter.
const LEAST: u64 = 160;

/// A kind of call.
#[derive(Clone)]
pub enum Workload {
    /// Checks one of these sessions, picked at random.
    Check(Range<u64>),
    /// Checks 256 of them in one call.
    BatchCheck(Range<u64>),
    /// Checks an unknown session id.
    Unknown,
}

impl Workload {
    pub fn path(&self) -> &'static str {
        match self {
            Self::Check(_) | Self::Unknown => CHECK,
            Self::BatchCheck(_) => BATCH_CHECK,
        }
    }

    /// The number of sessions in one call.
    pub fn sessions(&self) -> usize {
        match self {
            Self::Check(_) | Self::Unknown => 1,
            Self::BatchCheck(_) => BATCH,
        }
    }

    /// The expected status of each call.
    pub fn status(&self) -> u8 {
        match self {
            Self::Check(_) | Self::BatchCheck(_) => OK,
            Self::Unknown => UNAUTHENTICATED,
        }
    }

    /// The minimal number of message bytes in each reply.
    pub fn least_bytes(&self) -> u64 {
        match self {
            Self::Check(_) | Self::BatchCheck(_) => LEAST * self.sessions() as u64,
            Self::Unknown => 0,
        }
    }

    /// Writes the next message.
    pub fn write(&self, message: &mut Vec<u8>, random: &mut Random) {
        message.clear();
        for _ in 0..self.sessions() {
            let id = match self {
                Self::Check(numbers) | Self::BatchCheck(numbers) => {
                    session_id(numbers.start + random.below(numbers.end - numbers.start))
                }
                Self::Unknown => random.unknown(),
            };
            add(message, &id);
        }
    }
}

/// A request with one session id: a check, or a logout.
pub fn about(session_id: &[u8; LENGTH]) -> Vec<u8> {
    let mut message = Vec::new();
    add(&mut message, session_id);
    message
}

/// Adds the first field, a string in all of these messages.
fn add(message: &mut Vec<u8>, session_id: &[u8; LENGTH]) {
    message.extend_from_slice(&[0x0A, LENGTH as u8]);
    message.extend_from_slice(session_id);
}
