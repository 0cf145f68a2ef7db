//! A PostgreSQL to test on: the one that `TEST_POSTGRES_URL` names, else a
//! throwaway cluster from an installed `initdb`, else none.

use std::{
    env, fs,
    io::{self, Write as _},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use diesel::{Connection as _, PgConnection};

/// The URL of a database that new ones can be created from, as a superuser;
/// `None` where there is no PostgreSQL, said loudly once.
pub fn url() -> Option<&'static str> {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    URL.get_or_init(|| {
        if let Ok(url) = env::var("TEST_POSTGRES_URL") {
            return Some(url);
        }
        let Some(programs) = find_programs() else {
            // Past the capture of cargo test, which hides what a passing test
            // prints.
            let _ = writeln!(
                io::stderr(),
                "\n*** SKIPPED: every PostgreSQL test. Install PostgreSQL (initdb), or set \
                 TEST_POSTGRES_URL. ***\n"
            );
            return None;
        };
        Some(start_cluster(&programs))
    })
    .as_deref()
}

/// The folder that holds `initdb` and `postgres`.
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
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// Starts a cluster that lives as long as this process, however it ends: a
/// shell stops it and removes its folder when the pipe to it closes.
fn start_cluster(programs: &Path) -> String {
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
        .args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "-D",
        ])
        .arg(folder.join("data"))
        .stdout(Stdio::null());
    run_as_user(&mut initdb);
    assert!(initdb.status().expect("initdb runs").success(), "initdb");

    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a free port")
        .port();
    let script = r#"
        "$1/postgres" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -k "$2" \
            -c fsync=off -c max_connections=1000 >"$2/log" 2>&1 &
        read -r _
        kill -INT $!
        wait
        rm -rf "$2""#;
    let mut keeper = Command::new("sh");
    keeper
        .arg("-c")
        .arg(script)
        .arg("keeper")
        .arg(programs)
        .arg(&folder)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        // A Ctrl-C for the tests is not for the keeper, which has to clean up.
        .process_group(0);
    run_as_user(&mut keeper);
    // Kept for ever: the pipe to it closes when this process ends.
    std::mem::forget(keeper.spawn().expect("a shell"));

    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let start = Instant::now();
    while let Err(error) = PgConnection::establish(&url) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "PostgreSQL does not start: {error}; see {}",
            folder.join("log").display()
        );
        thread::sleep(Duration::from_millis(50));
    }
    url
}

/// PostgreSQL refuses to run as root: whom to be instead.
fn unprivileged_user() -> Option<(u32, u32)> {
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
