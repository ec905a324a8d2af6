//! Who may know whom: the table of ARCHITECTURE.md, held against every manifest and source file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A crate of the workspace and what it may name, of the workspace and of [`CONTROLLED`].
const CRATES: [(&str, &[&str]); 11] = [
    ("graph", &[]),
    ("targets", &["graph"]),
    ("data", &["ureq"]),
    ("export", &["graph", "onnx-protobuf", "protobuf"]),
    ("kernels", &[]),
    ("runtime", &["kernels", "keys", "targets", "tract-onnx", "onnx-protobuf", "protobuf"]),
    ("search", &["graph", "targets", "data", "kernels"]),
    ("train", &["graph", "targets", "data", "kernels", "memory", "search", "burn"]),
    ("counter", &[]),
    ("memory", &[]),
    ("keys", &[]),
];

/// Crates from outside that only some may name. A prefix stands for a family: `burn` for `burn-flex`.
const CONTROLLED: [&str; 10] =
    ["burn", "tract", "onnx-protobuf", "protobuf", "ureq", "clap", "anyhow", "indicatif", "openssh", "ssh2"];

/// Names that source files under a folder must not use.
struct Rule {
    folder: &'static str,
    /// Files to which the rule does not apply.
    except: &'static [&'static str],
    names: &'static [&'static str],
}

const RULES: [Rule; 7] = [
    Rule { folder: "graph/src", except: &[], names: &["fs", "Instant"] },
    Rule { folder: "export/src", except: &[], names: &["fs", "Instant"] },
    Rule { folder: "search/src/space", except: &[], names: &["strategy", "policy", "evaluator", "study"] },
    Rule { folder: "search/src/strategy", except: &[], names: &["fs", "File"] },
    Rule { folder: "export/src", except: &["export/src/proto.rs"], names: &["onnx_protobuf", "protobuf"] },
    // What reads a stranger's file, and what writes the network that is timed beside every model.
    Rule {
        folder: "runtime/src",
        except: &["runtime/src/validate/proto.rs", "runtime/src/reference.rs"],
        names: &["onnx_protobuf", "protobuf"],
    },
    Rule { folder: "search/src", except: &[], names: &["Instant", "SystemTime"] },
];

/// Folders that may ask what time it is.
const CLOCKS: [&str; 3] = ["train/src", "runtime/src", "src"];

#[test]
fn manifests_keep_to_the_table() {
    let root = manifest(Path::new("Cargo.toml"));
    let wrong: Vec<String> = CRATES
        .iter()
        .flat_map(|(name, may)| misnamed(name, may, &manifest(&Path::new(name).join("Cargo.toml")), &root))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_member_has_a_row() {
    let root = manifest(Path::new("Cargo.toml"));
    let members = root["workspace"]["members"].as_array().expect("a workspace has members");
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    assert_eq!(members, CRATES.iter().map(|(name, _)| *name).collect(), "add the crate to CRATES and ARCHITECTURE.md");
}

#[test]
fn mistakes_in_a_manifest_are_named() {
    let root: toml::Table = "[workspace.dependencies]\n\
        search = { path = 'search', package = 'pipeline-search' }\n\
        net = { version = '1', package = 'burn' }\nserde = '1'"
        .parse()
        .expect("a table");
    let check = |text: &str, expected: &[&str]| {
        let found = misnamed("export", &["graph"], &text.parse().expect("a table"), &root);
        assert_eq!(found, expected, "{text}");
    };
    let wrong = |name: &str| format!("`export` must not depend on `{name}`: see ARCHITECTURE.md");
    check("[dependencies]\nserde.workspace = true\ngraph.workspace = true", &[]);
    check("[dependencies]\nburn = '=0.22.1'", &[&wrong("burn")]);
    check("[dependencies]\nburn-flex = '0.22'", &[&wrong("burn-flex")]);
    check("[dependencies]\nsearch.workspace = true", &[&wrong("search")]);
    check("[dependencies]\nnet.workspace = true", &[&wrong("burn")]);
    check("[dependencies]\nx = { path = '../data', package = 'pipeline-data' }", &[&wrong("data")]);
    check("[build-dependencies]\ntract-onnx = '1'", &[&wrong("tract-onnx")]);
    check("[target.'cfg(unix)'.dependencies]\nureq = '3'", &[&wrong("ureq")]);
    check("[dev-dependencies]\nsearch.workspace = true", &[]);
}

#[test]
fn sources_keep_to_the_rules() {
    let mut wrong = Vec::new();
    for Rule { folder, except, names } in &RULES {
        let files = sources(folder);
        assert!(!files.is_empty(), "{folder} has no sources: correct the rule");
        for path in files.iter().filter(|path| !except.iter().any(|it| path.starts_with(it))) {
            let known = names_in(&read(path));
            wrong.extend(names.iter().filter(|&name| known.contains(*name)).map(|name| misused(path, name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn strategies_do_not_know_each_other() {
    let folder = "search/src/strategy";
    let files = sources(folder);
    // A paper is a file, or a folder of its parts.
    let paper = |path: &Path| {
        let below = path.strip_prefix(folder).expect("it lies below");
        let first = below.components().next().expect("it is a file").as_os_str();
        Path::new(first).file_stem().and_then(|it| it.to_str()).unwrap_or_default().to_owned()
    };
    let parts: Vec<(&PathBuf, String)> =
        files.iter().map(|path| (path, paper(path))).filter(|(_, paper)| paper != "mod").collect();
    let papers: BTreeSet<&String> = parts.iter().map(|(_, paper)| paper).collect();
    assert!(2 <= papers.len());
    for (path, paper) in &parts {
        let known = siblings(&code(&read(path)));
        for other in papers.iter().filter(|other| **other != paper) {
            assert!(!known.contains(*other), "{}", misused(path, other));
        }
    }
    assert_eq!(
        siblings("use super::{Chosen, asha::NAME}; x.reinforce()"),
        ["Chosen", "asha", "NAME"].map(str::to_owned).into()
    );
    assert!(siblings("crate::strategy::random::Random").contains("random"));
}

/// What a strategy's file names of the folder that it stands in: by `super::` or `strategy::`, alone or in braces.
fn siblings(code: &str) -> BTreeSet<String> {
    let behind = ["super::", "strategy::"].into_iter().flat_map(|path| code.split(path).skip(1));
    let named = behind.flat_map(|rest| {
        let whole = match rest.starts_with('{') {
            true => rest.split(';').next().unwrap_or_default(),
            false => rest.split(|it: char| !(it.is_alphanumeric() || it == '_')).next().unwrap_or_default(),
        };
        names_in(whole)
    });
    named.collect()
}

#[test]
fn time_and_chance_are_arguments() {
    let mut wrong = Vec::new();
    for folder in CRATES.iter().map(|(name, _)| format!("{name}/src")).chain(["src".to_owned()]) {
        for path in sources(&folder) {
            let text = code(&read(&path));
            let asks_the_time = text.contains("Instant::now") || text.contains("SystemTime::now");
            if asks_the_time && !CLOCKS.iter().any(|it| path.starts_with(it)) {
                wrong.push(misused(&path, "the clock"));
            }
            if ["rand::rng()", "thread_rng", "from_os_rng"].iter().any(|it| text.contains(it)) {
                wrong.push(misused(&path, "chance without a seed"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_found_in_code_alone() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(names_in(text), expected.iter().map(|&it| it.to_owned()).collect(), "{text}");
    };
    check("use std::{fs, io};", &["use", "std", "fs", "io"]);
    check("// burn\nlet x = 1; /* fs */", &["let", "x"]);
    check(r#"let s = "burn \" fs"; y"#, &["let", "s", "y"]);
    check(r##"r#"burn"#; 'b' "##, &[]);
    check("fn f<'burn>(c: char) { c == '\"' }", &["fn", "f", "c", "char"]);
}

/// One line for each dependency of `manifest` that `name` may not have.
fn misnamed(name: &str, may: &[&str], manifest: &toml::Table, root: &toml::Table) -> Vec<String> {
    let table = |from: &toml::Table, key: &str| from.get(key).and_then(toml::Value::as_table).cloned();
    // What tests alone use does not ship.
    let kinds = |from: &toml::Table| ["dependencies", "build-dependencies"].map(|kind| table(from, kind));
    let mut found: Vec<Option<toml::Table>> = kinds(manifest).into();
    for platform in table(manifest, "target").unwrap_or_default().values() {
        found.extend(platform.as_table().map(kinds).into_iter().flatten());
    }
    let shared = table(root, "workspace").and_then(|it| table(&it, "dependencies")).unwrap_or_default();
    let wrong = found.into_iter().flatten().flatten().filter_map(|(key, value)| {
        let is_shared = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
        let value = if is_shared { shared.get(&key).cloned().unwrap_or(value) } else { value };
        let package = value.get("package").and_then(toml::Value::as_str).unwrap_or(&key);
        let package = package.strip_prefix("pipeline-").unwrap_or(package);
        let is_family = |it: &str| package == it || package.starts_with(&format!("{it}-"));
        let is_controlled = CONTROLLED.iter().any(|it| is_family(it)) || CRATES.iter().any(|(it, _)| package == *it);
        let allowed = may.contains(&package);
        (is_controlled && !allowed).then(|| format!("`{name}` must not depend on `{package}`: see ARCHITECTURE.md"))
    });
    wrong.collect()
}

fn misused(path: &Path, name: &str) -> String {
    format!("{} must not name `{name}`: see ARCHITECTURE.md", path.display())
}

fn manifest(path: &Path) -> toml::Table {
    read(path).parse().expect("a manifest is TOML")
}

fn read(path: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All `.rs` files below `folder`, as paths from the root.
fn sources(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a folder can be listed").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path.strip_prefix(root).expect("it lies below").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The identifiers of a source text.
fn names_in(text: &str) -> BTreeSet<String> {
    let text = code(text);
    let words = text.split(|it: char| !it.is_alphanumeric() && it != '_');
    let is_name = |it: &&str| it.starts_with(|first: char| first.is_alphabetic() || first == '_');
    words.filter(is_name).map(str::to_owned).collect()
}

/// A source text without comments, strings, characters and lifetimes.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|it| it.bytes().take_while(|&byte| byte == b'#').count());
        let skipped = match (first, raw) {
            ('/', _) if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            ('/', _) if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            ('"', _) => closing(rest, '"'),
            ('\'', _) => character(rest),
            ('r', Some(hashes)) if !out.ends_with(is_word) && rest[1 + hashes..].starts_with('"') => {
                let end = format!("\"{}", "#".repeat(hashes));
                let start = hashes + 2;
                rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
            }
            _ => 0,
        };
        if skipped == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skipped..];
        }
    }
    out
}

fn is_word(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}

/// Length of a literal that ends with the next `quote` that no backslash escapes.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in text.char_indices().skip(1) {
        if it == quote && !escaped {
            return at + 1;
        }
        escaped = it == '\\' && !escaped;
    }
    text.len()
}

/// Length of a character literal, or of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    let (first, second) = (chars.next(), chars.next());
    if first == Some('\\') || second == Some('\'') {
        return closing(text, '\'');
    }
    1 + text[1..].find(|it| !is_word(it)).unwrap_or(text.len() - 1)
}
