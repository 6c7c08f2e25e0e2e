//! A TCP socket after its TLS handshake, taken apart for a transport that reads and writes it itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::ConnectionLost;
use super::tls::Side;

/// How much the kernel may take before it has sent it, in bytes. What it has taken cannot be
/// overtaken any more.
const NOT_SENT: u32 = 128 << 10;

/// See the module.
pub(super) struct Secured {
    pub(super) socket: TcpStream,
    pub(super) tls: rustls::Connection,
    pub(super) side: Side,
    pub(super) peer: Peer,
}

/// Who is at the other end, and how that was proved.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Its own first.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key_exchange: String,
}

impl Secured {
    /// Whoever writes must bound what is encrypted at once: TLS itself does not any more.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub(super) fn of(stream: TlsStream<TcpStream>) -> io::Result<Self> {
        let (socket, mut tls, side) = match stream {
            TlsStream::Client(stream) => {
                let (socket, tls) = stream.into_inner();
                (socket, rustls::Connection::from(tls), Side::Dialler)
            }
            TlsStream::Server(stream) => {
                let (socket, tls) = stream.into_inner();
                (socket, rustls::Connection::from(tls), Side::Listener)
            }
        };
        let address = socket.peer_addr()?;
        // Both only make it faster; a system without them works.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(NOT_SENT);
        tls.set_buffer_limit(None);
        let certificates = tls.peer_certificates().unwrap_or_default();
        let certificates = certificates.iter().map(|one| one.clone().into_owned());
        let key_exchange = tls.negotiated_key_exchange_group();
        let key_exchange = key_exchange.map(|group| format!("{:?}", group.name()));
        let peer = Peer {
            address: SocketAddr::new(address.ip().to_canonical(), address.port()),
            certificates: certificates.collect(),
            key_exchange: key_exchange.unwrap_or_default(),
        };
        Ok(Self {
            socket,
            tls,
            side,
            peer,
        })
    }
}

/// Keying material bound to this connection (RFC 8446 §7.5).
pub(super) fn keying_material(
    tls: &rustls::Connection,
    label: &[u8],
    context: &[u8],
) -> Result<[u8; 32], ConnectionLost> {
    tls.export_keying_material([0; 32], label, Some(context))
        .map_err(|_| ConnectionLost::Other("no keying material before the handshake".into()))
}

impl fmt::Debug for Peer {
    /// Certificates say little as bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .field("key_exchange", &self.key_exchange)
            .finish_non_exhaustive()
    }
}
