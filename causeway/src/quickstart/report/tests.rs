use std::net::SocketAddr;

use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::config::Kind;

const PLAIN: Style = Style {
    signs: false,
    colours: false,
};

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// hello and a database below, and a service above.
fn report() -> Report {
    let took = Duration::from_micros(1_940);
    let edge = json!({"sessions": [{
        "peer": "acme/demo", "transport": "quic", "key_exchange": "X25519MLKEM768", "rtt_ms": 0.312,
    }]});
    Report {
        dir: "causeway-demo".into(),
        program: "causeway".to_owned(),
        vouched: Vouched {
            trust_domain: "causeway.internal".to_owned(),
            authority: "causeway-demo/authority".into(),
            authority_kept: false,
            until: OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap(),
            renewed: Vec::new(),
        },
        edge: edge.as_object().unwrap().clone(),
        edge_admin: "http://127.0.0.1:7480".parse().unwrap(),
        tunnel: at(7443),
        line: None,
        client_admin: "http://127.0.0.1:7490".parse().unwrap(),
        client_pid: Some(4711),
        sockets: Ok(Sockets {
            tcp_listeners: [at(7490), at(40_002)].into(),
            udp: ["0.0.0.0:50123".parse().unwrap()].into(),
            ephemeral: 32_768..=60_999,
        }),
        exposed: vec![
            (
                Exposed {
                    name: "hello".parse().unwrap(),
                    target: "hello".to_owned(),
                    way: Way::Http {
                        address: at(8080),
                        host: "hello--demo--acme.localhost".to_owned(),
                    },
                },
                Outcome::Answered {
                    status: StatusCode::OK,
                    took,
                },
            ),
            (
                Exposed {
                    name: "db".parse().unwrap(),
                    target: "tcp://127.0.0.1:5432".to_owned(),
                    way: Way::Tcp(at(40_001)),
                },
                Outcome::Responded { took },
            ),
        ],
        forwarded: vec![(
            Forwarded {
                name: "state".to_owned(),
                listen: "127.0.0.1:40002".to_owned(),
                target: Some("http://127.0.0.1:3000".to_owned()),
            },
            Outcome::Answered {
                status: StatusCode::NOT_FOUND,
                took,
            },
        )],
        open_to_others: None,
        edited: Vec::new(),
    }
}

#[test]
fn the_check_list_says_every_link_of_the_chain() {
    assert_eq!(
        report().text(PLAIN),
        "\
ok  authority   causeway.internal, made in causeway-demo/authority
                certificates of edge and client are valid until 2027-01-15
ok  edge        clients come to UDP and TCP 127.0.0.1:7443
                callers come to TCP 127.0.0.1:8080 (http)
                            and TCP 127.0.0.1:40001 (db)
ok  joined      acme/demo over QUIC, key exchange X25519MLKEM768, RTT 0.31 ms
ok  client      listens on TCP 127.0.0.1:7490 (admin)
                       and TCP 127.0.0.1:40002 (forward to state), nowhere else
                dials from UDP 0.0.0.0:50123 (ephemeral)
ok  round trip  GET http://hello--demo--acme.localhost:8080 -> 200 OK in 1.9 ms
ok  round trip  db at 127.0.0.1:40001 -> tcp://127.0.0.1:5432 in 1.9 ms
ok  forward     state at 127.0.0.1:40002 -> 404 Not Found in 1.9 ms

Open  http://hello--demo--acme.localhost:8080  hello

Try   curl -i http://hello--demo--acme.localhost:8080  the same in a shell
      psql -h 127.0.0.1 -p 40001 -U postgres           db, in the compute plane
      curl -i http://127.0.0.1:40002                   state, in the control plane
      causeway status                                  what they say of themselves
      kill -STOP 4711                                  halts the client: no answers until -CONT

Everything is in causeway-demo: edge.toml and client.toml, which you may change while
they are used, edge.log and client.log. Ctrl-C stops both processes.
"
    );
    assert!(report().doubts().is_empty());
}

#[test]
fn the_document_is_as_documented() {
    assert_eq!(
        report().json(),
        json!({
            "services": {
                "hello": {
                    "url": "http://hello--demo--acme.localhost:8080",
                    "addr": "127.0.0.1:8080",
                    "host": "hello--demo--acme.localhost",
                },
                "db": {"url": "tcp://127.0.0.1:40001", "addr": "127.0.0.1:40001"},
            },
            "forwards": {"state": {"addr": "127.0.0.1:40002"}},
            "edge_admin": "http://127.0.0.1:7480",
            "client_admin": "http://127.0.0.1:7490",
            "tunnel": "127.0.0.1:7443",
            "dir": "causeway-demo",
        })
    );
}

#[test]
fn what_does_not_work_is_said_and_what_to_do() {
    let mut report = report();
    report.exposed[0].1 = Outcome::Refused {
        status: StatusCode::BAD_GATEWAY,
        why: "the service refused the connection (connect_refused)".to_owned(),
    };
    report.exposed[0].0.target = "http://127.0.0.1:3000".to_owned();
    report.exposed[1].0.way = Way::Nowhere;
    report.forwarded[0].0.target = None;
    report.open_to_others = Some("0.0.0.0:8080".parse().unwrap());
    report.edited = vec!["causeway-demo/edge.toml".into()];
    report.vouched.renewed = vec![Kind::Client];
    report
        .sockets
        .as_mut()
        .unwrap()
        .tcp_listeners
        .insert(at(22));
    report.edge_admin = "http://127.0.0.1:40009".parse().unwrap();
    let text = report.text(Style {
        signs: true,
        colours: false,
    });
    for line in [
        "! round trip  GET http://hello--demo--acme.localhost:8080 -> 502 Bad Gateway",
        "              the service refused the connection (connect_refused)",
        "              is http://127.0.0.1:3000 up? the client dials it whenever it is called",
        "! round trip  db: no [[ingress]] of the edge leads to it;",
        "! forward     state: the edge has no [[upstream]] of this name;",
        "! callers     from everywhere may use 0.0.0.0:8080, as --http asks for;",
        "! your file   causeway-demo/edge.toml has your changes and is used as it is;",
        "              issued anew before it ended: client",
        "      causeway status --admin http://127.0.0.1:40009",
    ] {
        let found = text.contains(line);
        assert!(found, "{line} is not in\n{text}");
    }
    assert!(text.contains("127.0.0.1:22 (unexpected)"), "{text}");
    assert_eq!(report.doubts().len(), 6, "{:?}", report.doubts());
    assert!(report.json()["services"].get("db").is_none());
}

#[test]
fn nothing_from_elsewhere_reaches_the_terminal_as_it_is() {
    let mut report = report();
    report.exposed[1].0.target = "unix:///tmp/\u{1b}[2J".to_owned();
    let text = report.text(PLAIN);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn milliseconds_are_as_exact_as_it_is_worth() {
    for (micros, shown) in [(312, "0.31 ms"), (1_940, "1.9 ms"), (123_456, "123 ms")] {
        assert_eq!(Millis(Duration::from_micros(micros)).to_string(), shown);
    }
}
