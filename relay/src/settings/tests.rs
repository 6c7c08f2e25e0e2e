//! Files with includes and variables, read together.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::*;

const SCHEMA: Schema = Schema {
    kind: "a test",
    tables: &[
        TableSchema {
            name: "",
            repeated: false,
            keys: &[&["include", "workers", "state_dir"]],
        },
        TableSchema {
            name: "edge",
            repeated: false,
            keys: &[&["address", "encrypted"]],
        },
        TableSchema {
            name: "session",
            repeated: false,
            keys: &[SESSION_KEYS],
        },
        TableSchema {
            name: "session.extra",
            repeated: false,
            keys: &[&["path"]],
        },
        TableSchema {
            name: "expose",
            repeated: true,
            keys: &[&["service"], ORIGIN_KEYS],
        },
    ],
};

/// A directory with these files, of which the first is the one to read.
struct Files {
    directory: tempfile::TempDir,
    main: &'static str,
}

impl Files {
    fn new(files: &[(&'static str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            directory,
            main: files[0].0,
        }
    }

    fn read(&self) -> Result<Document, Problems> {
        Document::read(&self.directory.path().join(self.main))
    }

    /// What is wrong, with the directory's own name left out.
    fn problems(&self) -> String {
        let directory = format!("{}/", self.directory.path().display());
        let problems = match self.read() {
            Ok(document) => Reading::begin(&document, &SCHEMA)
                .finish(Some(()))
                .unwrap_err(),
            Err(problems) => problems,
        };
        problems.to_string().replace(&directory, "")
    }
}

fn services(document: &Document) -> Vec<String> {
    let reading = Reading::begin(document, &SCHEMA);
    let sections = reading.sections("expose");
    sections
        .iter()
        .map(|section| section.parsed("service").unwrap())
        .collect()
}

#[test]
fn included_files_add_tables_and_entries() {
    let files = Files::new(&[
        (
            "c.toml",
            "include = [\"conf.d/*.toml\", \"more.toml\"]\nworkers = 2\n[[expose]]\nservice = \"one\"\n[edge]\naddress = \"a\"\n",
        ),
        ("conf.d/b.toml", "[[expose]]\nservice = \"three\"\n"),
        (
            "conf.d/a.toml",
            "[[expose]]\nservice = \"two\"\n[edge]\nencrypted = true\n",
        ),
        ("conf.d/.hidden.toml", "wrong"),
        ("conf.d/a.toml~", "wrong"),
        (
            "more.toml",
            "[session]\ngrace = \"1m\"\n[[expose]]\nservice = \"four\"\n",
        ),
    ]);
    let document = files.read().unwrap();
    assert_eq!(services(&document), ["one", "two", "three", "four"]);
    let reading = Reading::begin(&document, &SCHEMA);
    assert_eq!(reading.section("edge").flag("encrypted"), Some(true));
    assert!(reading.section("edge").has("address"));
    assert!(reading.section("session").has("grace"));
    assert_eq!(document.sources().files.len(), 4);
    assert_eq!(document.sources().patterns.len(), 1);
}

#[test]
fn paths_are_relative_to_the_file_that_states_them() {
    let files = Files::new(&[
        (
            "c.toml",
            "include = \"conf.d/*.toml\"\nstate_dir = \"state\"",
        ),
        ("conf.d/a.toml", "[[expose]]\nca = \"ca.pem\"\n"),
    ]);
    let document = files.read().unwrap();
    let reading = Reading::begin(&document, &SCHEMA);
    let directory = files.directory.path();
    assert_eq!(
        reading.top().path("state_dir"),
        Some(directory.join("state"))
    );
    let ca = reading.sections("expose")[0].path("ca");
    assert_eq!(ca, Some(directory.join("conf.d").join("ca.pem")));
}

#[test]
fn problems_of_included_files_name_them() {
    for (files, expected) in [
        (
            &[
                ("c.toml", "include = \"a.toml\"\n[edge]\naddress = \"a\""),
                ("a.toml", "\n[edge]\naddress = \"b\""),
            ][..],
            "a.toml:3:1: edge.address: is set twice; the other one is at c.toml:3:1",
        ),
        (
            &[
                ("c.toml", "include = \"a.toml\""),
                ("a.toml", "include = \"c.toml\""),
            ],
            "a.toml:1:1: include: only the main file may include others; list the files there",
        ),
        (
            &[("c.toml", "include = \"gone.toml\"")],
            "gone.toml: no such file",
        ),
        (
            &[
                ("c.toml", "include = [\"a.toml\", 5]"),
                ("a.toml", "[edge]\nadress = 1"),
            ],
            "c.toml:1:22: include: expected a file name or a list of them, found the integer 5",
        ),
        (
            &[("c.toml", "include = \"*/a.toml\"")],
            "c.toml:1:11: include: * may only stand in a file's name, not in a directory's",
        ),
        (
            &[
                ("c.toml", "include = \"a.toml\""),
                ("a.toml", "[edge]\nadress = 1"),
            ],
            "a.toml:2:1: edge.adress: unknown key; did you mean address?",
        ),
    ] {
        assert_eq!(Files::new(files).problems(), expected);
    }
}

#[test]
fn files_that_cannot_be_read_say_why() {
    assert_eq!(
        Document::read(Path::new("/nowhere/c.toml"))
            .unwrap_err()
            .to_string(),
        "/nowhere/c.toml: no such file"
    );
    let files = Files::new(&[("c.toml", "")]);
    fs::write(files.directory.path().join("c.toml"), [0xff, 0xfe]).unwrap();
    assert_eq!(files.problems(), "c.toml: is not UTF-8 text");
    let shown = Document::read(files.directory.path())
        .unwrap_err()
        .to_string();
    assert!(shown.contains(": cannot be read: "), "{shown}");
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_none() {
    let text = "\u{feff}[edge]\r\naddress = \"ä\"\r\nencrypted = [\"ü\", 5]\r\n";
    let document = Document::parse(Path::new("c.toml"), text).unwrap();
    let reading = Reading::begin(&document, &SCHEMA);
    let edge = reading.section("edge");
    assert_eq!(
        edge.each_with("encrypted", |text, _| Ok::<_, String>(text.to_owned()))
            .len(),
        1
    );
    assert_eq!(
        reading.finish(Some(())).unwrap_err().to_string(),
        "c.toml:3:19: edge.encrypted[1]: expected a string, found the integer 5"
    );
}

/// What is wrong with this file under these variables; empty if nothing is.
fn with_variables(text: &str, variables: &[(&str, &str)]) -> (Document, String) {
    let mut document = Document::parse(Path::new("/etc/c.toml"), text).unwrap();
    let owned = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    document.apply_variables(&SCHEMA, owned);
    let reading = Reading::begin(&document, &SCHEMA);
    let shown = reading
        .finish(Some(()))
        .err()
        .map(|problems| problems.to_string());
    (document, shown.unwrap_or_default())
}

#[test]
fn variables_override_keys() {
    let (document, problems) = with_variables(
        "workers = 1\n[edge]\naddress = \"a\"",
        &[
            ("CAUSEWAY_WORKERS", "4"),
            ("CAUSEWAY_STATE_DIR", "state"),
            ("CAUSEWAY_EDGE_ADDRESS", "b, c"),
            ("CAUSEWAY_EDGE_ENCRYPTED", "true"),
            ("CAUSEWAY_SESSION_GRACE", "1m"),
            ("CAUSEWAY_SESSION_STREAM_BASE", "32768"),
            ("CAUSEWAY_SESSION_DRAIN", ""),
            ("CAUSEWAY_SESSION_EXTRA_PATH", "x"),
            ("CAUSEWAY_LOG", "debug"),
            ("CAUSEWAY_CONFIG", "x"),
            ("CAUSEWAY_TEST_FULL", "1"),
            ("CAUSEWAY_EDGE_SERVICE_HOST", "10.0.0.1"),
            ("CAUSEWAY_EDGE_PORT_7443_UDP", "udp://10.0.0.1:7443"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(problems, "");
    let reading = Reading::begin(&document, &SCHEMA);
    assert_eq!(reading.top().count("workers", 1, 1..=9), 4);
    assert_eq!(
        reading.top().path("state_dir").unwrap(),
        Path::new("/etc/state")
    );
    let edge = reading.section("edge");
    let addresses = edge.each_with("address", |text, _| Ok::<_, String>(text.to_owned()));
    assert_eq!(
        addresses
            .iter()
            .map(|stated| &*stated.value)
            .collect::<Vec<_>>(),
        ["b", "c"]
    );
    assert_eq!(edge.flag("encrypted"), Some(true));
    let session = SessionSettings::read(&reading.section("session"), SessionSettings::client());
    assert_eq!(session.grace.as_secs(), 60);
    assert_eq!(session.stream_base, 32_768);
    assert_eq!(session.drain, SessionSettings::client().drain);
    assert_eq!(
        reading.section("session.extra").path("path").unwrap(),
        Path::new("/etc/x")
    );
    assert_eq!(reading.finish(Some(())), Ok(()));
}

#[test]
fn a_table_within_a_table_is_one_of_its_own() {
    let files = Files::new(&[
        (
            "c.toml",
            "include = \"more.toml\"\n[session]\ngrace = \"1m\"\n",
        ),
        ("more.toml", "[session.extra]\npath = \"x\"\n"),
    ]);
    let document = files.read().unwrap();
    let reading = Reading::begin(&document, &SCHEMA);
    let extra = reading.section("session.extra");
    assert!(extra.path("path").unwrap().ends_with("x"));
    assert_eq!(extra.key("path"), "session.extra.path");
    assert!(!reading.section("edge").is_stated());
    assert_eq!(reading.finish(Some(())), Ok(()));

    for (text, problem) in [
        (
            "[session.extra]\npaht = \"x\"\n",
            "c.toml:2:1: session.extra.paht: unknown key; did you mean path?",
        ),
        (
            "[session.extar]\n",
            "c.toml:1:10: session.extar: unknown key; did you mean extra?",
        ),
        (
            "[session]\nextra = 1\n",
            "c.toml:2:1: session.extra: expected the table [session.extra], found the integer 1",
        ),
        (
            "[[session.extra]]\n",
            "c.toml:1:11: session.extra: may stand only once: write [session.extra]",
        ),
        (
            "[edge.extra]\n",
            "c.toml:1:7: edge.extra: unknown key; [edge] has address, encrypted",
        ),
    ] {
        assert_eq!(Files::new(&[("c.toml", text)]).problems(), problem);
    }
}

#[test]
fn variables_that_override_nothing_are_problems() {
    for (variable, message) in [
        (
            "CAUSEWAY_EDGE_ADRESS",
            "CAUSEWAY_EDGE_ADRESS: overrides no key of a test; did you mean CAUSEWAY_EDGE_ADDRESS?",
        ),
        (
            "CAUSEWAY_INCLUDE",
            "CAUSEWAY_INCLUDE: overrides no key of a test; unset it, or see the list of keys in docs/configuration.md",
        ),
        (
            "CAUSEWAY_EXPOSE_SERVICE",
            "CAUSEWAY_EXPOSE_SERVICE: variables cannot add or change [[expose]]; put it into the file or one that it includes",
        ),
    ] {
        assert_eq!(with_variables("", &[(variable, "x")]).1, message);
    }
    let (document, _) = with_variables("", &[("CAUSEWAY_WORKERS", "many")]);
    let reading = Reading::begin(&document, &SCHEMA);
    reading.top().count("workers", 1, 1..=9);
    assert_eq!(
        reading.finish(Some(())).unwrap_err().to_string(),
        "CAUSEWAY_WORKERS: workers: expected a whole number from 1 to 9, found the string \"many\""
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|\n|\\[|\\]|=|\"|[a-z]){0,80}") {
            if let Ok(document) = Document::parse(Path::new("c.toml"), &text) {
                let reading = Reading::begin(&document, &SCHEMA);
                SessionSettings::read(&reading.section("session"), SessionSettings::edge());
                for section in reading.sections("expose") {
                    OriginSettings::read(&section, OriginOwner::Client);
                }
                let _ = reading.finish(Some(()));
            }
        }
    }
}

#[test]
fn what_may_be_off_and_what_may_not_is_said() {
    let text = "[[expose]]\nkeepalive = \"OFF\"\nidle_timeout = false\nconnect_timeout = \"off\"\n\
                [[expose]]\nkeepalive = 30\nidle_timeout = \"8d\"\nconnect_timeout = \"Off\"\n\
                [[expose]]\nkeepalive = \"off\"\nidle_timeout = \"off\"";
    let document = Document::parse(Path::new("c.toml"), text).unwrap();
    let reading = Reading::begin(&document, &SCHEMA);
    for expose in reading.sections("expose") {
        keepalive(&expose);
        idle_timeout(&expose);
        expose.duration(
            "connect_timeout",
            Duration::ZERO,
            Duration::ZERO..=Duration::MAX,
        );
    }
    let problems = reading.finish(Some(())).unwrap_err().to_string();
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "c.toml:2:13: expose[0].keepalive: \"OFF\" does not begin with a whole number; write it like \"5s\", or \"off\"",
            "c.toml:3:16: expose[0].idle_timeout: expected a duration such as \"5s\", found false, or \"off\"",
            "c.toml:4:19: expose[0].connect_timeout: cannot be switched off; write a duration such as \"5s\"",
            "c.toml:6:13: expose[1].keepalive: \"30\" has no unit; write one of ms, s, m, h, d, such as \"5s\", or \"off\"",
            "c.toml:7:16: expose[1].idle_timeout: 8d is out of range; expected 1s to 7d, or \"off\"",
            "c.toml:8:19: expose[1].connect_timeout: cannot be switched off; write a duration such as \"5s\"",
        ]
    );
}
