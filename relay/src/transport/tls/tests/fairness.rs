//! What goes ahead of what.

use std::task::Waker;

use bytes::Bytes;

use super::table::{dialler, sent, write};
use crate::transport::tls::frame::HEADER;
use crate::transport::tls::schedule::{FRAME, SEND_QUEUE, Written};
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
