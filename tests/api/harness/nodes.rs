//! Several servers on one database, and a record of their replies.

mod load;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tempfile::TempDir;
use tonic::Status;

use super::{
    Process,
    history::{History, Operation, Outcome, Request},
    server::Client,
};
pub use load::Load;

/// The number of nodes.
pub const NODES: usize = 3;

/// Server processes, with a client for each.
pub struct Nodes {
    pub processes: Vec<Process>,
    pub history: History,
    clients: Vec<Client>,
    sessions: AtomicUsize,
    users: AtomicUsize,
    _folder: TempDir,
}

/// A user by number, with a password for each version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User(pub usize);

impl User {
    fn email(self) -> String {
        format!("u{}@example.com", self.0)
    }

    fn password(self, version: u32) -> String {
        format!("password {version} of user {}", self.0)
    }
}

/// An open session.
#[derive(Debug)]
pub struct OpenSession {
    pub number: usize,
    pub user: User,
    pub version: u32,
    id: String,
}

impl Nodes {
    pub async fn start(database_url: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = ["--bcrypt-cost=4", "--database-url", database_url];
        let start = |_| Process::start(folder.path(), &settings);
        let processes: Vec<_> = (0..NODES).map(start).collect();
        let mut clients = Vec::new();
        for process in &processes {
            clients.push(Client::connect(process.address).await);
        }
        Self {
            processes,
            history: History::begin(),
            clients,
            sessions: AtomicUsize::new(0),
            users: AtomicUsize::new(0),
            _folder: folder,
        }
    }

    /// Registers a user, with version 0 of the password.
    pub async fn register(&self, node: usize) -> Result<User, Status> {
        let user = User(self.users.fetch_add(1, Ordering::Relaxed));
        let client = &self.clients[node];
        client.register(&user.email(), &user.password(0)).await?;
        Ok(user)
    }

    pub async fn login(
        &self,
        node: usize,
        user: User,
        version: u32,
    ) -> Result<Arc<OpenSession>, Outcome> {
        let (email, password) = (user.email(), user.password(version));
        let login = self.clients[node].login(&email, &password);
        let request = |opened| Request::Login {
            user: user.0,
            version,
            opened,
        };
        let opened = self.record_opening(node, request, login).await?;
        Ok(self.open_session(opened.0, user, version, opened.1.session_id))
    }

    pub async fn check(&self, node: usize, session: &OpenSession) -> Outcome {
        let request = Request::Check {
            session: session.number,
        };
        self.record(node, request, self.clients[node].check(&session.id))
            .await
    }

    pub async fn logout(&self, node: usize, session: &OpenSession) -> Outcome {
        let request = Request::Logout {
            session: session.number,
        };
        self.record(node, request, self.clients[node].logout(&session.id))
            .await
    }

    pub async fn revoke_others(&self, node: usize, by: &OpenSession) -> Outcome {
        let request = Request::RevokeOthers {
            user: by.user.0,
            by: by.number,
        };
        let call = self.clients[node].revoke_other_sessions(&by.id);
        self.record(node, request, call).await
    }

    /// Changes the password to the next version.
    pub async fn change_password(
        &self,
        node: usize,
        by: &OpenSession,
    ) -> Result<Arc<OpenSession>, Outcome> {
        let (current, new) = (
            by.user.password(by.version),
            by.user.password(by.version + 1),
        );
        let change = self.clients[node].change_password(&by.id, &current, &new);
        let request = |opened| Request::ChangePassword {
            user: by.user.0,
            version: by.version,
            by: by.number,
            opened,
        };
        let opened = self.record_opening(node, request, change).await?;
        Ok(self.open_session(opened.0, by.user, by.version + 1, opened.1.session_id))
    }

    fn open_session(
        &self,
        number: usize,
        user: User,
        version: u32,
        id: String,
    ) -> Arc<OpenSession> {
        Arc::new(OpenSession {
            number,
            user,
            version,
            id,
        })
    }

    /// Makes and records a call that opens a session.
    async fn record_opening<T>(
        &self,
        node: usize,
        request: impl FnOnce(Option<usize>) -> Request,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<(usize, T), Outcome> {
        let began = self.history.now();
        let answer = call.await;
        let ended = self.history.now();
        let number = answer
            .is_ok()
            .then(|| self.sessions.fetch_add(1, Ordering::Relaxed));
        let outcome = answer
            .as_ref()
            .map_or_else(Outcome::from, |_| Outcome::Done);
        self.history.add(Operation {
            node,
            began,
            ended,
            request: request(number),
            outcome: outcome.clone(),
        });
        match (number, answer) {
            (Some(number), Ok(answer)) => Ok((number, answer)),
            _ => Err(outcome),
        }
    }

    async fn record<T>(
        &self,
        node: usize,
        request: Request,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Outcome {
        let began = self.history.now();
        let answer = call.await;
        let ended = self.history.now();
        let outcome = answer.map_or_else(|status| Outcome::from(&status), |_| Outcome::Done);
        self.history.add(Operation {
            node,
            began,
            ended,
            request,
            outcome: outcome.clone(),
        });
        outcome
    }
}
