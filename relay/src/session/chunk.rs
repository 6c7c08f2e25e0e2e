//! What is sent at once, and the memory that it keeps.

use bytes::Bytes;

/// Bytes to send, and how much memory they keep from others for as long as any of them are held.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    bytes: Bytes,
    memory: usize,
}

impl Chunk {
    /// `bytes` in a buffer of `memory` bytes that nothing else is in.
    pub fn within(bytes: Bytes, memory: usize) -> Self {
        debug_assert!(memory >= bytes.len(), "a buffer holds its bytes");
        Self { bytes, memory }
    }

    /// The bytes themselves.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How much memory they keep, in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// How many bytes there are to send.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes `count` bytes off the front. Either part keeps all of the memory.
    pub fn split_to(&mut self, count: usize) -> Self {
        if count == self.bytes.len() {
            // Nothing of it stays here, though its buffer has room for more.
            return std::mem::take(self);
        }
        Self {
            bytes: self.bytes.split_to(count),
            memory: self.memory,
        }
    }

    /// The bytes without the count.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Of bytes that have a buffer of just their size to themselves.
impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        let memory = bytes.len();
        Self { bytes, memory }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_part_keeps_the_whole_buffer_and_an_empty_rest_none() {
        let mut rest = Chunk::within(Bytes::from(vec![7; 40]), 64);
        let front = rest.split_to(30);
        assert_eq!((front.len(), front.memory()), (30, 64));
        assert_eq!((rest.len(), rest.memory()), (10, 64));
        let back = rest.split_to(10);
        assert_eq!((back.len(), back.memory()), (10, 64));
        assert!(rest.is_empty());
        assert_eq!(rest.memory(), 0);
    }
}
