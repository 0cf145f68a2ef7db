//! A temporary PostgreSQL cluster, from an installed `initdb`.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Runs until dropped or until this process ends, by any cause: a shell stops the cluster and
/// removes its folder when its pipe closes.
pub struct Cluster {
    url: String,
    log: PathBuf,
    keeper: Child,
    reports: BufReader<ChildStdout>,
}

/// Executes a command per line of its input, and reports each.
const KEEPER: &str = r#"
    start() {
        # A killed server's shared memory blocks the start until its last child ends.
        for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            "$1/pg_ctl" -D "$2/data" -l "$2/log" -w -t 60 -o "$3" start >/dev/null 2>&1 && return
            sleep 0.1
        done
        exit 1
    }
    stop() { "$1/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null 2>&1; }
    copy() { rm -rf "$2" && cp -a "$1" "$2" || exit 1; }
    replicate() {
        "$1/pg_basebackup" -h "$2" -U postgres -D "$2/replica" -R --no-sync >/dev/null 2>&1 &&
        "$1/pg_ctl" -D "$2/replica" -l "$2/log" -w -t 60 -o "$3 -p 5433" start >/dev/null 2>&1 ||
        exit 1
    }
    # The promoted server gets the address of the replaced one.
    promote() {
        "$1/pg_ctl" -D "$2/replica" -w -t 60 promote >/dev/null 2>&1 &&
        ln -sf .s.PGSQL.5433 "$2/.s.PGSQL.5432" || exit 1
    }
    end() {
        stop "$@"
        "$1/pg_ctl" -D "$2/replica" -m immediate -w stop >/dev/null 2>&1
        rm -rf "$2"
    }
    trap 'end "$@"' EXIT
    while read -r order; do
        case $order in
            start) start "$@" ;;
            stop) stop "$@" ;;
            kill) kill -9 "$(head -n 1 "$2/data/postmaster.pid")" ;;
            save) copy "$2/data" "$2/saved" ;;
            restore) copy "$2/saved" "$2/data" ;;
            replicate) replicate "$@" ;;
            promote) promote "$@" ;;
        esac
        echo "$order"
    done"#;

impl Cluster {
    /// A new cluster on a Unix socket, whose address stays reserved while the cluster is stopped;
    /// `None` where PostgreSQL is not installed.
    pub fn on_a_socket() -> Option<Self> {
        let programs = find_programs()?;
        Some(Self::start_new(&programs, None, |folder| {
            let folder = folder.display();
            (
                "-c listen_addresses=".to_owned(),
                format!("postgres://postgres@/postgres?host={folder}"),
            )
        }))
    }

    /// A new cluster on a port of 127.0.0.1.
    pub fn on_a_port(port: u16) -> Option<Self> {
        let programs = find_programs()?;
        Some(Self::start_new(&programs, None, |_| {
            (
                format!("-c listen_addresses=127.0.0.1 -p {port}"),
                format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            )
        }))
    }

    /// A new cluster inside a network namespace, at an address there. `setpriv` runs setpriv(1)
    /// as root inside, still without arguments.
    pub fn on_a_host(address: Ipv4Addr, setpriv: Command) -> Option<Self> {
        let programs = find_programs()?;
        Some(Self::start_new(&programs, Some(setpriv), |_| {
            (
                format!("-c listen_addresses={address}"),
                format!("postgres://postgres@{address}/postgres"),
            )
        }))
    }

    /// Starts a cluster; `place` returns the options for its listening address, and its URL, from
    /// its folder.
    fn start_new(
        programs: &Path,
        setpriv: Option<Command>,
        place: impl FnOnce(&Path) -> (String, String),
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bienvenue-postgres-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let user = unprivileged_user();
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).expect("chown of the cluster's folder");
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("chmod");

        let run_as_user = |command: &mut Command| {
            command.current_dir(&folder);
            if let Some((uid, gid)) = user {
                command.gid(gid).uid(uid);
            }
        };
        let mut initdb = Command::new(programs.join("initdb"));
        initdb
            .args(["--username=postgres", "--auth=trust", "--no-sync"])
            .args(["-E", "UTF8", "-D"])
            .arg(folder.join("data"))
            .stdout(Stdio::null());
        run_as_user(&mut initdb);
        assert!(initdb.status().expect("initdb runs").success(), "initdb");
        if setpriv.is_some() {
            let rule = "host all all 0.0.0.0/0 trust\n";
            let rules = folder.join("data/pg_hba.conf");
            let mut rules = fs::OpenOptions::new().append(true).open(rules).expect("it");
            rules.write_all(rule.as_bytes()).expect("a rule");
        }

        let (listens, url) = place(&folder);
        let options = format!(
            "{listens} -k {} -c fsync=off -c max_connections=1000",
            folder.display()
        );
        let mut keeper = match (setpriv, user) {
            // Entering a namespace requires root, so the user is changed inside.
            (Some(mut command), Some((uid, gid))) => {
                command.args(["--clear-groups", "--reuid", &uid.to_string()]);
                command.args(["--regid", &gid.to_string(), "sh"]);
                command.current_dir(&folder);
                command
            }
            _ => {
                let mut command = Command::new("sh");
                run_as_user(&mut command);
                command
            }
        };
        keeper
            .args(["-c", KEEPER, "keeper"])
            .arg(programs)
            .arg(&folder)
            .arg(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C must not reach the keeper, which cleans up.
            .process_group(0);
        let mut keeper = keeper.spawn().expect("a shell");
        let mut cluster = Self {
            url,
            log: folder.join("log"),
            reports: BufReader::new(keeper.stdout.take().expect("its output")),
            keeper,
        };
        cluster.start();
        cluster
    }

    /// The URL of a database, as a superuser who can create others.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills the postmaster (-9); its children end.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Stops it in immediate mode, without notice to clients.
    pub fn stop(&mut self) {
        self.order("stop");
    }

    /// Starts it and waits until it accepts connections.
    pub fn start(&mut self) {
        self.order("start");
    }

    /// Copies the files of the stopped cluster.
    pub fn save(&mut self) {
        self.order("save");
    }

    /// Replaces the files of the stopped cluster with the copy.
    pub fn restore(&mut self) {
        self.order("restore");
    }

    /// Starts an asynchronous replica of a cluster on a socket; returns its URL.
    pub fn replicate(&mut self) -> String {
        self.order("replicate");
        format!("{}&port=5433", self.url)
    }

    /// Promotes the replica, at the address of the stopped primary.
    pub fn promote(&mut self) {
        self.order("promote");
    }

    fn order(&mut self, order: &str) {
        let mut orders = self.keeper.stdin.as_ref().expect("its input");
        writeln!(orders, "{order}").expect("a keeper");
        let mut report = String::new();
        self.reports.read_line(&mut report).expect("a keeper");
        assert_eq!(
            report.trim_end(),
            order,
            "PostgreSQL does not {order}; see {}",
            self.log.display()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Closes the keeper's pipe first.
        let _ = self.keeper.wait();
    }
}

/// The folder of `initdb`, `pg_ctl` and `postgres`.
fn find_programs() -> Option<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = debian
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort_by_key(|path| {
        let version = path.parent().and_then(Path::file_name);
        version.and_then(|name| name.to_str()?.parse::<u32>().ok())
    });
    versions.reverse();
    let path = env::var_os("PATH").unwrap_or_default();
    versions
        .into_iter()
        .chain(env::split_paths(&path))
        .find(|folder| {
            ["initdb", "pg_ctl", "postgres"]
                .iter()
                .all(|program| folder.join(program).exists())
        })
}

/// The user to run PostgreSQL as, since it refuses to run as root.
pub fn unprivileged_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|user| Some((id(&["-u", user])?, id(&["-g", user])?)))
}
