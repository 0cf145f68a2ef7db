//! The layers of ARCHITECTURE.md, checked against the parsed source.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, UseTree,
    visit::{self, Visit},
};

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
    ("log", &["config"]),
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
            "config",
            "deadline",
            "domain",
            "effect",
            "error_chain",
            "http/flask",
            "peer",
            "proto",
            "request_context",
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
            "effect",
            "proto",
            "rpc/encoding",
            "rpc/methods",
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
            "proto",
            "rpc/encoding",
            "rpc/request",
            "rpc/status",
            "secret_file",
        ],
    ),
    (
        "rpc/encoding",
        &[
            "auth",
            "auth/sessions/freshness",
            "domain",
            "peer",
            "proto",
            "rpc/status",
        ],
    ),
    ("rpc/methods", &["proto", "rpc/status"]),
    ("rpc/request", &["auth", "request_context"]),
    ("rpc/status", &["auth", "error_code", "peer"]),
    (
        "http/flask",
        &[
            "auth",
            "domain",
            "effect",
            "error_code",
            "http/account",
            "peer",
            "request_context",
        ],
    ),
    ("http/account", &["http/flask"]),
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
            "deadline",
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
    ("domain", &[]),
    ("backoff", &[]),
    ("clock", &[]),
    ("effect", &[]),
    ("error_chain", &[]),
    ("error_code", &[]),
    ("lifecycle", &[]),
    ("proto", &[]),
    ("secret_file", &[]),
];

/// Pairs that use each other: a folder and the module whose type its files implement.
const FAMILIES: &[(&str, &str)] = &[
    ("auth", "auth/accounts"),
    ("auth", "auth/outbox"),
    ("auth", "auth/sessions"),
    ("http/flask", "http/account"),
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
            "proto",
            "rpc",
            "rpc/admin",
            "rpc/auth",
            "rpc/encoding",
            "rpc/methods",
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

/// A file with every path that its code names, unit tests left out.
struct Source {
    module: &'static str,
    file: PathBuf,
    /// Absolute within the crate where they begin with `crate`, else as written.
    paths: Vec<Vec<String>>,
    /// The names of the methods that its code calls.
    methods: Vec<String>,
}

impl Source {
    /// The modules that the file uses besides its own.
    fn modules(&self) -> impl Iterator<Item = &'static str> {
        self.paths
            .iter()
            .filter(|path| path[0] == "crate")
            .filter_map(|path| module_of(&path[1..]))
            .filter(|module| *module != self.module)
    }

    /// Whether the code names a crate, or an item by the end of its path.
    fn names(&self, name: &str) -> bool {
        let name: Vec<&str> = name.split("::").collect();
        let is_crate = name.len() == 1 && name[0].starts_with(char::is_lowercase);
        self.paths.iter().any(|path| match is_crate {
            true => path[0] == name[0],
            false => path.windows(name.len()).any(|window| window == name),
        })
    }
}

/// The innermost listed module of a path within the crate.
fn module_of(path: &[String]) -> Option<&'static str> {
    (1..=path.len()).rev().find_map(|length| {
        let module = path[..length].join("/");
        LAYERS
            .iter()
            .map(|(name, _)| *name)
            .find(|name| *name == module)
    })
}

/// The Rust files below a folder of the repository.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut test_files = Vec::new();
    let mut sources = BTreeMap::new();
    for file in files_in("src") {
        let module = file.strip_prefix(&root).unwrap().with_extension("");
        let module: Vec<String> = module
            .iter()
            .map(|name| name.to_str().unwrap().to_owned())
            .collect();
        let text = fs::read_to_string(&file).unwrap();
        let parsed =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut paths = Paths::of(&module);
        paths.visit_file(&parsed);
        let folder = file.with_extension("");
        test_files.extend(
            paths
                .test_modules
                .iter()
                .map(|name| folder.join(name).with_extension("rs")),
        );
        // The root of the library only declares modules.
        if module == ["lib"] {
            continue;
        }
        let Some(name) = module_of(&module) else {
            // It only declares modules.
            assert!(
                paths.found.is_empty(),
                "no layer is listed for {}",
                file.display()
            );
            continue;
        };
        sources.insert(
            file.clone(),
            Source {
                module: name,
                file,
                paths: paths.found,
                methods: paths.methods,
            },
        );
    }
    for file in test_files {
        let known = sources.remove(&file);
        assert!(known.is_some(), "{} does not exist", file.display());
    }
    sources.into_values().collect()
}

/// Collects the paths of a file.
struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
    methods: Vec<String>,
    /// Modules in files of their own that exist for unit tests alone.
    test_modules: Vec<String>,
}

impl Paths {
    fn of(module: &[String]) -> Self {
        Self {
            module: module.to_vec(),
            found: Vec::new(),
            methods: Vec::new(),
            test_modules: Vec::new(),
        }
    }

    fn add(&mut self, path: Vec<String>) {
        let path = match path[0].as_str() {
            "self" => self.absolute(0, &path[1..]),
            "super" => {
                let up = path.iter().take_while(|name| *name == "super").count();
                self.absolute(up, &path[up..])
            }
            "bienvenue" => [&["crate".to_owned()], &path[1..]].concat(),
            _ => path,
        };
        self.found.push(path);
    }

    fn absolute(&self, up: usize, rest: &[String]) -> Vec<String> {
        let parent = &self.module[..self.module.len().saturating_sub(up)];
        [&["crate".to_owned()], parent, rest].concat()
    }

    fn add_use(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&with(&path.ident), &path.tree),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(before, tree);
                }
            }
            UseTree::Name(name) if name.ident == "self" => self.add(before.to_vec()),
            UseTree::Name(name) => self.add(with(&name.ident)),
            UseTree::Rename(rename) => self.add(with(&rename.ident)),
            UseTree::Glob(_) => self.add(before.to_vec()),
        }
    }

    /// The paths in the arguments of a macro, which are not parsed.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 && !path.is_empty() {
                        self.add(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    if !path.is_empty() {
                        self.add(std::mem::take(&mut path));
                    }
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        if !path.is_empty() {
            self.add(path);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Mod(module) = item
            && is_test(&module.attrs)
        {
            if module.content.is_none() {
                self.test_modules.push(module.ident.to_string());
            }
            return;
        }
        visit::visit_item(self, item);
    }

    /// A visibility names no dependency.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    /// A comment is an attribute, which would count as a path in a file of modules alone.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if !attribute.path().is_ident("doc") {
            visit::visit_attribute(self, attribute);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        self.add(names.collect());
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.methods.push(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.add_tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }
}

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
fn there_are_no_circles() {
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
fn names_stay_in_their_modules() {
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
