//! Whether the proofs of resumption would notice: a copy of the pure session is compiled in which single
//! decisions can be made wrongly, and for each of them the tests in `resume/` must fail.
//!
//! The copy is a package of its own, beside the other temporary files of tests. It is compiled once;
//! which decision goes wrong is told by a variable that only the copy knows.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A decision, and how it is made wrongly.
struct Mutation {
    name: &'static str,
    /// Below `src/session`.
    file: &'static str,
    /// The code around the decision, in which `@` stands for it. Found exactly once.
    place: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "acknowledge what is received, not what is consumed",
        file: "rx.rs",
        place: "consumed: @,\n            limit",
        right: "self.consumed",
        wrong: "self.received",
    },
    Mutation {
        name: "count bytes of any generation",
        file: "state/local.rs",
        place: "Some(stream) if @ => return Ok(false)",
        right: "stream.generation != generation",
        wrong: "false",
    },
    Mutation {
        name: "send on any generation",
        file: "state/local.rs",
        place: "if credit == 0 || @ {",
        right: "stream.generation != generation",
        wrong: "false",
    },
    Mutation {
        name: "skip nothing that was received before",
        file: "state/attach.rs",
        place: "skip: @,\n    })",
        right: "here - start",
        wrong: "0",
    },
    Mutation {
        name: "take any attempt",
        file: "state/line.rs",
        place: "self.config.resume && @",
        right: "attempt > self.last_attempt",
        wrong: "true",
    },
    Mutation {
        name: "hear what comes by any connection",
        file: "state/line.rs",
        place: "pub fn is_current(&self, attempt: Attempt) -> bool {\n        @",
        right: "self.line == Line::Connected(attempt)",
        wrong: "self.is_connected()",
    },
    Mutation {
        name: "confirm an end before all of it was consumed",
        file: "rx.rs",
        place: "@",
        right: "self.last == Some(self.consumed)",
        wrong: "self.last.is_some()",
    },
    Mutation {
        name: "end before all has arrived",
        file: "rx.rs",
        place: "@",
        right: "self.last == Some(self.received)",
        wrong: "self.last.is_some()",
    },
    Mutation {
        name: "attach any generation",
        file: "state/attach.rs",
        place: "Phase::Open if @ => {\n                move_here(stream, attach.generation",
        right: "attach.generation > stream.generation",
        wrong: "true",
    },
    Mutation {
        name: "open again in any generation",
        file: "state/attach.rs",
        place: "Phase::Open if @ && stream.resumable",
        right: "generation > stream.generation",
        wrong: "true",
    },
    Mutation {
        name: "go on where sending stopped, not where consuming did",
        file: "state/attach.rs",
        place: "let start = @;",
        right: "stream.tx.consumed()",
        wrong: "stream.tx.sent()",
    },
    Mutation {
        name: "forget what is being sent again once it is consumed",
        file: "tx.rs",
        place: "replay.trim(@.min(self.consumed))",
        right: "self.replayed.unwrap_or(u64::MAX)",
        wrong: "u64::MAX",
    },
    Mutation {
        name: "say once that nobody reads",
        file: "stream.rs",
        place: "|| @,\n        };",
        right: "self.abandoned",
        wrong: "false",
    },
    Mutation {
        name: "wait for somebody who reads no more",
        file: "state/peer.rs",
        place: "(stream.tx.is_confirmed() || @)",
        right: "stream.stopped_there",
        wrong: "false",
    },
    Mutation {
        name: "keep what the other end does not",
        file: "state/attach.rs",
        place: "if @ {\n            stream.make_fleeting",
        right: "stream.resumable && !answer.resumable",
        wrong: "false",
    },
    Mutation {
        name: "let go of what is being sent again",
        file: "tx.rs",
        place: "if @ {\n            self.replay = None;",
        right: "self.replayed.is_none()",
        wrong: "true",
    },
    Mutation {
        name: "keep more than there is room for",
        file: "state/attach.rs",
        place: "        @\n    }\n",
        right: "most.saturating_sub(stream.tx.kept())",
        wrong: "most.saturating_mul(9)",
    },
    Mutation {
        name: "say ends once",
        file: "stream.rs",
        place: "fin: @,",
        right: "self.tx.is_finished() && !self.tx.is_confirmed()",
        wrong: "false",
    },
    Mutation {
        name: "say acknowledgements once",
        file: "stream.rs",
        place: "ack_again: @ ||",
        right: "self.rx.consumed() > 0 || self.rx.is_end_told()",
        wrong: "false",
    },
    Mutation {
        name: "say resets once",
        file: "stream.rs",
        place: "self.pending.reset = @;",
        right: "true",
        wrong: "false",
    },
    Mutation {
        name: "say once what was given back",
        file: "stream.rs",
        place: "release: @,",
        right: "(released > 0).then_some(released)",
        wrong: "None",
    },
    Mutation {
        name: "say once that the target was reached",
        file: "stream.rs",
        place: "connected: @,",
        right: "self.connected && !opened_here",
        wrong: "false",
    },
    Mutation {
        name: "keep streams that cannot move",
        file: "stream.rs",
        place: "@ && self.moves_bytes()",
        right: "!self.resumable",
        wrong: "false",
    },
    Mutation {
        name: "take the end of an empty direction for the word that the header came",
        file: "state/peer.rs",
        place: "if @ {\n            stream.header = None;",
        right: "ack.consumed > 0",
        wrong: "true",
    },
    Mutation {
        name: "take the confirmation of an end for that of a reset",
        file: "state/peer.rs",
        place: "ack.ended && @ && !stream.pending.reset",
        right: "ack.limit == 0",
        wrong: "true",
    },
    Mutation {
        name: "keep unsaid answers for the next connection",
        file: "state/line.rs",
        place: "@;",
        right: "self.outbox.over.clear()",
        wrong: "()",
    },
    Mutation {
        name: "reset in the order of a hash table",
        file: "state/line.rs",
        place: "@;",
        right: "lost.sort_unstable()",
        wrong: "()",
    },
];

/// The proofs, the quickest first. The longest are left out: the others notice everything.
const PROOFS: &[&str] = &[
    "attacks::",
    "crossings::",
    "credit::",
    "cuts::",
    "declined::",
    "properties::",
    "simulation::the_same_seed",
];

#[test]
fn every_wrong_decision_is_noticed() {
    let copy = Copy::compile();
    for proof in PROOFS {
        let output = copy.run("none", proof);
        assert!(
            output.status.success(),
            "nothing is wrong, and {proof} fails: {output:?}"
        );
    }
    let mut unnoticed = Vec::new();
    for Mutation { name, .. } in MUTATIONS {
        match PROOFS
            .iter()
            .find_map(|proof| failed(&copy.run(name, proof)))
        {
            Some(test) => println!("{name}: {test}"),
            None => unnoticed.push(name),
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices: {unnoticed:#?}");
}

/// A test that failed.
fn failed(output: &Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stdout);
    let test = said
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    assert_eq!(test.is_none(), output.status.success(), "{output:?}");
    test.map(str::to_owned)
}

/// The copy's tests, compiled.
struct Copy {
    tests: PathBuf,
    directory: PathBuf,
}

impl Copy {
    fn compile() -> Self {
        let relay = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutations");
        let source = directory.join("src");
        if source.exists() {
            fs::remove_dir_all(&source).unwrap();
        }
        copy_all(&relay.join("src/proto"), &source.join("proto"));
        copy_all(&relay.join("src/session"), &source.join("session"));
        let generated = concat!(env!("OUT_DIR"), "/causeway.v1.rs");
        replace(
            &source.join("proto/mod.rs"),
            "concat!(env!(\"OUT_DIR\"), \"/causeway.v1.rs\")",
            &format!("{generated:?}"),
        );
        for mutation in MUTATIONS {
            mutation.make_possible(&source.join("session"));
        }
        fs::write(source.join("lib.rs"), LIBRARY).unwrap();
        let workspace = relay.parent().unwrap();
        let lock = directory.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(workspace.join("Cargo.lock"), lock).unwrap();
        }
        fs::write(directory.join("Cargo.toml"), manifest(workspace)).unwrap();
        let tests = build(&directory);
        Self { tests, directory }
    }

    fn run(&self, wrong: &str, proof: &str) -> Output {
        Command::new(&self.tests)
            .arg(proof)
            .current_dir(&self.directory)
            .env("WRONG_DECISION", wrong)
            // The same every time.
            .env("PROPTEST_RNG_SEED", "1")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env_remove("CAUSEWAY_TEST_FULL")
            .env_remove("CAUSEWAY_TEST_SEED")
            .output()
            .unwrap()
    }
}

impl Mutation {
    fn make_possible(&self, session: &Path) {
        let Self {
            name,
            file,
            place,
            right,
            wrong,
        } = self;
        let either = format!("(if crate::is_wrong({name:?}) {{ {wrong} }} else {{ {right} }})");
        let (right, either) = (place.replace('@', right), place.replace('@', &either));
        replace(&session.join(file), &right, &either);
    }
}

const LIBRARY: &str = r#"
pub mod proto;
pub mod session;
pub use session::ResetBy;

pub(crate) fn is_wrong(decision: &str) -> bool {
    static WRONG: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    WRONG.get_or_init(|| std::env::var("WRONG_DECISION").ok()).as_deref() == Some(decision)
}
"#;

/// The copy's, with what proto, session and the proofs need, in the versions of the workspace.
fn manifest(workspace: &Path) -> String {
    let versions = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let dependencies: String = ["bytes", "prost", "proptest", "serde", "thiserror"]
        .map(|name| {
            let begin = format!("{name} = ");
            let found = versions.lines().find(|line| line.starts_with(&begin));
            format!(
                "{}\n",
                found.unwrap_or_else(|| panic!("{name} is a dependency"))
            )
        })
        .concat();
    let proofs = workspace.join("relay/tests/resume/main.rs");
    format!(
        "[package]\nname = \"relay\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\n{dependencies}\n[[test]]\nname = \"resume\"\npath = {proofs:?}\n\n\
         [profile.dev]\nopt-level = 1\ndebug = false\nincremental = false\n"
    )
}

/// Compiles the copy's tests; says where they are.
fn build(directory: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--no-run", "--test", "resume"])
        .args(["--message-format", "json"])
        .arg("--target-dir")
        .arg(directory.join("target"))
        .current_dir(directory)
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "the copy does not compile: {errors}\n{said}"
    );
    said.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "resume")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names what it has built")
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Replaces what stands in a file exactly once.
fn replace(file: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert_eq!(text.matches(old).count(), 1, "in {}: {old}", file.display());
    fs::write(file, text.replace(old, new)).unwrap();
}
