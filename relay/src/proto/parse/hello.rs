//! The handshake's messages.

use bytes::Bytes;

use super::{ParseError, as_millis, field, millis, plain, services};
use crate::proto::ids::{Attempt, Instance, SessionId, WorkerHint};
use crate::proto::message::{Continue, ContinueMode, Hello, HelloAck, Limits, MAX_BESIDE};
use crate::proto::version::{Features, Version, VersionRange};
use crate::proto::wire;

impl TryFrom<wire::Hello> for Hello {
    type Error = ParseError;

    fn try_from(m: wire::Hello) -> Result<Self, ParseError> {
        if m.version_min > m.version_max {
            return Err(field("version_min", "greater than version_max"));
        }
        Ok(Self {
            versions: VersionRange {
                min: Version(m.version_min),
                max: Version(m.version_max),
            },
            features: Features(m.features),
            software: plain(m.software),
            replica: m.replica.parse().map_err(|e| field("replica", e))?,
            instance: Instance::from_bytes(sixteen("instance", &m.instance)?),
            attempt: Attempt(m.attempt),
            limits: limits(m.limits)?,
            services: services(m.services)?,
            continues: m.r#continue.map(TryInto::try_into).transpose()?,
            beside: beside(&m.beside)?,
        })
    }
}

impl From<&Hello> for wire::Hello {
    fn from(m: &Hello) -> Self {
        Self {
            version_min: m.versions.min.0,
            version_max: m.versions.max.0,
            features: m.features.0,
            software: m.software.clone(),
            replica: m.replica.to_string(),
            instance: Bytes::copy_from_slice(m.instance.as_bytes()),
            attempt: m.attempt.0,
            limits: Some(m.limits.into()),
            services: m.services.iter().map(Into::into).collect(),
            r#continue: m.continues.as_ref().map(Into::into),
            beside: m
                .beside
                .iter()
                .map(|id| Bytes::copy_from_slice(id.as_bytes()))
                .collect(),
        }
    }
}

fn beside(ids: &[Bytes]) -> Result<Vec<SessionId>, ParseError> {
    if ids.len() > MAX_BESIDE {
        return Err(field("beside", "more than 8 sessions"));
    }
    ids.iter()
        .map(|id| sixteen("beside", id).map(SessionId::from_bytes))
        .collect()
}

impl TryFrom<wire::HelloAck> for HelloAck {
    type Error = ParseError;

    fn try_from(m: wire::HelloAck) -> Result<Self, ParseError> {
        let hint = <[u8; 8]>::try_from(m.worker_hint.as_ref()).ok();
        if hint.is_none() && !m.worker_hint.is_empty() {
            return Err(field("worker_hint", "has 8 bytes or none"));
        }
        Ok(Self {
            version: Version(m.version),
            features: Features(m.features),
            software: plain(m.software),
            edge: plain(m.edge),
            instance: Instance::from_bytes(sixteen("instance", &m.instance)?),
            session: SessionId::from_bytes(sixteen("session", &m.session)?),
            attempt: Attempt(m.attempt),
            limits: limits(m.limits)?,
            worker_hint: hint.map(WorkerHint),
            advertise: m.advertise,
        })
    }
}

impl From<&HelloAck> for wire::HelloAck {
    fn from(m: &HelloAck) -> Self {
        Self {
            version: m.version.0,
            features: m.features.0,
            software: m.software.clone(),
            edge: m.edge.clone(),
            instance: Bytes::copy_from_slice(m.instance.as_bytes()),
            session: Bytes::copy_from_slice(m.session.as_bytes()),
            attempt: m.attempt.0,
            limits: Some(m.limits.into()),
            worker_hint: m
                .worker_hint
                .map(|hint| Bytes::copy_from_slice(&hint.0))
                .unwrap_or_default(),
            advertise: m.advertise.clone(),
        }
    }
}

impl TryFrom<wire::Continue> for Continue {
    type Error = ParseError;

    fn try_from(m: wire::Continue) -> Result<Self, ParseError> {
        use wire::r#continue::Mode;
        Ok(Self {
            session: SessionId::from_bytes(sixteen("session", &m.session)?),
            mode: match m.mode() {
                Mode::Join => ContinueMode::Join,
                Mode::Replace => ContinueMode::Replace,
                Mode::Unspecified => return Err(field("mode", "neither join nor replace")),
            },
            proof: m.proof,
        })
    }
}

impl From<&Continue> for wire::Continue {
    fn from(m: &Continue) -> Self {
        use wire::r#continue::Mode;
        let mode = match m.mode {
            ContinueMode::Join => Mode::Join,
            ContinueMode::Replace => Mode::Replace,
        };
        Self {
            session: Bytes::copy_from_slice(m.session.as_bytes()),
            mode: mode.into(),
            proof: m.proof.clone(),
        }
    }
}

impl From<Limits> for wire::Limits {
    fn from(m: Limits) -> Self {
        Self {
            stream_base: m.stream_base.into(),
            max_streams: m.max_streams,
            grace_ms: as_millis(m.grace),
        }
    }
}

fn limits(m: Option<wire::Limits>) -> Result<Limits, ParseError> {
    let m = m.ok_or_else(|| field("limits", "missing"))?;
    let too_large = || field("stream_base", "over 4 GiB");
    Ok(Limits {
        stream_base: m.stream_base.try_into().map_err(|_| too_large())?,
        max_streams: m.max_streams,
        grace: millis(m.grace_ms),
    })
}

fn sixteen(name: &'static str, bytes: &[u8]) -> Result<[u8; 16], ParseError> {
    bytes
        .try_into()
        .map_err(|_| field(name, format!("has 16 bytes, not {}", bytes.len())))
}
