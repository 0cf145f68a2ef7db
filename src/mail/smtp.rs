//! Delivery to an SMTP server, over a new connection for each message: messages are rare, and a
//! connection kept open may have died.

use std::{error::Error as _, fmt, io, net::SocketAddr, time::Duration};

use lettre::transport::smtp::{
    Error,
    authentication::{self, DEFAULT_MECHANISMS},
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
    guarded_stream::GuardedStream,
    message::EncodedMessage,
    sender::Sender,
};

/// The longest wait for the reply to QUIT, after the message has been delivered.
const MAX_QUIT: Duration = Duration::from_secs(1);

/// The fraction of the time limit after which the next of a host's addresses is tried.
const ADDRESS_SHARE: u32 = 3;

/// A server to deliver to.
pub(super) struct Smtp {
    url: SmtpUrl,
    encryption: Encryption,
    hello: ClientId,
    time_limit: Duration,
}

/// The implementation of a [`Tls`] setting.
enum Encryption {
    Implicit(tokio_native_tls::TlsConnector),
    StartTls { tls: TlsParameters, required: bool },
    None,
}

/// The reason why a delivery failed.
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

    /// Delivers a message; returns when the server has confirmed its receipt.
    ///
    /// # Errors
    ///
    /// When the server refuses it, cannot be reached or trusted, or is slow.
    pub(super) async fn send(
        &self,
        encoded: &EncodedMessage,
        message: &Message,
    ) -> Result<(), MailError> {
        let mut step = Step::Connection;
        let deadline = Instant::now() + self.time_limit;
        let outcome = match timeout_at(deadline, self.connect(&mut step)).await {
            Ok(Ok(mut connection)) => {
                let delivery = deliver(&mut connection, &self.url, encoded, &mut step);
                let outcome = timeout_at(deadline, delivery).await;
                if outcome.is_ok() {
                    let _ = timeout(MAX_QUIT, connection.quit()).await;
                }
                outcome
            }
            Ok(Err(fault)) => Ok(Err(fault)),
            Err(late) => Err(late),
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fault)) => Err(self.error(step, fault, encoded, message)),
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
                Box::new(GuardedStream::new(stream.map_err(Fault::Tls)?, peer))
            }
            _ => Box::new(GuardedStream::new(stream, peer)),
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

    /// Connects to the first of the host's addresses that accepts a connection.
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

    fn error(
        &self,
        step: Step,
        fault: Fault,
        encoded: &EncodedMessage,
        message: &Message,
    ) -> MailError {
        let server = self.to_string();
        // The server may quote the encoded text.
        let sent = String::from_utf8_lossy(&encoded.bytes);
        let quote = |words: &str| quote(words, &[&message.body, &sent]);
        let cause = match fault {
            Fault::Smtp(error) => {
                if let Some(code) = error.status() {
                    let words = match (step, error.source()) {
                        // Some servers quote the command that they refuse, and this one
                        // contains the password.
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
                    // Its source would quote the reply.
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

/// Sends the commands of a delivery until the server has confirmed the receipt. The library's own
/// function would also wait for the reply to QUIT, without limit, and so could report a delivered
/// message as undelivered.
async fn deliver(
    connection: &mut AsyncSmtpConnection,
    url: &SmtpUrl,
    encoded: &EncodedMessage,
    step: &mut Step,
) -> Result<(), Fault> {
    if let Some(credentials) = &url.credentials {
        let server = connection.server_info();
        *step = match server.get_auth_mechanism(DEFAULT_MECHANISMS) {
            Some(_) => Step::Login,
            None => Step::Mechanism,
        };
        let credentials = authentication::Credentials::new(
            credentials.user.clone(),
            credentials.password.clone(),
        );
        connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
    }
    *step = Step::Sender;
    let mail = Mail::new(Some(encoded.from.clone()), Vec::new());
    connection.command(mail).await?;
    *step = Step::Recipient;
    let recipient = Rcpt::new(encoded.to.clone(), Vec::new());
    connection.command(recipient).await?;
    *step = Step::Message;
    // The exact code matters: with replies out of step with commands, the reply to an earlier
    // command would be taken for a receipt.
    if !connection.command(Data).await?.has_code(354) {
        return Err(Fault::Reply);
    }
    let text = encoded
        .bytes
        .strip_suffix(b"\r\n")
        .unwrap_or(&encoded.bytes);
    let receipt = connection.message(text).await?;
    match receipt.code().severity {
        Severity::PositiveCompletion => Ok(()),
        _ => Err(Fault::Reply),
    }
}

/// The cause of a failure by an invalid reply, which is not quoted since it may contain anything.
const NOT_SMTP: &str = "its reply is not valid SMTP";

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
