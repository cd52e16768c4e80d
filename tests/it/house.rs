//! The house rules that a compiler does not check: which room may use what (DESIGN, "The house").
//!
//! The sources are read as tokens, so comments and strings count for nothing, and every path counts: those of `use`
//! lines and those written out in the code. Test modules are left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each room and its floor. A room may import those on lower floors; not those above, and not those beside it.
const ROOMS: &[(&str, u8)] = &[
    ("text", 0),
    ("digest", 1),
    ("diagnostic", 2),
    ("fleet", 3),
    ("render", 4),
    ("decide", 5),
    // A plan reads what the ledger remembers, whose type is `decide`'s.
    ("plan", 6),
    ("engine", 7),
    ("git", 7),
    ("probe", 7),
    ("store", 8),
    ("apply", 9),
    ("controller", 10),
    ("cli", 11),
];

/// The highest floor below the line: no I/O, no clock.
const PURE: u8 = 6;

/// What a pure room may not name: the beginning of a path.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "futures_util",
    "bollard",
    "git2",
    "rusqlite",
    "axum",
    "notify",
    "hyper",
    "hyper_util",
    "rustix",
    "indicatif",
    "tracing_subscriber",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::time::SystemTime",
    "std::time::Instant",
];

/// Calls of a clock: the end of a path.
const CLOCKS: &[&str] = &["Timestamp::now", "Zoned::now", "SystemTime::now", "Instant::now"];

/// Crates that belong to one room.
const AT_HOME: &[(&str, &str)] = &[
    ("bollard", "engine"),
    ("git2", "git"),
    ("notify", "git"),
    ("rusqlite", "store"),
];

/// File names that say nothing.
const NAMELESS: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

/// A path as written, made absolute where it began with `crate`, `self` or `super`, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    path: Vec<String>,
    line: usize,
}

/// Every path of two or more parts, and each leaf of every `use`.
fn paths(tokens: TokenStream, module: &[String], found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_test_only(tokens.get(at + 1)) => {
                at = after_item(&tokens, at + 2);
            }
            TokenTree::Ident(word) if *word == "use" => {
                let end = (at..tokens.len())
                    .find(|&end| is_punct(tokens.get(end), ';'))
                    .unwrap_or(tokens.len());
                uses(&tokens[at + 1..end], &[], module, found);
                at = end + 1;
            }
            TokenTree::Ident(word) => {
                let line = word.span().start().line;
                let mut path = vec![word.to_string()];
                at += 1;
                while let (true, Some(TokenTree::Ident(next))) = (is_colons(&tokens, at), tokens.get(at + 2))
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if path.len() > 1 {
                    found.push(Named {
                        path: absolute(path, module),
                        line,
                    });
                }
            }
            TokenTree::Group(group) => {
                paths(group.stream(), module, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// The leaves of a `use` tree.
fn uses(tokens: &[TokenTree], prefix: &[String], module: &[String], found: &mut Vec<Named>) {
    let mut path = prefix.to_vec();
    let mut line = 0;
    let mut at = 0;
    let mut finish = |path: &mut Vec<String>, line: usize| {
        if path.len() > prefix.len() {
            found.push(Named {
                path: absolute(path.clone(), module),
                line,
            });
        }
        *path = prefix.to_vec();
    };
    let mut groups = Vec::new();
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if *word == "as" => at += 1,
            TokenTree::Ident(word) => {
                line = word.span().start().line;
                path.push(word.to_string());
            }
            TokenTree::Punct(punct) if punct.as_char() == ',' => finish(&mut path, line),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                groups.push((group.stream(), std::mem::replace(&mut path, prefix.to_vec())));
            }
            _ => {}
        }
        at += 1;
    }
    finish(&mut path, line);
    for (stream, prefix) in groups {
        let inner: Vec<TokenTree> = stream.into_iter().collect();
        uses(&inner, &prefix, module, found);
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Whether an attribute's brackets hold `cfg(test)`.
fn is_test_only(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else {
        return false;
    };
    group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Where the item that begins here ends: after its braces or its semicolon.
fn after_item(tokens: &[TokenTree], from: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    tokens
        .iter()
        .skip(from)
        .position(ends)
        .map_or(tokens.len(), |more| from + more + 1)
}

fn absolute(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path.as_slice();
    let mut relative = false;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()),
            _ => break,
        }
        (relative, rest) = (true, others);
    }
    if !relative {
        return path;
    }
    std::iter::once("crate".to_owned())
        .chain(base)
        .chain(rest.iter().cloned())
        .collect()
}

/// The module that a file under `src/` is: `fleet/compose/mod.rs` is `fleet::compose`.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let mut module: Vec<String> = parts
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// What a source file does that its room may not, each with its line.
fn breaches(file: &str, source: &str) -> Vec<String> {
    let module = module_of(Path::new(file));
    let Some(room) = module
        .first()
        .filter(|room| !matches!(room.as_str(), "lib" | "main"))
        .cloned()
    else {
        return Vec::new();
    };
    let Some(floor) = floor_of(&room) else {
        return vec![format!("{file}: the room {room} is not in the list of rooms")];
    };
    let tokens = match source.parse::<TokenStream>() {
        Ok(tokens) => tokens,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    let mut found = Vec::new();
    paths(tokens, &module, &mut found);
    let mut breaches: Vec<(usize, String)> = Vec::new();
    for Named { path, line } in found {
        let text = path.join("::");
        let begins = |with: &str| text == with || text.starts_with(&format!("{with}::"));
        let mut tell = |why: String| breaches.push((line, format!("src/{file}:{line}: {text}: {why}")));
        if let Some(other) = path.get(1).filter(|other| path[0] == "crate" && **other != room) {
            if floor_of(other).is_some_and(|other| other >= floor) {
                tell(format!(
                    "{room} does not stand above {other} and may not import it"
                ));
            }
        } else if floor <= PURE && CLOCKS.iter().any(|clock| text.ends_with(clock)) {
            tell(format!("{room} is a pure room: the time comes in as an argument"));
        } else if floor <= PURE && IMPURE.iter().any(|with| begins(with)) {
            tell(format!("{room} is a pure room: no I/O, no clock"));
        } else if let Some((_, home)) = AT_HOME.iter().find(|(name, home)| begins(name) && room != *home) {
            tell(format!("only the room {home} may use it"));
        }
    }
    breaches.sort();
    breaches.into_iter().map(|(_, text)| text).collect()
}

fn floor_of(room: &str) -> Option<u8> {
    ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

/// All source files, by their path under `src/`.
fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut left = vec![root.clone()];
    let mut found = BTreeMap::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.strip_prefix(&root).unwrap().to_path_buf();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn every_room_keeps_to_what_it_may_use() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(file, _)| !is_tests(file))
        .flat_map(|(file, text)| breaches(&file.to_string_lossy(), text))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// A test module in a file of its own.
fn is_tests(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs")
}

#[test]
fn main_is_thin_and_every_file_has_a_name_that_says_something() {
    let sources = sources();
    let lines = sources[Path::new("main.rs")].lines().count();
    assert!(lines <= 40, "main.rs has {lines} lines; it may have 40");
    for file in sources.keys() {
        let nameless = file
            .iter()
            .map(|part| part.to_string_lossy())
            .find(|part| NAMELESS.contains(&part.trim_end_matches(".rs")));
        assert!(
            nameless.is_none(),
            "src/{}: call it by what it is or does",
            file.display()
        );
    }
}

#[test]
fn a_planted_breach_is_found_wherever_it_stands() {
    let planted = [
        ("plan/order.rs", "use std::fs;", "pure"),
        ("plan/order.rs", "use std::{collections::BTreeMap, env};", "pure"),
        ("decide/mod.rs", "fn f() { std::env::var(\"X\"); }", "pure"),
        (
            "decide/mod.rs",
            "use jiff::Timestamp;\nfn f() { g(Timestamp::now()) }",
            "the time comes in",
        ),
        ("render/a/b.rs", "use tokio::{self as t};", "pure"),
        (
            "fleet/mod.rs",
            "fn f() { let x = vec![std::time::Instant::now()]; }",
            "the time comes in",
        ),
        ("text.rs", "use crate::diagnostic::At;", "may not import"),
        (
            "fleet/compose/read.rs",
            "use super::super::super::render::object;",
            "may not import",
        ),
        (
            "decide/mod.rs",
            "mod a { fn f() -> crate::plan::Plan { x } }",
            "may not import",
        ),
        (
            "store/mod.rs",
            "use crate::{text, apply::Journal};",
            "may not import",
        ),
        ("engine/mod.rs", "use crate::store;", "may not import"),
        (
            "controller/mod.rs",
            "use bollard::Docker;",
            "only the room engine",
        ),
        (
            "cli/check.rs",
            "fn f() -> Result<(), git2::Error> { x }",
            "only the room git",
        ),
        ("engine/mod.rs", "use notify::Watcher;", "only the room git"),
        (
            "controller/mod.rs",
            "pub use rusqlite as sql;",
            "only the room store",
        ),
        ("cellar/mod.rs", "", "not in the list"),
    ];
    for (file, source, why) in planted {
        let found = breaches(file, source);
        assert!(
            found.len() == 1 && found[0].contains(why),
            "{file}: {source}: {found:?}"
        );
    }
}

#[test]
fn what_is_allowed_is_not_taken_for_a_breach() {
    let allowed = [
        (
            "plan/mod.rs",
            "//! use std::fs;\n/* tokio::spawn */ /// std::env::var\nconst A: &str = \"use git2::X;\";",
        ),
        (
            "plan/mod.rs",
            "#[cfg(test)]\nmod tests { use std::fs; use crate::apply::X; }\nuse crate::render::object;",
        ),
        (
            "plan/mod.rs",
            "use std::time::Duration; use std::collections::{BTreeMap, BTreeSet};",
        ),
        (
            "fleet/compose/mod.rs",
            "use super::read::Reader; use self::service::Service; use crate::diagnostic::At;",
        ),
        ("engine/mod.rs", "use bollard::Docker; use crate::plan::seen;"),
        (
            "store/mod.rs",
            "use rusqlite::Connection; use crate::decide::facts; fn f() { jiff::Timestamp::now(); }",
        ),
        (
            "cli/mod.rs",
            "use crate::controller; fn f(notify: &tokio::sync::Notify) { notify.notify_one() }",
        ),
        ("lib.rs", "pub mod apply; use crate::cli;"),
    ];
    for (file, source) in allowed {
        assert_eq!(breaches(file, source), Vec::<String>::new(), "{source}");
    }
}
