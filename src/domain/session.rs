//! A login on one device.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CredentialVersion, UserId};

/// The longest step in which `last_seen_at` moves.
const MAX_TOUCH_STEP: Duration = Duration::from_secs(900);

/// How far the clocks of two nodes may differ that are both right. What is dated later
/// than that is dated after now: it was written under a clock that was wrong, or ours is.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The longest user agent that is kept, in bytes.
const MAX_USER_AGENT_BYTES: usize = 256;

/// Names a session in lists and logs. Unlike the `session_id` it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionHandle(Uuid);

impl SessionHandle {
    /// A new one, random.
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// The hyphenated form, written into a buffer.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Reads the hyphenated form; `None` for anything else.
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

/// Who opened a session, as far as can be told from outside.
#[derive(Clone, Debug)]
pub struct Client {
    user_agent: Arc<str>,
    ip: IpAddr,
}

impl Client {
    /// Keeps of the user agent what is safe to show: no control characters and
    /// none that cannot be seen, at most 256 bytes.
    pub fn new(user_agent: &str, ip: IpAddr) -> Self {
        let mut user_agent: String = user_agent.chars().filter(is_shown).collect();
        user_agent.truncate(user_agent.floor_char_boundary(MAX_USER_AGENT_BYTES));
        Self::kept(user_agent.into(), ip.to_canonical())
    }

    /// Takes back what [`user_agent`](Self::user_agent) and [`ip`](Self::ip) gave.
    pub fn kept(user_agent: Arc<str>, ip: IpAddr) -> Self {
        Self { user_agent, ip }
    }

    /// The user agent, empty when it sent none.
    pub fn user_agent(&self) -> &Arc<str> {
        &self.user_agent
    }

    /// The IP address, never an IPv4 one in IPv6 clothes.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// Whether a character shows as itself: no control character, and none that
/// hides or turns what stands beside it (separators, joiners, directions, tags).
fn is_shown(c: &char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{AD}'
                | '\u{61C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// A login on one device, as stored.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its public name.
    pub handle: SessionHandle,
    /// Whose it is.
    pub user_id: UserId,
    /// The user's credential version when the password was checked.
    pub credential_version: CredentialVersion,
    /// When the login took place.
    pub created_at: DateTime<Utc>,
    /// When it was last checked, to within [`SessionLimits::touch_step`].
    pub last_seen_at: DateTime<Utc>,
    /// Who logged in.
    pub client: Client,
}

/// How long sessions live.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// The longest time without a check.
    pub idle: Duration,
    /// The longest time since the login.
    pub absolute: Duration,
}

/// What the limits go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// When the login took place.
    pub created_at: DateTime<Utc>,
    /// When the session was last checked.
    pub last_seen_at: DateTime<Utc>,
}

/// What a check comes to, of a session that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionUse {
    /// When the login took place, and when the session was last checked: now, where
    /// that is to be noted.
    pub times: SessionTimes,
    /// Whether `last_seen_at` is to move.
    pub is_to_note: bool,
    /// Whether a time of the session is later than now by more than [`CLOCK_SKEW`].
    pub is_dated_ahead: bool,
    /// When the session ends if it is not used again.
    pub expires_at: DateTime<Utc>,
    /// How long that is from now.
    pub left: Duration,
}

impl Session {
    /// What the limits go by.
    pub fn times(&self) -> SessionTimes {
        SessionTimes {
            created_at: self.created_at,
            last_seen_at: self.last_seen_at,
        }
    }
}

impl SessionLimits {
    /// When the session ends if nobody checks it again: at that moment it is
    /// refused. Times after now count as now.
    pub fn expires_at(&self, times: SessionTimes, now: DateTime<Utc>) -> DateTime<Utc> {
        (times.last_seen_at.min(now) + self.idle).min(times.created_at.min(now) + self.absolute)
    }

    /// What a check at this moment comes to; `None` when the session has ended. Times
    /// after now count as now.
    #[inline]
    pub fn check(&self, mut times: SessionTimes, now: DateTime<Utc>) -> Option<SessionUse> {
        // In microseconds: a calendar is not needed, and is most of what this would cost.
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
        let is_to_note = at >= seen.saturating_add(microseconds(self.touch_step()));
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

    /// How far `last_seen_at` may lag behind: a quarter of an hour, or a tenth of the idle
    /// limit where that is less. A check within the step writes nothing.
    pub fn touch_step(&self) -> Duration {
        MAX_TOUCH_STEP.min(self.idle / 10)
    }
}

fn microseconds(duration: Duration) -> i64 {
    // A setting: ten years at most.
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
        assert_eq!(limits.touch_step(), Duration::from_secs(720));
    }

    #[test]
    fn a_check_is_noted_once_in_a_step_and_refused_at_the_end() {
        let limits = SessionLimits {
            idle: Duration::from_secs(1_000),
            absolute: Duration::from_secs(1_500),
        };
        let login = DateTime::UNIX_EPOCH;
        let after = |seconds| login + TimeDelta::seconds(seconds);
        // Seen and checked so long after the login: seen then, and when it ends.
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
    fn a_session_dated_after_now_has_its_limits_from_now() {
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
            // What was last seen too long ago is noted as seen now.
            let expected = if used.is_to_note { 7_000 } else { left };
            assert_eq!(used.left, Duration::from_secs(expected), "{created} {seen}");
            assert_eq!(used.expires_at, now + used.left);
        }
    }

    #[test]
    fn what_a_client_says_of_itself_is_cut_and_cleaned() {
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
