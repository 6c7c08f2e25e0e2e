//! What can be wrong, and what happens then: a message that says what to do, a documented exit
//! status, HTTP status or close code, and nobody else disturbed.
//!
//! | what is wrong | what happens | test |
//! | --- | --- | --- |
//! | a key of the configuration is wrong or missing, a value is not allowed | exit 2, file and line | [`configuration`]`::an_unknown_key`, `::a_missing_key`, `::an_admin_listener_for_everyone` |
//! | an ingress does not say who may call | exit 2 | [`configuration`]`::an_ingress_that_says_nothing_of_its_callers` |
//! | a configuration is not TOML, or not there | exit 2 | [`configuration`]`::what_is_not_toml`, `::a_file_that_is_not_there` |
//! | an argument is wrong | exit 2 | [`configuration`]`::an_unknown_argument` |
//! | an address is in use | exit 1, which and what to set | [`configuration`]`::ports_in_use` |
//! | a key file is missing, others may read it, it is another's | exit 2, what to run | [`certificates`]`::a_missing_key_file`, `::a_key_file_that_others_can_read`, `::a_key_of_another_certificate` |
//! | a certificate has expired, or is not valid yet | exit 2 at home; TLS alert 45 at the peer | [`certificates`]`::expired`, `::not_valid_yet` |
//! | a certificate of another authority or trust domain | no session, both sides say so; TLS alert 48 or 46 | [`certificates`]`::foreign`, `::another_trust_domain` |
//! | two URI SANs, or none | exit 2 at home; TLS alert 46 at the peer | [`certificates`]`::two_uris`, `::no_uri` |
//! | a client's certificate shown as an edge's, and the reverse | exit 2 at home; TLS alert 46 | [`certificates`]`::a_client_as_an_edge`, `::an_edge_as_a_client` |
//! | a list of who is revoked that is torn, or another authority's | exit 2 | [`certificates`]`::a_list_of_who_is_revoked_that_is_torn_or_foreign` |
//! | no certificate at all | TLS alert 116 | [`certificates`]`::none_at_all` |
//! | an unknown tenant, cluster or service | HTTP 503 or 404; tcp: a reset | [`callers`]`::unknown_cluster`, `::unknown_service` |
//! | a host that is not of the pattern | HTTP 404 | [`callers`]`::a_foreign_host` |
//! | headers over the limit | HTTP 431 | [`callers`]`::oversized_headers` |
//! | a caller that does not speak HTTP | HTTP 400 | [`callers`]`::what_is_not_http` |
//! | an HTTP caller that says nothing, or half a request | closed after 15 s | [`callers`]`::a_silent_caller` |
//! | an origin that refuses | HTTP 502; tcp: a reset | [`origins`]`::refuses` |
//! | an origin that hangs | HTTP 504; tcp: a reset | [`origins`]`::hangs` |
//! | an origin whose name does not resolve | HTTP 502 | [`origins`]`::name_does_not_resolve` |
//! | an origin that does not speak HTTP, or says nothing | HTTP 502 | [`origins`]`::is_not_http`, `::ends_without_an_answer` |
//! | a control message over 64 KiB | close code `too_large` | [`peers`]`::an_oversized_message` |
//! | a message that is none, or comes before Hello | close code `protocol` | [`peers`]`::garbage`, `::an_endless_length`, `::a_message_before_hello`, `::more_pings_before_hello_than_a_probe_takes` |
//! | a peer that connects and says nothing | close code `handshake_timeout` | [`peers`]`::a_silent_peer` |

mod callers;
mod certificates;
mod configuration;
mod origins;
mod peers;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Output,
};

use crate::support::{Builder, Origin, Plane};

/// A plane with a stream through it that nothing may disturb.
#[derive(Debug)]
struct Bystander {
    plane: Plane,
    stream: TcpStream,
    _origin: Origin,
}

impl Bystander {
    #[track_caller]
    fn new(more: impl FnOnce(Builder) -> Builder) -> Self {
        let origin = Origin::echo();
        let builder = Plane::builder()
            .expose("bystander", &origin.tcp())
            .tcp_ingress("bystander");
        let mut plane = more(builder).start();
        let stream = plane.dial_ingress("bystander");
        let mut bystander = Self {
            plane,
            stream,
            _origin: origin,
        };
        bystander.is_undisturbed();
        bystander
    }

    /// The same stream still carries bytes both ways, over the one session there is.
    #[track_caller]
    fn is_undisturbed(&mut self) {
        self.stream.write_all(b"still there?").unwrap();
        let mut back = [0; 12];
        self.stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"still there?");
        assert_eq!(self.plane.sessions().len(), 1);
    }
}

/// A process ended by itself: with this status, having said all of these.
#[track_caller]
fn ended_saying(output: &Output, status: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for word in words {
        assert!(
            said.contains(word),
            "{word:?} is not in what it said: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// The table above names tests that exist, and leaves out no kind of bad input that has one.
#[test]
fn the_table_is_true() {
    const SOURCES: [(&str, &str); 5] = [
        ("callers", include_str!("callers.rs")),
        ("certificates", include_str!("certificates.rs")),
        ("configuration", include_str!("configuration.rs")),
        ("origins", include_str!("origins.rs")),
        ("peers", include_str!("peers.rs")),
    ];
    let rows: Vec<&str> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! |"))
        .collect();
    let mut faults = Vec::new();
    for (module, source) in SOURCES {
        let mut named = Vec::new();
        for row in &rows {
            if row.contains(&format!("[`{module}`]")) {
                let tests = row.split('`').filter_map(|word| word.strip_prefix("::"));
                named.extend(tests);
            }
        }
        let tests: Vec<&str> = source
            .split("#[test]\nfn ")
            .skip(1)
            .filter_map(|rest| rest.split('(').next())
            .collect();
        for name in &named {
            if !tests.contains(name) {
                faults.push(format!("{module}::{name} is no test"));
            }
        }
        for test in tests {
            if !named.contains(&test) {
                faults.push(format!("{module}::{test} is not in the table"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
