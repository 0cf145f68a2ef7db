//! The paths and method calls that the code of each source file names.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, Item, UseTree,
    visit::{self, Visit},
};

use super::LAYERS;

/// A file with every path that its code names, unit tests left out.
pub(super) struct Source {
    pub(super) module: &'static str,
    pub(super) file: PathBuf,
    /// Absolute within the crate where they begin with `crate`, else as written.
    pub(super) paths: Vec<Vec<String>>,
    /// The names of the methods that its code calls.
    pub(super) methods: Vec<String>,
}

impl Source {
    /// The modules that the file uses besides its own.
    pub(super) fn modules(&self) -> impl Iterator<Item = &'static str> {
        self.paths
            .iter()
            .filter(|path| path[0] == "crate")
            .filter_map(|path| module_of(&path[1..]))
            .filter(|module| *module != self.module)
    }

    /// Whether the code names a crate, or an item by the end of its path.
    pub(super) fn names(&self, name: &str) -> bool {
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
pub(super) fn files_in(folder: &str) -> Vec<PathBuf> {
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

pub(super) fn sources() -> Vec<Source> {
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
pub(super) struct Paths {
    module: Vec<String>,
    pub(super) found: Vec<Vec<String>>,
    methods: Vec<String>,
    /// Modules in files of their own that exist for unit tests alone.
    pub(super) test_modules: Vec<String>,
}

impl Paths {
    pub(super) fn of(module: &[String]) -> Self {
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
