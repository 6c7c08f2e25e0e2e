//! Networks that carry short packets and not long ones, and networks whose packets may be longer or
//! shorter than most.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    udp_blocked::{echoing, transports},
    udp_unblocked::on_quic,
};
use crate::support::{
    Builder, DEADLINE, Loss, Network, Origin, Pattern, Plane, Side, eventually, wait_for,
};

/// How long a client that sits on QUIC may need to serve new callers by TLS: its next Ping is due
/// within 5.5 s and overdue a second later.
const AWAY: Duration = Duration::from_secs(10);

/// After how long without a byte a download is given up that may be on QUIC.
const STALLED: Duration = Duration::from_secs(1);

/// How long nothing may come after the path has become narrower. QUIC has to lose long packets four
/// times before it sends shorter ones, each time for longer than a round trip; on a busy machine that
/// takes a good part of the 30 s after which the connection is given up.
const NARROWER: Duration = Duration::from_secs(40);

/// The length of one download.
const DOWNLOAD: u64 = 1 << 20;

/// How much is carried before and after a change of the network.
const BULK: u64 = 16 << 20;

#[test]
fn when_long_packets_are_lost_the_client_leaves_quic_and_does_not_come_back() {
    let Some(network) = Network::create() else {
        return;
    };
    let mut plane = on_quic(&network, downloading(&network));
    network.lose(&[Loss::LongQuic]);
    leaves_quic_for_good(&mut plane);
}

#[test]
fn where_long_packets_were_always_lost_the_client_leaves_quic_and_does_not_come_back() {
    let Some(network) = Network::create() else {
        return;
    };
    network.lose(&[Loss::LongQuic, Loss::Tcp]);
    let mut plane = downloading(&network).launch();
    wait_for("a session on QUIC", || {
        (transports(&mut plane, Side::Client) == ["quic"]).then_some(())
    });
    network.lose(&[Loss::LongQuic]);
    leaves_quic_for_good(&mut plane);
}

/// Downloads one after the other, until QUIC was looked at again, in the long suite for a minute.
fn leaves_quic_for_good(plane: &mut Plane) {
    let began = Instant::now();
    let long = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let watched = Duration::from_secs(60);
    let mut seen = vec!["quic".to_owned()];
    let (mut whole, mut cut) = (0, 0);
    loop {
        let on_tls = seen.last().is_some_and(|last| last == "tls");
        // What is asked once the client has moved is that all of it comes, not how fast.
        let patience = if on_tls { DEADLINE } else { STALLED };
        match download(plane, patience) {
            Ok(DOWNLOAD) => whole += 1,
            other => {
                assert!(!on_tls, "cut after the move to TLS: {other:?}");
                cut += 1;
            }
        }
        let now = transports(plane, Side::Client).pop();
        if let Some(now) = now.filter(|now| seen.last() != Some(now)) {
            eprintln!(
                "{now} after {:?}; {whole} whole, {cut} cut",
                began.elapsed()
            );
            seen.push(now);
        }
        assert!(
            seen.len() > 1 || began.elapsed() < AWAY,
            "still on QUIC after {AWAY:?}"
        );
        if plane.metrics(Side::Client).contains(LOOKED_WORSE)
            && (!long || began.elapsed() >= watched)
        {
            break;
        }
        assert!(began.elapsed() < watched * 2, "QUIC was not looked at");
    }
    eprintln!(
        "{seen:?} in {:?}; {whole} whole, {cut} cut",
        began.elapsed()
    );
    assert_eq!(seen, ["quic", "tls"]);
}

/// Counted from the first time on.
const LOOKED_WORSE: &str = r#"causeway_edge_attempts_total{transport="quic",outcome="worse"}"#;

#[test]
fn a_transfer_over_quic_goes_on_when_packets_of_more_than_1280_bytes_are_lost_from_now_on() {
    let Some(network) = Network::create() else {
        return;
    };
    goes_on_over_quic(&network, || network.lose(&[Loss::LongerThan(1280)]));
}

#[test]
fn a_transfer_over_quic_goes_on_when_the_mtu_falls_to_1280() {
    let Some(network) = Network::create() else {
        return;
    };
    goes_on_over_quic(&network, || network.set_mtu(1280));
}

/// The shortest full-size datagram of QUIC is 1200 bytes, 1228 with its headers.
#[test]
fn a_transfer_over_quic_goes_on_when_the_mtu_falls_to_the_least_that_quic_needs() {
    let Some(network) = Network::create() else {
        return;
    };
    goes_on_over_quic(&network, || network.set_mtu(1228));
}

/// Whoever cannot send QUIC's shortest full-size datagram cannot use QUIC.
#[test]
fn when_the_mtu_falls_below_what_quic_needs_new_callers_are_served_by_tls() {
    let Some(network) = Network::create() else {
        return;
    };
    let mut plane = on_quic(&network, downloading(&network));
    network.set_mtu(1227);
    let began = Instant::now();
    let served = eventually(AWAY, || {
        (download(&mut plane, STALLED).ok()? == DOWNLOAD).then(|| began.elapsed())
    });
    eprintln!("a download was whole {served:?} after the MTU fell");
    assert!(served.is_some(), "no whole download within {AWAY:?}");
    assert_eq!(transports(&mut plane, Side::Client), ["tls"]);
}

#[test]
fn a_transfer_over_quic_completes_where_packets_may_be_9000_bytes_long() {
    let Some(network) = Network::create() else {
        return;
    };
    network.set_mtu(9000);
    goes_on_over_quic(&network, || {});
}

/// Carries [`BULK`] through an echo before `change` and after, over one QUIC connection. The client
/// has no other transport, to which new streams might go while this one recovers.
fn goes_on_over_quic(network: &Network, change: impl FnOnce()) {
    let mut plane = on_quic(network, echoing(network).transport("quic"));
    let session = session_id(&mut plane);
    let stream = plane.dial_forward("echo");
    stream.set_read_timeout(Some(NARROWER)).unwrap();
    stream.set_write_timeout(Some(NARROWER)).unwrap();
    let (echoed, changed) = (AtomicU64::new(0), AtomicBool::new(false));
    let began = Instant::now();
    let longest_pause = thread::scope(|scope| {
        scope.spawn(|| send_until(&stream, &changed));
        let receiving = scope.spawn(|| receive(&stream, &echoed));
        let first_half = eventually(DEADLINE, || {
            (echoed.load(Ordering::Relaxed) >= BULK).then_some(())
        });
        change();
        changed.store(true, Ordering::Relaxed);
        assert!(first_half.is_some(), "stalled before the change");
        receiving.join().unwrap()
    });
    let (bytes, took) = (echoed.into_inner(), began.elapsed());
    let rate = bytes as f64 * 8.0 / took.as_secs_f64() / 1e6;
    eprintln!(
        "{bytes} bytes there and back in {took:?}: {rate:.0} Mbit/s each way, \
         with a pause of {longest_pause:?} at most"
    );
    assert_eq!(session_id(&mut plane), session, "it was connected anew");
    assert_eq!(transports(&mut plane, Side::Client), ["quic"]);
}

/// Sends [`Pattern`] until `changed`, then [`BULK`] more, and ends.
fn send_until(mut stream: &TcpStream, changed: &AtomicBool) {
    let mut pattern = Pattern::new(u64::MAX);
    let mut chunk = vec![0; 64 << 10];
    while !changed.load(Ordering::Relaxed) {
        pattern.read_exact(&mut chunk).unwrap();
        stream.write_all(&chunk).unwrap();
    }
    io::copy(&mut pattern.take(BULK), &mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
}

/// Reads [`Pattern`] to the end, and counts it; says how long it waited at most.
fn receive(mut stream: &TcpStream, count: &AtomicU64) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut pattern = Pattern::new(u64::MAX);
    let (mut chunk, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let length = stream.read(&mut chunk).unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        if length == 0 {
            return longest;
        }
        pattern.read_exact(&mut expected[..length]).unwrap();
        assert!(chunk[..length] == expected[..length], "not what was sent");
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

fn session_id(plane: &mut Plane) -> String {
    let status = plane.status(Side::Client);
    status["sessions"][0]["id"].as_str().unwrap().to_owned()
}

/// A client with a forward to downloads from beside the edge.
fn downloading(network: &Network) -> Builder {
    let source = network.edge.within(|| Origin::source(DOWNLOAD));
    echoing(network).forward("download", &source.tcp())
}

/// How much of a download comes before it ends; an error if nothing comes for as long as `patience`.
fn download(plane: &mut Plane, patience: Duration) -> io::Result<u64> {
    let mut caller = plane.dial_forward("download");
    caller.set_read_timeout(Some(patience))?;
    io::copy(&mut caller, &mut io::sink())
}
