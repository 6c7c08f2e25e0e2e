//! The memory that local sockets are read into: blocks that go round.
//!
//! ```text
//! free ──a read──▶ filled ──sent, and known to have arrived──▶ free ──no use for it──▶ gone
//!   ▲ nothing, or little and copied │
//!   └───────────────────────────────┘
//! ```
//!
//! What a stream keeps to send it again occupies its blocks for a round trip and more, and then many
//! of them become free at once. The allocator would give their pages back to the system and take them
//! again a moment later, which costs more than moving the bytes. The block that became free last is
//! filled next, while it is still in the processor's caches.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::session::Chunk;

/// How much is read at once, in bytes.
pub(super) const BLOCK: usize = 64 * 1024;

/// What is less is copied out of its block, in bytes: what a stream has under way takes no more than
/// twice the memory, as what it keeps.
const WORTH_A_BLOCK: usize = BLOCK / 2;

/// How many free blocks a worker keeps at most: 4 MiB, as much as the window of one stream.
const MOST_FREE: usize = 64;

/// For how long, at most twice, it keeps those that it has no use for.
const UNUSED: Duration = Duration::from_secs(1);

thread_local! {
    static FREE: RefCell<FreeBlocks> = RefCell::default();
}

#[derive(Default)]
struct FreeBlocks {
    /// The last is the one to be filled next.
    blocks: Vec<Vec<u8>>,
    /// How many there were at least since that was looked at: nobody has needed so many.
    least: usize,
    /// How many there may be: none on a thread that does not release them.
    most: usize,
    /// There are some.
    some: Arc<Notify>,
}

/// A block with what was read into it. Free again when nobody holds any of that.
struct Filled(Vec<u8>);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        free(std::mem::take(&mut self.0));
    }
}

/// What `read` puts into the empty block that it is given, which has room for [`BLOCK`] bytes. Nothing
/// is held while it has nothing to read.
pub(super) fn read_block(
    read: impl FnOnce(&mut Vec<u8>) -> Poll<io::Result<()>>,
) -> Poll<io::Result<Chunk>> {
    let mut block = FREE
        .with_borrow_mut(FreeBlocks::take)
        .unwrap_or_else(|| Vec::with_capacity(BLOCK));
    let done = read(&mut block);
    if !matches!(done, Poll::Ready(Ok(()))) || block.len() < WORTH_A_BLOCK {
        let chunk = Bytes::copy_from_slice(&block);
        free(block);
        return done.map_ok(|()| chunk.into());
    }
    let memory = block.capacity();
    let bytes = Bytes::from_owner(Filled(block));
    Poll::Ready(Ok(Chunk::within(bytes, memory)))
}

/// Lets this thread keep free blocks, and gives back those that it has no use for. To be polled for as
/// long as the thread lives.
pub(crate) async fn release_unused_blocks() -> Infallible {
    let some = FREE.with_borrow_mut(|free| {
        free.most = MOST_FREE;
        free.some.clone()
    });
    loop {
        while FREE.with_borrow(|free| !free.blocks.is_empty()) {
            tokio::time::sleep(UNUSED).await;
            drop(FREE.with_borrow_mut(FreeBlocks::take_unused));
        }
        some.notified().await;
    }
}

fn free(mut block: Vec<u8>) {
    block.clear();
    // A thread that ends keeps none.
    let _ = FREE.try_with(|free| free.borrow_mut().put(block));
}

impl FreeBlocks {
    fn take(&mut self) -> Option<Vec<u8>> {
        let block = self.blocks.pop();
        self.least = self.least.min(self.blocks.len());
        block
    }

    fn put(&mut self, block: Vec<u8>) {
        if self.blocks.len() < self.most {
            self.blocks.push(block);
            self.some.notify_one();
        }
    }

    /// Those that have been here since this was called before.
    fn take_unused(&mut self) -> Vec<Vec<u8>> {
        let unused = self.blocks.drain(..self.least).collect();
        self.least = self.blocks.len();
        unused
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// As if the thread were a worker's.
    fn keep_free_blocks() {
        assert!(release_unused_blocks().now_or_never().is_none());
    }

    fn read_of(size: usize) -> Chunk {
        let read = read_block(|block| {
            block.resize(size, 7);
            Poll::Ready(Ok(()))
        });
        match read {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => panic!("it is read at once"),
        }
    }

    fn free_blocks() -> usize {
        FREE.with_borrow(|free| {
            let sound = |block: &Vec<u8>| block.is_empty() && block.capacity() == BLOCK;
            assert!(free.blocks.iter().all(sound));
            free.blocks.len()
        })
    }

    #[test]
    fn a_small_read_keeps_as_much_memory_as_it_is_long() {
        keep_free_blocks();
        let small: Vec<_> = (1..WORTH_A_BLOCK).step_by(50).map(read_of).collect();
        let is_right = |chunk: &Chunk| chunk.bytes().iter().all(|byte| *byte == 7);
        assert!(small.iter().all(is_right));
        assert!(small.iter().all(|chunk| chunk.memory() == chunk.len()));
        assert_eq!(free_blocks(), 1, "all were read into the same block");
    }

    #[test]
    fn a_large_read_keeps_its_block_until_the_last_part_of_it_is_gone() {
        keep_free_blocks();
        let mut large = read_of(WORTH_A_BLOCK);
        assert_eq!((large.len(), large.memory()), (WORTH_A_BLOCK, BLOCK));
        let first = large.split_to(1);
        drop(large);
        assert_eq!(free_blocks(), 0);
        let at = first.bytes().as_ptr();
        drop(first);
        assert_eq!(free_blocks(), 1);
        assert_eq!(read_of(BLOCK).bytes().as_ptr(), at, "it is filled again");
    }

    #[test]
    fn the_block_that_became_free_last_is_filled_first() {
        keep_free_blocks();
        let [first, second] = [read_of(BLOCK), read_of(BLOCK)];
        let last = first.bytes().as_ptr();
        drop(second);
        drop(first);
        assert_eq!(read_of(BLOCK).bytes().as_ptr(), last);
    }

    #[test]
    fn no_more_are_kept_than_stated() {
        let read_many = || {
            (0..2 * MOST_FREE)
                .map(|_| read_of(BLOCK))
                .collect::<Vec<_>>()
        };
        drop(read_many());
        assert_eq!(free_blocks(), 0, "nobody would give them back");
        keep_free_blocks();
        drop(read_many());
        assert_eq!(free_blocks(), MOST_FREE);
    }

    #[test]
    fn a_read_that_does_not_happen_leaves_nothing() {
        keep_free_blocks();
        assert!(read_block(|_| Poll::Pending).is_pending());
        let failed = read_block(|_| Poll::Ready(Err(io::ErrorKind::WouldBlock.into())));
        assert!(matches!(failed, Poll::Ready(Err(_))));
        assert_eq!(free_blocks(), 1);
        assert_eq!(read_of(3).bytes(), &[7; 3].as_slice());
        assert!(read_of(0).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn blocks_are_given_back_that_nobody_has_used_for_a_while() {
        let both = async |work: Duration| {
            tokio::select! {
                never = release_unused_blocks() => match never {},
                () = tokio::time::sleep(work) => {}
            }
        };
        keep_free_blocks();
        let blocks: Vec<_> = (0..5).map(|_| read_of(BLOCK)).collect();
        let kept = read_of(BLOCK);
        drop(blocks);
        both(UNUSED / 2).await;
        assert_eq!(free_blocks(), 5);

        let mut used = Vec::new();
        let use_three = async {
            loop {
                tokio::time::sleep(UNUSED / 4).await;
                used.extend((0..3).map(|_| read_of(BLOCK)));
                used.clear();
            }
        };
        tokio::select! {
            never = use_three => never,
            () = both(3 * UNUSED) => {}
        }
        assert_eq!(free_blocks(), 3);

        both(3 * UNUSED).await;
        assert_eq!(free_blocks(), 0);
        drop(kept);
        assert_eq!(free_blocks(), 1);
        both(3 * UNUSED).await;
        assert_eq!(free_blocks(), 0);
    }
}
