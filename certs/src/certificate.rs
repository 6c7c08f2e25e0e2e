//! What a certificate says, for people and for programs that look at it. Nothing here decides
//! whether it is trusted.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::identity::{Identity, IdentityError, only_uri};
use crate::validity::Validity;

/// What one certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Whom it speaks for, or why for nobody. An authority's certificate speaks for nobody.
    pub identity: Result<Identity, IdentityError>,
    /// Its only URI, as it stands there; none if there is none or more than one.
    pub uri: Option<String>,
    /// Whether it may issue others.
    pub is_authority: bool,
    /// Its subject's distinguished name; empty for everything that Causeway issues to clients,
    /// edges and services.
    pub subject: String,
    /// Its issuer's distinguished name.
    pub issuer: String,
    /// Its serial number.
    pub serial: Serial,
    /// From when until when it may be used.
    pub validity: Validity,
    /// The digest of the whole certificate.
    pub fingerprint: Fingerprint,
    /// The kind of its public key, e.g. `ECDSA P-256`.
    pub key: String,
}

impl CertificateInfo {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`IdentityError::NotACertificate`] if it is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (rest, parsed) = X509Certificate::from_der(certificate.as_ref())
            .map_err(|_| IdentityError::NotACertificate)?;
        let validity = validity_of(&parsed).ok_or(IdentityError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::NotACertificate);
        }
        Ok(Self {
            identity: Identity::from_x509(&parsed),
            uri: only_uri(&parsed).ok().map(str::to_owned),
            is_authority: parsed.is_ca(),
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: Serial::of_integer(parsed.raw_serial()),
            validity,
            fingerprint: Fingerprint::of(certificate),
            key: key_kind(parsed.public_key()),
        })
    }
}

/// A certificate's serial number; displayed as lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// The number that stands in a certificate or a revocation list as these bytes.
    pub(crate) fn of_integer(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros.min(bytes.len().saturating_sub(1))..].into())
    }

    /// The number's bytes, the most significant first, without zeros in front.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

/// Hexadecimal digits, as `causeway certs inspect` and OpenSSL show them: in capitals or not, with or
/// without colons.
impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits = text
            .bytes()
            .filter(|byte| *byte != b':')
            .map(|byte| {
                char::from(byte)
                    .to_digit(16)
                    .and_then(|it| u8::try_from(it).ok())
            })
            .collect::<Option<Vec<u8>>>()
            .filter(|digits| !digits.is_empty())
            .ok_or(SerialError::NotHexadecimal)?;
        let (odd, pairs) = digits.split_at(digits.len() % 2);
        let pairs = pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]);
        let serial = Self::of_integer(&odd.iter().copied().chain(pairs).collect::<Vec<_>>());
        match serial.0.len() {
            ..=SERIAL_MAX => Ok(serial),
            _ => Err(SerialError::TooLong),
        }
    }
}

/// The most bytes that a serial number has (RFC 5280, section 4.1.2.2).
const SERIAL_MAX: usize = 20;

/// Why a text is no serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// It has something else than digits in it, or nothing.
    #[error("a serial number is hexadecimal digits, as `causeway certs inspect` shows them")]
    NotHexadecimal,
    /// It is longer than any.
    #[error("a serial number has {} hexadecimal digits at most", 2 * SERIAL_MAX)]
    TooLong,
}

/// The SHA-256 digest of a whole certificate; displayed as lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; digest::SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate.as_ref()).as_ref());
        Self(bytes)
    }

    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn validity_of(certificate: &X509Certificate<'_>) -> Option<Validity> {
    let moment = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
    let validity = certificate.validity();
    Some(Validity {
        not_before: moment(validity.not_before.timestamp())?,
        not_after: moment(validity.not_after.timestamp())?,
    })
}

fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> String {
    match key.parsed() {
        // A coordinate of P-521 is stored in 528 bits.
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size().min(521)),
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        Ok(
            PublicKey::DSA(_)
            | PublicKey::GostR3410(_)
            | PublicKey::GostR3410_2012(_)
            | PublicKey::Unknown(_),
        )
        | Err(_) => key.algorithm.algorithm.to_id_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_read_as_they_are_shown() {
        let shown = Serial::of_integer(&[0, 0x0a, 0xff]);
        assert_eq!(shown.to_string(), "0aff");
        for text in ["0aff", "aff", "0A:FF", "00:0a:ff", "AFF"] {
            assert_eq!(text.parse(), Ok(shown.clone()), "{text}");
        }
        assert_eq!("0".parse(), Ok(Serial::of_integer(&[0])));
        for text in ["", ":", "0x1", "serial", "é"] {
            assert_eq!(
                text.parse::<Serial>(),
                Err(SerialError::NotHexadecimal),
                "{text}"
            );
        }
        assert!("ab".repeat(20).parse::<Serial>().is_ok());
        assert_eq!("ab".repeat(21).parse::<Serial>(), Err(SerialError::TooLong));
    }
}
