//! Real proxies, with the configurations of `docs/proxies.md`.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use super::{
    certificate::Authority,
    postgres::say_skipped,
    programs::{installed, named_by},
};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/proxies.md");

/// The name that the guide gives to the service.
pub const HOST: &str = "accounts.example.com";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    /// Debian has no package of it, so `TEST_PROXIES` does not demand it.
    Envoy,
}

/// A proxy with TLS in front of a server; it ends when this is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts one; `None` where it is not installed, with a message, unless `TEST_PROXIES`
    /// demands it.
    pub async fn start(kind: Kind, server: SocketAddr) -> Option<Self> {
        let name = match kind {
            Kind::Nginx => "nginx",
            Kind::Caddy => "caddy",
            Kind::Envoy => "envoy",
        };
        let program = match kind {
            Kind::Envoy => named_by("TEST_ENVOY").or_else(|| installed(name)),
            _ => installed(name),
        };
        let Some(program) = program else {
            assert!(
                kind == Kind::Envoy || env::var_os("TEST_PROXIES").is_none(),
                "{name} is not installed"
            );
            say_skipped(&format!("what {name} does"), &format!("Install {name}"));
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path();
        let authority = Authority::new();
        let certified = authority.certify_pem(HOST);
        fs::write(home.join("authority.pem"), authority.pem()).expect("a file");
        fs::write(home.join("certificate.pem"), certified.certificate).expect("a file");
        fs::write(home.join("key.pem"), certified.key).expect("a file");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut command = Command::new(program);
        // Envoy goes by the ending of the name.
        let configuration = home.join("configuration.yaml");
        let text = match kind {
            Kind::Nginx => nginx(home, address, server),
            Kind::Caddy => caddy(home, address, server),
            Kind::Envoy => envoy(home, address, server),
        };
        fs::write(&configuration, text).expect("a file");
        match kind {
            Kind::Nginx => command.arg("-p").arg(home).arg("-c").arg(&configuration),
            Kind::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(&configuration),
            Kind::Envoy => command
                .args(["--use-dynamic-base-id", "--concurrency", "1"])
                .args(["--log-level", "warning", "-c"])
                .arg(&configuration),
        };
        let log = fs::File::create(home.join("log")).expect("a file");
        let child = command
            .env("HOME", home)
            .env("XDG_DATA_HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            // So that its workers can be ended along with it.
            .process_group(0)
            .spawn()
            .expect("the proxy starts");
        let mut proxy = Self {
            address,
            child,
            folder,
        };
        proxy.listens().await;
        Some(proxy)
    }

    /// What clients have to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// What it has logged, requests too.
    pub fn log(&self) -> String {
        let file = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        file("log") + &file("access.log")
    }

    async fn listens(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            let ended = self.child.try_wait().expect("its state");
            let is_late = start.elapsed() > Duration::from_secs(20);
            assert!(
                ended.is_none() && !is_late,
                "it does not listen: {}",
                self.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// The guide's configuration with what has to be another's in a test: addresses and files.
fn nginx(home: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let file = |name: &str| home.join(name).display().to_string();
    let folder = format!("/etc/letsencrypt/live/{HOST}");
    let site = replaced(
        &block("nginx"),
        &[
            ("listen 443 ", &format!("listen {address} ")),
            ("127.0.0.1:50051", &server.to_string()),
            (&format!("{folder}/fullchain.pem"), &file("certificate.pem")),
            (&format!("{folder}/privkey.pem"), &file("key.pem")),
            ("/var/log/nginx/accounts.log", &file("access.log")),
        ],
    );
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", file(kind)))
        .concat();
    // Around it is what a distribution's nginx.conf has.
    format!(
        "daemon off;\nuser root;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}{site}}}\n",
        file("pid")
    )
}

/// The same for Caddy, which is not to ask for a certificate.
fn caddy(home: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let file = |name: &str| home.join(name).display().to_string();
    let (certificate, key) = (file("certificate.pem"), file("key.pem"));
    let own = format!("{HOST}:{} {{\n\ttls {certificate} {key}\n", address.port());
    let site = replaced(
        &block("caddyfile"),
        &[
            (&format!("{HOST} {{\n"), &own),
            ("127.0.0.1:50051", &server.to_string()),
        ],
    );
    format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
}

/// The same for Envoy.
fn envoy(home: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let file = |name: &str| home.join(name).display().to_string();
    let folder = format!("/etc/letsencrypt/live/{HOST}");
    let socket = |address: SocketAddr| {
        let (ip, port) = (address.ip(), address.port());
        format!("address: {ip}, port_value: {port}")
    };
    replaced(
        &block("yaml"),
        &[
            ("address: 0.0.0.0, port_value: 443", &socket(address)),
            ("address: 127.0.0.1, port_value: 50051", &socket(server)),
            (&format!("{folder}/fullchain.pem"), &file("certificate.pem")),
            (&format!("{folder}/privkey.pem"), &file("key.pem")),
        ],
    )
}

/// The block of a language in the guide.
fn block(language: &str) -> String {
    let start = format!("```{language}\n");
    let guide = fs::read_to_string(GUIDE).expect("the guide");
    let (_, rest) = guide.split_once(&start).expect("a block");
    let (block, _) = rest.split_once("```").expect("an end");
    block.to_owned()
}

/// A text in which each of these is replaced; each has to be there.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the guide has no {from:?}");
        text.replace(from, to)
    })
}
