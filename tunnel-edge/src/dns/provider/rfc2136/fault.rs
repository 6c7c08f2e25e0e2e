//! What can go wrong between us and a name server: what happened, where, and what to do.

use std::{fmt, io, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, rdata::tsig::TsigError},
};

use super::{chain::Unproven, connection::Broken, wire::Unreadable};
use crate::dns::provider::{ProviderError, Reason};

/// The server and the key, for messages.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) server: SocketAddr,
    pub(super) zone: Name,
    pub(super) key: Name,
    pub(super) algorithm: String,
}

/// What was under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'a> {
    Serial,
    Transfer,
    Query(&'a Name),
    Update(&'a Name),
}

impl Place {
    pub(super) fn cannot_connect(&self, error: &io::Error) -> ProviderError {
        let server = self.server;
        fault(
            Reason::Unreachable,
            format!(
                "cannot connect to the name server {server}: {error}; check that it runs and that \
                 this edge may reach its TCP port"
            ),
        )
    }

    pub(super) fn no_connection(&self, patience: Duration) -> ProviderError {
        let server = self.server;
        fault(
            Reason::Timeout,
            format!(
                "the name server {server} did not take a connection within {patience:?}; check \
                 that it runs and that this edge may reach its TCP port"
            ),
        )
    }

    pub(super) fn no_answer(&self, work: Work<'_>, patience: Duration) -> ProviderError {
        self.fault(
            work,
            Reason::Timeout,
            &format!("it did not answer within {patience:?}{}", unknown(work)),
        )
    }

    pub(super) fn broken(&self, work: Work<'_>, broken: &Broken) -> ProviderError {
        let reason = match (broken, work) {
            (Broken::Cut, _) | (Broken::Closed, Work::Transfer) => Reason::Truncated,
            (Broken::Closed | Broken::Failed(_), _) => Reason::Unreachable,
            (Broken::Unasked(_), _) => Reason::Malformed,
        };
        self.fault(work, reason, &format!("{broken}{}", unknown(work)))
    }

    pub(super) fn unreadable(&self, work: Work<'_>, unreadable: &Unreadable) -> ProviderError {
        let what = format!("its answer cannot be read: {unreadable}{}", unknown(work));
        self.fault(work, Reason::Malformed, &what)
    }

    pub(super) fn truncated(&self, work: Work<'_>) -> ProviderError {
        let what = format!("it cut its answer short, over TCP{}", unknown(work));
        self.fault(work, Reason::Truncated, &what)
    }

    /// An answer that contradicts the protocol.
    pub(super) fn malformed(&self, work: Work<'_>, what: &str) -> ProviderError {
        self.fault(work, Reason::Malformed, what)
    }

    pub(super) fn unproven(&self, work: Work<'_>, unproven: &Unproven) -> ProviderError {
        let Self { key, algorithm, .. } = self;
        let (reason, advice) = match unproven {
            Unproven::Clock(ahead) => {
                let (by, way) = (
                    ahead.unsigned_abs(),
                    if *ahead < 0 { "behind" } else { "ahead of" },
                );
                let what = format!(
                    "the clocks are too far apart (BADTIME): the server's is {by} s {way} this \
                     edge's; set the clock that is wrong, by NTP"
                );
                return self.fault(work, Reason::BadTime, &what);
            }
            Unproven::Rejected(TsigError::BadTime) => (
                Reason::BadTime,
                "compare the clocks of both machines".to_owned(),
            ),
            Unproven::Rejected(TsigError::BadKey) => (
                Reason::BadKey,
                format!(
                    "see that the server has the key {key} with {algorithm}, and that it lets this \
                     key query, transfer and update {}",
                    self.zone
                ),
            ),
            Unproven::Unsigned
            | Unproven::OtherKey(_)
            | Unproven::Wrong
            | Unproven::Rejected(TsigError::BadSig | TsigError::BadTrunc | TsigError::Unknown(_)) => {
                (
                    Reason::BadSignature,
                    format!(
                        "see that both ends have the same secret for the key {key} ({algorithm})"
                    ),
                )
            }
        };
        self.fault(
            work,
            reason,
            &format!("{unproven}{}; {advice}", unknown(work)),
        )
    }

    /// An answer that says no. What is no fault is not passed here.
    pub(super) fn refused(&self, work: Work<'_>, code: ResponseCode) -> ProviderError {
        let Self { zone, key, .. } = self;
        let (reason, what) = match code {
            ResponseCode::Refused => (
                Reason::Refused,
                format!(
                    "it refuses this (REFUSED); see that it has the zone {zone}, and let the key {key} \
                     do it there"
                ),
            ),
            ResponseCode::NotAuth | ResponseCode::NXDomain => (
                Reason::NotAuthoritative,
                format!(
                    "it is not the primary server of {zone}, or does not let the key {key} do \
                     this ({code:?}); see that `server` is the primary"
                ),
            ),
            ResponseCode::NotZone => (
                Reason::NotAuthoritative,
                format!("it says that the name is not in {zone} (NOTZONE)"),
            ),
            ResponseCode::ServFail => (
                Reason::ServerFailure,
                "it failed (SERVFAIL); its log says why".to_owned(),
            ),
            ResponseCode::NotImp => (
                Reason::Refused,
                "it does not know how to do this (NOTIMP); dynamic updates (RFC 2136) are needed"
                    .to_owned(),
            ),
            ResponseCode::FormErr => (
                Reason::Malformed,
                "it says that our message is malformed (FORMERR)".to_owned(),
            ),
            ResponseCode::NoError
            | ResponseCode::YXDomain
            | ResponseCode::YXRRSet
            | ResponseCode::NXRRSet
            | ResponseCode::BADVERS
            | ResponseCode::BADSIG
            | ResponseCode::BADKEY
            | ResponseCode::BADTIME
            | ResponseCode::BADMODE
            | ResponseCode::BADNAME
            | ResponseCode::BADALG
            | ResponseCode::BADTRUNC
            | ResponseCode::BADCOOKIE
            | ResponseCode::Unknown(_) => (
                Reason::ServerFailure,
                format!("it answers with the code {}", u16::from(code)),
            ),
        };
        self.fault(work, reason, &what)
    }

    pub(super) fn unwritable(&self, work: Work<'_>, what: &impl fmt::Display) -> ProviderError {
        self.fault(
            work,
            Reason::Unwritable,
            &format!("it cannot be written: {what}"),
        )
    }

    fn fault(&self, work: Work<'_>, reason: Reason, what: &str) -> ProviderError {
        let (server, zone) = (self.server, &self.zone);
        let work = match work {
            Work::Serial => format!("reading the serial of {zone}"),
            Work::Transfer => format!("the transfer of {zone}, of which nothing is used"),
            Work::Query(name) => format!("the query for {name}"),
            Work::Update(name) => format!("the update of {name}"),
        };
        fault(reason, format!("the name server {server}, {work}: {what}"))
    }
}

/// What is to be known of an update whose answer is missing.
fn unknown(work: Work<'_>) -> &'static str {
    match work {
        Work::Update(_) => "; whether it was made shows when the zone is read again",
        Work::Serial | Work::Transfer | Work::Query(_) => "",
    }
}

fn fault(reason: Reason, message: String) -> ProviderError {
    ProviderError { reason, message }
}
