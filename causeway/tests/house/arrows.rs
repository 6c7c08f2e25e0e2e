//! The arrows inside relay: `proto` ← `session` ← the I/O shell → `transport`, those inside chaos, and
//! what the pure modules may not name at all.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    none, root,
    source::{self, Token},
};

/// A module of a member, what it may use of its crate, and whether it is pure.
struct Room {
    member: &'static str,
    name: &'static str,
    may_use: &'static [&'static str],
    pure: bool,
}

const ROOMS: &[Room] = &[
    Room {
        member: "relay",
        name: "proto",
        may_use: &["proto"],
        pure: true,
    },
    Room {
        member: "relay",
        name: "session",
        may_use: &["proto", "session"],
        pure: true,
    },
    Room {
        member: "relay",
        name: "transport",
        may_use: &["proto", "transport"],
        pure: false,
    },
    Room {
        member: "chaos",
        name: "wire",
        may_use: &["wire"],
        pure: true,
    },
];

/// What a pure module never names: time, randomness, sockets and metrics are for its callers.
/// Each is a run of tokens.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["quinn"],
    &["socket2"],
    &["rand"],
    &["getrandom"],
    &["prometheus_client"],
    &["SystemTime"],
    &["Instant", "::", "now"],
    &[".", "elapsed", "("],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["std", "::", "env"],
    &["std", "::", "fs"],
    &["std", "::", "process"],
    &["std", "::", "thread"],
];

#[test]
fn modules_use_only_what_they_may() {
    let mut faults = Vec::new();
    for room in ROOMS {
        for (file, tokens) in files(room) {
            let depth = module_depth(&file);
            for (used, line) in modules_used(&tokens, depth) {
                if !room.may_use.contains(&used.as_str()) {
                    faults.push(format!("{file}:{line}: {} uses crate::{used}", room.name));
                }
            }
        }
    }
    none("an arrow inside a member points the wrong way", &faults);
}

#[test]
fn the_pure_modules_name_nothing_impure() {
    let mut faults = Vec::new();
    for room in ROOMS.iter().filter(|room| room.pure) {
        for (file, tokens) in files(room) {
            for (at, token) in tokens.iter().enumerate() {
                let here = |words: &[&str]| {
                    tokens[at..]
                        .iter()
                        .map(|token| token.text.as_str())
                        .take(words.len())
                        .eq(words.iter().copied())
                };
                if let Some(words) = IMPURE.iter().find(|words| here(words)) {
                    faults.push(format!("{file}:{}: {}", token.line, words.concat()));
                }
            }
        }
    }
    none(
        "time, randomness, sockets and metrics are passed into the pure modules",
        &faults,
    );
}

#[test]
fn the_pure_modules_deny_reading_the_clock() {
    let faults: Vec<_> = ROOMS
        .iter()
        .filter(|room| room.pure)
        .map(|room| format!("{}/src/{}/mod.rs", room.member, room.name))
        .filter(|file| {
            let text = fs::read_to_string(root().join(file)).unwrap_or_default();
            !text.contains("deny(") || !text.contains("clippy::disallowed_methods")
        })
        .collect();
    none(
        "these do not deny clippy::disallowed_methods (see clippy.toml)",
        &faults,
    );
}

/// The sources of a room, named from the root of the workspace, as tokens.
fn files(room: &Room) -> Vec<(String, Vec<Token>)> {
    let directory = root().join(room.member).join("src").join(room.name);
    let files: Vec<_> = source::rust_files(&directory)
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            (name, source::production_tokens(&file))
        })
        .collect();
    assert!(
        !files.is_empty(),
        "no sources in {}: has the room moved? Say so here",
        directory.display()
    );
    files
}

/// How many `super::` lead from the module that `file` is to the crate's root:
/// 1 for `relay/src/proto/mod.rs`, 2 for `relay/src/proto/codec.rs`.
fn module_depth(file: &str) -> usize {
    // Without the member and its `src`.
    let inside: PathBuf = Path::new(file).iter().skip(2).collect();
    let names = inside.components().count();
    if inside.file_stem().is_some_and(|stem| stem == "mod") {
        names - 1
    } else {
        names
    }
}

/// The names right under the crate's root that paths in `tokens` reach, and their lines.
fn modules_used(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut used = Vec::new();
    // Inline modules lie deeper than their file: for each open brace, whether it is one.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match text(at) {
            "{" => braces.push(at >= 2 && text(at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" if text(at + 1) == "::" => {
                at += 2;
                used.extend(first_names(tokens, at));
                continue;
            }
            "super" => {
                let depth = depth + braces.iter().filter(|&&module| module).count();
                let mut supers = 0;
                while text(at) == "super" && text(at + 1) == "::" {
                    supers += 1;
                    at += 2;
                }
                if supers >= depth {
                    used.extend(first_names(tokens, at));
                }
                // `pub(super)` names no path; step over the word.
                if supers == 0 {
                    at += 1;
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    used
}

/// The first name of each path that continues at `at`: one, or those of a `{…}` group.
fn first_names(tokens: &[Token], at: usize) -> Vec<(String, usize)> {
    let Some(first) = tokens.get(at) else {
        return Vec::new();
    };
    if first.text != "{" {
        return vec![(first.text.clone(), first.line)];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expected = false;
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                expected = depth == 1;
            }
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => expected = depth == 1,
            name => {
                if expected {
                    names.push((name.to_owned(), token.line));
                }
                expected = false;
            }
        }
    }
    names
}

#[test]
fn paths_are_followed_to_the_root() {
    let used = |text: &str, depth| -> Vec<_> {
        modules_used(&source::tokens(text), depth)
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    let text = "use crate::{proto::{a, b}, session, pump::x}; pub(super) fn f() { crate::io::g() }";
    assert_eq!(used(text, 1), ["proto", "session", "pump", "io"]);
    let text = "use super::y; use super::super::z::q; mod m { use super::k; pub(crate) struct S; }";
    assert_eq!(used(text, 2), ["z"]);
    assert_eq!(used("use super::y;", 1), ["y"]);
    assert_eq!(module_depth("relay/src/proto/mod.rs"), 1);
    assert_eq!(module_depth("relay/src/proto/codec.rs"), 2);
    assert_eq!(module_depth("relay/src/session/stream/mod.rs"), 2);
}
