//! A receiver that stops reading stops its own sender, and nobody else.

use std::{
    fs, io,
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Origin, Pattern, Plane, Side, pattern_digest, read_digest, stalls_after, wait_for,
};

/// What a stream may be granted: the default `[session] stream_window`.
const GRANT: u64 = 4 << 20;

/// How long a sender must have been stopped to count as stopped.
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn a_sender_stops_within_its_grant() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("deaf", &origin.tcp())
        .tcp_ingress("deaf")
        .start();
    let caller = plane.dial_ingress("deaf");
    let deaf = origin.accept();

    let taken = stalls_after(&caller, QUIET);
    // Beside the grant there are four socket buffers: the caller's and the edge's at one end,
    // the client's and the origin's at the other.
    let most = GRANT + 2 * (kernel_buffer("tcp_wmem") + kernel_buffer("tcp_rmem"));
    assert!(taken <= most, "{taken} bytes were taken, {most} allowed");

    // Reading again sets it going again, and nothing was lost.
    caller.shutdown(Shutdown::Write).unwrap();
    let (count, _) = read_digest(&deaf).unwrap();
    assert_eq!(count, taken);
}

/// What crosses the tunnel for a receiver that takes only so much is that and the grant.
#[test]
fn the_tunnel_carries_no_more_than_the_grant() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("deaf", &origin.tcp())
        .tcp_ingress("deaf")
        .start();
    let caller = plane.dial_ingress("deaf");
    let _deaf = origin.accept();
    stalls_after(&caller, QUIET);
    let sent = plane.sessions()[0]["bytes_sent"].as_u64().unwrap();
    let most = GRANT + kernel_buffer("tcp_wmem") + kernel_buffer("tcp_rmem") + (64 << 10);
    assert!(sent <= most, "{sent} bytes crossed, {most} allowed");
}

#[test]
fn the_forward_direction_stops_as_well() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder().forward("deaf", &origin.tcp()).start();
    let caller = plane.dial_forward("deaf");
    let deaf = origin.accept();
    let taken = stalls_after(&caller, QUIET);
    let most = GRANT + 2 * (kernel_buffer("tcp_wmem") + kernel_buffer("tcp_rmem"));
    assert!(taken <= most, "{taken} bytes were taken, {most} allowed");
    caller.shutdown(Shutdown::Write).unwrap();
    let (count, _) = read_digest(&deaf).unwrap();
    assert_eq!(count, taken);
}

#[test]
fn a_hundred_stalled_streams_leave_another_alone() {
    const STALLED: usize = 100;
    const LENGTH: u64 = 10 << 20;
    let deaf = Origin::by_hand();
    let echo = Origin::echo();
    let mut plane = Plane::builder()
        .expose("deaf", &deaf.tcp())
        .expose("echo", &echo.tcp())
        .tcp_ingress("deaf")
        .tcp_ingress("echo")
        .start();
    let alone = transfer(plane.dial_ingress("echo"), LENGTH);

    let address = plane.ingress("deaf");
    let callers: Vec<_> = (0..STALLED)
        .map(|_| {
            thread::spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                stalls_after(&stream, QUIET);
                stream
            })
        })
        .collect();
    let callers: Vec<_> = callers.into_iter().map(|c| c.join().unwrap()).collect();
    wait_for("the stalled streams", || {
        (deaf.accepted() == STALLED).then_some(())
    });

    let beside = transfer(plane.dial_ingress("echo"), LENGTH);
    eprintln!("10 MiB there and back: {alone:?} alone, {beside:?} beside {STALLED} stalled");
    assert!(
        beside < 3 * alone + Duration::from_secs(1),
        "{beside:?} beside stalled streams, {alone:?} alone"
    );
    for side in [Side::Edge, Side::Client] {
        let process = match side {
            Side::Edge => &plane.edge,
            Side::Client => &plane.client,
        };
        eprintln!(
            "{}: {} MiB resident",
            side.name(),
            process.rss_bytes() >> 20
        );
    }
    drop(callers);
}

/// How long it takes for `length` bytes to go through an echo and come back right.
fn transfer(mut stream: TcpStream, length: u64) -> Duration {
    let began = Instant::now();
    let mut writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        io::copy(&mut Pattern::new(length), &mut writer).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let received = read_digest(&mut stream).unwrap();
    sending.join().unwrap();
    assert_eq!(received, (length, pattern_digest(length)));
    began.elapsed()
}

/// The most that the kernel lets a TCP buffer grow to.
fn kernel_buffer(name: &str) -> u64 {
    let limits = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
    limits.split_whitespace().nth(2).unwrap().parse().unwrap()
}
