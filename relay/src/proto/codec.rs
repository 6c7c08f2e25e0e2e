//! Frames: a length as a protobuf varint, then so many bytes.
//!
//! The control stream is a row of them; every other transport stream begins with exactly one,
//! and what follows it is payload.

use bytes::{Buf, Bytes, BytesMut};

use super::codes::CloseCode;

/// The longest control message, in bytes.
pub const MAX_CONTROL_FRAME: usize = 64 * 1024;

/// The longest stream header or answer, in bytes.
pub const MAX_HEADER_FRAME: usize = 16 * 1024;

/// Why bytes are not a row of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLarge {
        /// What its prefix says.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// The length is not a varint of at most four bytes.
    #[error("the length of a frame is malformed")]
    BadLength,
}

impl FrameError {
    /// What the connection is closed with.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::TooLarge { .. } => CloseCode::TooLarge,
            Self::BadLength => CloseCode::Protocol,
        }
    }
}

/// Collects what arrives and takes whole frames off its front.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: BytesMut,
    limit: usize,
}

impl FrameBuffer {
    /// For frames of at most `limit` bytes. Holds at most that and one chunk more.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            limit,
        }
    }

    /// Adds what arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((length, prefix)) = read_length(&self.bytes)? else {
            return Ok(None);
        };
        if length > self.limit as u64 {
            return Err(FrameError::TooLarge {
                length,
                limit: self.limit,
            });
        }
        let length = length as usize;
        if self.bytes.len() < prefix + length {
            return Ok(None);
        }
        self.bytes.advance(prefix);
        Ok(Some(self.bytes.split_to(length).freeze()))
    }

    /// What arrived behind the frames that were taken.
    pub fn into_rest(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The value of the varint that `bytes` begin with and its own length; `None` if it is cut short.
fn read_length(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    const LONGEST: usize = 4;
    let mut value = 0;
    for (at, byte) in bytes.iter().take(LONGEST).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= LONGEST {
        return Err(FrameError::BadLength);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encode_length_delimiter(payload.len(), &mut out).unwrap();
        out.extend_from_slice(payload);
        out
    }

    proptest! {
        #[test]
        fn frames_come_back_however_the_bytes_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cut in 1usize..50,
            rest in proptest::collection::vec(0u8..1, 0..1),
        ) {
            let mut bytes: Vec<u8> = payloads.iter().flat_map(|p| framed(p)).collect();
            bytes.extend(&rest);
            let mut buffer = FrameBuffer::new(300);
            let mut seen = Vec::new();
            for chunk in bytes.chunks(cut) {
                buffer.push(chunk);
                while seen.len() < payloads.len() {
                    match buffer.next_frame().unwrap() {
                        Some(frame) => seen.push(frame.to_vec()),
                        None => break,
                    }
                }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert_eq!(buffer.into_rest().to_vec(), rest);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = FrameBuffer::new(64);
            buffer.push(&bytes);
            while let Ok(Some(frame)) = buffer.next_frame() {
                let _ = super::super::wire::Control::decode(frame);
            }
        }
    }

    #[test]
    fn too_long_is_refused_from_the_prefix_alone() {
        let mut buffer = FrameBuffer::new(MAX_HEADER_FRAME);
        buffer.push(&[0x81, 0x80, 0x01]);
        let length = 16 * 1024 + 1;
        assert_eq!(
            buffer.next_frame(),
            Err(FrameError::TooLarge {
                length,
                limit: MAX_HEADER_FRAME
            })
        );
    }

    #[test]
    fn an_endless_varint_is_refused() {
        let mut buffer = FrameBuffer::new(10);
        buffer.push(&[0x80; 3]);
        assert_eq!(buffer.next_frame(), Ok(None));
        buffer.push(&[0x80]);
        assert_eq!(buffer.next_frame(), Err(FrameError::BadLength));
    }
}
