//! What goes into the certificates: everything is decided here, nothing by a requester.

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};

use super::AuthorityError;
use crate::identity::{Identity, Role};
use crate::name::TrustDomain;
use crate::validity::Validity;

/// The authority's own certificate. Its URI is the trust domain without a path (X509-SVID,
/// section 2), so that the domain is known wherever the certificate is.
pub(super) fn root(
    trust_domain: &TrustDomain,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = common(validity)?;
    let serial = params
        .serial_number
        .clone()
        .map(|serial| serial.to_bytes())
        .unwrap_or_default();
    // Two authorities must differ by name: verifiers find the issuer by it, and can then say
    // "unknown issuer" where they would say "bad signature".
    let suffix: String = serial
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("Causeway authority {suffix}"));
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(format!("spiffe://{trust_domain}"))?];
    Ok(params)
}

/// The certificate of a client, an edge or a service. Its subject is empty (and so its URI
/// critical, RFC 5280, section 4.2.1.6): nothing but the URI says who its holder is.
pub(super) fn leaf(
    identity: &Identity,
    validity: Validity,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = common(validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match identity.role {
        Role::Client(_) | Role::Service(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Role::Edge(_) => {
            vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ]
        }
    };
    params.subject_alt_names = vec![uri(identity.to_string())?];
    Ok(params)
}

fn common(validity: Validity) -> Result<CertificateParams, AuthorityError> {
    // GeneralizedTime has four digits for the year (RFC 5280, section 4.1.2.5.2).
    if !(1970..=9999).contains(&validity.not_after.year()) {
        return Err(AuthorityError::BeyondCalendar(validity.not_after));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.serial_number = Some(random_serial()?);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Sixteen random bytes of a positive number that really needs sixteen: 126 random bits.
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| AuthorityError::NoRandomness)?;
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn uri(text: String) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(text.try_into()?))
}
