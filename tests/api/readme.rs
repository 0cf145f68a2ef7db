//! The documentation, held against the program: the commands of README.md and of every page in
//! `docs/`, README's example of a session check, and the tables of SECURITY.md.
//!
//! Each page's blocks of the language `console` are run as they stand and in their order, in a
//! shell of the page's own. A command that needs something from outside, such as a package or
//! a mail server, belongs in a block of the language `sh`, which is not run. The test changes
//! only these things:
//!
//! - The numbers of ports and the URL of the PostgreSQL database are replaced by those of the
//!   test ([`Replacements::apply`]).
//! - `cargo run --release` runs the binary built for the tests, and `cargo test` does
//!   nothing, since it is this very run ([`shell::PRELUDE`]). Hashes are cheap.
//! - A page that calls the default address before it starts a server finds one there, as a
//!   reader of README has.
//! - A command that runs until Ctrl-C gets a terminal of its own, and Ctrl-C ends it when the
//!   page starts the next such server.
//! - The next command is typed once a server listens, a mailbox is read once it has mail, and
//!   a refused command is repeated until it is refused.

mod check_session;
mod output;
mod shell;

use std::{
    fs,
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bienvenue::proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::FileDescriptorSet;

use self::shell::{Outcome, Shell};
use crate::harness::{Database, EMAIL, TestServer, grpcurl, ports::free_port};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The PostgreSQL database of the pages.
const POSTGRES: &str = "postgres://bienvenue@db.example.com/bienvenue";

/// How long a server or a mail may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The languages of blocks, of which only `console` is run.
const LANGUAGES: [&str; 10] = [
    "caddyfile",
    "console",
    "nginx",
    "python",
    "rust",
    "sh",
    "sql",
    "text",
    "toml",
    "yaml",
];

/// A page of the documentation.
struct Page {
    name: String,
    text: String,
}

/// A command and the output that its page shows.
struct Step {
    command: String,
    output: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        let name = path.strip_prefix(REPOSITORY).unwrap_or(path);
        Self {
            name: name.display().to_string(),
            text: fs::read_to_string(path).expect("a page"),
        }
    }

    /// README.md and every page in `docs/`.
    fn all() -> Vec<Self> {
        let repository = Path::new(REPOSITORY);
        let mut pages = vec![Self::read(&repository.join("README.md"))];
        let mut folders = vec![repository.join("docs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|kind| kind == "md") {
                    pages.push(Self::read(&path));
                }
            }
        }
        pages
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut is_console = false;
        for line in self.text.lines() {
            if let Some(language) = line.strip_prefix("```") {
                is_console = language == "console";
            } else if let Some(command) = line.strip_prefix("$ ").filter(|_| is_console) {
                steps.push(Step {
                    command: command.to_owned(),
                    output: String::new(),
                });
            } else if is_console {
                let step = steps.last_mut();
                let step = step.unwrap_or_else(|| panic!("{}: a command first", self.name));
                step.output.push_str(line);
                step.output.push('\n');
            }
        }
        steps
    }
}

/// The addresses of the test, in place of those of a page.
struct Replacements {
    ports: Vec<(String, String)>,
    database_url: Option<String>,
}

impl Replacements {
    /// Finds a free port for the default one, and for each that the page names.
    fn new(page: &Page, database: Option<&Database>) -> Self {
        let digits = page
            .text
            .split(|character: char| !character.is_ascii_digit());
        let mut named: Vec<&str> = digits
            .filter(|digits| digits.len() == 5 && digits.starts_with("500"))
            .chain(["50051"])
            .collect();
        named.sort_unstable();
        named.dedup();
        let ports = named
            .into_iter()
            .map(|named| (named.to_owned(), free_port().to_string()));
        Self {
            ports: ports.collect(),
            database_url: database.map(|database| database.url().to_owned()),
        }
    }

    fn apply(&self, command: &str) -> String {
        let url = self.database_url.as_deref().unwrap_or(POSTGRES);
        let mut replaced = command.replace(POSTGRES, url);
        for (named, port) in &self.ports {
            replaced = replaced.replace(&format!(":{named}"), &format!(":{port}"));
        }
        replaced
    }

    /// The test's address in place of the one that the service listens on by default.
    fn default_address(&self) -> String {
        self.apply("127.0.0.1:50051")
    }
}

impl Step {
    fn is_server(&self) -> bool {
        self.command.ends_with("cargo run --release")
            || self.command.contains("target/release/bienvenue --")
    }

    /// Whether it runs until Ctrl-C.
    fn is_endless(&self) -> bool {
        !self.command.ends_with('&')
            && (self.is_server() || self.command.contains("WatchRevocations"))
    }

    /// Whether the page shows that it fails.
    fn fails(&self) -> bool {
        // An error of grpcurl, or the bad rows of an import.
        let signs = ["ERROR:", "row "];
        signs.iter().any(|sign| self.output.starts_with(sign))
    }
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

/// Runs the commands of a page. A page that needs a program or a database which the machine
/// lacks is skipped, with a message.
fn run(page: &Page) {
    let mut steps = page.steps();
    if steps.is_empty() {
        return;
    }
    let what = format!("the commands of {}", page.name);
    let needs = |word: &str| steps.iter().any(|step| step.command.contains(word));
    let grpcurl = match needs("grpcurl").then(|| grpcurl::find(&what)) {
        Some(None) => return,
        found => found.flatten(),
    };
    let database = match needs(POSTGRES).then(Database::postgres_blocking) {
        Some(None) => return,
        found => found.flatten(),
    };
    let server = steps.iter().position(Step::is_server);
    let call = steps
        .iter()
        .position(|step| step.command.contains("localhost:50051"));
    if call.is_some_and(|call| server.is_none_or(|server| call < server)) {
        let step = Step {
            command: "cargo run --release".to_owned(),
            output: String::new(),
        };
        steps.insert(0, step);
    }

    let replacements = Replacements::new(page, database.as_ref());
    let mut shell = Shell::start(grpcurl.as_deref(), &replacements.default_address());
    let mut has_server = false;
    for step in &steps {
        let is_first_server = !has_server;
        let ends_other = step.is_endless() && step.is_server();
        has_server |= ends_other;
        if ends_other && !is_first_server {
            shell.interrupt();
        }
        run_step(step, &mut shell, &replacements);
    }
}

fn run_step(step: &Step, shell: &mut Shell, replacements: &Replacements) {
    let Step { command, output } = step;
    let replaced = replacements.apply(command);
    if command.contains("outbox/") {
        shell.await_reset_mail(PATIENCE);
    }
    let (is_endless, is_server) = (step.is_endless(), step.is_server());
    let mut outcome = shell.run(&replaced, is_endless && is_server, is_endless);
    if is_server {
        await_server(&replaced, &replacements.default_address(), &outcome);
    }
    if command.contains("WatchRevocations") {
        until(command, &outcome, || outcome.stdout().contains("heartbeat"));
    } else if is_endless {
        until(command, &outcome, || {
            output::is_like(output, &outcome).is_ok()
        });
    } else {
        let start = Instant::now();
        // A person is slower than `revocation-max-lag`.
        while step.fails() && outcome.is_success && start.elapsed() < PATIENCE {
            outcome = shell.run(&replaced, false, false);
        }
        assert_eq!(outcome.is_success, !step.fails(), "$ {replaced}\n{outcome}");
        if let Err(complaint) = output::is_like(output, &outcome) {
            panic!("$ {replaced}\n{complaint}\nIt is:\n{outcome}");
        }
    }
}

#[test]
fn commands_print_the_documented_output() {
    let pages = Page::all();
    let count = |page: &Page| page.steps().len();
    let commands: usize = pages.iter().map(count).sum();
    assert!(
        commands > 50,
        "the pages have more commands than {commands}"
    );
    let failed: Vec<&str> = thread::scope(|scope| {
        let running: Vec<_> = pages
            .iter()
            .map(|page| (page, scope.spawn(|| run(page))))
            .collect();
        running
            .into_iter()
            .filter_map(|(page, thread)| thread.join().err().map(|_| page.name.as_str()))
            .collect()
    });
    assert!(failed.is_empty(), "see above: {failed:?}");
}

/// A block without a language, or of another one, would be skipped silently.
#[test]
fn every_block_has_a_known_language() {
    for page in Page::all() {
        let fences = page
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("```"));
        for language in fences.step_by(2) {
            assert!(LANGUAGES.contains(&language), "{}: {language:?}", page.name);
        }
        let fences = page.text.lines().filter(|line| line.starts_with("```"));
        assert!(fences.count() % 2 == 0, "{}: an open block", page.name);
    }
}

/// The pages with commands, and the other pages.
fn pages_with_links() -> Vec<Page> {
    let mut pages = Page::all();
    for name in ["ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY"] {
        let path = Path::new(REPOSITORY).join(name).with_extension("md");
        pages.push(Page::read(&path));
    }
    pages
}

/// Files and folders that the pages name, such as `domain/email.rs` or `src/auth/`, exist,
/// wherever they are.
#[test]
fn every_named_file_exists() {
    let mut paths = vec![format!("{REPOSITORY}/build.rs")];
    let mut folders = [
        "benches",
        "crates",
        "docs",
        "migrations",
        "proto",
        "src",
        "tests",
    ]
    .map(|folder| Path::new(REPOSITORY).join(folder))
    .to_vec();
    while let Some(folder) = folders.pop() {
        paths.push(format!("{}/", folder.display()));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                paths.push(path.display().to_string());
            }
        }
    }
    for page in pages_with_links() {
        let mut is_code = false;
        for line in page.text.lines() {
            is_code ^= line.starts_with("```");
            let words = line.split('`').filter(|word| !is_code && is_path(word));
            for word in words {
                let end = format!("/{word}");
                let is_there = paths.iter().any(|path| path.ends_with(&end));
                assert!(is_there, "{}: no {word}", page.name);
            }
        }
    }
}

/// Whether a text is the path of a Rust file or of a folder.
fn is_path(text: &str) -> bool {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(is_kept)
        && (text.ends_with(".rs") || text.ends_with('/') && !text.starts_with("outbox"))
}

/// Links between the pages lead to files and headings that exist.
#[test]
fn every_link_leads_somewhere() {
    let repository = Path::new(REPOSITORY);
    let pages = pages_with_links();
    for page in &pages {
        let own = repository.join(&page.name);
        for rest in page.text.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => own.clone(),
                file => own.parent().expect("a folder").join(file),
            };
            assert!(path.exists(), "{}: no {target}", page.name);
            if !heading.is_empty() {
                let text = fs::read_to_string(&path).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == heading),
                    "{}: no {target}",
                    page.name
                );
            }
        }
    }
}

/// The anchor that GitHub and others give a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// README shows the function that is compiled and run here.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_session_check_works() {
    let (_, example) = include_str!("readme/check_session.rs")
        .split_once("\n\n")
        .expect("an import and the example");
    let readme = Page::read(&Path::new(REPOSITORY).join("README.md"));
    assert!(readme.text.contains(example), "README lacks:\n{example}");

    let server = TestServer::start(&Database::sqlite()).await;
    server.register().await;
    let session_id = server.login().await.session_id;
    let found = check_session::user_of(server.client.stub(), session_id.clone()).await;
    assert_eq!(found.unwrap().unwrap().email, EMAIL);
    server.client.logout(&session_id).await.unwrap();
    let found = check_session::user_of(server.client.stub(), session_id).await;
    assert_eq!(found.unwrap(), None);
}

/// A new method, or a new field of a request, needs its row in SECURITY.md.
#[test]
fn the_tables_of_security_have_every_method_and_field() {
    let security = Page::read(&Path::new(REPOSITORY).join("SECURITY.md")).text;
    let has_row = |start: &str| security.lines().any(|line| line.starts_with(start));
    let descriptors = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors");
    let own = descriptors
        .file
        .iter()
        .filter(|file| file.package() == "bienvenue.v1");
    for file in own {
        for service in &file.service {
            for method in &service.method {
                let name = format!("| `{}/{}` |", service.name(), method.name());
                assert!(has_row(&name), "no row {name}");
            }
        }
        let requests = file
            .message_type
            .iter()
            .filter(|message| message.name().ends_with("Request"));
        for field in requests.flat_map(|request| &request.field) {
            let name = format!("| `{}` |", field.name());
            assert!(has_row(&name), "no row {name}");
        }
    }
}
