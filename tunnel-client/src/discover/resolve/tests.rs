//! Name servers that answer whatever a test says, by UDP and TCP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use super::*;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// The TTL of every record that is answered, in seconds.
const TTL: u8 = 7;

/// What is answered to a question for a kind of record: a code and the data of records; `None`: nothing.
type Script = dyn Fn(u16) -> Option<(u8, Vec<Vec<u8>>)> + Send + Sync;

/// Where a server listens that follows a script. It stays until the process ends.
fn server(
    script: impl Fn(u16) -> Option<(u8, Vec<Vec<u8>>)> + Send + Sync + 'static,
) -> SocketAddr {
    let script: Arc<Script> = Arc::new(script);
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (tcp, udp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let by_udp = script.clone();
    thread::spawn(move || {
        let mut query = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..length], &*by_udp) {
                udp.send_to(&answer, from).unwrap();
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming() {
            let script = script.clone();
            // Whoever asks may go away at any time.
            thread::spawn(move || serve(&mut stream.unwrap(), &*script));
        }
    });
    address
}

fn serve(stream: &mut TcpStream, script: &Script) -> std::io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        if let Some(answer) = answer(&query, script) {
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_all(&length.to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }
}

/// A whole message (RFC 1035 §4.1): the query's id and question, and what the script says.
fn answer(query: &[u8], script: &Script) -> Option<Vec<u8>> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = &query[12..end + 5];
    let kind = u16::from_be_bytes([query[end + 1], query[end + 2]]);
    let (code, records) = script(kind)?;
    let count = u8::try_from(records.len()).unwrap();
    let mut message = vec![query[0], query[1], 0x84 | (query[2] & 1), code];
    message.extend([0, 1, 0, count, 0, 0, 0, 0]);
    message.extend(question);
    for data in records {
        // The name is the question's.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, TTL]);
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
    }
    Some(message)
}

async fn ask(server: SocketAddr, question: &Question) -> Result<Answer, Failure> {
    let settings = ResolverSettings {
        servers: vec![server],
        timeout: Duration::from_secs(1),
        ..ResolverSettings::default()
    };
    let asker = Resolver::new(&settings).current()?;
    asker.ask(question).await
}

async fn ask_for_host(server: SocketAddr) -> Result<Answer, Failure> {
    ask(server, &Question::Host("edge.example.com".to_owned())).await
}

/// The label of a failure, and what it says.
#[track_caller]
fn told(outcome: Result<Answer, Failure>) -> (&'static str, String) {
    match outcome.expect_err("a failure") {
        Failure::Denied { why, label, .. } | Failure::Unanswered { why, label } => (label, why),
    }
}

#[tokio::test]
async fn addresses_of_both_families_come_with_their_ttl() {
    let server = server(|kind| match kind {
        A => Some((NOERROR, vec![vec![192, 0, 2, 2], vec![192, 0, 2, 1]])),
        AAAA => Some((
            NOERROR,
            vec![[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into()],
        )),
        other => panic!("nobody asks for {other}"),
    });
    let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
    let expected = Answer {
        records: Records::Addresses(addresses.map(|it| it.parse().unwrap()).into()),
        ttl: Duration::from_secs(TTL.into()),
        unanswered: None,
    };
    assert_eq!(ask_for_host(server).await, Ok(expected));
}

#[tokio::test]
async fn each_refusal_is_told_by_its_name() {
    for (code, label, why) in [
        (SERVFAIL, "servfail", "the name server answered SERVFAIL"),
        (REFUSED, "refused", "the name server answered REFUSED"),
        (NXDOMAIN, "nxdomain", "the name does not exist (NXDOMAIN)"),
        (NOERROR, "nothing", "the name has no addresses"),
    ] {
        let server = server(move |_| Some((code, Vec::new())));
        let outcome = ask_for_host(server).await;
        let denied = matches!(outcome, Err(Failure::Denied { .. }));
        assert_eq!(denied, matches!(code, NXDOMAIN | NOERROR), "{label}");
        assert_eq!(told(outcome), (label, why.to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let server = server(|_| None);
    let (label, why) = told(ask_for_host(server).await);
    assert_eq!(label, "timeout", "{why}");
    assert!(why.starts_with("no answer from a name server"), "{why}");
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_denied() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = socket.local_addr().unwrap();
    drop(socket);
    let outcome = ask_for_host(nobody).await;
    assert!(
        matches!(outcome, Err(Failure::Unanswered { .. })),
        "{outcome:?}"
    );
}

/// As some balancers do, whose operators never met IPv6.
#[tokio::test]
async fn one_family_is_enough_where_the_server_fails_for_the_other() {
    let server = server(|kind| match kind {
        A => Some((NOERROR, vec![vec![192, 0, 2, 1]])),
        _ => Some((SERVFAIL, Vec::new())),
    });
    let answer = ask_for_host(server).await.unwrap();
    let expected = Records::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    assert_eq!(answer.records, expected);
}

/// Nobody has said that there are no addresses at all.
#[tokio::test]
async fn a_name_is_not_denied_by_half_an_answer() {
    let server = server(|kind| match kind {
        A => Some((NOERROR, Vec::new())),
        _ => Some((SERVFAIL, Vec::new())),
    });
    assert_eq!(told(ask_for_host(server).await).0, "servfail");
}

#[tokio::test]
async fn targets_are_read_and_those_that_can_be_none_are_left_out() {
    // Priority, weight, port, target.
    let record = |port: u8, target: &[u8]| [&[0, 1, 0, 2, 0, port], target].concat();
    let server = server(move |kind| {
        assert_eq!(kind, SRV);
        let records = vec![
            record(7, b"\x04EDGE\x00"),
            record(0, b"\x04none\x00"),
            record(1, b"\x00"),
        ];
        Some((NOERROR, records))
    });
    let owner = Question::Srv("_causeway._tcp.example.com".to_owned());
    let target = Target {
        priority: 1,
        weight: 2,
        host: "edge".to_owned(),
        port: 7,
    };
    assert_eq!(
        ask(server, &owner).await.unwrap().records,
        Records::Targets(vec![target])
    );
}
