//! What the transports over TLS on TCP have in common: how both ends agree on one, and how a client
//! shows which worker knows it.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::tls::{self, TlsConnection};
use super::{Connection, ConnectionLost, SessionBounds, h2, yamux};
use crate::proto::{WorkerHint, plain};

/// The application protocols of these transports, the preferred one first (RFC 7301).
pub const PROTOCOLS: &[&[u8]] = &[tls::ALPN, yamux::ALPN, h2::ALPN];

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

type Start = fn(TlsStream<TcpStream>, SessionBounds) -> io::Result<Arc<dyn Connection>>;

/// Starts what both ends have agreed on, on the current runtime.
///
/// # Errors
/// If they have not agreed on any transport, or the socket is gone.
pub fn carry(
    stream: TlsStream<TcpStream>,
    bounds: SessionBounds,
) -> Result<Arc<dyn Connection>, ConnectionLost> {
    let start: Start = match stream.get_ref().1.alpn_protocol() {
        Some(tls::ALPN) => |stream, bounds| Ok(Arc::new(TlsConnection::start(stream, bounds)?)),
        Some(yamux::ALPN) => |stream, bounds| Ok(Arc::new(yamux::start(stream, bounds)?)),
        // Who dialled is the HTTP/2 server: the stream knows which end it is.
        Some(h2::ALPN) => |stream, bounds| Ok(Arc::new(h2::start(stream, bounds)?)),
        other => return Err(nothing_agreed(other)),
    };
    start(stream, bounds).map_err(|error| tls::lost_by_io(&error))
}

fn nothing_agreed(agreed: Option<&[u8]>) -> ConnectionLost {
    let agreed = agreed.map(|name| plain(String::from_utf8_lossy(name).into_owned()));
    ConnectionLost::Other(match agreed {
        Some(name) => format!("both ends have agreed on {name:?}, which is no transport"),
        None => "both ends have agreed on no protocol (ALPN): the other one is no Causeway, or \
                 something between takes what was offered away"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::TransportKind;
    use crate::transport::muxed::tests::BOUNDS;
    use crate::transport::tls::tests::{tls_pair_with, within};

    /// Also beside a hint, and whoever dialled opens the first stream, whatever the multiplexer
    /// makes of that.
    #[tokio::test]
    async fn what_is_carried_is_what_was_offered() {
        let hint = hint_protocol(WorkerHint([7; 8]));
        for kind in [TransportKind::Tls, TransportKind::Yamux, TransportKind::H2] {
            let (dialled, accepted) = tls_pair_with(&[kind.alpn(), &hint], PROTOCOLS).await;
            let ends = [dialled, accepted].map(|end| carry(end, BOUNDS).unwrap());
            for end in &ends {
                assert_eq!(end.transport(), kind);
            }
            let mut first = within("a stream", ends[0].open()).await.unwrap();
            let mut byte = bytes::Bytes::from_static(b"!");
            let written = std::future::poll_fn(|cx| first.send.poll_write(cx, &mut byte));
            within("room", written).await.unwrap();
            within("the stream", ends[1].accept()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_agrees_on_nothing_is_told_so() {
        let (dialled, _accepted) = tls_pair_with(&[b"h2"], &[]).await;
        let lost = carry(dialled, BOUNDS).unwrap_err();
        assert!(lost.to_string().contains("no protocol (ALPN)"), "{lost}");
        let (dialled, _accepted) = tls_pair_with(&[b"http/1.1"], &[b"http/1.1"]).await;
        let lost = carry(dialled, BOUNDS).unwrap_err();
        assert!(lost.to_string().contains("\"http/1.1\""), "{lost}");
    }

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
