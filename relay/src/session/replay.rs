//! What was sent and is not known to be consumed: it is sent again if its connection is lost.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::chunk::Chunk;

/// Shorter chunks are copied, in bytes, and so are those that leave most of their buffer empty.
const SHARED: usize = 4 * 1024;

/// What is copied is put together up to this, in bytes.
const BLOCK: usize = 16 * 1024;

/// The bytes of one direction from some offset on.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// The offset of the first byte.
    start: u64,
    chunks: VecDeque<Kept>,
    /// Copied, after all of `chunks`.
    tail: BytesMut,
    /// How much of `tail` was trimmed.
    tail_start: usize,
    /// Bytes in `chunks` and `tail` together.
    kept: u64,
    /// The memory behind all of `chunks`, in bytes.
    behind_chunks: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    /// The memory that it keeps, in bytes, whatever was trimmed.
    capacity: u64,
}

impl Kept {
    /// Copies what is left once less than half is; says how much memory that frees.
    fn shrink(&mut self) -> u64 {
        let rest = self.bytes.len() as u64;
        if 2 * rest >= self.capacity {
            return 0;
        }
        self.bytes = Bytes::copy_from_slice(&self.bytes);
        std::mem::replace(&mut self.capacity, rest) - rest
    }
}

impl Replay {
    /// How many bytes are kept.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    /// How much memory that takes, in bytes: at most twice as much, and a block.
    pub(super) fn held(&self) -> u64 {
        self.behind_chunks + self.tail.capacity() as u64
    }

    /// Adds what is sent next.
    pub(super) fn push(&mut self, chunk: &Chunk) {
        self.kept += chunk.len() as u64;
        if chunk.len() >= SHARED && chunk.memory() <= 2 * chunk.len() {
            self.close_tail();
            self.push_chunk(chunk.bytes().clone(), chunk.memory() as u64);
            return;
        }
        if self.tail.len() + chunk.len() > BLOCK {
            self.close_tail();
        }
        self.tail.extend_from_slice(chunk.bytes());
    }

    /// Forgets what lies before `offset`.
    pub(super) fn trim(&mut self, offset: u64) {
        let mut count = offset.saturating_sub(self.start).min(self.kept);
        self.start += count;
        self.kept -= count;
        while let Some(chunk) = self.chunks.front_mut() {
            let taken = count.min(chunk.bytes.len() as u64);
            chunk.bytes.advance(taken as usize);
            count -= taken;
            if !chunk.bytes.is_empty() {
                self.behind_chunks -= chunk.shrink();
                return;
            }
            self.behind_chunks -= chunk.capacity;
            self.chunks.pop_front();
        }
        self.tail_start += count as usize;
        let rest = self.tail.len() - self.tail_start;
        if rest == 0 {
            // An idle stream holds no memory.
            (self.tail, self.tail_start) = (BytesMut::new(), 0);
            self.chunks = VecDeque::new();
        } else if self.tail_start > rest {
            self.tail = BytesMut::from(&self.tail[self.tail_start..]);
            self.tail_start = 0;
        }
    }

    /// A piece that begins at `offset`; `None` at the end, and for what is not kept any more.
    pub(super) fn piece_at(&self, offset: u64) -> Option<Bytes> {
        let mut skip = offset.checked_sub(self.start)?;
        for Kept { bytes: chunk, .. } in &self.chunks {
            let length = chunk.len() as u64;
            if skip < length {
                return Some(chunk.slice(skip as usize..));
            }
            skip -= length;
        }
        let rest = self.tail.get(self.tail_start + skip as usize..)?;
        (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest))
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            let capacity = tail.capacity() as u64;
            let rest = tail.freeze().slice(std::mem::take(&mut self.tail_start)..);
            self.push_chunk(rest, capacity);
        }
    }

    fn push_chunk(&mut self, bytes: Bytes, capacity: u64) {
        self.behind_chunks += capacity;
        self.chunks.push_back(Kept { bytes, capacity });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A buffer that says for how long it lives.
    struct Buffer {
        bytes: Vec<u8>,
        memory: u64,
        alive: Arc<AtomicU64>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.alive.fetch_sub(self.memory, Ordering::Relaxed);
        }
    }

    /// `bytes` in a buffer of `memory`, which counts as `alive` until nobody holds it.
    fn chunk_of(bytes: &[u8], memory: usize, alive: &Arc<AtomicU64>) -> Chunk {
        alive.fetch_add(memory as u64, Ordering::Relaxed);
        let owner = Buffer {
            bytes: bytes.to_vec(),
            memory: memory as u64,
            alive: alive.clone(),
        };
        Chunk::within(Bytes::from_owner(owner), memory)
    }

    fn chunk(byte: u8, length: usize) -> Chunk {
        Bytes::from(vec![byte; length]).into()
    }

    fn read_from(replay: &Replay, mut offset: u64) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(piece) = replay.piece_at(offset) {
            offset += piece.len() as u64;
            read.extend_from_slice(&piece);
        }
        read
    }

    #[test]
    fn long_chunks_are_shared_and_short_ones_put_together() {
        let mut replay = Replay::default();
        let long = chunk(7, SHARED);
        replay.push(&long);
        let piece = replay.piece_at(0).unwrap();
        assert_eq!(piece.as_ptr(), long.bytes().as_ptr());
        for _ in 0..1000 {
            replay.push(&Bytes::from_static(b"short").into());
        }
        assert!(replay.chunks.len() < 3, "{} chunks", replay.chunks.len());
        assert_eq!(replay.kept(), (SHARED + 5000) as u64);
        replay.trim(u64::MAX);
        assert_eq!((replay.kept(), replay.held()), (0, 0));
    }

    #[test]
    fn of_what_is_shared_the_buffer_counts_and_a_buffer_that_is_nearly_empty_is_not_kept() {
        let alive = Arc::default();
        let mut replay = Replay::default();
        let length = 4 * SHARED;
        let bytes = vec![7; length];
        replay.push(&chunk_of(&bytes, 2 * length, &alive));
        assert_eq!(replay.held(), 2 * length as u64);
        assert_eq!(alive.load(Ordering::Relaxed), replay.held());
        replay.push(&chunk_of(&bytes, 2 * length + 1, &alive));
        assert_eq!(replay.held(), 3 * length as u64, "it is copied");
        assert_eq!(alive.load(Ordering::Relaxed), 2 * length as u64);
        assert_eq!(read_from(&replay, 0), vec![7; 2 * length]);
    }

    #[test]
    fn what_is_trimmed_is_held_until_half_of_its_chunk_is() {
        let mut replay = Replay::default();
        replay.push(&chunk(7, SHARED));
        replay.push(&chunk(8, SHARED));
        let length = SHARED as u64;
        replay.trim(length / 2);
        assert_eq!(
            (replay.kept(), replay.held()),
            (length + length / 2, 2 * length)
        );
        replay.trim(length - 1);
        assert_eq!((replay.kept(), replay.held()), (length + 1, length + 1));
        replay.trim(length);
        assert_eq!(replay.held(), length);
    }

    /// Of a chunk: its length, the part of its buffer that is empty, and how much of all that is kept
    /// is trimmed after it.
    fn pushes() -> impl Strategy<Value = Vec<(usize, f64, f64)>> {
        let length = prop_oneof![1..100usize, SHARED - 1..SHARED + 2, BLOCK..3 * BLOCK];
        vec((length, 0.0..0.9, 0.0..=1.0), 0..30)
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_was_sent_and_not_trimmed(
            pushes in pushes(),
            from in 0.0..=1.0,
        ) {
            let (mut replay, mut sent, mut trimmed) = (Replay::default(), Vec::new(), 0);
            let alive = Arc::default();
            for (length, empty, share) in pushes {
                let first = sent.len();
                sent.extend((first..first + length).map(|at| (at * 31 / 7) as u8));
                let memory = (length as f64 / (1.0 - empty)) as usize;
                replay.push(&chunk_of(&sent[first..], memory.max(length), &alive));
                trimmed += ((sent.len() - trimmed) as f64 * share) as usize;
                replay.trim(trimmed as u64);
                // A late word trims nothing.
                replay.trim(trimmed as u64 / 2);
                prop_assert_eq!(replay.kept(), (sent.len() - trimmed) as u64);
                prop_assert!(replay.held() >= replay.kept());
                prop_assert!(replay.held() >= alive.load(Ordering::Relaxed));
                prop_assert!(replay.held() <= 2 * replay.kept() + 4 * BLOCK as u64);
            }
            let from = trimmed + ((sent.len() - trimmed) as f64 * from) as usize;
            prop_assert_eq!(&read_from(&replay, from as u64)[..], &sent[from..]);
            if trimmed > 0 {
                prop_assert_eq!(replay.piece_at(trimmed as u64 - 1), None);
            }
        }
    }
}
