//! Many callers that log in, check and end sessions on any node.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{Held, NODES, Nodes, User};
use crate::harness::{Random, history::Outcome};

/// Users at a time. One whose password nobody can know any more is replaced.
const USERS: usize = 24;

/// Callers that log in and end sessions.
const WRITERS: usize = 8;

/// A user with more sessions than that ends the others.
const MANY: usize = 10;

/// How much later than the bound a revoked session is checked again.
const JUST_AFTER: Duration = Duration::from_millis(2);

/// How long a caller leaves a node alone that is unavailable.
const PAUSE: Duration = Duration::from_millis(10);

const NO_NODE: usize = usize::MAX;

/// The callers, until they are stopped.
pub struct Load {
    shared: Arc<Shared>,
    writers: JoinSet<()>,
    checkers: JoinSet<()>,
}

struct Shared {
    nodes: Arc<Nodes>,
    bound: Duration,
    book: Mutex<Book>,
    /// Nothing is to be written any more.
    stopping: AtomicBool,
    /// Nothing is written any more.
    stopped: AtomicBool,
    /// A node that is left alone.
    avoided: AtomicUsize,
}

/// What the callers know.
#[derive(Default)]
struct Book {
    slots: Vec<Slot>,
    /// Every session, in the order in which they were opened.
    opened: Vec<Arc<Held>>,
    /// Those that somebody has begun to end, in that order.
    ended: Vec<Arc<Held>>,
    /// When the bound of a session's end is over, on which node.
    due: VecDeque<(Duration, Arc<Held>, usize)>,
    /// Those of which nobody was told whether they ended.
    doubtful: Vec<Arc<Held>>,
}

struct Slot {
    user: User,
    version: u32,
    /// Its password is being changed.
    changing: bool,
    /// An end of its sessions was not answered, and may still come.
    doubtful: bool,
    live: Vec<Arc<Held>>,
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
    /// Starts it, with some callers that only check; a session whose end was
    /// acknowledged is checked again after the bound.
    pub async fn start(
        nodes: &Arc<Nodes>,
        bound: Duration,
        only_check: usize,
        random: &mut Random,
    ) -> Self {
        let mut book = Book::default();
        for n in 0..USERS {
            let user = nodes.register(n % NODES).await.expect("a registration");
            book.slots.push(Slot::new(user));
        }
        let shared = Arc::new(Shared {
            nodes: Arc::clone(nodes),
            bound,
            book: Mutex::new(book),
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
                while !shared.stopped.load(Ordering::Relaxed) || !shared.book().due.is_empty() {
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

    /// Leaves one node alone, or none.
    pub fn avoid(&self, node: Option<usize>) {
        let node = node.unwrap_or(NO_NODE);
        self.shared.avoided.store(node, Ordering::Relaxed);
    }

    /// Ends it when the bound of whatever has ended is over, and that was checked.
    /// Sessions in doubt are checked everywhere, and again when whatever was seen of
    /// them has to be known to each node.
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
        let doubtful = shared.book().doubtful.clone();
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
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("the book")
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
        let (session, node) = match self.book().choose(now, random) {
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

    async fn check(&self, node: usize, session: &Held) {
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
            let slot = &self.book().slots[at];
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
            // Two at once, or what has ended.
            (_, 78..82) => {
                let session = self.book().recently_ended(random);
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
            Ok(user) => self.book().slots[at] = Slot::new(user),
            Err(_) => sleep(PAUSE).await,
        }
    }

    async fn log_in(&self, node: usize, at: usize, user: User, version: u32, random: &mut Random) {
        // Now and then with a password that was.
        let former = version > 0 && random.percent(10);
        let version = version - u32::from(former);
        match self.nodes.login(node, user, version).await {
            Ok(opened) => {
                self.book().add(at, &opened);
                let first = random.below(NODES);
                for n in 0..NODES {
                    self.check((first + n) % NODES, &opened).await;
                }
            }
            Err(Outcome::Unavailable) => sleep(PAUSE).await,
            Err(_) => {}
        }
    }

    async fn log_out(&self, node: usize, at: usize, session: &Arc<Held>) {
        self.book().end(at, |held| held.number == session.number);
        match self.nodes.logout(node, session).await {
            Outcome::Done => self.follow(node, vec![Arc::clone(session)]).await,
            Outcome::Unavailable => self.doubt(vec![Arc::clone(session)]).await,
            _ => {}
        }
    }

    async fn revoke_others(&self, node: usize, at: usize, by: &Arc<Held>) {
        let others = self.book().end(at, |held| held.number != by.number);
        match self.nodes.revoke_others(node, by).await {
            Outcome::Done => self.follow(node, others).await,
            Outcome::Unavailable => {
                self.book().slots[at].doubtful = true;
                self.doubt(others).await;
            }
            _ => {
                self.book().end(at, |held| held.number == by.number);
            }
        }
    }

    async fn change_password(&self, node: usize, at: usize, by: &Arc<Held>) {
        {
            let slot = &mut self.book().slots[at];
            if slot.changing || slot.user != by.user || slot.version != by.version {
                return;
            }
            slot.changing = true;
        }
        let all = self.book().end(at, |_| true);
        let changed = self.nodes.change_password(node, by).await;
        {
            let mut book = self.book();
            let slot = &mut book.slots[at];
            slot.changing = false;
            match &changed {
                Ok(opened) => {
                    slot.version = opened.version;
                    book.add(at, opened);
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

    /// Checks what a node has just ended: there at once, on the others at once and
    /// when the bound is over.
    async fn follow(&self, node: usize, ended: Vec<Arc<Held>>) {
        let over = self.nodes.history.now() + self.bound + JUST_AFTER;
        for session in &ended {
            for n in 1..NODES {
                let due = (over, Arc::clone(session), (node + n) % NODES);
                self.book().due.push_back(due);
            }
        }
        for session in ended.iter().take(2) {
            for node in [node, (node + 1) % NODES] {
                self.check(node, session).await;
            }
        }
    }

    async fn doubt(&self, ended: Vec<Arc<Held>>) {
        self.book().doubtful.extend(ended);
        sleep(PAUSE).await;
    }
}

impl Book {
    fn add(&mut self, at: usize, opened: &Arc<Held>) {
        self.opened.push(Arc::clone(opened));
        let slot = &mut self.slots[at];
        if slot.user == opened.user {
            slot.live.push(Arc::clone(opened));
        }
    }

    /// Notes that somebody is about to end some of a user's sessions, and returns
    /// them.
    fn end(&mut self, at: usize, which: impl Fn(&Held) -> bool) -> Vec<Arc<Held>> {
        let live = &mut self.slots[at].live;
        let ended: Vec<_> = live.extract_if(.., |held| which(held)).collect();
        self.ended.extend(ended.iter().cloned());
        ended
    }

    fn recently_ended(&self, random: &mut Random) -> Option<Arc<Held>> {
        let recent = self.ended.len().saturating_sub(16);
        random.pick(&self.ended[recent..]).cloned()
    }

    /// A session to check, and where if that matters.
    fn choose(&mut self, now: Duration, random: &mut Random) -> Option<(Arc<Held>, Option<usize>)> {
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
