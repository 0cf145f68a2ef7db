//! PgBouncer in front of the database.

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{
    Database, EMAIL, PASSWORD, Process,
    cluster::unprivileged_user,
    eventually,
    ports::free_port,
    postgres,
    process::{command, run},
    programs::installed,
    server::Client,
};

struct Pooler {
    url: String,
    child: Child,
    _folder: TempDir,
}

impl Pooler {
    /// Starts it in front of a database; `None` where PgBouncer is not installed.
    async fn start(database: &Database, mode: &str) -> Option<Self> {
        let Some(program) = installed("pgbouncer") else {
            postgres::skipped("a pooler in front of the database", "with PgBouncer");
            assert!(
                env::var_os("TEST_PGBOUNCER").is_none(),
                "TEST_PGBOUNCER demands PgBouncer"
            );
            return None;
        };
        let (server, name) = database.server_and_name();
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        let settings = folder.path().join("pgbouncer.ini");
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\nbienvenue = {server} dbname={name} user=postgres\n[pgbouncer]\nlisten_addr = \
             127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\nauth_file = \
             {users}\npool_mode = {mode}\nmax_client_conn = 200\ndefault_pool_size = 20\n",
            users = users.display(),
        );
        fs::write(&settings, text).unwrap();
        let mut command = Command::new(program);
        command.arg(&settings).stdout(Stdio::null());
        command.stderr(Stdio::null());
        // PgBouncer refuses to run as root.
        if let Some((uid, gid)) = unprivileged_user() {
            for path in [folder.path(), &users, &settings] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
            command.gid(gid).uid(uid);
        }
        let mut pooler = Self {
            url: format!("postgres://postgres@127.0.0.1:{port}/bienvenue"),
            child: command.spawn().expect("PgBouncer runs"),
            _folder: folder,
        };
        pooler
            .until_listening(SocketAddr::from(([127, 0, 0, 1], port)))
            .await;
        Some(pooler)
    }

    async fn until_listening(&mut self, address: SocketAddr) {
        eventually("PgBouncer listens", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "PgBouncer ended: {ended:?}");
            TcpStream::connect(address).is_ok()
        })
        .await;
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Transactions use different connections: the start is refused, in one line.
#[tokio::test(flavor = "multi_thread")]
async fn pooling_by_transaction_is_refused() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    for mode in ["transaction", "statement"] {
        let Some(pooler) = Pooler::start(&database, mode).await else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut start = command(folder.path());
        start.args(["--listen=127.0.0.1:0", "--database-url", &pooler.url]);
        let ended = run(start);
        assert_eq!(ended.code, Some(1), "{mode}: {ended:?}");
        assert_eq!(ended.errors.lines().count(), 1, "{mode}: {}", ended.errors);
        assert!(
            ended.errors.contains("pool_mode=session"),
            "{}",
            ended.errors
        );
    }
}

/// A client keeps its database connection while it is connected, which works.
#[tokio::test(flavor = "multi_thread")]
async fn pooling_by_session_works() {
    let Some(database) = Database::postgres().await else {
        return;
    };
    let Some(pooler) = Pooler::start(&database, "session").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--bcrypt-cost=4", "--database-url", &pooler.url];
    let process = Process::start(folder.path(), &settings);
    let client = Client::connect(process.address).await;
    client.register(EMAIL, PASSWORD).await.unwrap();
    let session_id = client.login(EMAIL, PASSWORD).await.unwrap().session_id;
    client.check(&session_id).await.unwrap();
}
