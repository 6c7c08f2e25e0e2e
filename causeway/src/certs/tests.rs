use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: CertsArgs,
}

struct Outcome {
    out: String,
    progress: String,
    result: anyhow::Result<()>,
}

impl Outcome {
    fn error(&self) -> String {
        format!("{:#}", self.result.as_ref().unwrap_err())
    }
}

/// Runs `causeway certs …`; `{}` stands for a directory.
fn certs(dir: &TempDir, command: &str) -> Outcome {
    let dir = dir.path().to_str().unwrap();
    let words = command.split(' ').map(|word| word.replace("{}", dir));
    let cli = Cli::try_parse_from(["certs".to_owned()].into_iter().chain(words)).unwrap();
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let result = execute(cli.args, &mut out, &mut progress);
    Outcome {
        out: String::from_utf8(out).unwrap(),
        progress: String::from_utf8(progress).unwrap(),
        result,
    }
}

fn done(dir: &TempDir, command: &str) -> String {
    let outcome = certs(dir, command);
    outcome.result.unwrap();
    outcome.out
}

#[test]
fn init_issue_and_inspect_fit_together() {
    let dir = TempDir::new().unwrap();
    let shown = done(&dir, "init --dir {}/ca");
    assert!(shown.contains("spiffe://causeway.internal\n"), "{shown}");
    assert!(
        shown.contains("authority (CN=Causeway authority "),
        "{shown}"
    );
    let shown = done(
        &dir,
        "issue client acme/prod-1 --authority {}/ca --out {}/client",
    );
    assert!(
        shown.contains("spiffe://causeway.internal/tenant/acme/cluster/prod-1"),
        "{shown}"
    );
    assert!(
        shown.contains("client of cluster prod-1 of tenant acme"),
        "{shown}"
    );
    assert!(shown.contains("(89d 23h left)"), "{shown}");
    assert!(shown.contains("ECDSA P-256"), "{shown}");
    assert_eq!(done(&dir, "inspect {}/client"), shown);
    done(
        &dir,
        "issue --authority {}/ca --out {}/edge --ttl 24h edge eu-1",
    );
    done(
        &dir,
        "issue service queue --authority {}/ca --out {}/service",
    );
    assert!(done(&dir, "inspect {}/edge/cert.pem").contains("(23h 59m left)"));
}

#[test]
fn json_has_what_a_script_needs() {
    let dir = TempDir::new().unwrap();
    done(&dir, "init --dir {}/ca --trust-domain example.com");
    done(
        &dir,
        "issue edge eu-1 --authority {}/ca --out {}/edge --ttl 24h",
    );
    let json: serde_json::Value =
        serde_json::from_str(&done(&dir, "inspect --json {}/edge")).unwrap();
    assert_eq!(json["kind"], "identity");
    let certificate = &json["certificates"][0];
    assert_eq!(certificate["uri"], "spiffe://example.com/edge/eu-1");
    assert!((86_300..=86_400).contains(&certificate["remaining_seconds"].as_u64().unwrap()));
    assert_eq!(certificate["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(certificate["serial"].as_str().unwrap().len(), 32);
    assert!(certificate.get("problem").is_none());
}

#[test]
fn nothing_is_overwritten_without_force() {
    let dir = TempDir::new().unwrap();
    done(&dir, "init --dir {}/ca");
    assert!(certs(&dir, "init --dir {}/ca").error().contains("--force"));
    done(&dir, "issue edge a --authority {}/ca --out {}/edge");
    let again = "issue edge b --authority {}/ca --out {}/edge";
    assert!(certs(&dir, again).error().contains("exists already"));
    assert!(done(&dir, "inspect {}/edge").contains("edge a"));
    done(&dir, &format!("{again} --force"));
    assert!(done(&dir, "inspect {}/edge").contains("edge b"));
}

#[test]
fn issuing_without_an_authority_says_how_to_make_one() {
    let dir = TempDir::new().unwrap();
    let error = certs(&dir, "issue edge a --authority {}/ca --out {}/edge").error();
    assert!(error.contains("causeway certs init"), "{error}");
}

#[test]
fn inspect_says_what_is_wrong() {
    let dir = TempDir::new().unwrap();
    done(&dir, "init --dir {}/ca");
    done(&dir, "issue edge a --authority {}/ca --out {}/a");
    done(&dir, "issue edge b --authority {}/ca --out {}/b");
    let path = |name: &str| dir.path().join(name);

    fs::copy(path("b/key.pem"), path("a/key.pem")).unwrap();
    let outcome = certs(&dir, "inspect {}/a");
    assert!(
        outcome.out.contains("does not belong to the certificate"),
        "{}",
        outcome.out
    );
    assert!(outcome.error().contains("cannot be used"));

    fs::remove_file(path("b/ca.pem")).unwrap();
    assert!(
        certs(&dir, "inspect {}/b")
            .out
            .contains("b/ca.pem does not exist")
    );

    assert!(
        certs(&dir, "inspect {}/a/key.pem")
            .error()
            .contains("holds no certificate")
    );
    assert!(
        certs(&dir, "inspect {}/nothing")
            .error()
            .contains("nothing to look at")
    );

    certs(&dir, "issue edge c --authority {}/ca --out {}/c --ttl 0s");
    let outcome = certs(&dir, "inspect {}/c/cert.pem");
    assert!(outcome.out.contains("it expired at"), "{}", outcome.out);
}

#[test]
fn identities_get_directories_of_their_own() {
    let name = |role| default_dir(&role).display().to_string();
    let client = |cluster: &str| Role::Client(cluster.parse().unwrap());
    assert_eq!(name(client("acme/prod-1")), "client-acme--prod-1");
    assert_ne!(name(client("acme-prod/1")), name(client("acme/prod-1")));
    assert_eq!(name(Role::Edge("eu-1".parse().unwrap())), "edge-eu-1");
}

#[test]
fn bad_names_and_lifetimes_are_usage_errors() {
    let refused = |words: &str| {
        let words = ["certs"].into_iter().chain(words.split(' '));
        Cli::try_parse_from(words).unwrap_err().to_string()
    };
    assert!(refused("issue client acme").contains("tenant/cluster"));
    assert!(refused("issue edge Eu").contains("lower-case letters"));
    assert!(refused("issue edge eu --ttl 90").contains("unit"));
    assert!(refused("revoke").contains("<PATH>..."));
    assert!(refused("revoke --serial 0x12").contains("hexadecimal digits"));
    assert!(refused("revoke a --reason theft").contains("key-compromise"));
}

#[test]
fn what_is_revoked_is_shown_and_revoking_again_says_so() {
    let dir = TempDir::new().unwrap();
    done(&dir, "init --dir {}/ca");
    done(&dir, "issue client acme/a --authority {}/ca --out {}/a");
    done(&dir, "issue edge b --authority {}/ca --out {}/b");
    let both = "revoke {}/a {}/b/cert.pem --authority {}/ca --reason superseded";
    let first = certs(&dir, both);
    assert_eq!(
        first.progress.matches("\nrevoked: ").count() + 1,
        2,
        "{}",
        first.progress
    );
    let list = format!("copy {}/ca/crl.pem", dir.path().display());
    assert!(first.progress.contains(&list), "{}", first.progress);
    assert!(first.out.contains("number   1\n"), "{}", first.out);
    assert_eq!(
        first.out.matches("(superseded)").count(),
        2,
        "{}",
        first.out
    );
    let again = certs(&dir, both);
    again.result.unwrap();
    assert_eq!(again.progress.matches("revoked already").count(), 2);
    assert_eq!(again.out, first.out);

    let more = certs(&dir, "revoke --serial 0A:0b --authority {}/ca --json");
    let json: serde_json::Value = serde_json::from_str(&more.out).unwrap();
    let list = &json["revocation_lists"][0];
    assert_eq!(
        (&list["number"], &list["revoked"][2]["serial"]),
        (&"2".into(), &"0a0b".into())
    );
    assert_eq!(list["revoked"][0]["reason"], "superseded");

    assert!(done(&dir, "inspect {}/ca").contains("0a0b"));
    done(&dir, "inspect {}/a");
    fs::copy(dir.path().join("ca/crl.pem"), dir.path().join("a/crl.pem")).unwrap();
    let own = certs(&dir, "inspect {}/a");
    assert!(
        own.out.contains("problem: it is revoked: serial "),
        "{}",
        own.out
    );
    // Whoever comes now knows of it from the start.
    assert!(done(&dir, "issue edge c --authority {}/ca --out {}/c").contains("0a0b"));
}

#[test]
fn what_cannot_be_revoked_says_why_and_nothing_is_revoked() {
    let dir = TempDir::new().unwrap();
    done(&dir, "init --dir {}/ca");
    done(&dir, "init --dir {}/ca2");
    done(&dir, "issue edge a --authority {}/ca --out {}/a");
    done(&dir, "issue edge b --authority {}/ca2 --out {}/b");
    for (what, why) in [
        ("{}/a {}/b", "not by this authority"),
        ("{}/a {}/ca/ca.pem", "the authority's own certificate"),
        ("{}/a {}/a/key.pem", "holds no certificate"),
        ("{}/a {}/nothing", "nothing does not exist"),
    ] {
        let error = certs(&dir, &format!("revoke {what} --authority {{}}/ca")).error();
        assert!(error.contains(why), "{error}");
        assert!(!dir.path().join("ca/crl.pem").exists());
    }
    let error = certs(&dir, "revoke {}/a --authority {}/nowhere").error();
    assert!(error.contains("causeway certs init"), "{error}");

    fs::write(dir.path().join("ca/crl.pem"), "-----BEGIN X509 CRL-----\n").unwrap();
    for command in [
        "revoke {}/a --authority {}/ca",
        "issue edge d --authority {}/ca --out {}/d",
    ] {
        let error = certs(&dir, command).error();
        assert!(
            error.contains("ca/crl.pem") && error.contains("put a copy of it back"),
            "{error}"
        );
    }
    let outcome = certs(&dir, "inspect {}/ca");
    assert!(
        outcome
            .out
            .contains("problem: who is revoked cannot be read"),
        "{}",
        outcome.out
    );
}
