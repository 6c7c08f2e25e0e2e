//! Bytes that tell where they belong: each end can say at which offset a wrong one stands.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is made or checked at once, in bytes; a multiple of 8.
const PIECE: usize = 64 << 10;

/// The bytes of stream `seed` from `offset`, which is a multiple of 8.
pub(crate) fn bytes(seed: u64, offset: u64, length: usize) -> Vec<u8> {
    let first = offset / 8;
    let words = (first..).map(|word| scramble(seed.wrapping_add(word)));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

/// Writes `length` bytes of the pattern, and ends its direction.
pub(crate) async fn write(
    out: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    length: u64,
) -> std::io::Result<()> {
    let mut offset = 0;
    while offset < length {
        let piece = usize::try_from((length - offset).min(PIECE as u64)).unwrap();
        out.write_all(&bytes(seed, offset, piece)).await?;
        offset += piece as u64;
    }
    out.shutdown().await
}

/// Reads to the end: exactly `length` bytes of the pattern.
pub(crate) async fn expect(input: &mut (impl AsyncRead + Unpin), seed: u64, length: u64) {
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let mut filled = 0;
        while filled < PIECE {
            match input.read(&mut buffer[filled..]).await.unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        let right = bytes(seed, offset, filled);
        if let Some(at) = (0..filled).find(|at| buffer[*at] != right[*at]) {
            panic!("a wrong byte at {}", offset + at as u64);
        }
        offset += filled as u64;
        if filled < PIECE {
            assert_eq!(offset, length, "the end comes in its place");
            return;
        }
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014).
fn scramble(state: u64) -> u64 {
    let mut z = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
