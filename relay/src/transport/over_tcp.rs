//! What the transports over TLS on TCP have in common: how both ends agree on one, and how a client
//! shows which worker knows it.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::tls::{self, TlsConnection};
use super::{Connection, ConnectionLost, SessionBounds};
use crate::proto::{WorkerHint, plain};

/// The application protocols of these transports, the preferred one first (RFC 7301).
pub const PROTOCOLS: &[&[u8]] = &[tls::ALPN];

/// What the name of a protocol begins with that no edge ever chooses: behind it stands a worker
/// hint, in hexadecimal. It is the only place for one that an edge sees before the handshake ends.
const HINT: &[u8] = b"causeway-worker/";

/// The protocol to offer beside a transport's own, so that the edge sees `hint`.
#[must_use]
pub fn hint_protocol(hint: WorkerHint) -> Vec<u8> {
    let mut name = HINT.to_vec();
    for byte in hint.0 {
        name.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    name
}

/// The hint among the protocols that a client offers, if there is one.
pub fn shown_hint<'a>(mut offered: impl Iterator<Item = &'a [u8]>) -> Option<WorkerHint> {
    offered.find_map(|name| {
        let digits = std::str::from_utf8(name.strip_prefix(HINT)?).ok()?;
        let is_hint = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let hint = is_hint.then(|| u64::from_str_radix(digits, 16).ok())??;
        Some(WorkerHint(hint.to_be_bytes()))
    })
}

/// Starts what both ends have agreed on, on the current runtime.
///
/// # Errors
/// If they have not agreed on any transport, or the socket is gone.
pub fn carry(
    stream: TlsStream<TcpStream>,
    bounds: SessionBounds,
) -> Result<Arc<dyn Connection>, ConnectionLost> {
    let agreed = stream.get_ref().1.alpn_protocol();
    if agreed == Some(tls::ALPN) {
        let connection =
            TlsConnection::start(stream, bounds).map_err(|error| tls::lost_by_io(&error))?;
        return Ok(Arc::new(connection));
    }
    let agreed = agreed.map(|name| plain(String::from_utf8_lossy(name).into_owned()));
    Err(ConnectionLost::Other(match agreed {
        Some(name) => format!("both ends have agreed on {name:?}, which is no transport"),
        None => "the other end offers no transport (ALPN)".to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_found_among_protocols_and_nothing_else_is_one() {
        let hint = WorkerHint([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        let name = hint_protocol(hint);
        assert_eq!(name, b"causeway-worker/00010203fcfdfeff");
        assert_eq!(shown_hint([b"h2", &name[..]].into_iter()), Some(hint));
        for other in [
            &b"causeway-worker/"[..],
            b"causeway-worker/00010203fcfdfef",
            b"causeway-worker/+0010203fcfdfeff",
            b"causeway-worker/00010203fcfdfeff0",
            b"causeway-worker/0001\xff203fcfdfeff",
            b"causeway-tls/1",
        ] {
            let found = shown_hint([other].into_iter());
            assert_eq!(found, None, "{}", other.escape_ascii());
        }
    }
}
