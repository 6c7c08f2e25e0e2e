use super::*;
use crate::proxy::faults::{Faults, Protocols};
use crate::proxy::{Direction, Placed};

const BUFFER: usize = 1 << 20;

/// A pipe at a time that the test sets.
struct Run {
    pipe: Pipe,
    faults: Faults,
    begin: Instant,
    now: Instant,
    out: Vec<u8>,
}

impl Run {
    fn with(texts: &[&str]) -> Self {
        let faults = Faults::none(Protocols::Tcp);
        let begin = Instant::now();
        let dice = Dice::new(1, 1, Direction::Up);
        let throttle = faults.throttle(Direction::Up);
        let pipe = Pipe::new(dice, throttle, BUFFER, Lane::default(), begin);
        let mut run = Self {
            pipe,
            faults,
            begin,
            now: begin,
            out: Vec::new(),
        };
        for text in texts {
            run.set(text);
        }
        // Faults are set at the real time, which is a little after the beginning.
        run.now = Instant::now();
        run.begin = run.now;
        run
    }

    fn set(&mut self, text: &str) {
        let placed: Placed = text.parse().unwrap();
        self.faults.set(placed).unwrap();
        self.pipe.set(self.faults.now().lane(Direction::Up));
    }

    fn clear(&mut self) {
        self.faults.clear_all();
        self.pipe.set(Lane::default());
    }

    fn read(&mut self, bytes: &[u8]) {
        assert!(self.pipe.room() > 0);
        self.pipe.handle_bytes(self.now, BytesMut::from(bytes));
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// Writes all that can be written now; says what comes after that.
    fn drain(&mut self) -> Next {
        loop {
            match self.pipe.next(self.now) {
                Next::Write(bytes) => {
                    assert!(!bytes.is_empty());
                    self.out.extend_from_slice(&bytes);
                    self.pipe.wrote(self.now, bytes.len());
                }
                next @ (Next::End(_) | Next::Close(_) | Next::Wait(_) | Next::Idle) => return next,
            }
        }
    }

    /// When it wants to be asked again, in milliseconds since the beginning.
    fn waits(&mut self) -> u128 {
        let next = self.drain();
        let Next::Wait(until) = next else {
            panic!("{next:?}");
        };
        (until - self.begin).as_millis()
    }
}

#[test]
fn without_faults_bytes_and_ends_pass_at_once() {
    let mut run = Run::with(&[]);
    run.read(b"hello");
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out, b"hello");
    run.pipe.handle_end(run.now, End::Finished);
    assert_eq!(run.pipe.room(), 0);
    assert_eq!(run.drain(), Next::End(End::Finished));
    run.pipe.ended();
    assert!(run.pipe.is_over());
    assert_eq!(run.drain(), Next::Idle);
}

#[test]
fn latency_delays_and_keeps_the_order() {
    let mut run = Run::with(&["latency delay=100ms jitter=90ms"]);
    for n in 0..50 {
        run.read(&[n]);
        run.pass_ms(1);
    }
    run.pipe.handle_end(run.now, End::Reset);
    run.pass_ms(190);
    assert_eq!(run.drain(), Next::End(End::Reset));
    assert_eq!(run.out, (0..50).collect::<Vec<u8>>());

    let mut run = Run::with(&["latency delay=100ms"]);
    run.read(b"a");
    assert_eq!(run.waits(), 100);
    assert_eq!(run.out, b"");
    // What is on its way keeps its time.
    run.clear();
    assert_eq!(run.waits(), 100);
    run.pass_ms(100);
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out, b"a");
}

#[test]
fn bandwidth_divides_time_among_bytes_and_bounds_what_waits() {
    let mut run = Run::with(&["bandwidth rate=100000 queue=500ms"]);
    run.read(&[0; 10_000]);
    let mut wakes = 0;
    while let Next::Wait(until) = run.drain() {
        run.now = until;
        wakes += 1;
    }
    assert_eq!(run.out.len(), 10_000);
    assert!(wakes >= 4, "in pieces of 20 ms: {wakes}");
    assert_eq!((run.now - run.begin).as_millis(), 80);
    assert_eq!(run.pipe.room(), 50_000);
    run.set("bandwidth rate=100000 queue=0ms");
    assert_eq!(run.pipe.room(), LEAST_QUEUE);
}

#[test]
fn slices_are_small_and_apart() {
    let mut run = Run::with(&["slice size=2B pause=5ms"]);
    run.read(b"hello");
    assert_eq!(run.waits(), 5);
    assert_eq!(run.out, b"he");
    run.pass_ms(5);
    assert_eq!(run.waits(), 10);
    assert_eq!(run.out, b"hell");
    run.pass_ms(5);
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out, b"hello");
}

#[test]
fn a_slow_close_holds_the_end_only() {
    let mut run = Run::with(&["slow-close delay=1s", "latency delay=10ms"]);
    run.read(b"bye");
    run.pipe.handle_end(run.now, End::Finished);
    run.pass_ms(10);
    assert_eq!(run.waits(), 1010);
    assert_eq!(run.out, b"bye");
    run.pass_ms(1000);
    assert_eq!(run.drain(), Next::End(End::Finished));
}

#[test]
fn a_slow_close_counts_from_the_last_byte_also_on_a_slow_link() {
    let mut run = Run::with(&["slow-close delay=50ms", "bandwidth rate=100000"]);
    run.read(&[0; 10_000]);
    run.pipe.handle_end(run.now, End::Finished);
    while run.out.len() < 10_000 {
        let Next::Wait(until) = run.drain() else {
            panic!("the end came before the bytes");
        };
        if run.out.len() < 10_000 {
            run.now = until;
        }
    }
    // The last piece went at 80 ms.
    assert_eq!(run.waits(), 130);
    run.pass_ms(50);
    assert_eq!(run.drain(), Next::End(End::Finished));
}

#[test]
fn a_truncation_counts_from_when_it_was_set() {
    let mut run = Run::with(&[]);
    run.read(b"before");
    assert_eq!(run.drain(), Next::Idle);
    run.set("truncate bytes=3");
    run.read(b"after");
    assert_eq!(run.drain(), Next::Close(Close::Finished));
    assert_eq!(run.out, b"beforeaft");
    // Set again, it counts again.
    run.set("truncate bytes=1");
    assert_eq!(run.drain(), Next::Close(Close::Finished));
    assert_eq!(run.out, b"beforeafte");
}

#[test]
fn a_reset_comes_after_a_time_or_after_bytes() {
    let mut run = Run::with(&["reset"]);
    assert_eq!(run.drain(), Next::Close(Close::Reset));
    run.set("reset bytes=2");
    run.read(b"abc");
    assert_eq!(run.drain(), Next::Close(Close::Reset));
    assert_eq!(run.out, b"ab");

    let mut run = Run::with(&["reset after=1s"]);
    run.read(b"abc");
    assert!((999..=1000).contains(&run.waits()));
    assert_eq!(run.out, b"abc");
    run.pass_ms(1000);
    assert_eq!(run.drain(), Next::Close(Close::Reset));
}

#[test]
fn a_cut_keeps_everything_and_delivers_it_later() {
    let mut run = Run::with(&["latency delay=5ms"]);
    run.read(b"on its way");
    run.set("cut");
    assert_eq!(run.pipe.room(), 0);
    run.pass_ms(60_000);
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out, b"");
    run.clear();
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out, b"on its way");
}

#[test]
fn a_timeout_swallows_and_then_the_connection_cannot_go_on() {
    let mut run = Run::with(&["timeout"]);
    run.clear();
    assert_eq!(run.drain(), Next::Idle, "nothing was lost");
    run.set("timeout");
    run.read(b"gone");
    run.pipe.handle_end(run.now, End::Finished);
    run.pass_ms(60_000);
    assert_eq!(run.drain(), Next::Idle);
    run.clear();
    assert_eq!(run.drain(), Next::Close(Close::Finished));
    assert_eq!(run.out, b"");

    let mut run = Run::with(&["timeout after=1s"]);
    assert!((999..=1000).contains(&run.waits()));
    run.pass_ms(1000);
    assert_eq!(run.drain(), Next::Close(Close::Finished));
}

#[test]
fn corruption_flips_bits_and_changes_no_lengths() {
    let mut run = Run::with(&["corrupt rate=10%"]);
    run.read(&[0; 10_000]);
    assert_eq!(run.drain(), Next::Idle);
    assert_eq!(run.out.len(), 10_000);
    let flipped = run.out.iter().filter(|byte| **byte != 0).count();
    // The number is binomial, n = 10000, p = 0.1: 1000 ± 10 σ with σ = 30.
    assert!((700..1300).contains(&flipped), "{flipped}");
}

#[test]
fn what_waits_is_bounded_also_in_tiny_pieces() {
    let mut run = Run::with(&["latency delay=1h"]);
    let mut pieces = 0;
    while run.pipe.room() > 0 {
        run.read(b"x");
        pieces += 1;
    }
    assert!(pieces <= BUFFER / OVERHEAD, "{pieces}");
}
