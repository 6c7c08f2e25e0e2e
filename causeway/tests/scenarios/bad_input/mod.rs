//! What can be wrong, and what happens then: a message that says what to do, a documented exit
//! status, HTTP status or close code, and nobody else disturbed.
//!
//! | what is wrong | what happens | test |
//! | --- | --- | --- |
//! | a key of the configuration is wrong or missing | exit 2, file and line | [`configuration`]`::an_unknown_key`, `::a_missing_key` |
//! | an address is in use | exit 1, which and what to set | [`configuration`]`::ports_in_use` |
//! | a key file is missing, or others may read it | exit 2, the `chmod` to run | [`certificates`]`::a_missing_key_file`, `::a_key_file_that_others_can_read` |
//! | a certificate has expired, or is not valid yet | exit 2 at home; TLS alert 45 at the peer | [`certificates`]`::expired`, `::not_valid_yet` |
//! | a certificate of another authority | no session, both sides say so; TLS alert 48 | [`certificates`]`::foreign` |
//! | two URI SANs, or none | exit 2 at home; TLS alert 46 at the peer | [`certificates`]`::two_uris`, `::no_uri` |
//! | a client's certificate shown as an edge's, and the reverse | exit 2 at home; TLS alert 46 | [`certificates`]`::a_client_as_an_edge`, `::an_edge_as_a_client` |
//! | no certificate at all | TLS alert 116 | [`certificates`]`::none_at_all` |
//! | an unknown tenant, cluster or service | HTTP 503 or 404; tcp: a reset | [`callers`]`::unknown_cluster`, `::unknown_service` |
//! | a host that is not of the pattern | HTTP 404 | [`callers`]`::a_foreign_host` |
//! | headers over the limit | HTTP 431 | [`callers`]`::oversized_headers` |
//! | an HTTP caller that says nothing, or half a request | closed after 15 s | [`callers`]`::a_silent_caller` |
//! | an origin that refuses | HTTP 502; tcp: a reset | [`origins`]`::refuses` |
//! | an origin that hangs | HTTP 504; tcp: a reset | [`origins`]`::hangs` |
//! | an origin that does not speak HTTP | HTTP 502 | [`origins`]`::is_not_http` |
//! | a control message over 64 KiB | close code `too_large` | [`peers`]`::an_oversized_message` |
//! | a message that is none | close code `protocol` | [`peers`]`::garbage` |
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
