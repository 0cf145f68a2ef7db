//! A real nginx: the one that `TEST_NGINX` names, else an installed one, else none.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use super::{
    postgres::say_skipped,
    programs::{installed, named_by},
};

/// A proxy in front of a server, which ends when this is dropped.
pub struct Nginx {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Nginx {
    /// Passes requests below a path on to a server, with the path taken off, and keeps the
    /// connections to it for later; `None` where there is no nginx, said loudly.
    pub async fn in_front_of(server: SocketAddr, path: &str) -> Option<Self> {
        let Some(program) = named_by("TEST_NGINX").or_else(|| installed("nginx")) else {
            say_skipped(
                "what a real nginx does",
                "Install nginx-light or set TEST_NGINX",
            );
            return None;
        };
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = settings(folder.path(), address, server, path);
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).expect("its settings");
        let child = Command::new(program)
            .args(["-e", "error.log", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let proxy = Self {
            address,
            child,
            folder,
        };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let is_early = start.elapsed() < Duration::from_secs(20);
            assert!(is_early, "nginx does not listen: {}", proxy.log());
            sleep(Duration::from_millis(5)).await;
        }
        Some(proxy)
    }

    /// Its log of errors.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(folder: &Path, address: SocketAddr, server: SocketAddr, path: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
        master_process off;
        pid {folder}/pid;
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
        }}"
    )
}
