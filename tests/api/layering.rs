//! The layers of ARCHITECTURE.md, checked against the parsed source.

mod paths;

use std::{collections::BTreeSet, fs, path::Path};

use syn::visit::Visit;

use self::paths::{Paths, files_in, sources};

/// Each module with a layer of its own, from the top to the bottom, and the modules that it
/// may use. A file belongs to the innermost module listed here.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "app",
            "cli",
            "clock",
            "config",
            "import",
            "lifecycle",
            "log",
            "passwords",
        ],
    ),
    ("cli", &["config", "db", "db/import", "import", "passwords"]),
    (
        "import",
        &["clock", "db", "db/import", "domain", "passwords"],
    ),
    ("log", &["config", "request_line"]),
    (
        "app",
        &[
            "auth",
            "auth/sessions/cache",
            "auth/sessions/freshness",
            "clock",
            "config",
            "db",
            "error_chain",
            "gateway",
            "http/flask",
            "http/replies",
            "jobs",
            "lifecycle",
            "mail",
            "passwords",
            "rpc",
            "transport",
        ],
    ),
    ("jobs", &["auth", "error_chain"]),
    (
        "gateway",
        &[
            "deadline",
            "domain",
            "error_chain",
            "http/replies",
            "no_effect",
            "peer",
            "proto",
            "request_context",
            "request_line",
            "rpc",
            "rpc/methods",
            "rpc/status",
            "transport",
        ],
    ),
    ("transport", &["config", "domain", "peer"]),
    ("rpc", &["rpc/admin", "rpc/auth"]),
    (
        "rpc/auth",
        &[
            "auth",
            "domain",
            "no_effect",
            "proto",
            "rpc/encoding",
            "rpc/methods",
            "rpc/reply_reservation",
            "rpc/request",
            "rpc/status",
        ],
    ),
    (
        "rpc/admin",
        &[
            "auth",
            "auth/sessions/freshness",
            "domain",
            "error_chain",
            "proto",
            "request_context",
            "rpc/encoding",
            "rpc/methods",
            "rpc/request",
            "rpc/status",
        ],
    ),
    (
        "rpc/encoding",
        &["auth", "auth/sessions/freshness", "domain", "proto"],
    ),
    ("rpc/reply_reservation", &["peer", "rpc/status"]),
    ("rpc/methods", &["proto", "rpc/status"]),
    ("rpc/request", &["auth", "peer", "request_context"]),
    ("rpc/status", &["auth", "error_code", "peer"]),
    (
        "http/flask",
        &[
            "auth",
            "domain",
            "error_code",
            "http/account",
            "http/replies",
            "no_effect",
            "request_context",
        ],
    ),
    ("http/account", &[]),
    ("http/replies", &["auth", "domain", "error_code", "peer"]),
    (
        "auth",
        &[
            "auth/accounts",
            "auth/outbox",
            "auth/sessions/cache",
            "auth/sessions/freshness",
            "clock",
            "db",
            "domain",
            "error_code",
            "mail",
            "passwords",
        ],
    ),
    (
        "auth/accounts",
        &[
            "auth",
            "db",
            "domain",
            "error_chain",
            "passwords",
            "request_context",
        ],
    ),
    (
        "auth/outbox",
        &["auth", "backoff", "db", "domain", "error_chain", "mail"],
    ),
    (
        "auth/sessions",
        &[
            "auth",
            "auth/sessions/cache",
            "auth/sessions/freshness",
            "db",
            "domain",
            "request_context",
        ],
    ),
    (
        "auth/sessions/freshness",
        &[
            "auth/sessions/cache",
            "backoff",
            "clock",
            "db",
            "domain",
            "error_chain",
        ],
    ),
    ("auth/sessions/cache", &["domain"]),
    (
        "config",
        &["db", "domain", "mail", "passwords", "secret_file"],
    ),
    ("mail", &["clock", "domain"]),
    ("db/import", &["db", "domain"]),
    ("db", &["backoff", "domain", "error_chain"]),
    ("passwords", &["deadline", "domain"]),
    ("peer", &["error_code"]),
    ("request_context", &["deadline", "domain"]),
    ("deadline", &["domain"]),
    ("error_chain", &["domain"]),
    ("domain", &[]),
    ("backoff", &[]),
    ("clock", &[]),
    ("error_code", &[]),
    ("lifecycle", &[]),
    ("no_effect", &[]),
    ("proto", &[]),
    ("request_line", &[]),
    ("secret_file", &[]),
];

/// Pairs that use each other: a folder and the module whose type its files implement.
const FAMILIES: &[(&str, &str)] = &[
    ("auth", "auth/accounts"),
    ("auth", "auth/outbox"),
    ("auth", "auth/sessions"),
];

/// Names that only some modules may write, and why.
const NAMES: &[(&[&str], &[&str], &str)] = &[
    (
        &["diesel", "diesel_migrations"],
        &["db", "db/import"],
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
        ],
        &[
            "app",
            "gateway",
            "http/account",
            "http/flask",
            "http/replies",
            "proto",
            "rpc",
            "rpc/admin",
            "rpc/auth",
            "rpc/encoding",
            "rpc/methods",
            "rpc/reply_reservation",
            "rpc/request",
            "rpc/status",
            "transport",
        ],
        "only the edge knows the transport",
    ),
    (
        &["env::var", "env::var_os", "env::vars", "env::vars_os"],
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
        "only mail sends messages",
    ),
    (
        &["argon2", "bcrypt", "bcrypt_lanes", "pbkdf2", "scrypt"],
        &["passwords"],
        "only passwords hashes",
    ),
];

#[test]
fn a_module_uses_only_the_layers_listed_for_it() {
    let mut forbidden = BTreeSet::new();
    for source in sources() {
        let (_, may_use) = LAYERS
            .iter()
            .find(|(name, _)| *name == source.module)
            .unwrap();
        for used in source.modules().filter(|used| !may_use.contains(used)) {
            forbidden.insert(format!("{} uses {used}", source.file.display()));
        }
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

/// Each listed edge leads down, but for the families, and is used.
#[test]
fn layers_have_no_cycles() {
    let mut unused = Vec::new();
    let used: Vec<(&str, &str)> = sources()
        .iter()
        .flat_map(|source| {
            source
                .modules()
                .map(|used| (source.module, used))
                .collect::<Vec<_>>()
        })
        .collect();
    let mut upward = Vec::new();
    for (at, (module, may_use)) in LAYERS.iter().enumerate() {
        for other in *may_use {
            let is_family =
                FAMILIES.contains(&(module, other)) || FAMILIES.contains(&(other, module));
            let is_below = LAYERS[at..].iter().any(|(name, _)| name == other);
            if !is_below && !is_family {
                upward.push((module, other));
            }
            if !used.contains(&(module, other)) {
                unused.push((module, other));
            }
        }
    }
    assert!(upward.is_empty(), "they lead up: {upward:?}");
    assert!(unused.is_empty(), "listed, but not used: {unused:?}");
}

#[test]
fn crates_are_used_only_by_allowed_modules() {
    for source in sources() {
        for (names, modules, why) in NAMES {
            for name in *names {
                assert!(
                    modules.contains(&source.module) || !source.names(name),
                    "{} names {name}: {why}",
                    source.file.display()
                );
            }
        }
    }
}

/// A random `session_id` must not cause a query: the session cache is asked before anything
/// else is done with its digest.
#[test]
fn only_checks_take_the_digest_of_a_session_id() {
    let mut files: Vec<String> = sources()
        .iter()
        .filter(|source| {
            ["auth", "http", "rpc"].contains(&source.module.split('/').next().unwrap())
        })
        .filter(|source| source.names("SessionToken::digest_of"))
        .map(|source| source.file.file_name().unwrap().display().to_string())
        .collect();
    files.sort();
    assert_eq!(files, ["check.rs"]);
}

/// The crate that hashes is a library that other services could use.
#[test]
fn the_bcrypt_crate_knows_nothing_of_the_service() {
    let subjects = ["account", "email", "login", "session", "user"];
    for file in files_in("crates/bcrypt-lanes/src") {
        let text = fs::read_to_string(&file).unwrap();
        let lower_case = text.to_lowercase();
        let words = lower_case.split(|c: char| !c.is_alphanumeric());
        for word in words {
            let singular = word.strip_suffix('s').unwrap_or(word);
            assert!(
                !subjects.contains(&singular),
                "{} says {word:?}",
                file.display()
            );
        }
        let mut paths = Paths::of(&[]);
        paths.visit_file(&syn::parse_file(&text).unwrap());
        let crates = ["argon2", "axum", "bienvenue", "diesel", "hyper", "tonic"];
        let outside = paths
            .found
            .iter()
            .find(|path| crates.contains(&path[0].as_str()));
        assert!(outside.is_none(), "{} names {outside:?}", file.display());
    }
}

/// A second factor that one of the handlers forgot would be a bypass.
#[test]
fn only_log_in_opens_a_session_from_credentials() {
    for (method, files) in [
        ("valid_login", &["login.rs"][..]),
        ("create_session", &["login.rs"]),
        ("log_in", &["login.rs", "sessions.rs"]),
    ] {
        let mut callers: Vec<String> = sources()
            .iter()
            .filter(|source| source.methods.iter().any(|called| called == method))
            .map(|source| source.file.file_name().unwrap().display().to_string())
            .collect();
        callers.sort();
        assert_eq!(callers, files, "{method}");
    }
}

/// Cargo compiles only the files that the root of the tests declares.
#[test]
fn every_file_of_tests_is_declared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let root = syn::parse_file(&fs::read_to_string(folder.join("main.rs")).unwrap()).unwrap();
    let declared: BTreeSet<String> = root
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    let files: BTreeSet<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().display().to_string())
        .filter(|name| name != "main")
        .collect();
    assert_eq!(declared, files);
}

/// The tests above find what they look for.
#[test]
fn paths_are_found() {
    let text = r#"
        use crate::{auth::{Auth, error}, clock::{self, Clock}};
        use super::sibling::Thing;
        pub use self::child::*;
        /// diesel in a comment: crate::db
        fn f() -> crate::rpc::Y {
            let url = "http://crate::not_a_path"; hyper::rt();
            tracing::info!(cause = crate::error_chain::x(&e), "crate::not_a_path");
        }
        #[cfg(test)]
        mod tests { use crate::hidden; }
        #[cfg(test)]
        mod vectors;
    "#;
    let module = ["a", "b"].map(str::to_owned);
    let mut paths = Paths::of(&module);
    paths.visit_file(&syn::parse_file(text).unwrap());
    let mut found: Vec<String> = paths.found.iter().map(|path| path.join("::")).collect();
    found.sort();
    for path in [
        "crate::a::b::child",
        "crate::a::sibling::Thing",
        "crate::auth::Auth",
        "crate::auth::error",
        "crate::clock",
        "crate::clock::Clock",
        "crate::error_chain::x",
        "crate::rpc::Y",
        "hyper::rt",
    ] {
        assert!(found.contains(&path.to_owned()), "{path} in {found:?}");
    }
    let hidden = |path: &String| {
        path.contains("not_a_path") || path.contains("hidden") || path.contains("diesel")
    };
    assert!(!found.iter().any(hidden), "{found:?}");
    assert_eq!(paths.test_modules, ["vectors"]);
    let all = sources();
    for (names, modules, why) in NAMES {
        let inside = all.iter().filter(|source| modules.contains(&source.module));
        let found = inside.flat_map(|source| names.iter().map(|name| source.names(name)));
        assert!(
            found.into_iter().any(|found| found),
            "{why}: nothing is found"
        );
    }
    for (module, _) in LAYERS {
        assert!(
            all.iter().any(|source| source.module == *module),
            "{module} is gone"
        );
    }
}
