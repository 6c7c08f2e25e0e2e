//! Streams that come and go leave nothing behind: no descriptor, no memory, no stream.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::support::{DEADLINE, Origin, Plane, Process, reset_on_close, wait_for};

/// How many streams there are; more with `scripts/test --full`.
fn streams() -> usize {
    if std::env::var_os("CAUSEWAY_TEST_FULL").is_some() {
        100_000
    } else {
        20_000
    }
}

/// How many there are at once.
const AT_ONCE: usize = 16;

/// How much more memory may be resident afterwards, whatever the number of streams.
const GROWTH: u64 = 8 << 20;

#[test]
fn streams_that_come_and_go_leave_nothing_behind_over_quic() {
    streams_that_come_and_go_leave_nothing_behind("quic");
}

#[test]
fn streams_that_come_and_go_leave_nothing_behind_over_tls() {
    streams_that_come_and_go_leave_nothing_behind("tls");
}

#[test]
fn streams_that_come_and_go_leave_nothing_behind_over_yamux() {
    streams_that_come_and_go_leave_nothing_behind("yamux");
}

#[test]
fn streams_that_come_and_go_leave_nothing_behind_over_h2() {
    streams_that_come_and_go_leave_nothing_behind("h2");
}

#[track_caller]
fn streams_that_come_and_go_leave_nothing_behind(transport: &str) {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .forward("echo", &origin.tcp())
        .start();
    let addresses = [plane.ingress("echo"), plane.forward("echo")];
    // The first streams pay for what is kept from then on.
    come_and_go(addresses, 2_000);
    settle(&mut plane);
    let before = sizes(&plane);

    come_and_go(addresses, streams());
    settle(&mut plane);
    let after = sizes(&plane);
    eprintln!(
        "descriptors and memory before: {before:?}, after {} streams: {after:?}",
        streams()
    );
    for ((fds_before, rss_before), (fds, rss)) in before.into_iter().zip(after) {
        assert!(
            fds <= fds_before + 2,
            "{fds} descriptors, {fds_before} before"
        );
        assert!(
            rss <= rss_before + GROWTH,
            "{rss} bytes resident, {rss_before} before"
        );
    }
}

/// Opens and ends `count` streams in every way there is.
fn come_and_go(addresses: [SocketAddr; 2], count: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    one(addresses[number % 2], number / 2);
                }
            });
        }
    });
}

/// One stream; how it ends depends on its number.
fn one(address: SocketAddr, number: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match number % 4 {
        // Both ways to the end.
        0 | 1 => {
            stream.write_all(&[b'x'; 3000]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back.len(), 3000);
        }
        // A reset in the middle.
        2 => {
            stream.write_all(&[b'x'; 3000]).unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            reset_on_close(&stream);
        }
        // Gone before anything was said.
        _ => {}
    }
}

/// Waits until both ends say that no stream is left.
#[track_caller]
fn settle(plane: &mut Plane) {
    wait_for("the streams to be over", || {
        (plane.sessions()[0]["streams"] == 0).then_some(())
    });
    let (mut last, mut same) = (0, 0);
    wait_for("the sockets to be closed", || {
        let fds = plane.edge.open_fds() + plane.client.open_fds();
        same = if fds == last { same + 1 } else { 0 };
        last = fds;
        (same > 20).then_some(())
    });
}

/// Descriptors and resident bytes of the edge and the client.
fn sizes(plane: &Plane) -> [(usize, u64); 2] {
    let size = |process: &Process| (process.open_fds(), process.rss_bytes());
    [size(&plane.edge), size(&plane.client)]
}
