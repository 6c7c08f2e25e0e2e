//! How the target of a service is, as its client reports it.

use std::fmt;
use std::time::Duration;

use super::parse::plain;
use super::wire;

/// The most that [`ServiceHealth::detail`] may be, in bytes: all the services of a client and their
/// health must fit into one frame.
pub const MAX_HEALTH_DETAIL: usize = 32;

/// What a client says of a service's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHealth {
    /// How it is.
    pub state: HealthState,
    /// How long it had been so when this was said.
    pub lasting: Duration,
    /// Why the last check failed, if it did.
    pub reason: Option<HealthReason>,
    /// A few words more, for people; see [`MAX_HEALTH_DETAIL`].
    pub detail: String,
}

/// How the target of a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthState {
    /// Not known yet.
    #[default]
    Unknown,
    /// It answers as it should.
    Healthy,
    /// It does not.
    Failing,
    /// Nobody looks, by choice.
    Off,
}

/// Why a check of a target failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthReason {
    /// Nobody listens there.
    Refused,
    /// No connection, or no answer, in time.
    Timeout,
    /// Its name has no address, or none that may be used.
    Name,
    /// It could not be reached otherwise.
    Unreachable,
    /// TLS with it failed.
    Tls,
    /// It broke off, or what it said is not what was asked for; also a reason that this version does
    /// not know.
    BadAnswer,
    /// An HTTP status that is neither 2xx nor 3xx.
    HttpStatus,
    /// By `grpc.health.v1`, it does not serve now.
    NotServing,
    /// A gRPC status other than OK.
    GrpcStatus,
}

impl HealthState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Healthy, Self::Failing, Self::Off];

    /// One word, for status and the label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Failing => "failing",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl HealthReason {
    /// One word, for status.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Name => "name",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::BadAnswer => "bad_answer",
            Self::HttpStatus => "http_status",
            Self::NotServing => "not_serving",
            Self::GrpcStatus => "grpc_status",
        }
    }
}

impl From<wire::Health> for ServiceHealth {
    fn from(m: wire::Health) -> Self {
        use wire::health::{Reason, State};
        let reason = match Reason::try_from(m.reason) {
            Ok(Reason::None) => None,
            Ok(Reason::Refused) => Some(HealthReason::Refused),
            Ok(Reason::Timeout) => Some(HealthReason::Timeout),
            Ok(Reason::Name) => Some(HealthReason::Name),
            Ok(Reason::Unreachable) => Some(HealthReason::Unreachable),
            Ok(Reason::Tls) => Some(HealthReason::Tls),
            Ok(Reason::BadAnswer) | Err(_) => Some(HealthReason::BadAnswer),
            Ok(Reason::HttpStatus) => Some(HealthReason::HttpStatus),
            Ok(Reason::NotServing) => Some(HealthReason::NotServing),
            Ok(Reason::GrpcStatus) => Some(HealthReason::GrpcStatus),
        };
        Self {
            state: match m.state() {
                State::Unknown => HealthState::Unknown,
                State::Healthy => HealthState::Healthy,
                State::Failing => HealthState::Failing,
                State::Off => HealthState::Off,
            },
            lasting: Duration::from_millis(m.for_ms),
            reason,
            detail: cut(plain(m.detail)),
        }
    }
}

impl From<&ServiceHealth> for wire::Health {
    fn from(m: &ServiceHealth) -> Self {
        use wire::health::{Reason, State};
        let state = match m.state {
            HealthState::Unknown => State::Unknown,
            HealthState::Healthy => State::Healthy,
            HealthState::Failing => State::Failing,
            HealthState::Off => State::Off,
        };
        let reason = m.reason.map_or(Reason::None, |reason| match reason {
            HealthReason::Refused => Reason::Refused,
            HealthReason::Timeout => Reason::Timeout,
            HealthReason::Name => Reason::Name,
            HealthReason::Unreachable => Reason::Unreachable,
            HealthReason::Tls => Reason::Tls,
            HealthReason::BadAnswer => Reason::BadAnswer,
            HealthReason::HttpStatus => Reason::HttpStatus,
            HealthReason::NotServing => Reason::NotServing,
            HealthReason::GrpcStatus => Reason::GrpcStatus,
        });
        Self {
            state: state.into(),
            for_ms: m.lasting.as_millis().try_into().unwrap_or(u64::MAX),
            reason: reason.into(),
            detail: cut(m.detail.clone()),
        }
    }
}

fn cut(mut text: String) -> String {
    while text.len() > MAX_HEALTH_DETAIL {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::proto::{AppProtocol, Control, FrameBuffer, MAX_CONTROL_FRAME, ServiceInfo};

    /// As many as a client may expose, each with the longest of everything.
    #[test]
    fn the_health_of_all_services_fits_into_a_frame() {
        let service = |number: usize| ServiceInfo {
            name: format!("{number:063}").parse().unwrap(),
            protocol: AppProtocol::H2,
            health: Some(ServiceHealth {
                state: HealthState::Failing,
                lasting: Duration::from_secs(10 * 365 * 86_400),
                reason: Some(HealthReason::GrpcStatus),
                detail: "x".repeat(100),
            }),
        };
        let report = Control::HealthReport((0..512).map(service).collect());
        let mut bytes = BytesMut::new();
        report.encode(&mut bytes);
        assert!(bytes.len() < MAX_CONTROL_FRAME - 2048, "{}", bytes.len());
        let mut frames = FrameBuffer::new(MAX_CONTROL_FRAME);
        frames.push(&bytes);
        let frame = frames.next_frame().unwrap().unwrap();
        let Control::HealthReport(read) = Control::decode(frame).unwrap() else {
            panic!("another kind");
        };
        let health = read[511].health.as_ref().unwrap();
        assert_eq!(health.detail.len(), MAX_HEALTH_DETAIL);
    }

    #[test]
    fn what_a_peer_says_is_cut_and_made_plain() {
        let health = ServiceHealth::from(wire::Health {
            state: 99,
            for_ms: u64::MAX,
            reason: 99,
            detail: format!("a\u{1b}[1m{}", "\u{fc}".repeat(40)),
        });
        assert_eq!(health.state, HealthState::Unknown);
        assert_eq!(health.reason, Some(HealthReason::BadAnswer));
        assert!(health.detail.starts_with("a[1m\u{fc}"));
        assert_eq!(health.detail.len(), MAX_HEALTH_DETAIL);
    }
}
