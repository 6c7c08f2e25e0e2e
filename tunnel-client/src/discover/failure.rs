//! What an error of the resolver means.

use std::fmt::Display;
use std::time::Duration;

use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;

use super::question::Failure;

/// The refusals that name servers give, for the label of a metric and for people.
const REFUSALS: [(ResponseCode, &str, &str); 4] = [
    (ResponseCode::ServFail, "servfail", "SERVFAIL"),
    (ResponseCode::Refused, "refused", "REFUSED"),
    (ResponseCode::FormErr, "error", "FORMERR"),
    (ResponseCode::NotImp, "error", "NOTIMP"),
];

/// Why there are no records `of` a kind.
pub(super) fn failure(error: &NetError, of: &str) -> Failure {
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error {
        return denial(none, of);
    }
    let (why, label) = if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        let known = REFUSALS.iter().find(|(known, ..)| known == code);
        let (label, name) = match known {
            Some((_, label, name)) => (*label, (*name).to_owned()),
            None => ("error", code.to_string()),
        };
        (format!("the name server answered {name}"), label)
    } else if let NetError::Timeout = error {
        ("no answer from a name server in time".to_owned(), "timeout")
    } else if let NetError::Io(error) = error {
        (
            format!("no name server can be asked: {error}"),
            "unreachable",
        )
    } else if let NetError::NoConnections = error {
        ("no name server can be asked".to_owned(), "unreachable")
    } else {
        (format!("asking a name server failed: {error}"), "error")
    };
    Failure::Unanswered { why, label }
}

fn denial(none: &NoRecords, of: &str) -> Failure {
    let ttl = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
    if none.response_code == ResponseCode::NXDomain {
        return Failure::Denied {
            why: "the name does not exist (NXDOMAIN)".to_owned(),
            ttl,
            label: "nxdomain",
        };
    }
    if none.soa.is_none() && none.ns.is_some() {
        return Failure::Unanswered {
            why: "the name server only names others, so it is none for clients".to_owned(),
            label: "referral",
        };
    }
    nothing(of, ttl)
}

/// An answer without records `of` a kind.
pub(super) fn nothing(of: &str, ttl: Option<Duration>) -> Failure {
    Failure::Denied {
        why: format!("the name has no {of}"),
        ttl,
        label: "nothing",
    }
}

/// A name that cannot be asked for.
pub(super) fn malformed(error: &dyn Display) -> Failure {
    Failure::Denied {
        why: format!("it is no name that DNS can hold: {error}"),
        ttl: None,
        label: "malformed",
    }
}
