//! Real proxies, with the configurations of `docs/proxies.md`.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    certificate::Authority,
    eventually,
    ports::free_port,
    postgres::say_skipped,
    programs::{installed, named_by},
};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/proxies.md");

/// The service's host name in the guide.
pub const HOST: &str = "accounts.example.com";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    /// Debian has no package of it, so `TEST_PROXIES` does not demand it.
    Envoy,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
        }
    }

    /// The installed program; without one, the test is skipped with a message, or fails
    /// where `TEST_PROXIES` is set.
    fn program(self) -> Option<PathBuf> {
        let name = self.name();
        let named = (self == Self::Envoy).then(|| named_by("TEST_ENVOY"));
        let program = named.flatten().or_else(|| installed(name));
        if program.is_none() {
            assert!(
                self == Self::Envoy || env::var_os("TEST_PROXIES").is_none(),
                "{name} is not installed"
            );
            say_skipped(
                &format!("the tests with {name}"),
                &format!("Install {name}"),
            );
        }
        program
    }
}

/// A proxy in front of a server; it ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy with TLS and the guide's configuration; `None` where it is not installed.
    pub async fn start(kind: Kind, server: SocketAddr) -> Option<Self> {
        Self::start_configured(kind, |home, address| {
            let authority = Authority::new();
            let certified = authority.certify_pem(HOST);
            fs::write(home.join("authority.pem"), authority.pem()).expect("a file");
            fs::write(home.join("certificate.pem"), certified.certificate).expect("a file");
            fs::write(home.join("key.pem"), certified.key).expect("a file");
            match kind {
                Kind::Nginx => nginx(home, address, server),
                Kind::Caddy => caddy(home, address, server),
                Kind::Envoy => envoy(home, address, server),
            }
        })
        .await
    }

    /// Starts an nginx without TLS that forwards requests below a path, strips the path and
    /// keeps its connections to the server; `None` where it is not installed.
    pub async fn nginx_below(path: &str, server: SocketAddr) -> Option<Self> {
        Self::start_configured(Kind::Nginx, |home, address| {
            nginx_below(home, address, server, path)
        })
        .await
    }

    async fn start_configured(
        kind: Kind,
        configuration: impl FnOnce(&Path, SocketAddr) -> String,
    ) -> Option<Self> {
        let program = kind.program()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path();
        let address = (Ipv4Addr::LOCALHOST, free_port()).into();
        let text = configuration(home, address);
        // Envoy tells the format by the ending of the name.
        let file = home.join("configuration.yaml");
        fs::write(&file, text).expect("a file");
        let mut command = Command::new(program);
        match kind {
            Kind::Nginx => command.arg("-p").arg(home).arg("-c").arg(&file),
            Kind::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(&file),
            Kind::Envoy => command
                .args(["--use-dynamic-base-id", "--concurrency", "1"])
                .args(["--log-level", "warning", "-c"])
                .arg(&file),
        };
        let log = fs::File::create(home.join("log")).expect("a file");
        let child = command
            .env("HOME", home)
            .env("XDG_DATA_HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            // Its workers are ended with it, by the group.
            .process_group(0)
            .spawn()
            .expect("the proxy starts");
        let mut proxy = Self {
            address,
            child,
            folder,
        };
        proxy.until_listening().await;
        Some(proxy)
    }

    /// The certificate authority for clients to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Its log of errors and of requests.
    pub fn log(&self) -> String {
        let file = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        file("log") + &file("access.log")
    }

    async fn until_listening(&mut self) {
        eventually("the proxy listens", async || {
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "the proxy ended: {}", self.log());
            TcpStream::connect(self.address).await.is_ok()
        })
        .await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// The guide's configuration, with the addresses and files of the test.
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
    let temporary = temporary_folders(home);
    // The rest stands in a distribution's nginx.conf.
    format!(
        "daemon off;\nuser root;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}{site}}}\n",
        file("pid")
    )
}

fn nginx_below(home: &Path, address: SocketAddr, server: SocketAddr, path: &str) -> String {
    let temporary = temporary_folders(home);
    format!(
        "daemon off;
        master_process off;
        pid {}/pid;
        error_log stderr;
        events {{}}
        http {{
            access_log off;
            {temporary}
            upstream service {{
                server {server} max_fails=0;
                keepalive 64;
            }}
            server {{
                listen {address};
                location {path} {{
                    proxy_pass http://service/;
                    proxy_http_version 1.1;
                    proxy_set_header Connection \"\";
                    proxy_set_header Host $http_host;
                }}
            }}
        }}",
        home.display()
    )
}

/// Settings that keep nginx's temporary files in the test's folder.
fn temporary_folders(home: &Path) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", home.join(kind).display()))
        .concat()
}

/// The guide's configuration for Caddy, with a certificate, so that it requests none.
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

/// The guide's code block of a language.
fn block(language: &str) -> String {
    let start = format!("```{language}\n");
    let guide = fs::read_to_string(GUIDE).expect("the guide");
    let (_, rest) = guide.split_once(&start).expect("a block");
    let (block, _) = rest.split_once("```").expect("an end");
    block.to_owned()
}

/// Replaces each of these; the text has to contain them.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the guide has no {from:?}");
        text.replace(from, to)
    })
}
