//! What has arrived on a stream and was not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};

/// Shorter chunks are copied, in bytes. A full datagram brings more, and is not.
const SMALL: usize = 1024;

/// Small chunks are put together up to this, in bytes.
const BLOCK: usize = 16 * 1024;

/// Chunks in the order in which they arrived, read as one [`Buf`].
///
/// A chunk is a slice of what the transport received, and keeps all of that in memory. A peer may
/// send single bytes, so the small ones are copied together: what the queue holds stays in
/// proportion to its bytes, however they were cut. Full datagrams are kept as they came.
#[derive(Debug, Default)]
pub struct ChunkQueue {
    chunks: VecDeque<Bytes>,
    /// Small chunks that arrived after all of `chunks`.
    tail: BytesMut,
    /// Of `chunks` and `tail` together.
    bytes: usize,
}

impl ChunkQueue {
    /// Lets `receive` add chunks at the end, and returns what it says. Of one that does not succeed
    /// nothing is kept: it may have added what broke the protocol.
    pub fn append<E>(
        &mut self,
        receive: impl FnOnce(&mut VecDeque<Bytes>) -> Poll<Result<usize, E>>,
    ) -> Poll<Result<usize, E>> {
        let before = self.chunks.len();
        let received = receive(&mut self.chunks);
        if !matches!(received, Poll::Ready(Ok(_))) {
            self.chunks.truncate(before);
            return received;
        }
        let mut fresh = self.chunks.iter().skip(before);
        if self.tail.is_empty() && fresh.clone().all(|chunk| chunk.len() >= SMALL) {
            self.bytes += fresh.map(Bytes::len).sum::<usize>();
        } else if fresh.next().is_some() {
            let fresh = self.chunks.split_off(before);
            fresh.into_iter().for_each(|chunk| self.push(chunk));
        }
        received
    }

    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        if chunk.len() < SMALL {
            if self.tail.len() + chunk.len() > BLOCK {
                self.close_tail();
            }
            self.tail.extend_from_slice(&chunk);
        } else {
            self.close_tail();
            self.chunks.push_back(chunk);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.chunks.push_back(tail.freeze());
        }
    }
}

impl Buf for ChunkQueue {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&self.tail, |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = Some(&*self.tail).filter(|tail| !tail.is_empty());
        let chunks = self.chunks.iter().map(|chunk| &**chunk).chain(tail);
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "no more is taken than has arrived");
        self.bytes -= count;
        while let Some(chunk) = self.chunks.front_mut().filter(|_| count > 0) {
            let taken = chunk.len().min(count);
            chunk.advance(taken);
            count -= taken;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
        self.tail.advance(count);
        if self.bytes == 0 {
            // An idle stream holds no memory.
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    impl ChunkQueue {
        fn arrive(&mut self, arrived: impl IntoIterator<Item = Bytes>) {
            let appended = self.append(|chunks| {
                chunks.extend(arrived);
                Poll::Ready(Ok::<_, ()>(1))
            });
            assert!(appended.is_ready());
        }

        /// The memory behind copied chunks, in bytes; that of the others is their sender's.
        fn copied_capacity(&self) -> usize {
            let closed = self.chunks.iter().cloned().map(|chunk| {
                let owned = chunk.try_into_mut();
                owned.map_or_else(|shared| shared.len(), |owned| owned.capacity())
            });
            closed.sum::<usize>() + self.tail.capacity()
        }
    }

    #[test]
    fn single_bytes_hold_about_as_much_as_they_are() {
        let mut queue = ChunkQueue::default();
        let datagrams: Vec<_> = (0..16_384u32)
            .map(|at| Bytes::from(vec![at as u8; 1200]))
            .collect();
        for datagram in &datagrams {
            queue.arrive([datagram.slice(100..101)]);
        }
        assert_eq!(queue.remaining(), 16_384);
        assert!(queue.chunks.len() <= 2, "{} chunks", queue.chunks.len());
        assert!(queue.copied_capacity() < 64 * 1024);
        assert!(queue.chunks.capacity() * size_of::<Bytes>() < 4 * 1024);
        assert!(
            datagrams.iter().all(Bytes::is_unique),
            "a datagram is still held"
        );

        let read = queue.copy_to_bytes(16_384);
        assert!(read.iter().zip(0..).all(|(byte, at)| *byte == at as u8));
        assert_eq!(queue.copied_capacity(), 0);
    }

    #[test]
    fn full_datagrams_are_not_copied() {
        let datagrams: Vec<_> = (0..100).map(|at| Bytes::from(vec![at; 1200])).collect();
        let mut queue = ChunkQueue::default();
        queue.arrive(datagrams.iter().cloned());
        for datagram in datagrams {
            assert_eq!(queue.chunk().as_ptr(), datagram.as_ptr());
            queue.advance(1200);
        }
    }

    #[test]
    fn a_small_chunk_between_full_ones_keeps_its_place() {
        let mut queue = ChunkQueue::default();
        queue.arrive([Bytes::from(vec![0; 1200])]);
        queue.arrive([Bytes::from(vec![1; 3])]);
        queue.arrive([Bytes::from(vec![2; 1200])]);
        queue.arrive([Bytes::from(vec![3; 3])]);
        let mut slices = [IoSlice::new(&[]); 8];
        let count = queue.chunks_vectored(&mut slices);
        let lengths: Vec<_> = slices[..count].iter().map(|slice| slice.len()).collect();
        assert_eq!(lengths, [1200, 3, 1200, 3]);
    }

    #[test]
    fn what_was_not_counted_as_received_is_not_kept() {
        let mut queue = ChunkQueue::default();
        queue.arrive([Bytes::from_static(b"granted")]);
        for answer in [Poll::Pending, Poll::Ready(Err(()))] {
            let appended = queue.append(|chunks| {
                chunks.push_back(Bytes::from_static(b"beyond"));
                answer
            });
            assert_eq!(appended, answer);
        }
        assert_eq!(queue.copy_to_bytes(queue.remaining()), &b"granted"[..]);
    }

    /// Arrivals, as the lengths of the chunks of one turn, and takings, as a share of what waits.
    fn turns() -> impl Strategy<Value = Vec<(Vec<usize>, f64)>> {
        let length = prop_oneof![1..4usize, 1000..1050usize, 1..3000usize];
        vec((vec(length, 0..20), 0.0..=1.0), 0..40)
    }

    proptest! {
        #[test]
        fn order_and_count_are_kept(turns in turns()) {
            let mut queue = ChunkQueue::default();
            let (mut sent, mut read) = (Vec::new(), Vec::new());
            for (lengths, share) in turns {
                let chunks: Vec<_> = lengths.into_iter().map(|length| {
                    let from = sent.len();
                    sent.extend((from..from + length).map(|at| (at * 31 / 7) as u8));
                    Bytes::copy_from_slice(&sent[from..])
                }).collect();
                queue.arrive(chunks);
                prop_assert_eq!(queue.remaining(), sent.len() - read.len());
                prop_assert!(queue.chunks.len() <= 1 + queue.remaining() * 2 / SMALL + 1);
                prop_assert_eq!(queue.has_remaining(), !queue.chunk().is_empty());

                let mut slices = [IoSlice::new(&[]); 4096];
                let count = queue.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert_eq!(&seen[..], &sent[read.len()..]);

                let taken = (queue.remaining() as f64 * share) as usize;
                read.extend_from_slice(&seen[..taken]);
                queue.advance(taken);
            }
            read.extend_from_slice(&queue.copy_to_bytes(queue.remaining()));
            prop_assert_eq!(read, sent);
        }
    }
}
