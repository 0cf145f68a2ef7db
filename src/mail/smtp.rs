//! Messages handed to an SMTP server, each over a connection of its own: they
//! are rare, and a kept connection is one that may have died.

use std::{error::Error as _, fmt, io, net::SocketAddr, time::Duration};

use lettre::transport::smtp::{
    Error,
    authentication::DEFAULT_MECHANISMS,
    client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters},
    commands::{Data, Mail, Rcpt},
    extension::ClientId,
    response::Severity,
};
use native_tls::{Protocol, TlsConnector};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Message, SmtpUrl, Tls,
    error::{MailError, Step, quote},
    guarded::Guarded,
    message::Letter,
    sender::Sender,
};

/// How long a server may take to say goodbye, which changes nothing any more.
const PARTING: Duration = Duration::from_secs(1);

/// The part of the time that one of a host's addresses has to answer in, so
/// that another gets its turn.
const ADDRESS_SHARE: u32 = 3;

/// A server.
pub(super) struct Smtp {
    url: SmtpUrl,
    encryption: Encryption,
    hello: ClientId,
    time_limit: Duration,
}

/// [`Tls`], ready for use.
enum Encryption {
    Implicit(tokio_native_tls::TlsConnector),
    StartTls { tls: TlsParameters, required: bool },
    None,
}

/// Why a conversation ended early.
enum Fault {
    Smtp(Error),
    Io(io::Error),
    Tls(native_tls::Error),
    Reply,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Smtp(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Smtp {
    pub(super) fn new(
        url: SmtpUrl,
        from: &Sender,
        time_limit: Duration,
    ) -> Result<Self, MailError> {
        let start_tls = |required| {
            let tls = TlsParameters::new(url.host());
            let tls = tls.map_err(|error| MailError::Tls(error.to_string()))?;
            Ok(Encryption::StartTls { tls, required })
        };
        let encryption = match url.tls() {
            Tls::Implicit => {
                let connector = TlsConnector::builder()
                    .min_protocol_version(Some(Protocol::Tlsv12))
                    .build()
                    .map_err(|error| MailError::Tls(error.to_string()))?;
                Encryption::Implicit(connector.into())
            }
            Tls::Required => start_tls(true)?,
            Tls::Opportunistic => start_tls(false)?,
            Tls::None => Encryption::None,
        };
        let hello = url.hello.as_deref().unwrap_or(from.host());
        Ok(Self {
            hello: ClientId::Domain(hello.to_owned()),
            url,
            encryption,
            time_limit,
        })
    }

    /// Hands a letter over; done when the server has answered for it.
    ///
    /// # Errors
    ///
    /// When the server refuses it, cannot be reached or trusted, or is slow.
    pub(super) async fn send(&self, letter: &Letter, message: &Message) -> Result<(), MailError> {
        let mut step = Step::Connection;
        let deadline = Instant::now() + self.time_limit;
        let outcome = match timeout_at(deadline, self.connect(&mut step)).await {
            Ok(Ok(mut connection)) => {
                let handed = hand_over(&mut connection, &self.url, letter, &mut step);
                let outcome = timeout_at(deadline, handed).await;
                if outcome.is_ok() {
                    let _ = timeout(PARTING, connection.quit()).await;
                }
                outcome
            }
            Ok(Err(fault)) => Ok(Err(fault)),
            Err(late) => Err(late),
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(self.error(step, fault, letter, message)),
            Err(_) => Err(MailError::TimedOut {
                server: self.to_string(),
                step,
                time_limit: self.time_limit,
            }),
        }
    }

    async fn connect(&self, step: &mut Step) -> Result<AsyncSmtpConnection, Fault> {
        let (stream, peer) = self.reach().await?;
        let stream: Box<dyn AsyncTokioStream> = match &self.encryption {
            Encryption::Implicit(connector) => {
                *step = Step::Encryption;
                let stream = connector.connect(&self.url.host(), stream).await;
                Box::new(Guarded::new(stream.map_err(Fault::Tls)?, peer))
            }
            _ => Box::new(Guarded::new(stream, peer)),
        };
        *step = Step::Connection;
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await?;
        if let Encryption::StartTls { tls, required } = &self.encryption
            && (*required || connection.can_starttls())
        {
            *step = Step::Encryption;
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        Ok(connection)
    }

    /// Connects to the first of the host's addresses that answers.
    async fn reach(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in lookup_host((self.url.host(), self.url.port())).await? {
            let share = self.time_limit / ADDRESS_SHARE;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok((stream, address));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    fn error(&self, step: Step, fault: Fault, letter: &Letter, message: &Message) -> MailError {
        let server = self.to_string();
        // The message as it was sent may be encoded.
        let sent = String::from_utf8_lossy(&letter.bytes);
        let quote = |words: &str| quote(words, &[&message.body, &sent]);
        let cause = match fault {
            Fault::Smtp(error) => {
                if let Some(code) = error.status() {
                    let words = match (step, error.source()) {
                        // Some servers repeat a command that they do not like,
                        // and this one holds the password.
                        (Step::Login, _) | (_, None) => String::new(),
                        (_, Some(words)) => quote(&words.to_string()),
                    };
                    return MailError::Refused {
                        server,
                        step,
                        code: code.into(),
                        words,
                    };
                }
                match error.source() {
                    // It would repeat the answer.
                    _ if error.is_response() => NOT_SMTP.to_owned(),
                    Some(source) => quote(&innermost(source)),
                    None => quote(&error.to_string()),
                }
            }
            Fault::Io(error) => quote(&error.to_string()),
            Fault::Tls(error) => quote(&error.to_string()),
            Fault::Reply => NOT_SMTP.to_owned(),
        };
        MailError::Unreachable {
            server,
            step,
            cause,
        }
    }
}

/// Speaks with the server until it has answered for the letter. The library's
/// own way to send would wait for a goodbye as well, without end, and a message
/// that was taken would look like one that was not.
async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    url: &SmtpUrl,
    letter: &Letter,
    step: &mut Step,
) -> Result<(), Fault> {
    if let Some(credentials) = &url.credentials {
        let server = connection.server_info();
        *step = match server.get_auth_mechanism(DEFAULT_MECHANISMS) {
            Some(_) => Step::Login,
            None => Step::Mechanism,
        };
        connection.auth(DEFAULT_MECHANISMS, credentials).await?;
    }
    *step = Step::Sender;
    let mail = Mail::new(Some(letter.from.clone()), Vec::new());
    connection.command(mail).await?;
    *step = Step::Recipient;
    let recipient = Rcpt::new(letter.to.clone(), Vec::new());
    connection.command(recipient).await?;
    *step = Step::Message;
    // Looked at closely: where replies are out of step with commands, one to a
    // command before would pass for a receipt.
    if !connection.command(Data).await?.has_code(354) {
        return Err(Fault::Reply);
    }
    let text = letter.bytes.strip_suffix(b"\r\n").unwrap_or(&letter.bytes);
    let receipt = connection.message(text).await?;
    match receipt.code().severity {
        Severity::PositiveCompletion => Ok(()),
        _ => Err(Fault::Reply),
    }
}

/// Said of an answer that is not quoted, since it can be anything.
const NOT_SMTP: &str = "its answer is not what SMTP asks for";

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)
    }
}
