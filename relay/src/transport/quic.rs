//! QUIC (RFC 9000) by quinn.

mod congestion;
mod halves;
mod line;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionId, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;

use self::halves::LiveStream;
use self::line::Line;
pub use self::socket::udp_socket;
pub use super::SessionBounds;
use super::{BoxFuture, Connection, ConnectionLost, TransportKind, TransportStream};
use crate::proto::{CloseCode, WorkerHint, plain};

/// The application protocol of a Causeway connection over QUIC (RFC 7301).
pub const ALPN: &[u8] = b"causeway/1";

/// The server name that is sent and not looked at: edges are named by their certificate's URI.
pub const SERVER_NAME: &str = "edge.causeway.invalid";

/// How long a QUIC connection lives without a packet, at least. Ours is the shorter patience.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// By how much QUIC's patience exceeds the session's, if that is longer.
const MORE_PATIENCE: Duration = Duration::from_secs(10);

/// Room beyond the session's credit: for headers, and for what is granted while QUIC's own update
/// is still on its way.
const WINDOW_SLACK: u64 = 1 << 20;

/// The longest UDP payload that is looked for on a path, in bytes: what Ethernet's 1500 leave beside
/// the headers of IPv6 and UDP. More would pass only where every hop is made for it. There quinn
/// hands the kernel ten datagrams at once, which are refused and lost if they exceed 64 KiB
/// together; and everywhere else each size that is tried in vain costs three packets.
const LONGEST_DATAGRAM: u16 = 1452;

/// How much a frame of a stream carries, about, where much is carried. quinn counts frames, not bytes.
const BULK_FRAME: u64 = 1200;

/// What may wait to be sent or acknowledged, of all streams together. The session's credit bounds
/// each stream, this bounds the queue that a ping or a small stream has to pass.
const SEND_WINDOW: u64 = 8 << 20;

/// How many streams the peer may have open at first. quinn holds state for as many as are allowed,
/// so the number grows with use, ahead of it, instead of beginning at the most.
const FIRST_STREAMS: u32 = 128;

/// More than the session lets anyone open: its streams, the control stream, and those that one end
/// has retired and the other not yet.
const MOST_STREAMS: u32 = 1 << 20;

/// How many handshakes may wait for our decision, and for how many bytes.
const MAX_INCOMING: usize = 1024;
const INCOMING_BUFFER: u64 = 16 << 10;
const INCOMING_BUFFER_TOTAL: u64 = 8 << 20;

/// What a round trip is taken for before one was measured (RFC 9002 §6.2.2), and at least, whatever was:
/// the other end has work to do before it answers a handshake.
const UNKNOWN_RTT: Duration = Duration::from_millis(333);
const LEAST_EXPECTED_RTT: Duration = Duration::from_millis(100);

/// A TLS configuration that QUIC cannot use.
#[derive(Debug, thiserror::Error)]
#[error("the TLS configuration lacks QUIC's initial cipher suite, TLS_AES_128_GCM_SHA256")]
pub struct UnusableTls;

/// The configuration of a listening endpoint.
pub fn server_config(
    tls: Arc<rustls::ServerConfig>,
    bounds: SessionBounds,
) -> Result<quinn::ServerConfig, UnusableTls> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| UnusableTls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport_config(bounds)))
        // Nothing is validated by a token of an earlier connection, so none is kept: the default
        // keeps a filter of 10 MiB.
        .validation_token_config({
            let mut tokens = quinn::ValidationTokenConfig::default();
            tokens.log(Arc::new(quinn::NoneTokenLog)).sent(0);
            tokens
        })
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL);
    Ok(config)
}

/// The configuration of one dialled connection, which shows `hint` to the edge. What is not answered
/// is sent again after three times the round trip that is expected, if one was measured before.
pub fn client_config(
    tls: Arc<rustls::ClientConfig>,
    bounds: SessionBounds,
    hint: Option<WorkerHint>,
    expected_rtt: Option<Duration>,
) -> Result<quinn::ClientConfig, UnusableTls> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| UnusableTls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = transport_config(bounds);
    let expected = expected_rtt.unwrap_or(UNKNOWN_RTT);
    transport.initial_rtt(expected.clamp(LEAST_EXPECTED_RTT, UNKNOWN_RTT));
    config.transport_config(Arc::new(transport));
    if let Some(hint) = hint {
        config.initial_dst_cid_provider(Arc::new(move || first_connection_id(hint)));
    }
    Ok(config)
}

/// The hint, then as many random bytes as make the id unpredictable (RFC 9000 §7.2).
fn first_connection_id(hint: WorkerHint) -> ConnectionId {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&hint.0);
    id[8..].copy_from_slice(&rand::random::<[u8; 12]>());
    ConnectionId::new(&id)
}

/// What a client showed with its first packet, if it is long enough to be a hint.
pub fn shown_hint(incoming: &quinn::Incoming) -> Option<WorkerHint> {
    let id = incoming.orig_dst_cid();
    id.first_chunk::<8>().map(|bytes| WorkerHint(*bytes))
}

fn transport_config(bounds: SessionBounds) -> TransportConfig {
    let window = |bytes: u64| VarInt::from_u64(bytes + WINDOW_SLACK).unwrap_or(VarInt::MAX);
    let mut config = TransportConfig::default();
    let idle = IDLE_TIMEOUT.max(bounds.patience + MORE_PATIENCE);
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(LONGEST_DATAGRAM);
    let idle = IdleTimeout::try_from(idle).expect("minutes are a valid idle timeout");
    config
        .max_idle_timeout(Some(idle))
        .mtu_discovery_config(Some(mtu))
        .max_concurrent_bidi_streams(VarInt::from_u32(FIRST_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(window(bounds.stream_window))
        .receive_window(window(bounds.all_windows))
        .send_window(SEND_WINDOW)
        .congestion_controller_factory(Arc::<congestion::FromFirstAnswer>::default())
        .datagram_receive_buffer_size(None);
    config
}

/// A QUIC connection after its handshake.
#[derive(Debug)]
pub struct QuicConnection {
    connection: quinn::Connection,
    accepted: Arc<AtomicU32>,
    allowed: AtomicU32,
    line: Arc<Line>,
}

impl QuicConnection {
    /// Wraps a connection whose handshake is complete.
    pub fn new(connection: quinn::Connection) -> Self {
        Self {
            connection,
            accepted: Arc::default(),
            allowed: AtomicU32::new(FIRST_STREAMS),
            line: Arc::default(),
        }
    }

    fn allow(&self, streams: u32) {
        self.allowed.store(streams, Ordering::Relaxed);
        let streams = VarInt::from_u32(streams);
        self.connection.set_max_concurrent_bi_streams(streams);
    }

    /// Counts a stream that the peer opened, and lets it open more before it has to wait for that.
    fn count_accepted(&self) -> LiveStream {
        let live = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let allowed = self.allowed.load(Ordering::Relaxed);
        if live > allowed / 2 && allowed < MOST_STREAMS {
            self.allow(allowed * 2);
        }
        LiveStream::counted(&self.accepted)
    }
}

impl Connection for QuicConnection {
    fn transport(&self) -> TransportKind {
        TransportKind::Quic
    }

    fn remote_address(&self) -> SocketAddr {
        let address = self.connection.remote_address();
        // As people write it, also when it came in through an IPv6 socket.
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    fn arrived(&self) -> u64 {
        self.connection.stats().frame_rx.stream * BULK_FRAME
    }

    fn acknowledgements(&self) -> u64 {
        self.connection.stats().frame_rx.acks
    }

    fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map(|chain| *chain)
            .unwrap_or_default()
    }

    fn key_exchange(&self) -> String {
        self.connection
            .handshake_data()
            .and_then(|data| data.downcast::<HandshakeData>().ok())
            .map(|data| format!("{:?}", data.negotiated_key_exchange_group))
            .unwrap_or_default()
    }

    fn export_keying_material(
        &self,
        label: &[u8],
        context: &[u8],
    ) -> Result<[u8; 32], ConnectionLost> {
        let mut material = [0; 32];
        self.connection
            .export_keying_material(&mut material, label, context)
            .map_err(|_| ConnectionLost::Other("no keying material before the handshake".into()))?;
        Ok(material)
    }

    fn open(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        Box::pin(async {
            let halves = self.connection.open_bi().await?;
            Ok(halves::both(halves, &self.line, None))
        })
    }

    /// As many at once, rather than a round trip for every doubling.
    fn expect(&self, streams: usize) {
        let streams = u32::try_from(streams).unwrap_or(MOST_STREAMS);
        let wanted = streams.saturating_mul(2).clamp(FIRST_STREAMS, MOST_STREAMS);
        let wanted = wanted.next_power_of_two();
        if wanted > self.allowed.load(Ordering::Relaxed) {
            self.allow(wanted);
        }
    }

    fn accept(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        Box::pin(async {
            let halves = self.connection.accept_bi().await?;
            let live = self.count_accepted();
            Ok(halves::both(halves, &self.line, Some(live)))
        })
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.connection
            .close(VarInt::from_u32(code.number()), reason.as_bytes());
    }

    fn lost(&self) -> BoxFuture<'_, ConnectionLost> {
        Box::pin(async { self.connection.closed().await.into() })
    }
}

/// The range of QUIC error codes that carry a TLS alert (RFC 9001 §4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

impl From<quinn::ConnectionError> for ConnectionLost {
    fn from(error: quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as E;
        match error {
            E::ApplicationClosed(close) => Self::ByPeer {
                code: CloseCode::from_number(
                    close.error_code.into_inner().try_into().unwrap_or(u32::MAX),
                ),
                message: plain(String::from_utf8_lossy(&close.reason).into_owned()),
            },
            E::LocallyClosed => Self::Locally,
            E::TimedOut => Self::TimedOut,
            E::Reset => Self::Reset,
            E::ConnectionClosed(close) => match tls_alert(close.error_code) {
                Some(alert) => Self::TlsByPeer { alert },
                None => Self::Other(plain(format!("closed by the peer's QUIC: {close}"))),
            },
            E::TransportError(error) => match tls_alert(error.code) {
                Some(alert) => Self::TlsHere {
                    alert,
                    message: error.reason,
                },
                None => Self::Other(plain(format!("QUIC: {error}"))),
            },
            E::VersionMismatch => Self::Other("the peer speaks another version of QUIC".into()),
            E::CidsExhausted => Self::Other("no connection ids left".into()),
        }
    }
}

fn tls_alert(code: quinn::TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    let is_alert = CRYPTO_ERRORS.contains(&code);
    is_alert.then(|| u8::try_from(code - CRYPTO_ERRORS.start).ok())?
}
