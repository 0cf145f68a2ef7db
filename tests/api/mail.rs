//! Sending mail to the folder and to an SMTP server, and the server's failures.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bienvenue::{
    domain::Email,
    mail::{DeliverySettings, Destination, MailError, Mailer, Message, Step, TIME_LIMIT},
};

use tokio::time::timeout;

use crate::harness::{
    certificate::Authority,
    server::TestClock,
    smtp::{Behaviour, Mail, Security, SmtpServer, Stage},
};

const LINK: &str =
    "https://auth.example.com/reset?token=rst_rCYBKRX6_7Ecgzm0nsc2MLHfJs6EiP5QPUikUFM04CU";

fn message() -> Message {
    Message {
        to: Email::parse("Ada@example.com").unwrap(),
        subject: "Your new password".to_owned(),
        body: format!("Hello,\n\n{LINK}\n\n.\n.. and that is all.\n"),
        expires_at: None,
    }
}

fn mailer(destination: Destination, time_limit: Duration) -> Mailer {
    let settings = DeliverySettings {
        from: "Bienvenue <bienvenue@auth.example.com>".parse().unwrap(),
        destination,
        time_limit,
    };
    Mailer::new(settings, TestClock::default().clock()).unwrap()
}

fn to_folder(path: &Path) -> Mailer {
    mailer(Destination::Folder(path.to_owned()), TIME_LIMIT)
}

fn to_url(url: &str) -> Mailer {
    mailer(Destination::Smtp(url.parse().unwrap()), TIME_LIMIT)
}

fn to_server(server: &SmtpServer) -> Mailer {
    to_url(&server.url("", "127.0.0.1"))
}

/// The text of an error, which must not contain secrets.
fn text_of(error: &MailError) -> String {
    let text = error.to_string();
    let all = format!("{text} {error:?}");
    for secret in ["hunter2", "aHVudGVyMg", "rCYBKRX6_7Ecgzm0", "rst_"] {
        assert!(!all.contains(secret), "{all}");
    }
    assert!(!text.contains(char::is_control), "{text:?}");
    text
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_folder_keeps_each_message_in_a_private_file() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("new/outbox");
    let mailer = to_folder(&outbox);
    assert!(!outbox.exists(), "created with the first message");
    mailer.send(&message()).await.unwrap();
    mailer.send(&message()).await.unwrap();
    let names = files(&outbox);
    assert_eq!(names.len(), 2, "{names:?}");
    for (path, mode) in [
        (outbox.clone(), 0o700),
        (outbox.join(&names[0]), 0o600),
        (outbox.join(&names[1]), 0o600),
    ] {
        let permissions = path.metadata().unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, mode, "{}", path.display());
    }
    // 20261121T010042.123456Z-<32 digits>.eml
    for name in &names {
        assert!(
            name.ends_with(".eml") && name.len() == 23 + 1 + 32 + 4,
            "{name}"
        );
        assert_eq!((&name[8..9], &name[22..24]), ("T", "Z-"), "{name}");
    }
    let raw = fs::read(outbox.join(&names[0])).unwrap();
    let mail = Mail::parse(&raw);
    assert!(
        mail.raw.contains(&format!("\r\n{LINK}\r\n")),
        "{}",
        mail.raw
    );
    assert_eq!(mail.link(), Some(LINK));
    assert_eq!(mail.body, message().body);
    assert_eq!(mail.header("to"), Some("ada@example.com"));
    assert_eq!(mail.header("subject"), Some("Your new password"));
    assert_eq!(mail.header("auto-submitted"), Some("auto-generated"));
    assert_eq!(
        mail.header("from"),
        Some("Bienvenue <bienvenue@auth.example.com>")
    );
    let id = |name: &str| {
        let mail = Mail::parse(&fs::read(outbox.join(name)).unwrap());
        mail.header("message-id").unwrap().to_owned()
    };
    assert_ne!(id(&names[0]), id(&names[1]));
}

#[tokio::test]
async fn file_names_and_dates_use_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::default();
    clock.advance(Duration::from_secs(30 * 365 * 86_400));
    let settings = DeliverySettings {
        from: "bienvenue@auth.example.com".parse().unwrap(),
        destination: Destination::Folder(folder.path().to_owned()),
        time_limit: TIME_LIMIT,
    };
    let mailer = Mailer::new(settings, clock.clock()).unwrap();
    mailer.send(&message()).await.unwrap();
    let now = clock.now();
    let name = files(folder.path()).remove(0);
    assert!(name.starts_with(&now.format("%Y%m").to_string()), "{name}");
    let mail = Mail::parse(&fs::read(folder.path().join(&name)).unwrap());
    let date = chrono::DateTime::parse_from_rfc2822(mail.header("date").unwrap()).unwrap();
    let age = now.signed_duration_since(date);
    assert!((0..60).contains(&age.num_seconds()), "{age}");
}

#[tokio::test]
async fn an_unwritable_folder_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("outbox"), "/proc/outbox".into()] {
        let error = to_folder(&path).send(&message()).await.unwrap_err();
        let text = text_of(&error);
        assert!(matches!(error, MailError::Folder { .. }), "{error:?}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains("--outbox"), "{text}");
    }
    assert_eq!(files(folder.path()), ["file"]);
}

#[tokio::test]
async fn a_server_gets_the_message_unchanged() {
    let server = SmtpServer::start().await;
    let mailer = to_server(&server);
    assert_eq!(mailer.to_string(), server.url("", "127.0.0.1"));
    mailer.send(&message()).await.unwrap();
    let received = server.next().await;
    assert_eq!(received.hello, "auth.example.com");
    assert_eq!(received.from, "bienvenue@auth.example.com");
    assert_eq!(received.to, ["ada@example.com"]);
    assert_eq!((received.user, received.tls), (None, false));
    assert_eq!(received.mail.body, message().body);
    assert_eq!(received.mail.link(), Some(LINK));
    assert!(server.is_empty());

    let accented = Message {
        subject: "R\u{E9}initialisation de votre mot de passe, s'il vous pla\u{EE}t".to_owned(),
        body: format!("\u{C0} bient\u{F4}t\n\n{LINK}\n"),
        ..message()
    };
    mailer.send(&accented).await.unwrap();
    let mail = server.next().await.mail;
    assert_eq!(mail.header("subject"), Some(accented.subject.as_str()));
    assert_eq!(mail.body, accented.body);
    assert!(mail.raw.is_ascii());
}

#[tokio::test]
async fn messages_are_sent_concurrently() {
    let server = SmtpServer::start().await;
    let mailer = to_server(&server);
    let sent = (0..20).map(|n| {
        let (mailer, mut message) = (mailer.clone(), message());
        message.subject = n.to_string();
        tokio::spawn(async move { mailer.send(&message).await })
    });
    for sent in sent.collect::<Vec<_>>() {
        sent.await.unwrap().unwrap();
    }
    let mut subjects = Vec::new();
    for _ in 0..20 {
        let mail = server.next().await.mail;
        subjects.push(mail.header("subject").unwrap().parse::<u32>().unwrap());
    }
    subjects.sort_unstable();
    assert!(subjects.into_iter().eq(0..20));
}

#[tokio::test]
async fn either_login_mechanism_is_used_once() {
    for mechanisms in ["PLAIN LOGIN", "PLAIN", "LOGIN"] {
        let server = SmtpServer::start().await;
        server.demand_login("ada", "hunter2/@", mechanisms);
        let url = server.url("ada:hunter2%2F%40@", "127.0.0.1");
        to_url(&url).send(&message()).await.unwrap();
        assert_eq!(server.next().await.user.as_deref(), Some("ada"));

        let url = server.url("eve:hunter2%2F%40@", "127.0.0.1");
        let mailer = to_url(&url);
        let error = mailer.send(&message()).await.unwrap_err();
        let MailError::Refused { step, code, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((step, code), (Step::Login, 535));
        assert!(text_of(&error).contains("the password of --smtp-url"));
        assert!(!format!("{mailer} {mailer:?}").contains("hunter2"));

        let error = to_server(&server).send(&message()).await.unwrap_err();
        let MailError::Refused { step, code, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((*step, *code), (Step::Sender, 530));
        assert!(text_of(&error).contains("requires a login"), "{error}");
    }
    let server = SmtpServer::start().await;
    server.demand_login("ada", "hunter2", "CRAM-MD5");
    let url = server.url("ada:hunter2@", "127.0.0.1");
    let error = to_url(&url).send(&message()).await.unwrap_err();
    assert!(text_of(&error).contains("mechanism"), "{error}");
    assert!(
        text_of(&error).contains("neither PLAIN nor LOGIN"),
        "{error}"
    );
    assert!(!text_of(&error).contains("check the user"), "{error}");
}

#[tokio::test]
async fn a_refusal_has_the_servers_code_and_text() {
    let server = SmtpServer::start().await;
    let mailer = to_server(&server);
    for (behaviour, step, code, words) in [
        (
            Behaviour::RefuseConnection("421 4.3.2 busy"),
            Step::Connection,
            421,
            "4.3.2 busy",
        ),
        (
            Behaviour::RefuseConnection("554 5.7.1 go away"),
            Step::Connection,
            554,
            "5.7.1 go away",
        ),
        (
            Behaviour::RefuseRecipient("451 4.7.1 come\tback\u{7}"),
            Step::Recipient,
            451,
            "4.7.1 come back\\u{7}",
        ),
        (
            Behaviour::RefuseRecipient("550-5.1.1 no such\r\n550 5.1.1 user"),
            Step::Recipient,
            550,
            "5.1.1 no such user",
        ),
        (
            Behaviour::RefuseMessage(
                "554 5.7.1 listed: \
                 https://auth.example.com/reset?token=rst_rCYBKRX6_7Ecgzm0nsc2MLHfJs6EiP5QPUikUFM04CU",
            ),
            Step::Message,
            554,
            "5.7.1 listed: https://auth.example.com/reset?token=\u{2026}",
        ),
    ] {
        server.behave(behaviour);
        let error = mailer.send(&message()).await.unwrap_err();
        let text = text_of(&error);
        assert!(text.contains(&server.address.to_string()), "{text}");
        assert!(text.contains(&format!("{code} {words}")), "{text}");
        match error {
            MailError::Refused {
                step: at,
                code: found,
                words: quoted,
                ..
            } => assert_eq!((at, found, quoted.as_str()), (step, code, words)),
            other => panic!("{other:?}"),
        }
    }
    server.behave(Behaviour::Accept);
    assert!(server.is_empty(), "no message was accepted");
    mailer.send(&message()).await.unwrap();
    server.next().await;
}

#[tokio::test]
async fn an_unresponsive_server_times_out() {
    let limit = Duration::from_secs(1);
    let cases = [
        (Behaviour::Hang(Stage::Greeting), Some(Step::Connection)),
        (Behaviour::Hang(Stage::Hello), Some(Step::Connection)),
        (Behaviour::Hang(Stage::Recipient), Some(Step::Recipient)),
        (Behaviour::Hang(Stage::Receipt), Some(Step::Message)),
        // Each reply is in time, but their sum is not.
        (Behaviour::Slow(Duration::from_millis(400)), None),
    ];
    let cases = cases.map(|(behaviour, step)| {
        tokio::spawn(async move {
            let server = SmtpServer::start().await;
            let url = server.url("", "127.0.0.1").parse().unwrap();
            let mailer = mailer(Destination::Smtp(url), limit);
            server.behave(behaviour);
            let start = Instant::now();
            let error = mailer.send(&message()).await.unwrap_err();
            assert!(start.elapsed() < limit * 3, "{behaviour:?}");
            assert!(text_of(&error).contains("within 1s"), "{error}");
            match error {
                MailError::TimedOut { step: at, .. } => assert_eq!(at, step.unwrap_or(at)),
                other => panic!("{behaviour:?} {other:?}"),
            }
        })
    });
    for case in cases {
        case.await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_server_is_awaited() {
    let server = SmtpServer::start().await;
    server.behave(Behaviour::Slow(Duration::from_millis(20)));
    to_server(&server).send(&message()).await.unwrap();
    server.next().await;
}

#[tokio::test]
async fn an_accepted_message_is_sent_without_a_reply_to_quit() {
    let server = SmtpServer::start().await;
    server.behave(Behaviour::Hang(Stage::Goodbye));
    let mailer = to_server(&server);
    let message = message();
    let sent = timeout(TIME_LIMIT / 2, mailer.send(&message)).await;
    sent.expect("sending does not wait for the reply").unwrap();
    server.next().await;
}

#[tokio::test]
async fn an_invalid_or_endless_reply_is_an_error() {
    let server = SmtpServer::start().await;
    let mailer = to_server(&server);
    for (behaviour, cause) in [
        (Behaviour::EndlessGreeting, "its reply is too long"),
        (Behaviour::EndlessLine, "its reply is too long"),
        (
            Behaviour::RefuseConnection("HTTP/1.1 400 Bad Request"),
            "not valid SMTP",
        ),
        (Behaviour::RefuseConnection("\u{1b}[2J"), "not valid SMTP"),
        (Behaviour::SkipData, "not valid SMTP"),
        (Behaviour::RefuseMessage("354 go on"), "not valid SMTP"),
        (Behaviour::DieInData, ""),
    ] {
        server.behave(behaviour);
        let error = mailer.send(&message()).await.unwrap_err();
        assert!(matches!(error, MailError::Unreachable { .. }), "{error:?}");
        assert!(text_of(&error).contains(cause), "{behaviour:?} {error}");
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn a_restarted_server_gets_the_next_message() {
    let server = SmtpServer::start().await;
    let mailer = to_server(&server);
    mailer.send(&message()).await.unwrap();
    server.next().await;
    server.stop().await;
    let error = mailer.send(&message()).await.unwrap_err();
    assert!(text_of(&error).contains("refused"), "{error}");
    assert!(text_of(&error).contains("--smtp-url"), "{error}");
    server.restart();
    mailer.send(&message()).await.unwrap();
    server.next().await;
}

#[tokio::test]
async fn an_unknown_host_is_reported() {
    let error = to_url("smtp://mail.invalid")
        .send(&message())
        .await
        .unwrap_err();
    assert!(text_of(&error).starts_with("smtp://mail.invalid:25 failed at the connection: "));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let authority = Authority::new();
    for security in [Security::Implicit, Security::StartTls] {
        let server = SmtpServer::start_with(security, Some(authority.certify("127.0.0.1"))).await;
        let url = server.url("ada:hunter2@", "127.0.0.1");
        for url in [url.clone(), url.replace("required", "opportunistic")] {
            let error = to_url(&url).send(&message()).await.unwrap_err();
            let text = text_of(&error);
            assert!(text.contains("failed at TLS"), "{text}");
            assert!(text.contains("certificate verify failed"), "{text}");
            assert!(text.contains("SSL_CERT_FILE"), "{text}");
        }
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn a_server_without_required_tls_is_refused() {
    let server = SmtpServer::start().await;
    let plain = server.url("", "127.0.0.1");
    for url in [
        format!("{plain}?tls=required"),
        plain.replace("smtp:", "smtps:"),
    ] {
        let error = to_url(&url).send(&message()).await.unwrap_err();
        assert!(text_of(&error).contains("failed at TLS"), "{error}");
    }
    assert!(server.is_empty());
    let url = format!("{plain}?tls=opportunistic");
    to_url(&url).send(&message()).await.unwrap();
    assert!(!server.next().await.tls);
}

/// A URL, and the expected outcome of sending there: `sent`, or words of an error.
const TRUSTING: [&str; 2] = ["TEST_SMTP_URL", "TEST_OUTCOME"];

/// `SSL_CERT_FILE` is read from the environment of the process, so the next test runs this
/// one in its own processes.
#[tokio::test]
#[ignore = "run by the next one"]
async fn trusting() {
    let [url, outcome] = TRUSTING.map(|name| std::env::var(name).unwrap());
    match to_url(&url).send(&message()).await {
        Ok(()) => assert_eq!(outcome, "sent"),
        Err(error) => assert!(text_of(&error).contains(&outcome), "{error}"),
    }
}

/// Sends to a server, trusting the certificates in a file.
async fn trust(file: &Path, url: &str, outcome: &str) {
    let mut process = Command::new(std::env::current_exe().unwrap());
    process
        .args(["--exact", "mail::trusting", "--ignored"])
        .env("SSL_CERT_FILE", file)
        .envs(TRUSTING.into_iter().zip([url, outcome]));
    let ended = tokio::task::spawn_blocking(move || process.output().unwrap());
    let ended = ended.await.unwrap();
    let output = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{url} {outcome} {output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn the_authority_in_ssl_cert_file_is_trusted_for_the_hosts_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    let authority = Authority::new();
    fs::write(&file, authority.pem()).unwrap();
    for (security, certified, host, outcome) in [
        (Security::Implicit, "127.0.0.1", "127.0.0.1", "sent"),
        (Security::Implicit, "localhost", "localhost", "sent"),
        (Security::StartTls, "localhost", "localhost", "sent"),
        (
            Security::Implicit,
            "localhost",
            "127.0.0.1",
            "verify failed",
        ),
        (
            Security::StartTls,
            "mail.example.com",
            "localhost",
            "verify failed",
        ),
    ] {
        let identity = authority.certify(certified);
        let server = SmtpServer::start_with(security, Some(identity)).await;
        server.demand_login("ada", "hunter2", "PLAIN");
        trust(&file, &server.url("ada:hunter2@", host), outcome).await;
        if outcome == "sent" {
            let received = server.next().await;
            assert!(received.tls);
            assert_eq!(received.user.as_deref(), Some("ada"));
        }
        assert!(server.is_empty());
    }
}

#[tokio::test]
async fn replies_before_tls_are_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    let authority = Authority::new();
    fs::write(&file, authority.pem()).unwrap();
    let identity = authority.certify("localhost");
    let server = SmtpServer::start_with(Security::StartTls, Some(identity)).await;
    server.behave(Behaviour::InjectBeforeTls);
    trust(&file, &server.url("", "localhost"), "failed at TLS").await;
    assert!(server.is_empty());
}

#[test]
fn a_messages_debug_hides_its_text() {
    let shown = format!("{:?}", message());
    assert!(
        !shown.contains("token") && shown.contains("ada@example.com"),
        "{shown}"
    );
}
