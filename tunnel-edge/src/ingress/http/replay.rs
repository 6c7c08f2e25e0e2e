//! Requests that may have to be sent again: how much of the body is kept for it, and when another
//! sending cannot do what the first may have done already.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, request};
use parking_lot::Mutex;

use super::failure::Failure;
use super::limits::REPLAY;
use super::upload::{RequestBody, Source};

/// What is known of an attempt that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Nothing of the request was acted upon: whoever it was for says so, or never saw it.
    Untouched,
    /// The connection ended before an answer began: the origin may have acted.
    MayHaveActed,
    /// The attempt says something about the request or the origin that another would repeat.
    Final,
}

/// What is kept of a request until its answer has begun.
#[derive(Debug)]
pub(super) struct Replay {
    head: request::Parts,
    source: Arc<Mutex<Source>>,
}

impl Replay {
    /// Begins to keep a request that is about to be sent.
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        let source = request.body().source();
        {
            // What an attempt before has given away stays kept.
            let kept = &mut source.lock().kept;
            if !kept.is_whole() {
                *kept = Kept::nothing_yet();
            }
        }
        let mut head = Request::new(()).into_parts().0;
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.version = request.version();
        head.headers = request.headers().clone();
        Self { head, source }
    }

    /// The request once more, if `doubt` allows it (RFC 9110 §9.2.2) and its body was kept whole.
    /// The body that was sent before gives nothing more.
    pub(super) fn again(self, doubt: Doubt) -> Option<Request<RequestBody>> {
        let allowed = match doubt {
            Doubt::Untouched => true,
            Doubt::MayHaveActed => self.head.method.is_idempotent(),
            Doubt::Final => false,
        };
        if !allowed {
            return None;
        }
        let body = RequestBody::again(self.source)?;
        Some(Request::from_parts(self.head, body))
    }

    /// The answer has begun: nothing need be kept any more.
    pub(super) fn forget(self) {
        self.source.lock().kept.lose();
    }
}

/// What of a body has been given away.
#[derive(Debug)]
pub(super) enum Kept {
    /// All of it, in order, with its bytes counted.
    Whole { frames: Vec<Given>, bytes: usize },
    /// It was too much, or is not needed any more.
    Lost,
}

/// A frame that was given away.
#[derive(Debug, Clone)]
pub(super) enum Given {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    pub(super) fn nothing_yet() -> Self {
        Self::Whole {
            frames: Vec::new(),
            bytes: 0,
        }
    }

    /// Keeps a frame as well, or loses all if that is too much.
    pub(super) fn keep(&mut self, given: impl FnOnce() -> Option<Given>) {
        let Self::Whole { frames, bytes } = self else {
            return;
        };
        let Some(given) = given() else {
            return;
        };
        let size = match &given {
            Given::Data(data) => data.len(),
            Given::Trailers(_) => 0,
        };
        *bytes += size;
        if *bytes > REPLAY {
            self.lose();
        } else {
            frames.push(given);
        }
    }

    pub(super) fn lose(&mut self) {
        *self = Self::Lost;
    }

    /// The frame at a place of those that were given away, and its bytes.
    pub(super) fn get(&self, place: usize) -> Option<&Given> {
        match self {
            Self::Whole { frames, .. } => frames.get(place),
            Self::Lost => None,
        }
    }

    /// How many frames are kept.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole { frames, .. } => frames.len(),
            Self::Lost => 0,
        }
    }

    /// How many bytes were given from a place on.
    pub(super) fn bytes_from(&self, place: usize) -> usize {
        match self {
            Self::Whole { frames, .. } => frames[place.min(frames.len())..]
                .iter()
                .map(|given| match given {
                    Given::Data(data) => data.len(),
                    Given::Trailers(_) => 0,
                })
                .sum(),
            Self::Lost => 0,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Lost => false,
        }
    }
}

/// What an attempt that failed so says about the request.
pub(super) fn doubt(failure: Failure) -> Doubt {
    use relay::{OpenError, ResetCode};
    match failure {
        // The stream never came about.
        Failure::Open(
            OpenError::SessionClosed | OpenError::Draining | OpenError::TooManyStreams,
        ) => Doubt::Untouched,
        Failure::OriginClosed
        | Failure::Reset(
            // The drain of a client ends streams that were at work, too.
            ResetCode::Draining
            | ResetCode::Overload
            | ResetCode::OriginReset
            | ResetCode::SessionClosed
            | ResetCode::GraceExpired
            | ResetCode::Cancelled
            | ResetCode::CallerReset
            | ResetCode::IdleTimeout,
        ) => Doubt::MayHaveActed,
        Failure::BadHost
        | Failure::BadPath
        | Failure::BadForwardingHeader
        | Failure::TransferCodingUnsupported
        | Failure::MethodNotSupported
        | Failure::CallerNotAllowed
        | Failure::TooManyConnections
        | Failure::UnknownHost
        | Failure::UnknownPath
        | Failure::ClusterNotConnected
        | Failure::UnknownService
        | Failure::NotHttp
        | Failure::Open(OpenError::Timeout)
        | Failure::OpenTimeout
        | Failure::OriginProtocol
        | Failure::UpgradeUnsupported
        | Failure::UpgradeDeclined
        | Failure::RequestIncomplete
        | Failure::RequestTimeout
        | Failure::Reset(
            ResetCode::NotAllowed
            | ResetCode::UnknownService
            | ResetCode::ConnectRefused
            | ResetCode::ConnectFailed
            | ResetCode::ConnectTimeout
            | ResetCode::Protocol
            | ResetCode::Internal,
        ) => Doubt::Final,
    }
}
