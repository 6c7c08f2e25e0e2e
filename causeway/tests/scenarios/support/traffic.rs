//! Bytes that can be told apart, their digests, and what a socket does with them.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use aws_lc_rs::digest::{self, Context};

/// How much a test reads or writes at once.
const CHUNK: usize = 64 * 1024;

/// That whoever is at the other end says the same back.
#[track_caller]
pub(crate) fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"still there?").unwrap();
    let mut back = [0; 12];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still there?");
}

/// `length` bytes in which every eight say where they are, so that nothing lost, repeated or
/// moved goes unseen.
#[derive(Debug)]
pub(crate) struct Pattern {
    at: u64,
    length: u64,
}

impl Pattern {
    pub(crate) fn new(length: u64) -> Self {
        Self { at: 0, length }
    }
}

impl Read for Pattern {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
        let count = left.min(into.len());
        let mut filled = 0;
        while filled < count {
            let place = self.at + filled as u64;
            let word = (place / 8)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_le_bytes();
            let from = &word[(place % 8) as usize..];
            let length = from.len().min(count - filled);
            into[filled..filled + length].copy_from_slice(&from[..length]);
            filled += length;
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// The SHA-256 of [`Pattern`]'s bytes, in hexadecimal.
pub(crate) fn pattern_digest(length: u64) -> String {
    let (count, digest) = read_digest(Pattern::new(length)).unwrap();
    assert_eq!(count, length, "a pattern is as long as it says");
    digest
}

/// Reads to the end: how many bytes there were, and their SHA-256.
pub(crate) fn read_digest(mut from: impl Read) -> io::Result<(u64, String)> {
    let mut context = Context::new(&digest::SHA256);
    let mut buffer = vec![0; CHUNK];
    let mut count = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => {
                context.update(&buffer[..read]);
                count += read as u64;
            }
        }
    }
    let mut hex = String::new();
    for byte in context.finish().as_ref() {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
    }
    Ok((count, hex))
}

/// Writes into `stream` until it has taken nothing for `quiet`: how many bytes it took.
pub(crate) fn stalls_after(mut stream: &TcpStream, quiet: Duration) -> u64 {
    let before = stream.write_timeout().unwrap();
    stream.set_write_timeout(Some(quiet)).unwrap();
    let chunk = vec![0x5A; CHUNK];
    let mut count = 0;
    loop {
        match stream.write(&chunk) {
            Ok(written) => count += written as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("the stream broke instead of stalling: {error}"),
        }
    }
    stream.set_write_timeout(before).unwrap();
    count
}

/// Makes closing `stream` send a reset instead of an end.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn a_pattern_is_the_same_however_it_is_read() {
    let mut whole = Vec::new();
    Pattern::new(1000).read_to_end(&mut whole).unwrap();
    let mut pattern = Pattern::new(1000);
    let mut parts: Vec<u8> = Vec::new();
    for length in (1..60).cycle() {
        let mut part = vec![0; length];
        match pattern.read(&mut part).unwrap() {
            0 => break,
            count => parts.extend(&part[..count]),
        }
    }
    assert!(whole == parts && whole.len() == 1000);
    assert_ne!(pattern_digest(1000), pattern_digest(1001));
}
