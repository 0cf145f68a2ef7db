//! The invariants of ARCHITECTURE.md, held against the source itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room, from the top of the corridor to the bottom, and the rooms that
/// it may use. What is not named here does not exist.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "cli",
            "clock",
            "config",
            "import",
            "lifecycle",
            "log",
            "passwords",
            "server",
        ],
    ),
    ("cli", &["config", "db", "import", "passwords"]),
    ("import", &["clock", "db", "domain", "passwords"]),
    ("log", &["config"]),
    (
        "server",
        &[
            "auth",
            "causes",
            "clock",
            "config",
            "db",
            "deadline",
            "effect",
            "http",
            "lifecycle",
            "mail",
            "passwords",
            "peer",
            "proto",
            "revocations",
            "rpc",
            "session_index",
        ],
    ),
    (
        "config",
        &["db", "domain", "mail", "passwords", "secret_file"],
    ),
    (
        "rpc",
        &[
            "auth",
            "deadline",
            "domain",
            "effect",
            "peer",
            "proto",
            "revocations",
            "secret_file",
        ],
    ),
    ("http", &["auth", "deadline", "domain", "effect", "peer"]),
    (
        "auth",
        &[
            "causes",
            "clock",
            "db",
            "deadline",
            "domain",
            "mail",
            "passwords",
            "revocations",
            "session_index",
        ],
    ),
    (
        "revocations",
        &["causes", "clock", "db", "domain", "session_index"],
    ),
    ("session_index", &["domain"]),
    ("mail", &["clock", "domain"]),
    ("db", &["causes", "domain"]),
    ("passwords", &["deadline", "domain"]),
    ("peer", &["domain"]),
    ("domain", &[]),
    ("causes", &[]),
    ("clock", &[]),
    ("deadline", &[]),
    ("effect", &[]),
    ("lifecycle", &[]),
    ("proto", &[]),
    ("secret_file", &[]),
];

/// A word, who may write it, and why nobody else does.
const WORDS: &[(&[&str], &[&str], &str)] = &[
    (
        &["diesel", "diesel_migrations", "r2d2"],
        &["db"],
        "only db knows the database",
    ),
    (
        &[
            "axum",
            "cookie",
            "hyper",
            "hyper_util",
            "tonic",
            "tonic_health",
            "tonic_prost",
            "tonic_reflection",
            "tonic_types",
            "tonic_web",
            "tower",
            "tower_http",
            "tower_service",
        ],
        &["rpc", "http", "server", "proto"],
        "only the edge knows the transport",
    ),
    (
        &["var(", "var_os(", "vars(", "env = "],
        &["config"],
        "only config reads the environment",
    ),
    (
        &["Utc::now", "SystemTime", "Local::now"],
        &["clock"],
        "time comes from the clock that is passed in",
    ),
    (
        &["lettre", "native_tls", "tokio_native_tls"],
        &["mail"],
        "only mail hands mails on",
    ),
    (
        &["argon2::", "bcrypt::", "pbkdf2::", "scrypt::"],
        &["passwords"],
        "only passwords hashes",
    ),
    (&["static mut", "unsafe "], &[], "nobody writes that"),
];

struct Source {
    room: String,
    path: PathBuf,
    /// Without comments and without unit tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let (mut sources, mut of_tests) = (Vec::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let room = inside.iter().next().unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                let code = without_comments(&without_unit_tests(&text));
                let room = room.trim_end_matches(".rs").to_owned();
                of_tests.extend(files_of_unit_tests(&path, &code));
                sources.push(Source { room, path, code });
            }
        }
    }
    for path in &of_tests {
        let known = sources.iter().any(|source| source.path == *path);
        assert!(known, "{} is not there", path.display());
    }
    sources.retain(|source| !of_tests.contains(&source.path));
    sources
}

fn without_comments(code: &str) -> String {
    code.lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Code without its `mod tests`, which ends, as rustfmt has it, with the first
/// brace at the beginning of a line.
fn without_unit_tests(text: &str) -> String {
    match text.split_once("#[cfg(test)]\nmod tests {\n") {
        Some((code, tests)) => {
            let (_, rest) = tests.split_once("\n}\n").expect("an end");
            format!("{code}{rest}")
        }
        None => text.to_owned(),
    }
}

/// The files that a file takes in for its unit tests alone.
fn files_of_unit_tests(path: &Path, code: &str) -> Vec<PathBuf> {
    let folder = path.with_extension("");
    code.split("#[cfg(test)]\nmod ")
        .skip(1)
        .filter_map(|rest| rest.split_once(';'))
        .map(|(name, _)| folder.join(name).with_extension("rs"))
        .collect()
}

/// Whether a word stands in code by itself, not as the end of another.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(before) && (!word.ends_with(char::is_alphanumeric) || !part(after))
    })
}

/// The rooms that code names: `crate::room`, or `crate::{room::…, room::…}`.
fn rooms_used(code: &str) -> impl Iterator<Item = &str> {
    ["crate::", "bienvenue::"]
        .into_iter()
        .flat_map(move |root| code.split(root).skip(1))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0_usize;
                let end = group.find(|c| {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => return true,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    false
                });
                top_level_items(&group[..end.unwrap_or(group.len())])
            }
            None => vec![rest],
        })
        .map(|item| {
            let item = item.trim();
            let end = item.find(|c: char| !c.is_alphanumeric() && c != '_');
            &item[..end.unwrap_or(item.len())]
        })
}

/// The items of a group of imports, those in inner groups left with their own.
fn top_level_items(group: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    group
        .split(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        })
        .collect()
}

#[test]
fn a_room_uses_only_what_stands_below_it() {
    for source in sources() {
        if source.room == "lib" {
            continue;
        }
        let room = ROOMS.iter().find(|(name, _)| *name == source.room);
        let (_, may_use) = room.unwrap_or_else(|| panic!("no room for {}", source.path.display()));
        for (other, _) in ROOMS.iter().filter(|(other, _)| *other != source.room) {
            let used = rooms_used(&source.code).any(|used| used == *other);
            assert!(
                !used || may_use.contains(other),
                "{} uses {other}",
                source.path.display()
            );
        }
    }
}

#[test]
fn there_are_no_circles() {
    for (at, (room, may_use)) in ROOMS.iter().enumerate() {
        for other in *may_use {
            let below = ROOMS[at..].iter().any(|(name, _)| name == other);
            assert!(below, "{room} stands below {other}");
        }
    }
}

#[test]
fn words_stay_in_their_rooms() {
    for source in sources() {
        for (words, rooms, why) in WORDS {
            for word in *words {
                assert!(
                    rooms.contains(&source.room.as_str()) || !names(&source.code, word),
                    "{} names {word:?}: {why}",
                    source.path.display()
                );
            }
        }
    }
}

/// A `session_id` that was made up must not reach the database: it is looked for in
/// memory before anything is done with its digest.
#[test]
fn only_checks_take_the_digest_of_a_session_id() {
    let checks = ["session_batches.rs", "session_checks.rs"];
    let above = sources().into_iter();
    let above = above.filter(|source| ["auth", "http", "rpc"].contains(&source.room.as_str()));
    let users = above.filter(|source| names(&source.code, "digest_of("));
    let mut files: Vec<String> = users
        .map(|source| source.path.file_name().unwrap().display().to_string())
        .collect();
    files.sort();
    assert_eq!(files, checks);
}

/// The tests above would find what they look for.
#[test]
fn the_search_finds() {
    assert!(names("use diesel::prelude;", "diesel"));
    assert!(!names("use undiesel::prelude;", "diesel"));
    assert!(!names("use diesel_migrations::x;", "diesel"));
    let code = "use crate::{auth::{Auth, db}, clock::Clock};\nlet x = crate::rpc::y();";
    assert_eq!(
        rooms_used(code).collect::<Vec<_>>(),
        ["auth", "clock", "rpc"]
    );
    let text = "#[cfg(test)]\nmod vectors;\na();\n#[cfg(test)]\nmod tests {\n    b();\n}\nc();\n";
    let code = without_unit_tests(text);
    assert_eq!(code, "#[cfg(test)]\nmod vectors;\na();\nc();\n");
    assert_eq!(
        files_of_unit_tests(Path::new("src/a/b.rs"), &code),
        [Path::new("src/a/b/vectors.rs")]
    );
    let all = sources();
    for (words, rooms, _) in WORDS.iter().filter(|(_, rooms, _)| !rooms.is_empty()) {
        let found = all.iter().any(|source| {
            rooms.contains(&source.room.as_str())
                && words.iter().any(|word| names(&source.code, word))
        });
        assert!(found, "{words:?}");
    }
    for (room, _) in ROOMS {
        assert!(
            all.iter().any(|source| source.room == *room),
            "{room} is gone"
        );
    }
}
