use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

/// A server that sends back what comes, after the port from which it came.
async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut answer = from.port().to_be_bytes().to_vec();
            answer.extend_from_slice(&buffer[..length]);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// A port that was free for TCP and for UDP.
async fn server_of_both() -> (TcpListener, UdpSocket, SocketAddr) {
    let mut taken = Vec::new();
    loop {
        let (listener, to) = server().await;
        match UdpSocket::bind(to).await {
            Ok(udp) => return (listener, udp, to),
            // Held, so that the next one is another.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken.push(listener),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn caller(bed: &Bed) -> UdpSocket {
    let socket = UdpSocket::bind(loopback()).await.unwrap();
    socket.connect(bed.address).await.unwrap();
    socket
}

/// The next answer, and the port that the server saw.
async fn answer(caller: &UdpSocket) -> (u16, Vec<u8>) {
    let mut buffer = vec![0; 64 * 1024];
    let length = within("an answer", caller.recv(&mut buffer)).await.unwrap();
    let (port, bytes) = buffer[..length].split_at(2);
    (u16::from_be_bytes([port[0], port[1]]), bytes.to_vec())
}

#[tokio::test]
async fn datagrams_pass_whole_and_each_caller_has_its_own_port() {
    let bed = Bed::before(echo().await, Protocols::Udp);
    let [one, other] = [caller(&bed).await, caller(&bed).await];
    let long = vec![9; 60_000];
    for datagram in [&b""[..], b"hello", &long] {
        one.send(datagram).await.unwrap();
        assert!(answer(&one).await.1 == datagram);
    }
    one.send(b"1").await.unwrap();
    other.send(b"2").await.unwrap();
    let [one, other] = [answer(&one).await, answer(&other).await];
    assert_eq!([&one.1, &other.1], [b"1", b"2"]);
    assert_ne!(one.0, other.0);
    assert_eq!(bed.observer.totals().open, 2);
}

#[tokio::test]
async fn one_port_number_serves_tcp_and_udp() {
    let (listener, udp, to) = server_of_both().await;
    let bed = Bed::before(to, Protocols::Both);
    let (mut tcp, mut served) = pair(&bed, &listener).await;
    round_trip(&mut tcp, &mut served).await;
    caller(&bed).await.send(b"hello").await.unwrap();
    let mut buffer = [0; 16];
    let (length, _) = within("a datagram", udp.recv_from(&mut buffer))
        .await
        .unwrap();
    assert_eq!(&buffer[..length], b"hello");
}

#[tokio::test]
async fn latency_and_duplicates() {
    let bed = Bed::before(echo().await, Protocols::Udp);
    bed.set("latency delay=100ms");
    bed.set("down duplicate rate=100%");
    let caller = caller(&bed).await;
    let begin = Instant::now();
    caller.send(b"twice").await.unwrap();
    assert_eq!(answer(&caller).await.1, b"twice");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(answer(&caller).await.1, b"twice");
}

#[tokio::test]
async fn losses_repeat_with_the_seed() {
    let to = echo().await;
    let lost = async |seed| {
        let options = Options {
            seed,
            ..Options::default()
        };
        let bed = Bed::with(to, Protocols::Udp, options);
        bed.set("up loss rate=50%");
        let caller = caller(&bed).await;
        let mut lost = Vec::new();
        for n in 0..60_u8 {
            let before = bed.observer.totals();
            caller.send(&[n]).await.unwrap();
            // One after the other, so that nothing else can be why one is missing.
            wait_for("a datagram's fate", || {
                let now = bed.observer.totals();
                now.datagrams_dropped > before.datagrams_dropped || now.bytes_up > before.bytes_up
            })
            .await;
            if bed.observer.totals().datagrams_dropped > before.datagrams_dropped {
                lost.push(n);
            } else {
                assert_eq!(answer(&caller).await.1, [n]);
            }
        }
        lost
    };
    let first = lost(1).await;
    // The number is binomial, n = 60, p = 0.5; that it is 0 or 60 is rarer than 1e-17.
    assert!(!first.is_empty() && first.len() < 60);
    assert_eq!(first, lost(1).await);
    assert_ne!(first, lost(2).await);
}

#[tokio::test]
async fn datagrams_that_are_held_back_are_overtaken() {
    let bed = Bed::before(echo().await, Protocols::Udp);
    let caller = caller(&bed).await;
    bed.set("up reorder rate=50% delay=500ms");
    let sent: Vec<_> = (0..40).collect();
    for n in &sent {
        caller.send(&[*n]).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in &sent {
        order.push(answer(&caller).await.1[0]);
    }
    assert_ne!(order, sent);
    order.sort_unstable();
    assert_eq!(order, sent);
}

#[tokio::test]
async fn corruption_and_cuts() {
    let bed = Bed::before(echo().await, Protocols::Udp);
    let caller = caller(&bed).await;
    bed.set("up corrupt rate=100%");
    caller.send(&[0; 100]).await.unwrap();
    let (_, got) = answer(&caller).await;
    assert_eq!(got.len(), 100);
    assert!(got.iter().all(|byte| byte.count_ones() == 1));

    bed.faults.clear_all();
    bed.set("down cut");
    caller.send(b"lost").await.unwrap();
    wait_for("the loss of the answer", || {
        bed.observer.totals().datagrams_dropped == 1
    })
    .await;
    bed.faults.clear_all();
    caller.send(b"healed").await.unwrap();
    assert_eq!(answer(&caller).await.1, b"healed");
}

#[tokio::test]
async fn rebinding_changes_the_port_that_the_server_sees() {
    let bed = Bed::before(echo().await, Protocols::Udp);
    let caller = caller(&bed).await;
    caller.send(b"before").await.unwrap();
    let (before, _) = answer(&caller).await;
    caller.send(b"same").await.unwrap();
    assert_eq!(answer(&caller).await.0, before);
    bed.set("rebind");
    let sees = format!("\"server_sees\":\"127.0.0.1:{before}\"");
    wait_for("the new port", || {
        !bed.observer.connections().to_string().contains(&sees)
    })
    .await;
    caller.send(b"after").await.unwrap();
    assert_ne!(answer(&caller).await.0, before);
    assert!(!bed.faults.now().has(Kind::Rebind, Direction::Up));
}

#[tokio::test]
async fn the_caller_that_was_silent_longest_makes_room() {
    let (warnings, _guard) = Warnings::collect();
    let options = Options {
        max_connections: 2,
        ..Options::default()
    };
    let bed = Bed::with(echo().await, Protocols::Udp, options);
    let [one, other] = [caller(&bed).await, caller(&bed).await];
    let sees = async |caller: &UdpSocket| {
        caller.send(b"hello").await.unwrap();
        answer(caller).await.0
    };
    let port = sees(&one).await;
    let port_of_other = sees(&other).await;
    assert_eq!(sees(&one).await, port);
    for _ in 0..3 {
        let third = caller(&bed).await;
        sees(&third).await;
        // It spoke after the one that made room, whoever that was.
        assert_eq!(sees(&one).await, port);
    }
    wait_for("as many as may be", || bed.observer.totals().open == 2).await;
    let connections = bed.observer.connections().to_string();
    assert!(!connections.contains(&format!("127.0.0.1:{port_of_other}\"")));
    // Who comes again is as good as new.
    sees(&other).await;
    let totals = bed.observer.totals();
    assert_eq!([totals.refused, totals.connections], [0, 6]);
    let said = warnings.lock().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("more UDP callers"), "{said:?}");
}

#[tokio::test]
async fn that_nobody_listens_is_said_once_for_each_caller() {
    let (warnings, _guard) = Warnings::collect();
    let gone = UdpSocket::bind(loopback()).await.unwrap();
    let to = gone.local_addr().unwrap();
    drop(gone);
    let bed = Bed::before(to, Protocols::Udp);
    for number in 1..=2 {
        let caller = caller(&bed).await;
        caller.send(b"1").await.unwrap();
        wait_for("what is said", || warnings.lock().len() == number).await;
        for _ in 0..10 {
            let fate = || {
                let totals = bed.observer.totals();
                totals.bytes_up + totals.datagrams_dropped
            };
            let before = fate();
            caller.send(b"2").await.unwrap();
            wait_for("its fate", || fate() > before).await;
        }
    }
    let expected = format!("nobody listens at {to} (UDP)");
    assert_eq!(*warnings.lock(), [expected.clone(), expected]);
}

/// Collects what is said at level WARN on the thread of a test.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn collect() -> (Arc<Mutex<Vec<String>>>, DefaultGuard) {
        let said = Arc::default();
        let guard = tracing::subscriber::set_default(Self(Arc::clone(&said)));
        (said, guard)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            if field.name() == "message" {
                self.0.lock().push(format!("{value:?}"));
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
