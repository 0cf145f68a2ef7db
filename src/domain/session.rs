//! Sessions and their limits.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CredentialVersion, SessionPosition, UserId, one_line::is_unseen};

/// The upper limit of the step in which `last_seen_at` moves.
const MAX_LAST_SEEN_STEP: Duration = Duration::from_secs(900);

/// The largest difference between two right clocks. A time further in the future was
/// written under a wrong clock, or this machine's clock is wrong.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The length of the longest stored user agent, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;

/// Names a session in lists and logs. Unlike the `session_id` it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionHandle(Uuid);

impl SessionHandle {
    /// A new random handle.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// Writes the hyphenated form into a buffer.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Parses the hyphenated form; `None` for any other.
    pub fn parse(text: &str) -> Option<Self> {
        let uuid = Uuid::try_parse(text).ok()?;
        (uuid.hyphenated().to_string() == text).then_some(Self(uuid))
    }
}

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The client that opened a session.
#[derive(Clone, Debug)]
pub struct Client {
    user_agent: Arc<str>,
    ip: IpAddr,
}

impl Client {
    /// Keeps the visible part of the user agent, at most 256 bytes.
    pub fn new(user_agent: &str, ip: IpAddr) -> Self {
        let mut user_agent: String = user_agent.chars().filter(|c| !is_unseen(*c)).collect();
        user_agent.truncate(user_agent.floor_char_boundary(MAX_USER_AGENT_BYTES));
        Self::from_stored(user_agent.into(), ip.to_canonical())
    }

    /// Restores a stored [`user_agent`](Self::user_agent) and [`ip`](Self::ip).
    pub fn from_stored(user_agent: Arc<str>, ip: IpAddr) -> Self {
        Self { user_agent, ip }
    }

    /// The user agent; empty if the client sent none.
    pub fn user_agent(&self) -> &Arc<str> {
        &self.user_agent
    }

    /// The IP address; never an IPv4-mapped IPv6 address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// A stored session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its public name.
    pub handle: SessionHandle,
    /// The user of the session.
    pub user_id: UserId,
    /// The user's credential version when the password was checked.
    pub credential_version: CredentialVersion,
    /// When the login took place.
    pub created_at: DateTime<Utc>,
    /// When it was last checked, to within [`SessionLimits::last_seen_step`].
    pub last_seen_at: DateTime<Utc>,
    /// The client that logged in.
    pub client: Client,
}

/// The limits on the life of sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// The longest time without a check.
    pub idle: Duration,
    /// The longest time since the login.
    pub absolute: Duration,
}

/// The times that the limits depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// When the login took place.
    pub created_at: DateTime<Utc>,
    /// When the session was last checked.
    pub last_seen_at: DateTime<Utc>,
}

/// The effect of a check on an open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionUse {
    /// The times after the check: `last_seen_at` is now if the check moves it.
    pub times: SessionTimes,
    /// Whether the check moves `last_seen_at`.
    pub is_to_note: bool,
    /// Whether a time of the session is in the future by more than [`CLOCK_SKEW`].
    pub is_dated_ahead: bool,
    /// When the session ends without further use.
    pub expires_at: DateTime<Utc>,
    /// The time from now until then.
    pub left: Duration,
}

impl Session {
    /// The position in the list of the user's sessions.
    pub fn position(&self) -> SessionPosition {
        SessionPosition {
            created_at: self.created_at,
            handle: self.handle,
        }
    }

    /// The times that the limits depend on.
    pub fn times(&self) -> SessionTimes {
        SessionTimes {
            created_at: self.created_at,
            last_seen_at: self.last_seen_at,
        }
    }
}

impl SessionLimits {
    /// When the session ends without further use; from that moment on it is refused. Times
    /// in the future count as now.
    pub fn expires_at(&self, times: SessionTimes, now: DateTime<Utc>) -> DateTime<Utc> {
        (times.last_seen_at.min(now) + self.idle).min(times.created_at.min(now) + self.absolute)
    }

    /// The effect of a check now; `None` if the session has ended. Times in the future
    /// count as now.
    #[inline]
    pub fn check(&self, mut times: SessionTimes, now: DateTime<Utc>) -> Option<SessionUse> {
        // In microseconds, since calendar arithmetic would be most of the cost.
        let (idle, absolute) = (microseconds(self.idle), microseconds(self.absolute));
        let (created, seen, at) = (
            times.created_at.timestamp_micros(),
            times.last_seen_at.timestamp_micros(),
            now.timestamp_micros(),
        );
        let last = created.min(at).saturating_add(absolute);
        let mut end = seen.min(at).saturating_add(idle);
        if at >= last.min(end) {
            return None;
        }
        let is_to_note = at >= seen.saturating_add(microseconds(self.last_seen_step()));
        if is_to_note {
            times.last_seen_at = now;
            end = at.saturating_add(idle);
        }
        Some(SessionUse {
            times,
            is_to_note,
            is_dated_ahead: created.max(seen) > at.saturating_add(microseconds(CLOCK_SKEW)),
            expires_at: DateTime::from_timestamp_micros(end.min(last))?,
            left: Duration::from_micros((end.min(last) - at).unsigned_abs()),
        })
    }

    /// How far `last_seen_at` may lag: a quarter of an hour, or a tenth of the idle limit
    /// if less. A check within the step writes nothing.
    pub fn last_seen_step(&self) -> Duration {
        MAX_LAST_SEEN_STEP.min(self.idle / 10)
    }
}

fn microseconds(duration: Duration) -> i64 {
    // At most the ten years that a setting allows.
    duration.as_micros() as i64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_session_ends_at_the_earlier_limit() {
        let hours = |n: u64| Duration::from_secs(n * 3_600);
        let limits = SessionLimits {
            idle: hours(2),
            absolute: hours(5),
        };
        let login = DateTime::UNIX_EPOCH;
        let seen_after = |n: i64| Session {
            handle: SessionHandle::generate(),
            user_id: UserId(1),
            credential_version: CredentialVersion(0),
            created_at: login,
            last_seen_at: login + TimeDelta::hours(n),
            client: Client::new("", Ipv4Addr::LOCALHOST.into()),
        };
        for (seen, ends) in [(0, 2), (2, 4), (3, 5), (4, 5)] {
            let expected = login + TimeDelta::hours(ends);
            let times = seen_after(seen).times();
            assert_eq!(limits.expires_at(times, expected), expected, "{seen}");
        }
        let now = login - TimeDelta::days(400);
        let bounded = limits.expires_at(seen_after(4).times(), now);
        assert_eq!(bounded, now + TimeDelta::hours(2), "dated after now");
        assert_eq!(limits.last_seen_step(), Duration::from_secs(720));
    }

    #[test]
    fn a_check_moves_last_seen_once_per_step_and_fails_at_the_end() {
        let limits = SessionLimits {
            idle: Duration::from_secs(1_000),
            absolute: Duration::from_secs(1_500),
        };
        let login = DateTime::UNIX_EPOCH;
        let after = |seconds| login + TimeDelta::seconds(seconds);
        // Last seen and checked this long after the login; how long the session then lasts.
        for (seen, checked, expected) in [
            (0, 99, Some((0, 1_000))),
            (0, 100, Some((100, 1_100))),
            (0, 999, Some((999, 1_500))),
            (0, 1_000, None),
            (800, 700, Some((800, 1_500))),
            (1_450, 1_499, Some((1_450, 1_500))),
            (1_450, 1_500, None),
        ] {
            let times = SessionTimes {
                created_at: login,
                last_seen_at: after(seen),
            };
            let expected = expected.map(|(last_seen_at, expires_at)| SessionUse {
                times: SessionTimes {
                    created_at: login,
                    last_seen_at: after(last_seen_at),
                },
                is_to_note: last_seen_at != seen,
                is_dated_ahead: false,
                expires_at: after(expires_at),
                left: (after(expires_at) - after(checked)).to_std().unwrap(),
            });
            assert_eq!(limits.check(times, after(checked)), expected, "{checked}");
        }
    }

    #[test]
    fn limits_of_a_session_in_the_future_count_from_now() {
        let limits = SessionLimits {
            idle: Duration::from_secs(7_000),
            absolute: Duration::from_secs(30_000),
        };
        let now = DateTime::UNIX_EPOCH;
        let after = |seconds| now + TimeDelta::seconds(seconds);
        for (created, seen, is_dated_ahead, left) in [
            (0, 300, false, 7_000),
            (300, 0, false, 7_000),
            (0, 301, true, 7_000),
            (301, 301, true, 7_000),
            (-25_000, 400 * 86_400, true, 5_000),
            (400 * 86_400, -1_000, true, 6_000),
            (
                i64::from(i32::MAX) * 100,
                i64::from(i32::MAX) * 100,
                true,
                7_000,
            ),
        ] {
            let times = SessionTimes {
                created_at: after(created),
                last_seen_at: after(seen),
            };
            let used = limits.check(times, now).unwrap();
            assert_eq!(used.is_dated_ahead, is_dated_ahead, "{created} {seen}");
            // If the last use was too long ago, the check moves it to now.
            let expected = if used.is_to_note { 7_000 } else { left };
            assert_eq!(used.left, Duration::from_secs(expected), "{created} {seen}");
            assert_eq!(used.expires_at, now + used.left);
        }
    }

    #[test]
    fn user_agents_are_cut_and_cleaned() {
        let ip: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let unseen = "\r\n\0\u{9B}\u{202E}\u{2028}\u{FEFF}";
        let client = Client::new(&format!("a{unseen}{}", "\u{E9}".repeat(200)), ip);
        assert_eq!(client.user_agent().len(), 255);
        assert!(client.user_agent().starts_with("a\u{E9}"));
        assert_eq!(client.ip().to_string(), "192.0.2.1");
    }

    #[test]
    fn a_handle_has_one_spelling() {
        let handle = SessionHandle::generate();
        let text = handle.to_string();
        assert_eq!(SessionHandle::parse(&text), Some(handle));
        for other in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
        ] {
            assert_eq!(SessionHandle::parse(&other), None);
        }
    }
}
