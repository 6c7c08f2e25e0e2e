//! What has arrived on one stream and was not read yet.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Shorter parts are put together, in bytes.
const SMALL: usize = 2 << 10;

/// Up to this, in bytes.
const BLOCK: usize = 16 << 10;

/// Payload in the order of its arrival.
///
/// It comes out of the buffer of the TLS library, where it cannot stay, so each part is copied once,
/// into memory of its own: no small part keeps a large buffer alive. Small parts that nobody has
/// read yet share a block, so that single bytes cost about a byte each.
#[derive(Debug, Default)]
pub(in crate::transport) struct Arrived {
    chunks: VecDeque<Bytes>,
    /// Small parts that arrived after all of `chunks`.
    tail: BytesMut,
    /// Of `chunks` and `tail` together.
    bytes: usize,
}

impl Arrived {
    pub(in crate::transport) fn push(&mut self, part: &[u8]) {
        self.bytes += part.len();
        if part.len() < SMALL {
            if self.tail.len() + part.len() > BLOCK {
                self.close_tail();
            }
            self.tail.extend_from_slice(part);
        } else {
            self.close_tail();
            self.chunks.push_back(Bytes::copy_from_slice(part));
        }
    }

    /// Moves everything to the end of `chunks`; says how many bytes.
    pub(in crate::transport) fn take(&mut self, chunks: &mut VecDeque<Bytes>) -> usize {
        self.close_tail();
        chunks.append(&mut self.chunks);
        // An idle stream holds no memory.
        self.chunks = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    /// Forgets everything; says how many bytes.
    pub(in crate::transport) fn discard(&mut self) -> usize {
        std::mem::take(self).bytes
    }

    pub(in crate::transport) fn len(&self) -> usize {
        self.bytes
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.chunks.push_back(tail.freeze());
        }
    }
}
