//! What a caller gets over links that people have, from a data centre's to a dying one.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use chaos::wire::ladder::{LADDER, Rung};

use crate::support::{Network, Origin, Pattern, Plane};

/// The links of the short suite: a fast one, one that queues, and a long one.
const SHORT: [&str; 3] = ["datacentre", "4g", "transatlantic"];

#[test]
fn quic_over_the_ladder() {
    over_the_ladder("quic");
}

#[test]
fn tls_over_the_ladder() {
    over_the_ladder("tls");
}

#[test]
fn yamux_over_the_ladder() {
    over_the_ladder("yamux");
}

#[test]
fn h2_over_the_ladder() {
    over_the_ladder("h2");
}

/// On every link a caller is answered and gets the bytes that were sent, in their order. How fast
/// is printed, and nothing is expected of it.
fn over_the_ladder(transport: &str) {
    let long = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let duration = Duration::from_secs(if long { 20 } else { 1 });
    for rung in LADDER {
        if !long && !SHORT.contains(&rung.name) {
            continue;
        }
        let Some((pings, mbit)) = measure(rung, transport, duration) else {
            return;
        };
        let [best, worst] = [pings.iter().min(), pings.iter().max()]
            .map(|ping| ping.expect("there are some").as_secs_f64() * 1e3);
        eprintln!(
            "{:<14} {transport:<6} {mbit:>8.1} Mbit/s down, {best:.1} to {worst:.1} ms a ping",
            rung.name
        );
    }
}

/// How long pings took, and at how many Mbit/s a caller got bytes.
fn measure(rung: Rung, transport: &str, duration: Duration) -> Option<(Vec<Duration>, f64)> {
    const PINGS: usize = 10;
    let (network, _wire) = Network::over(rung.link)?;
    let echo = network.edge.within(Origin::echo);
    let source = network.edge.within(|| Origin::source(u64::MAX));
    let mut plane = Plane::builder()
        .on(&network)
        .transport(transport)
        .forward("echo", &echo.tcp())
        .forward("source", &source.tcp())
        .start();
    let mut caller = plane.dial_forward("echo");
    caller.set_nodelay(true).unwrap();
    let pings = (0..PINGS).map(|_| ping(&mut caller).unwrap()).collect();
    let mbit = download(&mut plane.dial_forward("source"), duration).unwrap();
    Some((pings, mbit))
}

fn ping(caller: &mut TcpStream) -> io::Result<Duration> {
    let began = Instant::now();
    let mut back = [0; 4];
    caller.write_all(b"ping")?;
    caller.read_exact(&mut back)?;
    assert_eq!(&back, b"ping");
    Ok(began.elapsed())
}

/// Mbit/s, from the first byte on.
fn download(from: &mut TcpStream, duration: Duration) -> io::Result<f64> {
    let mut sent = Pattern::new(u64::MAX);
    let mut expected = vec![0; 65_536];
    let mut buffer = vec![0; 65_536];
    let (mut bytes, mut began) = (0, None);
    loop {
        let read = from.read(&mut buffer)?;
        assert_ne!(read, 0, "the end after {bytes} bytes");
        sent.read_exact(&mut expected[..read])?;
        assert!(buffer[..read] == expected[..read], "after {bytes} bytes");
        let began: &mut Instant = began.get_or_insert_with(Instant::now);
        bytes += read;
        let took = began.elapsed();
        if took >= duration {
            return Ok(bytes as f64 * 8.0 / 1e6 / took.as_secs_f64());
        }
    }
}
