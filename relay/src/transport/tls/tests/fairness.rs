//! What goes ahead of what.

use std::collections::VecDeque;
use std::iter::{Copied, Cycle};
use std::slice;
use std::sync::Arc;
use std::task::{Wake, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::table::{dialler, sent, write};
use crate::transport::tls::carrier::BATCHES;
use crate::transport::tls::frame::HEADER;
use crate::transport::tls::room::{SEND_QUEUE, Written};
use crate::transport::tls::schedule::FRAME;
use crate::transport::tls::streams::{Key, Streams};

/// As much as the stream may write.
fn fill_up(streams: &mut Streams, key: Key) -> usize {
    let mut count = 0;
    let mut chunk = Bytes::from(vec![7; 64 << 10]);
    while streams.write(key, &mut chunk, Waker::noop()) == Written::Taken {
        count += (64 << 10) - chunk.len();
        chunk = Bytes::from(vec![7; 64 << 10]);
    }
    count
}

/// How many bytes are sent before `wanted`, a frame's payload.
fn bytes_before(streams: &mut Streams, wanted: &[u8]) -> usize {
    let mut before = 0;
    loop {
        let bytes = sent(streams);
        assert!(!bytes.is_empty(), "it was not sent");
        if let Some(at) = bytes.windows(wanted.len()).position(|part| part == wanted) {
            return before + at;
        }
        before += bytes.len();
    }
}

#[test]
fn a_lone_writer_has_all_the_room() {
    let mut streams = dialler();
    let key = streams.open().unwrap();
    assert_eq!(fill_up(&mut streams, key), SEND_QUEUE);
}

#[test]
fn a_short_message_passes_the_bulk_of_others() {
    let mut streams = dialler();
    let bulk: Vec<_> = (0..4).map(|_| streams.open().unwrap()).collect();
    let interactive = streams.open().unwrap();
    for key in &bulk {
        fill_up(&mut streams, *key);
    }
    assert!(
        streams.schedule.queued > SEND_QUEUE * 3 / 4,
        "room is taken"
    );
    for _ in 0..3 {
        // There is room for it although the queue is full, and it is the next to be sent.
        assert_eq!(write(&mut streams, interactive, b"ping!"), Written::Taken);
        let before = bytes_before(&mut streams, b"ping!");
        assert!(before <= 64, "behind {before} bytes");
        for key in &bulk {
            fill_up(&mut streams, *key);
        }
        // Its place in the turn passes.
        for _ in 0..2 {
            sent(&mut streams);
        }
        for key in &bulk {
            fill_up(&mut streams, *key);
        }
    }
}

#[test]
fn a_stream_that_goes_ahead_is_behind_nothing() {
    let mut streams = dialler();
    let control = streams.open().unwrap();
    streams.prioritize(control);
    let bulk: Vec<_> = (0..8).map(|_| streams.open().unwrap()).collect();
    let interactive: Vec<_> = (0..50).map(|_| streams.open().unwrap()).collect();
    for key in &bulk {
        fill_up(&mut streams, *key);
    }
    for key in &interactive {
        write(&mut streams, *key, b"interactive");
    }
    assert_eq!(write(&mut streams, control, b"control"), Written::Taken);
    let before = bytes_before(&mut streams, b"control");
    assert!(before <= 64, "behind {before} bytes");
    // It has a queue of its own, which is bounded too.
    let count = fill_up(&mut streams, control);
    assert!(count <= 64 << 10, "{count} bytes");
}

#[test]
fn bulk_streams_take_turns_frame_by_frame() {
    let mut streams = dialler();
    let keys: Vec<_> = (0..4).map(|_| streams.open().unwrap()).collect();
    let mut bytes = Vec::new();
    for round in 0..20 {
        for key in &keys {
            fill_up(&mut streams, *key);
        }
        let sent = sent(&mut streams);
        // The first to come had all the room at first.
        if round >= 5 {
            bytes.extend_from_slice(&sent);
        }
    }
    let mut counts = [0; 4];
    let mut rest = &bytes[..];
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
        // The connection measures its round trip, too.
        if header[4] < 4 {
            counts[usize::from(header[3] / 2)] += length;
        }
        rest = &behind[length..];
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 2 * FRAME, "{counts:?}");
}

/// Whoever sends short messages without end does not keep bulk from its turn.
#[test]
fn short_messages_do_not_starve_bulk() {
    let mut streams = dialler();
    let bulk = streams.open().unwrap();
    let chatty: Vec<_> = (0..64).map(|_| streams.open().unwrap()).collect();
    fill_up(&mut streams, bulk);
    let full = streams.schedule.queued;
    for _ in 0..20 {
        for key in &chatty {
            write(&mut streams, *key, &[1; 4000]);
        }
        sent(&mut streams);
    }
    let left = streams.table[&bulk].out.bytes;
    assert!(
        left <= full - 8 * FRAME,
        "{left} of {full} bytes still wait"
    );
}

#[test]
fn many_writers_share_the_room() {
    let mut streams = dialler();
    let keys: Vec<_> = (0..16).map(|_| streams.open().unwrap()).collect();
    for _ in 0..50 {
        for key in &keys {
            fill_up(&mut streams, *key);
        }
        sent(&mut streams);
    }
    assert!(streams.schedule.queued <= SEND_QUEUE);
    let waiting = |key: &Key| streams.table[key].out.bytes;
    let most = keys.iter().map(waiting).max().unwrap();
    assert!(most <= 3 * FRAME, "one has {most} bytes in the queue");
}

/// What every stream begins with.
const BEGIN: &[u8] = b"a header";

/// A thousand streams, each of which writes chunks without end.
struct Writers {
    streams: Streams,
    all: Vec<Writer>,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

struct Writer {
    key: Key,
    waker: Waker,
    /// What is not written yet.
    chunk: Bytes,
    /// How long its chunks are, one after the other.
    lengths: Cycle<Copied<slice::Iter<'static, usize>>>,
    /// What was sent of it, in bytes.
    sent: usize,
    /// What had been sent of all when its first chunk had been begun.
    first: Option<usize>,
}

/// Has a writer's task run.
struct Ready(usize, Arc<Mutex<VecDeque<usize>>>);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.1.lock().push_back(self.0);
    }
}

impl Writers {
    const COUNT: usize = 1000;

    fn new(lengths: &'static [usize]) -> Self {
        let mut streams = dialler();
        let ready = Arc::new(Mutex::new((0..Self::COUNT).collect()));
        let all = (0..Self::COUNT).map(|nth| {
            let key = streams.open().unwrap();
            write(&mut streams, key, BEGIN);
            Writer {
                key,
                waker: Waker::from(Arc::new(Ready(nth, Arc::clone(&ready)))),
                chunk: Bytes::new(),
                lengths: lengths.iter().copied().cycle(),
                sent: 0,
                first: None,
            }
        });
        let all = all.collect();
        Self {
            streams,
            all,
            ready,
        }
    }

    /// One turn of the tasks that are ready, and of the carrier.
    fn turn(&mut self) {
        while let Some(nth) = { self.ready.lock().pop_front() } {
            self.all[nth].write(&mut self.streams);
        }
        self.streams.begin_turn();
        for _ in 0..BATCHES {
            let bytes = sent(&mut self.streams);
            self.streams.call_writers();
            let woken = std::mem::take(&mut self.streams.wake);
            woken.into_iter().for_each(Waker::wake);
            self.count(&bytes);
        }
    }

    fn count(&mut self, mut bytes: &[u8]) {
        while let Some((header, behind)) = bytes.split_first_chunk::<HEADER>() {
            let (number, rest) = header.split_first_chunk().unwrap();
            let length = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
            // The connection measures its round trip, too.
            if rest[0] < 4 {
                let nth = u32::from_be_bytes(*number) as usize / 2;
                self.all[nth].sent += length;
                if self.all[nth].sent > BEGIN.len() {
                    let total = self.total();
                    self.all[nth].first.get_or_insert(total);
                }
            }
            bytes = &behind[length..];
        }
    }

    fn total(&self) -> usize {
        self.all.iter().map(|writer| writer.sent).sum()
    }
}

impl Writer {
    fn write(&mut self, streams: &mut Streams) {
        loop {
            if self.chunk.is_empty() {
                self.chunk = Bytes::from(vec![7; self.lengths.next().unwrap()]);
            }
            match streams.write(self.key, &mut self.chunk, &self.waker) {
                Written::Taken => {}
                Written::Waits => return,
                Written::Broken => panic!("the connection lives"),
            }
        }
    }
}

/// As when a session goes on with all its streams at once: each is next in the order of their coming,
/// however long the chunks are that it and the others write, and whether or not they come out even.
#[test]
fn whoever_waits_has_a_turn_before_others_have_two() {
    for lengths in [
        &[FRAME][..],
        &[FRAME + HEADER],
        &[20_000],
        &[64 << 10],
        &[16 << 10, 300, 64 << 10, 5000, 4096, 20_000],
    ] {
        let mut writers = Writers::new(lengths);
        let all = |turns: usize| turns * FRAME * Writers::COUNT;
        while writers.total() < all(5) {
            writers.turn();
        }
        let first = writers.all.iter().map(|writer| writer.first);
        let last = first.map(|first| first.unwrap_or(usize::MAX)).max();
        assert!(
            last.unwrap() <= all(1) + 2 * SEND_QUEUE,
            "{lengths:?}: {last:?}"
        );
        let sent = writers.all.iter().map(|writer| writer.sent);
        let (least, most) = (sent.clone().min().unwrap(), sent.max().unwrap());
        assert!(most - least <= 3 * FRAME, "{lengths:?}: {least} to {most}");
    }
}
