//! An SMTP server on 127.0.0.1 and a free port, with configurable failures.

mod conversation;
mod received;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use native_tls::Identity;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{
        Mutex as AsyncMutex,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
        oneshot,
    },
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_native_tls::TlsAcceptor;

pub use received::{Mail, Received};

use super::PATIENCE;

/// When the server uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Never,
    StartTls,
    Implicit,
}

/// Its behaviour, read again at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts mail.
    Accept,
    /// Greets with this line and closes the connection.
    RefuseConnection(&'static str),
    /// Answers MAIL with this line.
    RefuseSender(&'static str),
    /// Answers RCPT with this line.
    RefuseRecipient(&'static str),
    /// Answers DATA with this line.
    RefuseData(&'static str),
    /// Answers a complete message with this line.
    RefuseMessage(&'static str),
    /// Stops answering at this step.
    Hang(Stage),
    /// Closes the connection during a message.
    DieInData,
    /// Waits before each reply.
    Slow(Duration),
    /// Greets with endless lines.
    EndlessGreeting,
    /// Greets with an endless line.
    EndlessLine,
    /// Sends an additional plain-text reply before TLS starts.
    InjectBeforeTls,
    /// Answers DATA as if the message had been sent.
    SkipData,
}

/// A step of the conversation, before the server's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeting,
    Hello,
    Recipient,
    Receipt,
    Goodbye,
}

/// The server; it ends when dropped.
pub struct SmtpServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    inbox: AsyncMutex<UnboundedReceiver<Received>>,
    state: Mutex<State>,
}

/// Running, or stopped with its port reserved.
enum State {
    Up(oneshot::Sender<()>, JoinHandle<()>),
    Down(TcpSocket),
    Between,
}

struct Shared {
    security: Security,
    acceptor: Option<TlsAcceptor>,
    behaviour: Mutex<Behaviour>,
    login: Mutex<Option<Login>>,
    inbox: UnboundedSender<Received>,
}

/// The required login.
#[derive(Clone)]
struct Login {
    user: &'static str,
    password: &'static str,
    mechanisms: &'static str,
}

impl SmtpServer {
    /// Without TLS.
    pub async fn start() -> Self {
        Self::start_with(Security::Never, None).await
    }

    pub async fn start_with(security: Security, identity: Option<Identity>) -> Self {
        let acceptor = identity.map(|identity| {
            native_tls::TlsAcceptor::new(identity)
                .expect("an acceptor")
                .into()
        });
        let (inbox, messages) = mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let server = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new(Shared {
                security,
                acceptor,
                behaviour: Mutex::new(Behaviour::Accept),
                login: Mutex::new(None),
                inbox,
            }),
            inbox: AsyncMutex::new(messages),
            state: Mutex::new(State::Between),
        };
        server.serve(listener);
        server
    }

    fn serve(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let (stop, mut stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (socket, _) = accepted.expect("a connection");
                        let shared = Arc::clone(&shared);
                        connections.spawn(conversation::hold(shared, socket));
                    }
                    _ = &mut stopped => break,
                }
            }
            connections.shutdown().await;
        });
        *self.state.lock().unwrap() = State::Up(stop, serving);
    }

    /// Changes the behaviour, also of open conversations.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Requires a login with these mechanisms, such as `PLAIN LOGIN`.
    pub fn demand_login(
        &self,
        user: &'static str,
        password: &'static str,
        mechanisms: &'static str,
    ) {
        *self.shared.login.lock().unwrap() = Some(Login {
            user,
            password,
            mechanisms,
        });
    }

    /// The value for `--smtp-url`: with required TLS where the server has it, with this host, and
    /// with an optional login such as `ada:hunter2@`.
    pub fn url(&self, login: &str, host: &str) -> String {
        let port = self.address.port();
        match self.shared.security {
            Security::Never => format!("smtp://{login}{host}:{port}"),
            Security::StartTls => format!("smtp://{login}{host}:{port}?tls=required"),
            Security::Implicit => format!("smtps://{login}{host}:{port}"),
        }
    }

    /// Waits for the next message.
    pub async fn next(&self) -> Received {
        let mut inbox = self.inbox.lock().await;
        timeout(PATIENCE, inbox.recv())
            .await
            .expect("a message in time")
            .expect("a message")
    }

    /// Whether all received messages have been read.
    pub fn is_empty(&self) -> bool {
        let inbox = self.inbox.try_lock().expect("no other reader");
        inbox.is_empty()
    }

    /// Ends every conversation and refuses connections.
    pub async fn stop(&self) {
        let state = std::mem::replace(&mut *self.state.lock().unwrap(), State::Between);
        if let State::Up(stop, serving) = state {
            let _ = stop.send(());
            serving.await.expect("the server ends");
        }
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option");
        socket.bind(self.address).expect("the same port");
        *self.state.lock().unwrap() = State::Down(socket);
    }

    /// Accepts connections again, on the same port.
    pub fn restart(&self) {
        let state = std::mem::replace(&mut *self.state.lock().unwrap(), State::Between);
        let State::Down(socket) = state else {
            panic!("the server was not stopped");
        };
        self.serve(socket.listen(64).expect("a listener"));
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        if let Ok(State::Up(_, serving)) = self.state.get_mut() {
            serving.abort();
        }
    }
}
