//! `[dns]` that is right, and what is said about one that is not.

use std::path::Path;

use super::super::Config;
use super::*;

const ZONE: &str = "[identity]\ndir = \"state\"\n[dns]\nzone = \"apps.example.com\"\n";

fn read(text: &str) -> Result<DnsSettings, String> {
    let document = relay::settings::Document::parse(Path::new("/etc/edge.toml"), text).unwrap();
    let config = Config::from_document(&document).map_err(|problems| problems.to_string())?;
    Ok(config.dns.unwrap())
}

fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

#[test]
fn without_the_table_nothing_is_published() {
    let document =
        relay::settings::Document::parse(Path::new("e.toml"), "[identity]\ndir = \"s\"\n").unwrap();
    assert_eq!(Config::from_document(&document).unwrap().dns, None);
}

#[test]
fn what_is_not_stated_takes_its_default() {
    let text = format!(
        "{ZONE}target = \"203.0.113.7\"\n[dns.embedded]\nnameservers = \"ns1.example.com\"\n"
    );
    let seconds = Duration::from_secs;
    assert_eq!(
        read(&text).unwrap(),
        DnsSettings {
            zone: lower("apps.example.com."),
            owner: None,
            target: DnsTarget::Addresses(BTreeSet::from(["203.0.113.7".parse().unwrap()])),
            wildcard: true,
            ttl: 60,
            edge_ttl: 300,
            negative_ttl: 30,
            resync: seconds(60),
            debounce: seconds(2),
            remove_after: seconds(60),
            settle: seconds(120),
            max_removals: 50,
            provider: DnsProvider::Embedded(EmbeddedSettings {
                listen: vec!["[::]:53".parse().unwrap()],
                nameservers: vec![lower("ns1.example.com.")],
                contact: lower("hostmaster.apps.example.com."),
            }),
        }
    );
}

#[test]
fn everything_can_be_stated() {
    let text = format!(
        r#"{ZONE}
provider = "rfc2136"
owner = "production"
target = "LB.example.net."
wildcard = false
ttl = "0s"
edge_ttl = "2m"
negative_ttl = "1h"
resync = "100ms"
debounce = "100ms"
remove_after = "100ms"
settle = "100ms"
max_removals = 1
[dns.rfc2136]
server = "2001:db8::53"
key = "Causeway."
algorithm = "hmac-sha512"
secret_file = "tsig.secret"
transfer = false
timeout = "1s"
[dns.embedded]
listen = ["127.0.0.1:0", "[::1]:5353"]
nameservers = ["ns1.example.com", "ns2.example.com"]
contact = "dns.admin@example.com"
[dns.zonefile]
path = "zone"
nameservers = "ns1.example.com"
"#
    );
    let read_of =
        |provider: &str| read(&text.replace("\"rfc2136\"", &format!("\"{provider}\""))).unwrap();
    let settings = read_of("rfc2136");
    assert_eq!(settings.owner.as_deref(), Some("production"));
    assert_eq!(settings.target, DnsTarget::Name(lower("lb.example.net.")));
    assert_eq!(
        (settings.ttl, settings.edge_ttl, settings.negative_ttl),
        (0, 120, 3600)
    );
    assert!(!settings.wildcard);
    assert_eq!(settings.max_removals, 1);
    for duration in [
        settings.resync,
        settings.debounce,
        settings.remove_after,
        settings.settle,
    ] {
        assert_eq!(duration, SHORTEST);
    }
    assert_eq!(
        settings.provider,
        DnsProvider::Rfc2136(Rfc2136Settings {
            server: "[2001:db8::53]:53".parse().unwrap(),
            key: lower("causeway."),
            algorithm: TsigAlgorithm::HmacSha512,
            secret_file: PathBuf::from("/etc/tsig.secret"),
            transfer: false,
            timeout: Duration::from_secs(1),
        })
    );
    assert_eq!(
        read_of("zonefile").provider,
        DnsProvider::Zonefile(ZonefileSettings {
            path: PathBuf::from("/etc/zone"),
            nameservers: vec![lower("ns1.example.com.")],
            contact: lower("hostmaster.apps.example.com."),
        })
    );
    let DnsProvider::Embedded(embedded) = read_of("embedded").provider else {
        panic!("the embedded provider was chosen");
    };
    assert_eq!(embedded.listen.len(), 2);
    assert_eq!(embedded.nameservers.len(), 2);
    // A dot in front of the @ is part of the first label, and so written with a backslash.
    assert_eq!(embedded.contact.to_string(), "dns\\.admin.example.com.");
}

/// The table, the one line of it that is wrong, and all that is said about it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "dns",
        "zone = \"a..b\"",
        "dns.zone: \"a..b\" is no DNS name; write one such as apps.example.com",
    ),
    (
        "dns",
        "zone = \"10.0.0.1\"",
        "dns.zone: \"10.0.0.1\" is no DNS name; write one such as apps.example.com",
    ),
    (
        "dns",
        "provider = \"route53\"",
        "dns.provider: unknown value \"route53\"; expected one of embedded, rfc2136, zonefile",
    ),
    (
        "dns",
        "owner = \"a b\"",
        "dns.owner: \"a b\" names no owner; write 1 to 128 of a-z, A-Z, 0-9 and -._:/",
    ),
    (
        "dns",
        "owner = \"\"",
        "dns.owner: \"\" names no owner; write 1 to 128 of a-z, A-Z, 0-9 and -._:/",
    ),
    (
        "dns",
        "target = []",
        "dns.target: is empty; say how callers and clients reach this edge, e.g. target = [\"203.0.113.7\", \"2001:db8::7\"], or one name",
    ),
    (
        "dns",
        "target = \"0.0.0.0\"",
        "dns.target: 0.0.0.0 is no address that anybody can connect to",
    ),
    (
        "dns",
        "target = \"::ffff:10.0.0.1\"",
        "dns.target: ::ffff:10.0.0.1 is no address that anybody can connect to",
    ),
    (
        "dns",
        "target = \"not a name\"",
        "dns.target: \"not a name\" is neither a host name nor an IP address",
    ),
    (
        "dns",
        "target = [\"10.0.0.1\", \"lb.example.com\"]",
        "dns.target: a name cannot stand beside others (RFC 1034, section 3.6.2); list addresses, or write one name alone",
    ),
    (
        "dns",
        "target = [\"10.0.0.1\", \"10.0.0.1\"]",
        "dns.target[1]: publishes 10.0.0.1 twice; the other one is dns.target[0] at /etc/edge.toml:5:11",
    ),
    (
        "dns",
        "wildcard = \"yes\"",
        "dns.wildcard: expected true or false, found the string \"yes\"",
    ),
    (
        "dns",
        "ttl = \"1500ms\"",
        "dns.ttl: DNS counts in whole seconds; write it like \"60s\"",
    ),
    (
        "dns",
        "edge_ttl = \"2d\"",
        "dns.edge_ttl: 2d is out of range; expected 0s to 1d",
    ),
    (
        "dns",
        "negative_ttl = \"off\"",
        "dns.negative_ttl: cannot be switched off; write a duration such as \"5s\"",
    ),
    (
        "dns",
        "resync = \"99ms\"",
        "dns.resync: 99ms is out of range; expected 100ms to 1d",
    ),
    (
        "dns",
        "debounce = \"11m\"",
        "dns.debounce: 11m is out of range; expected 100ms to 10m",
    ),
    (
        "dns",
        "remove_after = \"8d\"",
        "dns.remove_after: 8d is out of range; expected 100ms to 7d",
    ),
    (
        "dns",
        "settle = 2",
        "dns.settle: \"2\" has no unit; write one of ms, s, m, h, d, such as \"5s\"",
    ),
    (
        "dns",
        "max_removals = 0",
        "dns.max_removals: 0 is out of range; expected 1 to 1000000",
    ),
    (
        "dns.embedded",
        "listen = \"unix:/x\"",
        "dns.embedded.listen: \"unix:/x\" is a unix socket; this listener needs an IP address and a port",
    ),
    (
        "dns.embedded",
        "listen = \"127.0.0.1:7480\"",
        "dns.embedded.listen: listens on 127.0.0.1:7480 twice; the other one is admin.listen by default",
    ),
    (
        "dns.embedded",
        "nameservers = []",
        "dns.embedded.nameservers: is empty; name what the parent zone delegates to, e.g. nameservers = \"ns1.example.com\" below [dns.embedded]",
    ),
    (
        "dns.embedded",
        "nameservers = \"10.0.0.1\"",
        "dns.embedded.nameservers: \"10.0.0.1\" is no DNS name; write one such as apps.example.com",
    ),
    (
        "dns.embedded",
        "contact = \"@example.com\"",
        "dns.embedded.contact: \"@example.com\" is no mailbox; write one such as hostmaster@example.com",
    ),
    (
        "dns.embedded",
        "listem = \"x\"",
        "dns.embedded.listem: unknown key; did you mean listen?",
    ),
    (
        "dns.rfc2136",
        "server = \"ns1.example.com\"",
        "dns.rfc2136.server: \"ns1.example.com\" is no server; write its IP address, such as 192.0.2.53 or [2001:db8::53]:53",
    ),
    (
        "dns.rfc2136",
        "server = \"192.0.2.53:0\"",
        "dns.rfc2136.server: \"192.0.2.53:0\" is no server; write its IP address, such as 192.0.2.53 or [2001:db8::53]:53",
    ),
    (
        "dns.rfc2136",
        "key = \"..\"",
        "dns.rfc2136.key: \"..\" is no DNS name; write one such as apps.example.com",
    ),
    (
        "dns.rfc2136",
        "algorithm = \"hmac-md5\"",
        "dns.rfc2136.algorithm: unknown value \"hmac-md5\"; expected one of hmac-sha256, hmac-sha512",
    ),
    (
        "dns.rfc2136",
        "secret_file = \"\"",
        "dns.rfc2136.secret_file: empty; write a path",
    ),
    (
        "dns.rfc2136",
        "transfer = 1",
        "dns.rfc2136.transfer: expected true or false, found the integer 1",
    ),
    (
        "dns.rfc2136",
        "timeout = \"2m\"",
        "dns.rfc2136.timeout: 2m is out of range; expected 100ms to 1m",
    ),
    (
        "dns.zonefile",
        "path = 1",
        "dns.zonefile.path: expected a string, found the integer 1",
    ),
    (
        "dns.zonefile",
        "nameservers = []",
        "dns.zonefile.nameservers: is empty; name what the parent zone delegates to, or leave the key out for a file to include",
    ),
    (
        "dns.zonefile",
        "contact = \"@\"",
        "dns.zonefile.contact: \"\" is no DNS name; write one such as apps.example.com",
    ),
];

/// A file with nothing wrong.
const RIGHT: [(&str, &[&str]); 4] = [
    (
        "dns",
        &["zone = \"apps.example.com\"", "target = \"203.0.113.7\""],
    ),
    ("dns.embedded", &["nameservers = \"ns1.example.com\""]),
    (
        "dns.rfc2136",
        &[
            "server = \"192.0.2.53\"",
            "key = \"causeway\"",
            "secret_file = \"tsig.secret\"",
        ],
    ),
    ("dns.zonefile", &["path = \"zone\""]),
];

/// That file, with `line` in the place of the table's line about the same key.
fn with(wrong: &str, line: &str) -> String {
    let key_of = |line: &str| line.split(' ').next().unwrap().to_owned();
    let mut text = String::from("[identity]\ndir = \"state\"\n");
    for (table, lines) in RIGHT {
        text.push_str(&format!("[{table}]\n"));
        for right in lines {
            if table != wrong || key_of(right) != key_of(line) {
                text.push_str(&format!("{right}\n"));
            }
        }
        if table == wrong {
            text.push_str(&format!("{line}\n"));
        }
    }
    text
}

fn problems(text: &str) -> String {
    let document = relay::settings::Document::parse(Path::new("/etc/edge.toml"), text).unwrap();
    let problems = Config::from_document(&document).expect_err(text);
    let said: Vec<String> = (&problems)
        .into_iter()
        .map(|problem| format!("{}: {}", problem.key, problem.message))
        .collect();
    said.join("\n")
}

#[test]
fn every_wrong_value_is_said() {
    read(&with("dns", "wildcard = true")).unwrap();
    for (table, line, message) in WRONG {
        let text = with(table, line);
        assert_eq!(problems(&text), *message, "about:\n{text}");
    }
}

#[test]
fn inside_a_zone_of_its_own_an_edge_refuses_what_leads_nowhere() {
    let text = |target: &str, nameservers: &str| {
        format!("{ZONE}target = {target}\n[dns.embedded]\nnameservers = {nameservers}\n")
    };
    let address = "\"203.0.113.7\"";
    let outside = "\"lb.example.com\"";
    for (target, nameservers) in [
        (address, "\"ns1.example.com\""),
        (address, "\"ns1.apps.example.com\""),
        (outside, "\"ns1.example.com\""),
    ] {
        read(&text(target, nameservers)).unwrap();
    }
    let inside = "\"LB.apps.example.com\"";
    assert_eq!(
        problems(&text(inside, "\"ns1.example.com\"")),
        "dns.target: lb.apps.example.com. is inside the zone apps.example.com., where every name leads \
         to the target: to itself, with no address at the end; list addresses, or write a name outside \
         the zone"
    );
    // Elsewhere somebody else may have put addresses there.
    let elsewhere = format!(
        "{ZONE}target = {inside}\nprovider = \"rfc2136\"\n[dns.rfc2136]\nserver = \"192.0.2.53\"\n\
         key = \"causeway\"\nsecret_file = \"tsig.secret\"\n"
    );
    read(&elsewhere).unwrap();
    let nameservers = "[\"ns1.example.com\", \"ns1.apps.example.com\"]";
    assert_eq!(
        problems(&text(outside, nameservers)),
        "dns.embedded.nameservers[1]: ns1.apps.example.com. is inside the zone, where it would be an alias \
         of lb.example.com., and a name server's name must not be an alias (RFC 2181, section 10.3); write \
         a name outside the zone, or list addresses as dns.target and write a name below the zone"
    );
    assert_eq!(
        problems(&text(address, "\"apps.example.com\"")),
        "dns.embedded.nameservers: apps.example.com. is the zone itself, which has no address; write a name \
         outside the zone, or list addresses as dns.target and write a name below the zone"
    );
}

#[test]
fn a_chosen_provider_must_be_configured() {
    let chosen = |provider: &str| {
        problems(&format!(
            "{ZONE}target = \"203.0.113.7\"\nprovider = \"{provider}\"\n"
        ))
    };
    assert_eq!(
        chosen("embedded"),
        "dns.embedded.nameservers: missing; name what the parent zone delegates to, e.g. nameservers = \"ns1.example.com\" below [dns.embedded]"
    );
    assert_eq!(
        chosen("rfc2136"),
        "dns.rfc2136.server: missing; name the zone's primary server, e.g. server = \"192.0.2.53:53\" below [dns.rfc2136]\n\
         dns.rfc2136.key: missing; name the TSIG key, e.g. key = \"causeway\"\n\
         dns.rfc2136.secret_file: missing; name the file with the key's secret in base64, e.g. secret_file = \"tsig.secret\""
    );
    assert_eq!(
        chosen("zonefile"),
        "dns.zonefile.path: missing; name the file to write, e.g. path = \"apps.example.com.zone\" below [dns.zonefile]"
    );
}

#[test]
fn zone_and_target_must_be_stated() {
    assert_eq!(
        problems(
            "[identity]\ndir = \"s\"\n[dns.zonefile]\npath = \"zone\"\n[dns]\nprovider = \"zonefile\"\n"
        ),
        "dns.zone: missing; name the zone to keep, e.g. zone = \"apps.example.com\"\n\
         dns.target: missing; say how callers and clients reach this edge, e.g. target = [\"203.0.113.7\", \"2001:db8::7\"], or one name"
    );
}

#[test]
fn a_table_that_there_is_not_is_said() {
    let text = format!(
        "{ZONE}target = \"203.0.113.7\"\nprovider = \"zonefile\"\n[dns.zonefile]\npath = \"zone\"\n[dns.embeded]\nlisten = \"x\"\n"
    );
    assert_eq!(
        problems(&text),
        "dns.embeded: unknown key; did you mean embedded?"
    );
}

#[test]
fn a_zone_leaves_room_for_the_names_below_it() {
    let zone = |length: usize| {
        let label = "a".repeat(63);
        let rest = "b".repeat(length - 2 * 64);
        let text = with("dns", &format!("zone = \"{label}.{label}.{rest}\""));
        relay::settings::Document::parse(Path::new("/etc/edge.toml"), &text).unwrap()
    };
    assert!(Config::from_document(&zone(175)).is_ok());
    let text = with(
        "dns",
        &format!("zone = \"{}\"", ["a".repeat(62).as_str(); 4].join(".")),
    );
    assert!(problems(&text).contains(
        "dns.zone: a name of 251 characters leaves no room for the names below it; a zone's may have 175"
    ));
}

#[test]
fn a_provider_that_is_configured_and_not_chosen_is_said_to_have_no_effect() {
    let text = "[identity]\ndir = \"state\"\n[dns]\nzone = \"apps.example.com\"\ntarget = \"203.0.113.7\"\n\
                [dns.rfc2136]\nserver = \"192.0.2.53\"\nkey = \"causeway\"\nsecret_file = \"tsig.secret\"\n";
    assert!(problems(text).contains(
        "dns.provider: missing, so that [dns.rfc2136] has no effect; write provider = \"rfc2136\" below [dns]"
    ));
}
