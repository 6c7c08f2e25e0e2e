//! Why a connection over TLS is gone, from what the system and the TLS library say.

use std::io;

use rustls::{AlertDescription, Error as TlsError};

use crate::proto::plain;
use crate::transport::ConnectionLost;

/// The reason in an error of `tokio_rustls`: of a handshake, a read or a write.
pub fn by_io(error: &io::Error) -> ConnectionLost {
    let inside = error.get_ref();
    if let Some(error) = inside.and_then(|inside| inside.downcast_ref::<TlsError>()) {
        return by_tls(error);
    }
    let kind = error.kind();
    let reset = [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ];
    if kind == io::ErrorKind::UnexpectedEof {
        silently()
    } else if kind == io::ErrorKind::TimedOut {
        ConnectionLost::TimedOut
    } else if reset.contains(&kind) {
        ConnectionLost::Other("the connection was reset without a close".into())
    } else {
        ConnectionLost::Other(format!("TCP: {error}"))
    }
}

/// The reason in an error of the TLS library.
pub(in crate::transport) fn by_tls(error: &TlsError) -> ConnectionLost {
    if let TlsError::AlertReceived(alert) = error {
        return ConnectionLost::TlsByPeer {
            alert: u8::from(*alert),
        };
    }
    match alert_for(error) {
        Some(alert) => ConnectionLost::TlsHere {
            alert: u8::from(alert),
            message: plain(error.to_string()),
        },
        None => ConnectionLost::Other(plain(format!("TLS: {error}"))),
    }
}

/// The peer is gone and has not said why.
pub(in crate::transport) fn silently() -> ConnectionLost {
    ConnectionLost::Other("the connection ended without a close".into())
}

/// What the TLS library has told the peer of its `error`. Unlike over QUIC it does not say so
/// itself.
fn alert_for(error: &TlsError) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    Some(match error {
        TlsError::InvalidCertificate(error) => Alert::from(error.clone()),
        TlsError::InvalidMessage(error) => Alert::from(*error),
        TlsError::NoCertificatesPresented => Alert::CertificateRequired,
        TlsError::NoApplicationProtocol => Alert::NoApplicationProtocol,
        TlsError::PeerIncompatible(_) => Alert::HandshakeFailure,
        TlsError::PeerMisbehaved(_) => Alert::IllegalParameter,
        TlsError::InappropriateMessage { .. } | TlsError::InappropriateHandshakeMessage { .. } => {
            Alert::UnexpectedMessage
        }
        TlsError::DecryptError => Alert::BadRecordMac,
        TlsError::PeerSentOversizedRecord => Alert::RecordOverflow,
        TlsError::InvalidEncryptedClientHello(_)
        | TlsError::UnsupportedNameType
        | TlsError::EncryptError
        | TlsError::AlertReceived(_)
        | TlsError::InvalidCertRevocationList(_)
        | TlsError::General(_)
        | TlsError::FailedToGetCurrentTime
        | TlsError::FailedToGetRandomBytes
        | TlsError::HandshakeNotComplete
        | TlsError::BadMaxFragmentSize
        | TlsError::InconsistentKeys(_)
        | TlsError::Other(_)
        | _ => return None,
    })
}
