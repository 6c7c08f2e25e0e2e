//! Files that are right, and what is said of those that are not.

use super::*;

fn kind(text: &str) -> Option<Kind> {
    kind_of(&Document::parse(Path::new("c.toml"), text).unwrap())
}

#[test]
fn the_kind_is_told_by_tables() {
    assert_eq!(kind("[listen]"), Some(Kind::Edge));
    assert_eq!(kind("[[expose]]"), Some(Kind::Client));
    assert_eq!(kind("[[expose]]\n[edge]\n[listen]"), Some(Kind::Client));
    assert_eq!(kind("[identity]"), None);
}

#[test]
fn a_right_file_is_summed_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    let text = "[identity]\ndir = \"state\"\n[[upstream]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nallow = []\n";
    std::fs::write(&file, text).unwrap();
    let outcome = check(&file, None);
    let shown = as_json(Path::new("edge.toml"), &outcome);
    let warning = format!(
        "identity.dir: {}/state does not exist here",
        directory.path().display()
    );
    assert_eq!(
        shown,
        json!({
            "file": "edge.toml", "ok": true, "kind": "edge",
            "has": {"ingresses": 0, "routes": 0, "upstreams": 1}, "warnings": [warning],
        })
    );
}

#[test]
fn problems_are_told_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.toml");
    std::fs::write(
        &file,
        "[identity]\ndir = \"state\"\n[edge]\nadress = \"x\"\n",
    )
    .unwrap();
    let shown = as_json(Path::new("client.toml"), &check(&file, None));
    assert_eq!(shown["ok"], json!(false));
    assert_eq!(shown["problems"][0]["line"], json!(3));
    assert_eq!(shown["problems"][1]["key"], json!("edge.adress"));
    assert_eq!(
        shown["problems"][1]["message"],
        json!("unknown key; did you mean address?")
    );
    let problems = shown["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2);
}

#[test]
fn a_host_that_no_published_name_leads_to_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    let warnings = |domain: &str, dns: &str| {
        let text = format!(
            "[identity]\ndir = \"state\"\n{dns}[[ingress]]\nname = \"web\"\nkind = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             anonymous = true\nhost = \"{{service}}--{{cluster}}--{{tenant}}.{domain}\"\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut warnings = check(&file, None).unwrap().warnings;
        // Of the identity, which is not there.
        warnings.remove(0);
        warnings
    };
    let dns = "[dns]\nzone = \"apps.example.com\"\ntarget = \"203.0.113.7\"\n\
        [dns.embedded]\nlisten = \"127.0.0.1:0\"\nnameservers = [\"ns.example.com\"]\n";
    for inside in [
        "apps.example.com",
        "Apps.Example.Com",
        "eu.apps.example.com",
    ] {
        assert_eq!(warnings(inside, dns), Vec::<String>::new(), "{inside}");
    }
    for outside in ["apps.example.net", "myapps.example.com", "example.com"] {
        let warning = format!(
            "ingress web: its host {{service}}--{{cluster}}--{{tenant}}.{outside} is outside the zone \
             apps.example.com of [dns], so no name that the edge publishes leads there"
        );
        assert_eq!(warnings(outside, dns), [warning]);
        assert_eq!(warnings(outside, ""), Vec::<String>::new());
    }
}

#[test]
fn a_grace_that_is_over_before_a_loss_is_found_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    let warnings = |session: &str| {
        std::fs::write(
            &file,
            format!("[identity]\ndir = \"state\"\n[session]\n{session}"),
        )
        .unwrap();
        let mut warnings = check(&file, Some(Kind::Edge)).unwrap().warnings;
        // Of the identity, which is not there.
        warnings.remove(0);
        warnings
    };
    let warning = "session.grace: streams survive no silent loss, for 15s are over when that is found after \
        dead_after, 15s; make it longer, or \"0s\" for no grace at all";
    assert_eq!(warnings("grace = \"15s\"\n"), [warning]);
    for enough in ["", "grace = \"16s\"\n", "grace = \"0s\"\n"] {
        assert_eq!(warnings(enough), Vec::<String>::new(), "{enough}");
    }
}

#[test]
fn a_secret_that_cannot_be_signed_with_is_told_and_a_weak_one_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = "[identity]\ndir = \"state\"\n[dns]\nzone = \"apps.example.com\"\n\
        target = \"203.0.113.7\"\nprovider = \"rfc2136\"\n[dns.rfc2136]\n\
        server = \"192.0.2.53\"\nkey = \"causeway\"\nsecret_file = \"tsig.secret\"\n";
    std::fs::write(at("edge.toml"), text).unwrap();
    let secret = at("tsig.secret").display().to_string();
    let shown = || as_json(Path::new("edge.toml"), &check(&at("edge.toml"), None));
    let missing = format!("dns.rfc2136.secret_file: {secret} does not exist here");
    assert_eq!(shown()["warnings"][1], missing);
    for (contents, why) in [
        ("", "it is empty; "),
        ("key \"causeway\" { };", "it is not base64; "),
    ] {
        std::fs::write(at("tsig.secret"), contents).unwrap();
        let problems = &shown()["problems"];
        assert_eq!(problems[0]["key"], "dns.rfc2136.secret_file");
        let message = problems[0]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("{secret}: {why}")),
            "{message}"
        );
    }
    std::fs::write(at("tsig.secret"), "Zm9v\n").unwrap();
    let short = shown()["warnings"].to_string();
    assert!(short.contains("dns.rfc2136.secret_file: ") && short.contains("has 3 bytes"));
}

#[test]
fn what_the_start_refuses_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir(at("state")).unwrap();
    for (audit, expected) in [
        ("missing/a", "audit.file: there is no directory "),
        ("state", "is a directory; name a file in it"),
        (
            "./state/../state/key.pem",
            "belongs to the identity; name another file",
        ),
    ] {
        std::fs::write(at("state/key.pem"), "no key").unwrap();
        let text = format!("[identity]\ndir = \"state\"\n[audit]\nfile = \"{audit}\"\n[listen]\n");
        std::fs::write(at("edge.toml"), text).unwrap();
        let Err(problems) = check(&at("edge.toml"), None) else {
            panic!("{audit} is taken");
        };
        let problems = problems.to_string();
        assert!(problems.contains(expected), "{problems}");
    }
    std::fs::write(at("edge.toml"), "[identity]\ndir = \"state\"\n[listen]\n").unwrap();
    let Err(problems) = check(&at("edge.toml"), None) else {
        panic!("an identity without a key is taken");
    };
    assert!(problems.to_string().contains("identity.dir: "));
}

#[test]
fn what_keeps_an_identity_from_being_used_is_a_problem_and_that_it_is_revoked_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let domain = "causeway.internal".parse().unwrap();
    let life = std::time::Duration::from_secs(3600);
    let no = certs::Overwrite::Refuse;
    let authority = certs::Authority::create(&at("ca"), domain, life, no).unwrap();
    let edge = authority.issue(certs::Role::Edge("eu-1".parse().unwrap()), life);
    let edge = edge.unwrap();
    edge.write(&at("state"), no).unwrap();
    let file = at("edge.toml");
    std::fs::write(&file, "[identity]\ndir = \"state\"\n[listen]\n").unwrap();
    let checked = || as_json(&file, &check(&file, None));
    assert_eq!(checked()["warnings"], json!([]));

    std::fs::write(at("state/crl.pem"), "nothing").unwrap();
    let torn = checked();
    let message = torn["problems"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("crl.pem holds no revocation list"),
        "{message}"
    );

    let serial = authority.serial_of(edge.certificate()).unwrap();
    authority.revoke(&at("ca"), &[serial], None).unwrap();
    std::fs::copy(at("ca/crl.pem"), at("state/crl.pem")).unwrap();
    let revoked = checked();
    let warning = revoked["warnings"][0].as_str().unwrap();
    assert!(warning.contains("is revoked: serial "), "{warning}");
}
