//! The server's side of one connection (RFC 5321, 3207, 4954).

use std::{future, io, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::sleep,
};
use tokio_native_tls::TlsStream;

use super::{Behaviour, Mail, Received, Security, Shared, Stage};

/// Serves a client until the connection ends.
pub(super) async fn hold(shared: Arc<Shared>, socket: TcpStream) {
    let wire = match (&shared.acceptor, shared.security) {
        (Some(acceptor), Security::Implicit) => match acceptor.accept(socket).await {
            Ok(stream) => Wire::Tls(Box::new(BufReader::new(stream))),
            // The client does not trust the certificate.
            Err(_) => return,
        },
        _ => Wire::Plain(BufReader::new(socket)),
    };
    let conversation = Conversation {
        shared,
        wire,
        hello: String::new(),
        user: None,
        from: None,
        to: Vec::new(),
    };
    // A client may close the connection.
    let _ = conversation.hold().await;
}

enum Wire {
    Plain(BufReader<TcpStream>),
    Tls(Box<BufReader<TlsStream<TcpStream>>>),
    Gone,
}

impl Wire {
    /// The next line without its end; `None` after the last one.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        match self {
            Self::Plain(stream) => stream.read_until(b'\n', &mut line).await?,
            Self::Tls(stream) => stream.read_until(b'\n', &mut line).await?,
            Self::Gone => 0,
        };
        Ok(line.strip_suffix(b"\r\n").map(<[u8]>::to_vec))
    }

    async fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(text.as_bytes()).await,
            Self::Tls(stream) => {
                stream.write_all(text.as_bytes()).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

struct Conversation {
    shared: Arc<Shared>,
    wire: Wire,
    hello: String,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

impl Conversation {
    async fn hold(mut self) -> io::Result<()> {
        self.may_hang(Stage::Greeting).await;
        match self.behaviour() {
            Behaviour::RefuseConnection(line) => return self.say(line).await,
            Behaviour::EndlessGreeting => loop {
                self.wire.write("220-and another thing\r\n").await?;
            },
            Behaviour::EndlessLine => loop {
                self.wire.write(&"220-".repeat(1024)).await?;
            },
            _ => self.say("220 mail.example.com ESMTP").await?,
        }
        while let Some(line) = self.wire.line().await? {
            let line = String::from_utf8(line).expect("UTF-8");
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match command.to_ascii_uppercase().as_str() {
                "EHLO" => self.greet(argument).await?,
                "HELO" => {
                    argument.clone_into(&mut self.hello);
                    self.say("250 mail.example.com").await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "AUTH" => self.log_in(argument).await?,
                "MAIL" if self.needs_login() => self.say("530 5.7.0 log in first").await?,
                "MAIL" => {
                    if let Behaviour::RefuseSender(line) = self.behaviour() {
                        self.say(line).await?;
                    } else {
                        self.from = Some(address(argument));
                        self.to.clear();
                        self.say("250 2.1.0 ok").await?;
                    }
                }
                "RCPT" if self.from.is_none() => self.say("503 5.5.1 MAIL first").await?,
                "RCPT" => {
                    self.may_hang(Stage::Recipient).await;
                    if let Behaviour::RefuseRecipient(line) = self.behaviour() {
                        self.say(line).await?;
                    } else {
                        self.to.push(address(argument));
                        self.say("250 2.1.5 ok").await?;
                    }
                }
                "DATA" if self.to.is_empty() => self.say("503 5.5.1 RCPT first").await?,
                "DATA" if self.behaviour() == Behaviour::SkipData => {
                    self.say("250 2.0.0 taken").await?;
                }
                "DATA" => {
                    if let Behaviour::RefuseData(line) = self.behaviour() {
                        self.say(line).await?;
                    } else {
                        self.say("354 go on").await?;
                        if !self.take().await? {
                            return Ok(());
                        }
                    }
                }
                "RSET" => {
                    self.from = None;
                    self.to.clear();
                    self.say("250 2.0.0 ok").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.may_hang(Stage::Goodbye).await;
                    return self.say("221 2.0.0 bye").await;
                }
                _ => self.say("500 5.5.2 what").await?,
            }
        }
        Ok(())
    }

    fn behaviour(&self) -> Behaviour {
        *self.shared.behaviour.lock().unwrap()
    }

    async fn may_hang(&self, stage: Stage) {
        if self.behaviour() == Behaviour::Hang(stage) {
            future::pending::<()>().await;
        }
    }

    async fn say(&mut self, line: &str) -> io::Result<()> {
        if let Behaviour::Slow(pause) = self.behaviour() {
            sleep(pause).await;
        }
        self.wire.write(&format!("{line}\r\n")).await
    }

    fn is_encrypted(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    fn needs_login(&self) -> bool {
        self.user.is_none() && self.shared.login.lock().unwrap().is_some()
    }

    async fn greet(&mut self, name: &str) -> io::Result<()> {
        self.may_hang(Stage::Hello).await;
        name.clone_into(&mut self.hello);
        let mut lines = vec!["mail.example.com".to_owned()];
        if self.shared.security == Security::StartTls && !self.is_encrypted() {
            lines.push("STARTTLS".to_owned());
        }
        if let Some(login) = &*self.shared.login.lock().unwrap() {
            lines.push(format!("AUTH {}", login.mechanisms));
        }
        self.say(&format!("250-{}\r\n250 8BITMIME", lines.join("\r\n250-")))
            .await
    }

    async fn start_tls(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(acceptor) = &shared.acceptor else {
            return self.say("502 5.5.1 there is none").await;
        };
        if self.behaviour() == Behaviour::InjectBeforeTls {
            self.say("220 2.0.0 go on\r\n250 injected").await?;
        } else {
            self.say("220 2.0.0 go on").await?;
        }
        if let Wire::Plain(stream) = std::mem::replace(&mut self.wire, Wire::Gone) {
            let stream = acceptor.accept(stream.into_inner()).await;
            let stream = BufReader::new(stream.map_err(io::Error::other)?);
            self.wire = Wire::Tls(Box::new(stream));
        }
        Ok(())
    }

    async fn log_in(&mut self, argument: &str) -> io::Result<()> {
        let Some(login) = self.shared.login.lock().unwrap().clone() else {
            return self.say("502 5.5.1 there is no login").await;
        };
        let credentials = match argument.split_once(' ') {
            Some(("PLAIN", encoded)) => decode(encoded),
            _ => {
                let mut credentials = String::new();
                for question in ["Username:", "Password:"] {
                    self.say(&format!("334 {}", STANDARD.encode(question)))
                        .await?;
                    let answer = self.wire.line().await?.unwrap_or_default();
                    let answer = String::from_utf8(answer).expect("base64");
                    credentials.push('\0');
                    credentials.push_str(&decode(&answer));
                }
                credentials
            }
        };
        if credentials == format!("\0{}\0{}", login.user, login.password) {
            self.user = Some(login.user.to_owned());
            self.say("235 2.7.0 welcome").await
        } else {
            // Like some servers, it repeats the refused credentials.
            let encoded = STANDARD.encode(&credentials);
            let credentials = credentials.replace('\0', " ");
            self.say(&format!("535 5.7.8 no: {credentials} AUTH PLAIN {encoded}"))
                .await
        }
    }

    /// Receives a message; returns whether the conversation continues.
    async fn take(&mut self) -> io::Result<bool> {
        let mut text = Vec::new();
        loop {
            let Some(line) = self.wire.line().await? else {
                return Ok(false);
            };
            if self.behaviour() == Behaviour::DieInData {
                return Ok(false);
            }
            match line.strip_prefix(b".") {
                Some(b"") => break,
                Some(unstuffed) => text.extend_from_slice(unstuffed),
                None => text.extend_from_slice(&line),
            }
            text.extend_from_slice(b"\r\n");
        }
        self.may_hang(Stage::Receipt).await;
        if let Behaviour::RefuseMessage(line) = self.behaviour() {
            self.say(line).await?;
            return Ok(true);
        }
        let received = Received {
            hello: self.hello.clone(),
            user: self.user.clone(),
            tls: self.is_encrypted(),
            from: self.from.take().unwrap_or_default(),
            to: std::mem::take(&mut self.to),
            mail: Mail::parse(&text),
        };
        // Stored before the acknowledgement.
        let _ = self.shared.inbox.send(received);
        self.say("250 2.0.0 taken").await?;
        Ok(true)
    }
}

/// The address in angle brackets in `FROM:<ada@example.com> …`.
fn address(argument: &str) -> String {
    let inside = argument
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(String::new(), |(address, _)| address.to_owned())
}

fn decode(encoded: &str) -> String {
    let bytes = STANDARD.decode(encoded).expect("base64");
    String::from_utf8(bytes).expect("UTF-8")
}
