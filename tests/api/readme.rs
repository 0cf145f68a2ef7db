//! README's commands, as they stand and in their order, in one shell.
//!
//! Every block of the language `console` is run. Only these things are not README's:
//!
//! - The numbers of ports and the URL of the PostgreSQL database are replaced by those of the
//!   test ([`Own::put_into`]).
//! - `cargo run --release` runs the binary that was built for the tests, and `cargo test` is
//!   this very run ([`shell::PRELUDE`]). Hashes are cheap.
//! - A command that goes on until Ctrl-C has a terminal of its own, and Ctrl-C ends it when
//!   README starts the next such server.
//! - The next command is typed when a server listens, a mailbox is read when there is mail, and
//!   what README shows as refused is tried until it is.

mod output;
mod shell;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use self::shell::{Outcome, Shell};
use crate::harness::{Database, grpcurl};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// How long a server or a mail may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command and what README shows of its output.
struct Step {
    command: String,
    output: String,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_console = false;
    for line in readme.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = language == "console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
            steps.push(Step {
                command: command.to_owned(),
                output: String::new(),
            });
        } else if is_console {
            let output = &mut steps.last_mut().expect("a command first").output;
            output.push_str(line);
            output.push('\n');
        }
    }
    steps
}

/// What stands in the place of README's own.
struct Own {
    ports: Vec<(String, String)>,
    database_url: String,
}

impl Own {
    /// Finds a free port for each that README names.
    fn new(readme: &str, database: &Database) -> Self {
        let digits = readme.split(|character: char| !character.is_ascii_digit());
        let mut named: Vec<&str> = digits
            .filter(|digits| digits.len() == 5 && digits.starts_with("500"))
            .collect();
        named.sort_unstable();
        named.dedup();
        // All at once, so that they differ.
        let sockets: Vec<_> = named
            .iter()
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"))
            .collect();
        let ports = named.iter().zip(&sockets).map(|(named, socket)| {
            let port = socket.local_addr().expect("an address").port();
            ((*named).to_owned(), port.to_string())
        });
        Self {
            ports: ports.collect(),
            database_url: database.url().to_owned(),
        }
    }

    fn put_into(&self, command: &str) -> String {
        let database = "postgres://bienvenue@db.example.com/bienvenue";
        let mut own = command.replace(database, &self.database_url);
        for (named, port) in &self.ports {
            own = own.replace(&format!(":{named}"), &format!(":{port}"));
        }
        own
    }

    /// The port that the service listens on by default, and this test's.
    fn default_address(&self) -> String {
        self.put_into("127.0.0.1:50051")
    }
}

/// Whether a command goes on until Ctrl-C, and whether it is a server.
fn goes_on(command: &str) -> (bool, bool) {
    let is_in_background = command.ends_with('&');
    let is_server =
        command.ends_with("cargo run --release") || command.contains("target/release/bienvenue --");
    let is_stream = command.contains("WatchRevocations");
    (!is_in_background && (is_server || is_stream), is_server)
}

/// Waits until every address that a server was told to listen on takes connections.
fn await_server(command: &str, default_address: &str, outcome: &Outcome) {
    let words: Vec<&str> = command.split_whitespace().collect();
    let value = |flag: &str| {
        let mut pairs = words.windows(2);
        pairs.find(|pair| pair[0] == flag).map(|pair| pair[1])
    };
    let public = value("--listen").unwrap_or(default_address);
    for address in [Some(public), value("--admin-listen")]
        .into_iter()
        .flatten()
    {
        until(command, outcome, || TcpStream::connect(address).is_ok());
    }
}

fn until(command: &str, outcome: &Outcome, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "$ {command}\n{outcome}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_command_does_what_readme_says() {
    let what = "README's commands";
    let (Some(grpcurl), Some(database)) = (grpcurl::find(what), Database::postgres_blocking())
    else {
        return;
    };
    let readme = fs::read_to_string(README).expect("README");
    let own = Own::new(&readme, &database);
    let mut shell = Shell::start(&grpcurl, &own.default_address());
    let mut has_server = false;
    let mut run = 0;
    for Step { command, output } in steps(&readme) {
        let own_command = own.put_into(&command);
        let (goes_on, is_server) = goes_on(&command);
        if goes_on && is_server && has_server {
            shell.interrupt();
        }
        has_server |= goes_on && is_server;
        if command.contains("outbox/") {
            shell.await_reset_mail(PATIENCE);
        }
        let outcome = shell.run(&own_command, goes_on && is_server, goes_on);
        if is_server {
            await_server(&own_command, &own.default_address(), &outcome);
        }
        if command.contains("WatchRevocations") {
            until(&command, &outcome, || {
                outcome.stdout().contains("heartbeat")
            });
        } else if goes_on {
            until(&command, &outcome, || {
                output::is_like(&output, &outcome).is_ok()
            });
        } else {
            let fails =
                output.starts_with("ERROR:") || output.contains("rows cannot be imported, and");
            let start = Instant::now();
            let mut outcome = outcome;
            // A person is slower than `revocation-max-lag`.
            while fails && outcome.is_success && start.elapsed() < PATIENCE {
                outcome = shell.run(&own_command, false, false);
            }
            assert_eq!(outcome.is_success, !fails, "$ {own_command}\n{outcome}");
            if let Err(complaint) = output::is_like(&output, &outcome) {
                panic!("$ {own_command}\n{complaint}\nIt is:\n{outcome}");
            }
        }
        run += 1;
    }
    assert!(run > 30, "README has more commands than {run}");
    fs::metadata(shell.folder().join("moved.db")).expect("what the import made");
}
