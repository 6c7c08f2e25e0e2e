//! A failed handshake in one sentence: what happened, whose fault it is, and what to do.

use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};
use rustls_pki_types::UnixTime;
use time::OffsetDateTime;

use super::peer::PeerError;
use crate::validity::{about, rfc3339};

/// Explains why a handshake between client and edge failed, seen from the side that has the error.
#[must_use]
pub fn explain(error: &Error) -> String {
    if let Error::AlertReceived(alert) = error {
        return explain_alert(u8::from(*alert));
    }
    if let Error::InvalidCertificate(reason) = error {
        return peer_certificate(reason);
    }
    if let Error::NoCertificatesPresented = error {
        return "the peer showed no certificate; both ends of a tunnel need an identity \
                (`causeway certs issue`)"
            .to_owned();
    }
    if let Error::NoApplicationProtocol = error {
        return NO_COMMON_PROTOCOL.to_owned();
    }
    if let Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) =
        error
    {
        return "the peer does not accept signatures of the kind that our key makes; issue an \
                identity with `causeway certs issue`"
            .to_owned();
    }
    if let Error::PeerIncompatible(_) = error {
        return format!(
            "{error}; the tunnel needs TLS 1.3, which something at the other end or between does not speak"
        );
    }
    if let Error::InvalidMessage(_) = error {
        return format!(
            "{error}: what answers there does not speak TLS, or something between alters it; is \
             it the tunnel port of an edge?"
        );
    }
    error.to_string()
}

/// Explains a TLS alert that the peer sent (RFC 8446, section 6.2), which is its verdict about us.
/// Over QUIC it arrives as the error code 0x100 + alert (RFC 9001, section 4.8).
#[must_use]
pub fn explain_alert(alert: u8) -> String {
    let meaning = match alert {
        0 => "the peer closed the connection during the handshake",
        20 | 50 | 51 => {
            "the peer could not make sense of our handshake or its signature; something between \
             may alter it, or the certificate was forged"
        }
        40 | 71 => "the peer and we have no cipher suite, key exchange or signature in common",
        42 => "the peer says that our certificate is malformed; issue it anew",
        43 => {
            "the peer says that our certificate is not meant for this use; an edge needs one from \
             `causeway certs issue edge`, a client one from `causeway certs issue client`"
        }
        44 => "the peer says that our certificate has been revoked; issue a new one",
        45 => {
            "the peer says that our certificate has expired or is not valid yet; renew it, or \
             correct whichever clock is wrong"
        }
        46 => {
            "the peer refuses whom our certificate speaks for: it must name a client towards an \
             edge, an edge towards a client, of the same trust domain, in exactly one URI; look \
             at it with `causeway certs inspect`, the peer's log says more"
        }
        48 => {
            "the peer does not know the authority that issued our certificate; both sides need \
             certificates from the same authority (compare ca.pem)"
        }
        49 => "the peer refuses us",
        70 => "the peer does not speak TLS 1.3, which the tunnel needs",
        80 => "the peer had an internal error; its log says more",
        112 => "the peer does not know the name that we asked for",
        116 => {
            "the peer demands a certificate and we showed none; give this side an identity \
             (`causeway certs issue`)"
        }
        120 => NO_COMMON_PROTOCOL,
        _ => "the peer broke off the handshake",
    };
    format!(
        "{meaning} (TLS alert {alert}, {:?})",
        AlertDescription::from(alert)
    )
}

/// Explains a TLS alert that this side sent, which is our verdict about the peer. `detail` is what
/// the TLS library says of it: over QUIC, nothing more is left of the error.
#[must_use]
pub fn explain_refusal(alert: u8, detail: &str) -> String {
    let meaning = match alert {
        42 | 43 | 46 => "the peer's certificate is refused",
        45 => {
            "the peer's certificate has expired or is not valid yet; renew it there, or correct \
             whichever clock is wrong"
        }
        48 => {
            "the peer's certificate was issued by an authority that is not in our ca.pem; both \
             sides need certificates from the same authority"
        }
        116 => {
            "the peer showed no certificate; both ends of a tunnel need an identity (`causeway \
             certs issue`)"
        }
        120 => NO_COMMON_PROTOCOL,
        _ => "the handshake with the peer failed",
    };
    format!("{meaning} ({detail})")
}

/// Explains why a handshake with an origin (an `https://` target) failed.
#[must_use]
pub fn explain_origin(error: &Error) -> String {
    if let Error::InvalidCertificate(reason) = error {
        if let CertificateError::UnknownIssuer = reason {
            return "the target's certificate was issued by an authority that is not trusted; \
                    name it with `ca`"
                .to_owned();
        }
        if let CertificateError::NotValidForNameContext { .. } | CertificateError::NotValidForName =
            reason
        {
            return format!("the target shows a certificate for another name: {reason}");
        }
        if let Some(sentence) = dates("the target's certificate", reason) {
            return sentence;
        }
        return format!("the target's certificate is refused: {reason}");
    }
    if let Error::InvalidMessage(_) = error {
        return format!("{error}: the target does not speak TLS; is it http:// or h2c:// ?");
    }
    format!("TLS with the target failed: {error}")
}

const NO_COMMON_PROTOCOL: &str = "the two sides have no protocol (ALPN) in common: one of them is \
                                  of an incompatible version, or this is not the tunnel port";

fn peer_certificate(reason: &CertificateError) -> String {
    if let Some(sentence) = dates("the peer's certificate", reason) {
        return sentence;
    }
    if let CertificateError::Other(OtherError(inner)) = reason {
        return match inner.downcast_ref::<PeerError>() {
            Some(refusal) => format!("the peer's certificate is refused: {refusal}"),
            None => format!("the peer's certificate is refused: {inner}"),
        };
    }
    if let CertificateError::UnknownIssuer = reason {
        return "the peer's certificate was issued by an authority that is not in our ca.pem; \
                both sides need certificates from the same authority"
            .to_owned();
    }
    if let CertificateError::BadSignature = reason {
        return "a signature of the peer is wrong: its certificate was altered or forged, or \
                something between alters the handshake"
            .to_owned();
    }
    if let CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } =
        reason
    {
        return format!(
            "the peer shows a certificate that is not meant for its side of the tunnel ({reason}); \
             an edge needs one from `causeway certs issue edge`, a client one from `causeway \
             certs issue client`"
        );
    }
    format!("the peer's certificate is refused: {reason}")
}

fn dates(whose: &str, reason: &CertificateError) -> Option<String> {
    const CURE: &str = "renew it there, or correct whichever clock is wrong";
    if let CertificateError::ExpiredContext { time, not_after } = reason {
        let ago = about(since(*time, *not_after));
        return Some(format!(
            "{whose} expired at {}, {ago} ago by our clock; {CURE}",
            date(*not_after)
        ));
    }
    if let CertificateError::NotValidYetContext { time, not_before } = reason {
        let until = about(since(*not_before, *time));
        let from = date(*not_before);
        return Some(format!(
            "{whose} is not valid before {from}, {until} from now by our clock; {CURE}"
        ));
    }
    None
}

fn since(later: UnixTime, earlier: UnixTime) -> std::time::Duration {
    std::time::Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
}

fn date(moment: UnixTime) -> String {
    i64::try_from(moment.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| format!("@{}", moment.as_secs()), rfc3339)
}
