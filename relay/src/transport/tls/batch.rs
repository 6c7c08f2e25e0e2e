//! Frames that are handed to TLS together.

use std::io::IoSlice;

use bytes::Bytes;

use super::frame::{HEADER, Header};

/// How many bytes are put together, about: eight full records. What is in a batch cannot be
/// overtaken any more, so it is no larger than it must be for one system call to be worth it.
const BATCH: usize = 128 << 10;

/// How many pieces of memory are put together. The TLS library looks at each for each record.
const MAX_PARTS: usize = 64;

/// Shorter payloads are copied beside their headers, in bytes.
const COPIED: usize = 512;

/// Headers and short payloads are copied, all else is shared with whoever wrote it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: Vec<Part>,
    copied: Vec<u8>,
    bytes: usize,
}

#[derive(Debug)]
enum Part {
    /// So many bytes of `copied`.
    Copied(usize),
    Shared(Bytes),
}

impl Batch {
    /// Whether one more frame should go into it.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < BATCH && self.parts.len() < MAX_PARTS
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The beginning of a frame whose payload follows.
    pub(super) fn header(&mut self, header: Header) {
        self.copy(&header.encode());
    }

    /// Bytes of a payload, or a whole small frame.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        self.bytes += bytes.len();
        if let Some(Part::Copied(length)) = self.parts.last_mut() {
            *length += bytes.len();
        } else {
            self.parts.push(Part::Copied(bytes.len()));
        }
    }

    /// Bytes of a payload.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED {
            self.copy(&bytes);
        } else {
            self.bytes += bytes.len();
            self.parts.push(Part::Shared(bytes));
        }
    }

    /// All of it, in order.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut copied = &self.copied[..];
        let mut slice = |part| match part {
            &Part::Copied(length) => {
                let (front, rest) = copied.split_at(length);
                copied = rest;
                IoSlice::new(front)
            }
            Part::Shared(bytes) => IoSlice::new(bytes),
        };
        self.parts.iter().map(&mut slice).collect()
    }

    /// Lets go of what was shared. Memory that many small frames took is given back.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.copied.clear();
        self.copied.shrink_to(MAX_PARTS * HEADER);
        self.bytes = 0;
    }
}
