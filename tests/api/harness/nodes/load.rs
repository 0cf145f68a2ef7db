//! Many callers that log in, and check and end sessions on random nodes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{NODES, Nodes, OpenSession, User};
use crate::harness::{Random, history::Outcome};

/// Concurrent users. A user with an unknown password is replaced.
const USERS: usize = 24;

/// Callers that log in and end sessions.
const WRITERS: usize = 8;

/// A user with more sessions than this ends the others.
const MANY: usize = 10;

/// The delay after the bound at which a revoked session is checked again.
const JUST_AFTER: Duration = Duration::from_millis(2);

/// A caller's pause after UNAVAILABLE.
const PAUSE: Duration = Duration::from_millis(10);

const NO_NODE: usize = usize::MAX;

/// The running callers.
pub struct Load {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
    checkers: JoinSet<()>,
}

struct Shared {
    nodes: Arc<Nodes>,
    bound: Duration,
    state: Mutex<State>,
    /// Writers have to stop.
    stopping: AtomicBool,
    /// Writers have stopped.
    stopped: AtomicBool,
    /// A node without calls.
    avoided: AtomicUsize,
}

/// The callers' knowledge.
#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// Every session, in the order of opening.
    opened: Vec<Arc<OpenSession>>,
    /// Sessions with a begun revocation, in that order.
    ended: Vec<Arc<OpenSession>>,
    /// When to check an ended session again after the bound, and on which node.
    due: VecDeque<(Duration, Arc<OpenSession>, usize)>,
    /// Sessions with an unanswered revocation.
    doubtful: Vec<Arc<OpenSession>>,
}

struct Slot {
    user: User,
    version: u32,
    /// A password change is in progress.
    changing: bool,
    /// A revocation of its sessions was not answered, and may still take effect.
    doubtful: bool,
    live: Vec<Arc<OpenSession>>,
}

impl Slot {
    fn new(user: User) -> Self {
        Self {
            user,
            version: 0,
            changing: false,
            doubtful: false,
            live: Vec::new(),
        }
    }
}

impl Load {
    /// Starts the callers, some of which only check; sessions with an acknowledged end are
    /// checked again after the bound.
    pub async fn start(
        nodes: &Arc<Nodes>,
        bound: Duration,
        only_check: usize,
        random: &mut Random,
    ) -> Self {
        let mut state = State::default();
        for n in 0..USERS {
            let user = nodes.register(n % NODES).await.expect("a registration");
            state.slots.push(Slot::new(user));
        }
        let shared = Arc::new(Shared {
            nodes: Arc::clone(nodes),
            bound,
            state: Mutex::new(state),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            avoided: AtomicUsize::new(NO_NODE),
        });
        let (mut writers, mut checkers) = (JoinSet::new(), JoinSet::new());
        for _ in 0..WRITERS {
            let (shared, mut random) = (Arc::clone(&shared), random.fork());
            writers.spawn(async move {
                while !shared.stopping.load(Ordering::Relaxed) {
                    shared.write(&mut random).await;
                }
            });
        }
        for _ in 0..only_check {
            let (shared, mut random) = (Arc::clone(&shared), random.fork());
            checkers.spawn(async move {
                while !shared.stopped.load(Ordering::Relaxed) || !shared.state().due.is_empty() {
                    shared.check_one(&mut random).await;
                }
            });
        }
        Self {
            shared,
            writers,
            checkers,
        }
    }

    /// Makes no calls to one node, or calls to all.
    pub fn avoid(&self, node: Option<usize>) {
        let node = node.unwrap_or(NO_NODE);
        self.shared.avoided.store(node, Ordering::Relaxed);
    }

    /// Stops the callers once every ended session was checked after its bound. Sessions with an
    /// unknown state are checked on every node, and again after the bound.
    pub async fn stop(mut self) {
        let shared = &self.shared;
        for (flag, callers) in [
            (&shared.stopping, &mut self.writers),
            (&shared.stopped, &mut self.checkers),
        ] {
            flag.store(true, Ordering::Relaxed);
            while let Some(ended) = callers.join_next().await {
                ended.expect("a caller");
            }
        }
        let doubtful = shared.state().doubtful.clone();
        for pass in 0..2 {
            if pass == 1 && !doubtful.is_empty() {
                sleep(shared.bound + JUST_AFTER).await;
            }
            for session in &doubtful {
                for node in 0..NODES {
                    shared.nodes.check(node, session).await;
                }
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    fn any_node(&self, random: &mut Random) -> usize {
        loop {
            let node = random.below(NODES);
            if node != self.avoided.load(Ordering::Relaxed) {
                return node;
            }
        }
    }

    async fn check_one(&self, random: &mut Random) {
        let now = self.nodes.history.now();
        let (session, node) = match self.state().choose(now, random) {
            Some((session, node)) => (Some(session), node),
            None => (None, None),
        };
        let avoided = self.avoided.load(Ordering::Relaxed);
        let node = match node {
            Some(node) if node != avoided => node,
            _ => self.any_node(random),
        };
        match session {
            Some(session) => self.check(node, &session).await,
            None => sleep(PAUSE).await,
        }
    }

    async fn check(&self, node: usize, session: &OpenSession) {
        if node == self.avoided.load(Ordering::Relaxed) {
            return;
        }
        if self.nodes.check(node, session).await == Outcome::Unavailable {
            sleep(PAUSE).await;
        }
    }

    async fn write(&self, random: &mut Random) {
        let at = random.below(USERS);
        let node = self.any_node(random);
        let (user, version, live, doubtful) = {
            let slot = &self.state().slots[at];
            (slot.user, slot.version, slot.live.clone(), slot.doubtful)
        };
        if doubtful {
            return self.replace(at, node).await;
        }
        let session = random.pick(&live).cloned();
        match (session, random.below(100)) {
            (Some(session), _) if live.len() > MANY => self.revoke_others(node, at, &session).await,
            (None, _) | (_, 0..50) => self.log_in(node, at, user, version, random).await,
            (Some(session), 50..78) => self.log_out(node, at, &session).await,
            // Two concurrent logouts, or one of an ended session.
            (_, 78..82) => {
                let session = self.state().recently_ended(random);
                if let Some(session) = session {
                    self.nodes.logout(node, &session).await;
                }
            }
            (Some(session), 82..91) => self.revoke_others(node, at, &session).await,
            (Some(session), _) => self.change_password(node, at, &session).await,
        }
    }

    async fn replace(&self, at: usize, node: usize) {
        match self.nodes.register(node).await {
            Ok(user) => self.state().slots[at] = Slot::new(user),
            Err(_) => sleep(PAUSE).await,
        }
    }

    async fn log_in(&self, node: usize, at: usize, user: User, version: u32, random: &mut Random) {
        // Sometimes with a former password.
        let former = version > 0 && random.percent(10);
        let version = version - u32::from(former);
        match self.nodes.login(node, user, version).await {
            Ok(opened) => {
                self.state().add(at, &opened);
                let first = random.below(NODES);
                for n in 0..NODES {
                    self.check((first + n) % NODES, &opened).await;
                }
            }
            Err(Outcome::Unavailable) => sleep(PAUSE).await,
            Err(_) => {}
        }
    }

    async fn log_out(&self, node: usize, at: usize, session: &Arc<OpenSession>) {
        self.state().end(at, |held| held.number == session.number);
        match self.nodes.logout(node, session).await {
            Outcome::Done => self.follow(node, vec![Arc::clone(session)]).await,
            Outcome::Unavailable => self.doubt(vec![Arc::clone(session)]).await,
            _ => {}
        }
    }

    async fn revoke_others(&self, node: usize, at: usize, by: &Arc<OpenSession>) {
        let others = self.state().end(at, |held| held.number != by.number);
        match self.nodes.revoke_others(node, by).await {
            Outcome::Done => self.follow(node, others).await,
            Outcome::Unavailable => {
                self.state().slots[at].doubtful = true;
                self.doubt(others).await;
            }
            _ => {
                self.state().end(at, |held| held.number == by.number);
            }
        }
    }

    async fn change_password(&self, node: usize, at: usize, by: &Arc<OpenSession>) {
        {
            let slot = &mut self.state().slots[at];
            if slot.changing || slot.user != by.user || slot.version != by.version {
                return;
            }
            slot.changing = true;
        }
        let all = self.state().end(at, |_| true);
        let changed = self.nodes.change_password(node, by).await;
        {
            let mut state = self.state();
            let slot = &mut state.slots[at];
            slot.changing = false;
            match &changed {
                Ok(opened) => {
                    slot.version = opened.version;
                    state.add(at, opened);
                }
                Err(Outcome::Unavailable) => slot.doubtful = true,
                Err(_) => {}
            }
        }
        match changed {
            Ok(opened) => {
                self.check((node + 1) % NODES, &opened).await;
                self.follow(node, all).await;
            }
            Err(Outcome::Unavailable) => self.doubt(all).await,
            Err(_) => {}
        }
    }

    /// Checks sessions just ended on a node: there at once, and on the others at once and after
    /// the bound.
    async fn follow(&self, node: usize, ended: Vec<Arc<OpenSession>>) {
        let over = self.nodes.history.now() + self.bound + JUST_AFTER;
        for session in &ended {
            for n in 1..NODES {
                let due = (over, Arc::clone(session), (node + n) % NODES);
                self.state().due.push_back(due);
            }
        }
        for session in ended.iter().take(2) {
            for node in [node, (node + 1) % NODES] {
                self.check(node, session).await;
            }
        }
    }

    async fn doubt(&self, ended: Vec<Arc<OpenSession>>) {
        self.state().doubtful.extend(ended);
        sleep(PAUSE).await;
    }
}

impl State {
    fn add(&mut self, at: usize, opened: &Arc<OpenSession>) {
        self.opened.push(Arc::clone(opened));
        let slot = &mut self.slots[at];
        if slot.user == opened.user {
            slot.live.push(Arc::clone(opened));
        }
    }

    /// Records the beginning revocation of some of a user's sessions, and returns them.
    fn end(&mut self, at: usize, which: impl Fn(&OpenSession) -> bool) -> Vec<Arc<OpenSession>> {
        let live = &mut self.slots[at].live;
        let ended: Vec<_> = live.extract_if(.., |held| which(held)).collect();
        self.ended.extend(ended.iter().cloned());
        ended
    }

    fn recently_ended(&self, random: &mut Random) -> Option<Arc<OpenSession>> {
        let recent = self.ended.len().saturating_sub(16);
        random.pick(&self.ended[recent..]).cloned()
    }

    /// A session to check, and the node if it matters.
    fn choose(
        &mut self,
        now: Duration,
        random: &mut Random,
    ) -> Option<(Arc<OpenSession>, Option<usize>)> {
        if self.due.front().is_some_and(|(due, ..)| *due <= now) {
            let (_, session, node) = self.due.pop_front()?;
            return Some((session, Some(node)));
        }
        let session = match random.below(100) {
            0..40 => {
                let slot = random.pick(&self.slots)?;
                random.pick(&slot.live).cloned()
            }
            40..55 => {
                let newest = self.opened.len().saturating_sub(8);
                random.pick(&self.opened[newest..]).cloned()
            }
            55..85 => self.recently_ended(random),
            _ => random.pick(&self.ended).cloned(),
        }?;
        Some((session, None))
    }
}
