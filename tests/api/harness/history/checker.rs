//! Checks that a history is consistent with one order of revocations, visible on each node
//! within the bound.
//!
//! The check uses only the callers' knowledge. A session's end is *possible* from the beginning
//! of the first call that may have ended it. It is *sure* from the first reply that reports it:
//! to the call that ended the session, or to any call refused for it. It is *known* to a node
//! from that node's own first such reply; the bound does not apply to it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use super::{Operation, Outcome, Request};

/// The rules of the check.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long a node may accept a session after another node has acknowledged its end. The
    /// bound of the acknowledging node is zero.
    pub bound: Duration,
    /// Whether faults were injected, so that a node may have been unavailable.
    pub faults: bool,
}

/// The result of the check.
#[derive(Debug, Default)]
pub struct Report {
    /// One line per incorrect reply.
    pub violations: Vec<String>,
    /// The number of calls of each kind and outcome.
    pub counts: BTreeMap<(&'static str, &'static str), usize>,
    /// The longest time from the sure end of a session to the beginning of a check accepted by
    /// another node.
    pub worst_staleness: Duration,
    /// The number of checks begun after the sure end of their session.
    pub checks_of_ended: usize,
    /// The number of them within the bound, on another node.
    pub checks_within_bound: usize,
}

/// The knowledge about a session.
struct Session {
    user: usize,
    version: u32,
    began: Duration,
    opened: Duration,
    /// The time from which it may have ended.
    possible: Option<Duration>,
    /// The time from which it has surely ended.
    sure: Option<Duration>,
    /// The time from which a node has reported the end itself.
    known: HashMap<usize, Duration>,
}

impl Session {
    fn may_have_ended(&mut self, since: Duration) {
        self.possible = Some(self.possible.map_or(since, |before| before.min(since)));
    }

    fn has_ended(&mut self, since: Duration) {
        self.sure = Some(self.sure.map_or(since, |before| before.min(since)));
    }

    fn is_known_to(&mut self, node: usize, since: Duration) {
        let known = self.known.entry(node).or_insert(since);
        *known = since.min(*known);
    }
}

pub fn check(operations: &[Operation], rules: Rules) -> Report {
    let mut report = Report::default();
    let sessions = sessions(operations);
    for operation in operations {
        let kind = operation.request.kind();
        *report
            .counts
            .entry((kind, operation.outcome.name()))
            .or_default() += 1;
        if let Err(why) = report.check_operation(operation, &sessions, rules) {
            report.violations.push(format!("{why}: {operation:?}"));
        }
    }
    report.violations.extend(ended_twice(operations));
    report.violations.extend(bad_logins(operations));
    report
}

impl Report {
    fn check_operation(
        &mut self,
        operation: &Operation,
        sessions: &HashMap<usize, Session>,
        rules: Rules,
    ) -> Result<(), String> {
        let outcome = &operation.outcome;
        match (&operation.request, outcome) {
            (_, Outcome::Other(_)) => return Err("an unexpected reply".to_owned()),
            (_, Outcome::Unavailable) if !rules.faults => {
                return Err("unavailable without a fault".to_owned());
            }
            (Request::Login { .. }, Outcome::SessionInvalid)
            | (Request::ChangePassword { .. }, Outcome::InvalidCredentials)
            | (
                Request::Check { .. } | Request::Logout { .. } | Request::RevokeOthers { .. },
                Outcome::InvalidCredentials | Outcome::Overloaded,
            ) => return Err("an unexpected reply to this method".to_owned()),
            _ => {}
        }
        let Some(session) = operation.request.session() else {
            return Ok(());
        };
        let session_state = sessions.get(&session).ok_or("a session without a login")?;
        let since = session_state
            .sure
            .and_then(|sure| operation.began.checked_sub(sure));
        let since = since.filter(|since| !since.is_zero());
        let is_check = matches!(operation.request, Request::Check { .. });
        if is_check && since.is_some() {
            self.checks_of_ended += 1;
        }
        match outcome {
            Outcome::SessionInvalid
                if session_state
                    .possible
                    .is_none_or(|from| from >= operation.ended) =>
            {
                Err("refused without a revocation".to_owned())
            }
            Outcome::Done if is_check => {
                let known = session_state.known.get(&operation.node);
                if known.is_some_and(|known| operation.began > *known) {
                    return Err("accepted by a node that has reported its end".to_owned());
                }
                let Some(since) = since else { return Ok(()) };
                self.worst_staleness = self.worst_staleness.max(since);
                self.checks_within_bound += usize::from(since <= rules.bound);
                if since > rules.bound {
                    return Err(format!("accepted {since:?} after its end"));
                }
                Ok(())
            }
            // A change reads the database, on every node.
            Outcome::Done if since.is_some() => Err("an ended session has made a change".into()),
            _ => Ok(()),
        }
    }
}

fn sessions(operations: &[Operation]) -> HashMap<usize, Session> {
    let mut sessions = HashMap::new();
    for operation in operations {
        let (user, version, opened) = match operation.request {
            Request::Login {
                user,
                version,
                opened: Some(opened),
            } => (user, version, opened),
            Request::ChangePassword {
                user,
                version,
                opened: Some(opened),
                ..
            } => (user, version + 1, opened),
            _ => continue,
        };
        let session_state = Session {
            user,
            version,
            began: operation.began,
            opened: operation.ended,
            possible: None,
            sure: None,
            known: HashMap::new(),
        };
        sessions.insert(opened, session_state);
    }
    let mut by_user: HashMap<usize, Vec<usize>> = HashMap::new();
    for (session, session_state) in &sessions {
        by_user
            .entry(session_state.user)
            .or_default()
            .push(*session);
    }
    for operation in operations {
        if let (Some(session), Outcome::SessionInvalid) =
            (operation.request.session(), &operation.outcome)
            && let Some(session_state) = sessions.get_mut(&session)
        {
            session_state.has_ended(operation.ended);
            // A change reads the database, and its node's memory may still lag.
            if matches!(operation.request, Request::Check { .. }) {
                session_state.is_known_to(operation.node, operation.ended);
            }
        }
        if !operation.outcome.may_have_effect() {
            continue;
        }
        let candidates: &[usize] = match &operation.request {
            Request::Logout { session } => &[*session],
            Request::RevokeOthers { user, .. } | Request::ChangePassword { user, .. } => {
                by_user.get(user).map_or(&[], Vec::as_slice)
            }
            _ => &[],
        };
        for session in candidates {
            let Some(session_state) = sessions.get_mut(session) else {
                continue;
            };
            if ends(operation, *session, session_state, Certainty::Possible) {
                session_state.may_have_ended(operation.began);
            }
            if operation.outcome == Outcome::Done
                && ends(operation, *session, session_state, Certainty::Sure)
            {
                session_state.has_ended(operation.ended);
                session_state.is_known_to(operation.node, operation.ended);
            }
        }
    }
    sessions
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    Possible,
    Sure,
}

/// Whether an effective call ends a session.
fn ends(
    operation: &Operation,
    session: usize,
    session_state: &Session,
    certainty: Certainty,
) -> bool {
    match operation.request {
        Request::Logout { .. } => true,
        Request::RevokeOthers { by, .. } if by == session => false,
        Request::RevokeOthers { .. } => match certainty {
            Certainty::Sure => session_state.opened < operation.began,
            // An unanswered call may take effect at any later time.
            Certainty::Possible => {
                operation.outcome != Outcome::Done || session_state.began < operation.ended
            }
        },
        // At any opening time: sessions of former passwords are invalid.
        Request::ChangePassword { version, .. } => session_state.version <= version,
        _ => false,
    }
}

/// Of several calls that end one session, one reply reports success.
fn ended_twice(operations: &[Operation]) -> impl Iterator<Item = String> {
    let mut ended = HashMap::<usize, usize>::new();
    for operation in operations {
        if let (Request::Logout { session }, Outcome::Done) =
            (&operation.request, &operation.outcome)
        {
            *ended.entry(*session).or_default() += 1;
        }
    }
    ended
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .map(|(session, times)| format!("session {session} was logged out {times} times"))
}

/// A login is refused always for a former password, and otherwise only during a change of the
/// password.
fn bad_logins(operations: &[Operation]) -> Vec<String> {
    let mut changes: HashMap<usize, Vec<(u32, &Operation)>> = HashMap::new();
    for operation in operations {
        if let Request::ChangePassword { user, version, .. } = operation.request
            && operation.outcome.may_have_effect()
        {
            changes.entry(user).or_default().push((version, operation));
        }
    }
    let mut bad = Vec::new();
    for operation in operations {
        let Request::Login { user, version, .. } = operation.request else {
            continue;
        };
        let changes = changes.get(&user).map_or(&[][..], Vec::as_slice);
        let mut from_it = changes.iter().filter(|(from, _)| *from >= version);
        let why = match operation.outcome {
            Outcome::InvalidCredentials
                if !from_it.any(|(_, change)| change.began < operation.ended) =>
            {
                "refused, although the password is right"
            }
            Outcome::Done
                if from_it.any(|(_, change)| {
                    change.outcome == Outcome::Done && change.ended < operation.began
                }) =>
            {
                "accepted with a former password"
            }
            _ => continue,
        };
        bad.push(format!("{why}: {operation:?}"));
    }
    bad
}

impl Request {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Login { .. } => "login",
            Self::Check { .. } => "check",
            Self::Logout { .. } => "logout",
            Self::RevokeOthers { .. } => "revoke others",
            Self::ChangePassword { .. } => "change password",
        }
    }

    /// The caller's session.
    pub fn session(&self) -> Option<usize> {
        match *self {
            Self::Login { .. } => None,
            Self::Check { session } | Self::Logout { session } => Some(session),
            Self::RevokeOthers { by, .. } | Self::ChangePassword { by, .. } => Some(by),
        }
    }

    /// Whether it ends sessions.
    pub fn revokes(&self) -> bool {
        !matches!(self, Self::Login { .. } | Self::Check { .. })
    }
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::SessionInvalid => "SESSION_INVALID",
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::Overloaded => "OVERLOADED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Other(_) => "something else",
        }
    }

    fn may_have_effect(&self) -> bool {
        matches!(self, Self::Done | Self::Unavailable | Self::Other(_))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: usize = self.counts.values().sum();
        writeln!(f, "{all} operations:")?;
        for ((kind, outcome), count) in &self.counts {
            writeln!(f, "  {kind:<15} {outcome:<19} {count:>7}")?;
        }
        writeln!(
            f,
            "  {} checks began after the sure end of their session; another node accepted {} of \
             them within the bound, the latest after {:?}",
            self.checks_of_ended, self.checks_within_bound, self.worst_staleness
        )?;
        writeln!(f, "  {} violations", self.violations.len())?;
        for violation in self.violations.iter().take(10) {
            writeln!(f, "    {violation}")?;
        }
        Ok(())
    }
}
