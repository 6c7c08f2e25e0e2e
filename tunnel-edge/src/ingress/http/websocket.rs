//! The keys of the WebSocket handshake over HTTP/1.1 (RFC 6455 §4), for when only one side of the
//! edge speaks it: over HTTP/2 there are none (RFC 8441 §5).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION};
use http::{HeaderMap, HeaderValue};

/// The protocol's name in `Upgrade` and `:protocol`.
pub(super) const WEBSOCKET: &str = "websocket";

/// The only version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// What an accepting server appends to the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Proves that whoever answers has read the handshake as one of WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(HeaderValue);

impl Key {
    /// A key of our own, written into the head of a request.
    pub(super) fn offer(headers: &mut HeaderMap) -> Self {
        let key = encoded(&rand::random::<[u8; 16]>());
        headers.insert(SEC_WEBSOCKET_KEY, key.clone());
        headers.entry(SEC_WEBSOCKET_VERSION).or_insert(VERSION);
        Self(key)
    }

    /// The key of a caller, taken out of the head of its request.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        headers.remove(SEC_WEBSOCKET_KEY).map(Self)
    }

    /// Takes the server's proof out of its answer. Whether it fits the key.
    pub(super) fn is_accepted(&self, headers: &mut HeaderMap) -> bool {
        headers.remove(SEC_WEBSOCKET_ACCEPT) == Some(self.proof())
    }

    /// Writes the proof into the head of an answer.
    pub(super) fn accept(&self, headers: &mut HeaderMap) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.proof());
    }

    fn proof(&self) -> HeaderValue {
        let text = [self.0.as_bytes(), GUID].concat();
        encoded(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
    }
}

/// Base64 with padding (RFC 4648 §4).
fn encoded(bytes: &[u8]) -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            text.push(if digit <= group.len() {
                ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]
            } else {
                b'='
            });
        }
    }
    HeaderValue::from_bytes(&text).expect("base64 is valid in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encoded(bytes.as_bytes()), text);
        }
    }

    /// RFC 6455 §1.3.
    #[test]
    fn the_proof_is_that_of_the_rfc() {
        let key = Key(HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        let mut headers = HeaderMap::new();
        assert!(!key.is_accepted(&mut headers));
        key.accept(&mut headers);
        assert_eq!(
            headers[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(key.is_accepted(&mut headers) && headers.is_empty());
    }

    #[test]
    fn every_key_is_another_one() {
        let (mut first, mut second) = (HeaderMap::new(), HeaderMap::new());
        second.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
        assert_ne!(Key::offer(&mut first), Key::offer(&mut second));
        assert_eq!(first[SEC_WEBSOCKET_KEY].len(), 24);
        assert_eq!(first[SEC_WEBSOCKET_VERSION], "13");
        assert_eq!(second[SEC_WEBSOCKET_VERSION], "8");
    }
}
