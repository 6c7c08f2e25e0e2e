//! One certificate revocation list (RFC 5280, section 5).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::X509Extension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};
use x509_parser::time::ASN1Time;

use crate::certificate::Serial;
use crate::validity::rfc3339;

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Its issuer's distinguished name.
    pub issuer: String,
    /// Which list of its issuer it is; each has a higher one than those before.
    pub number: Option<ListNumber>,
    /// When it was made.
    pub made: OffsetDateTime,
    /// When its issuer promises another one at the latest. Nothing is decided by it here.
    pub next: Option<OffsetDateTime>,
    name: Box<[u8]>,
    entries: Vec<Revoked>,
    by_serial: HashMap<Serial, usize>,
}

/// A certificate that is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The certificate's serial number.
    pub serial: Serial,
    /// Since when.
    pub at: OffsetDateTime,
    /// Why, if that is said.
    pub reason: Option<Reason>,
    pub(crate) invalid_since: Option<OffsetDateTime>,
}

/// `serial 4f…, revoked at 2026-11-03T10:00:00Z (key-compromise)`
impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {}, revoked at {}", self.serial, rfc3339(self.at))?;
        match self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl RevocationList {
    /// Reads a list and verifies nothing.
    ///
    /// # Errors
    /// If it is no list, or a part of it that must be understood is not.
    pub fn read(der: &CertificateRevocationListDer<'_>) -> Result<Self, ListError> {
        Self::of(&parse(der)?)
    }

    /// Reads a list that one of these authorities has signed.
    pub(crate) fn verified(
        der: &CertificateRevocationListDer<'_>,
        authorities: &[CertificateDer<'_>],
    ) -> Result<Self, ListError> {
        let parsed = parse(der)?;
        if authorities.iter().any(|it| has_signed(it, &parsed)) {
            return Self::of(&parsed);
        }
        Err(ListError::Foreign {
            issuer: parsed.issuer().to_string(),
        })
    }

    fn of(parsed: &CertificateRevocationList<'_>) -> Result<Self, ListError> {
        understood(parsed.extensions())?;
        let mut entries = Vec::new();
        let mut by_serial = HashMap::new();
        for revoked in parsed.iter_revoked_certificates() {
            understood(revoked.extensions())?;
            let entry = Revoked::of(revoked).ok_or(ListError::NoList)?;
            by_serial
                .entry(entry.serial.clone())
                .or_insert(entries.len());
            entries.push(entry);
        }
        Ok(Self {
            issuer: parsed.issuer().to_string(),
            number: parsed
                .crl_number()
                .map(|it| ListNumber::of(&it.to_bytes_be())),
            made: moment(parsed.last_update()).ok_or(ListError::NoList)?,
            next: parsed.next_update().and_then(moment),
            name: parsed.issuer().as_raw().into(),
            entries,
            by_serial,
        })
    }

    /// The entry of a certificate, if it is revoked.
    #[must_use]
    pub fn entry(&self, serial: &Serial) -> Option<&Revoked> {
        self.by_serial.get(serial).map(|nth| &self.entries[*nth])
    }

    /// Every entry, in the order of the list.
    #[must_use]
    pub fn revoked(&self) -> &[Revoked] {
        &self.entries
    }

    /// Whether it is about certificates of the issuer with this distinguished name, in DER.
    pub(super) fn is_by(&self, name: &[u8]) -> bool {
        *self.name == *name
    }

    pub(super) fn has_issuer_of(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Revoked {
    fn of(entry: &RevokedCertificate<'_>) -> Option<Self> {
        let since = entry.invalidity_date().and_then(|(_, at)| moment(at));
        let code = entry.reason_code().map(|(_, code)| code.0);
        Some(Self {
            serial: Serial::of_integer(entry.raw_serial()),
            at: moment(entry.revocation_date)?,
            reason: code.and_then(Reason::from_code),
            invalid_since: since,
        })
    }
}

/// Which list of its issuer it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNumber(Box<[u8]>);

impl ListNumber {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// That of the list after it.
    pub(crate) fn next(&self) -> Self {
        let mut bytes = [&[0], &*self.0].concat();
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        Self::of(&bytes)
    }
}

impl Ord for ListNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for ListNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// In decimal digits; one that no counter reaches, in hexadecimal ones.
impl fmt::Display for ListNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let add = |sum: u64, byte: &u8| sum.checked_mul(256)?.checked_add(u64::from(*byte));
        match self.0.iter().try_fold(0, add) {
            Some(number) => write!(f, "{number}"),
            None => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// Declares the reasons with their codes and names in one table.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// Why a certificate is revoked (RFC 5280, section 5.3.1).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// A stable short name.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }

        impl From<Reason> for rcgen::RevocationReason {
            fn from(reason: Reason) -> Self {
                match reason {
                    $(Reason::$name => Self::$name,)*
                }
            }
        }
    };
}

reasons! {
    /// It is not said.
    Unspecified = 0, "unspecified";
    /// Its key is or may be in other hands.
    KeyCompromise = 1, "key-compromise";
    /// Its authority's key is or may be in other hands.
    CaCompromise = 2, "ca-compromise";
    /// Its holder is called something else now.
    AffiliationChanged = 3, "affiliation-changed";
    /// Another certificate has taken its place.
    Superseded = 4, "superseded";
    /// Its holder is not needed any more.
    CessationOfOperation = 5, "cessation-of-operation";
    /// For now.
    CertificateHold = 6, "certificate-hold";
    /// Its holder may not do any more what it says.
    PrivilegeWithdrawn = 9, "privilege-withdrawn";
    /// The key of an attribute authority is or may be in other hands.
    AaCompromise = 10, "aa-compromise";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        let found = Self::ALL.iter().find(|reason| reason.label() == text);
        found.copied().ok_or(UnknownReason)
    }
}

/// A text that is the name of no [`Reason`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one of {}",
    Reason::ALL.iter().map(|it| it.label()).collect::<Vec<_>>().join(", ")
)]
pub struct UnknownReason;

/// Why a list is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It cannot be parsed.
    #[error("this is no certificate revocation list")]
    NoList,
    /// It is not all of a list, or about something else, in a way that must be understood (RFC 5280,
    /// section 5.2).
    #[error(
        "the list has the critical extension {0}, which is not known here: it is a part of a list, \
         or an indirect one"
    )]
    Critical(String),
    /// No authority that is known has signed it.
    #[error("the list of {issuer} is not signed by it, or that is no authority here")]
    Foreign {
        /// Who says to have made it.
        issuer: String,
    },
}

fn parse<'a>(
    der: &'a CertificateRevocationListDer<'_>,
) -> Result<CertificateRevocationList<'a>, ListError> {
    match CertificateRevocationList::from_der(der.as_ref()) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) | Err(_) => Err(ListError::NoList),
    }
}

/// Whether the authority is the list's issuer, may make lists (RFC 5280, section 6.3.3 (f)) and has made this.
fn has_signed(authority: &CertificateDer<'_>, list: &CertificateRevocationList<'_>) -> bool {
    let Ok((_, authority)) = X509Certificate::from_der(authority.as_ref()) else {
        return false;
    };
    let may_sign = match authority.key_usage() {
        Ok(Some(usage)) => usage.value.crl_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    may_sign
        && authority.subject().as_raw() == list.issuer().as_raw()
        && list.verify_signature(authority.public_key()).is_ok()
}

/// Nothing that is critical is needed for a list that is whole and about its issuer's certificates.
fn understood(extensions: &[X509Extension<'_>]) -> Result<(), ListError> {
    match extensions.iter().find(|extension| extension.critical) {
        Some(critical) => Err(ListError::Critical(critical.oid.to_id_string())),
        None => Ok(()),
    }
}

fn moment(time: ASN1Time) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lists_count_on_and_are_compared_as_numbers() {
        let mut number = ListNumber::of(&[]);
        for expected in 1..=600 {
            let next = number.next();
            assert!(next > number);
            assert_eq!(next.to_string(), expected.to_string());
            number = next;
        }
        let longest = ListNumber::of(&[0xff; 20]);
        assert!(longest > number && longest.to_string().starts_with("0xff"));
        assert_eq!(ListNumber::of(&[0, 0, 7]), ListNumber::of(&[7]));
    }

    #[test]
    fn reasons_are_read_as_they_are_shown() {
        for reason in Reason::ALL {
            assert_eq!(reason.to_string().parse(), Ok(*reason));
        }
        let error = "theft".parse::<Reason>().unwrap_err().to_string();
        assert!(error.contains("key-compromise"), "{error}");
    }
}
