//! Requests that may have to be sent again: how much of the body is kept for it, and when another
//! sending cannot do what the first may have done already.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, request};
use hyper::body::Frame;
use parking_lot::Mutex;

use super::failure::Failure;
use super::limits::{REPLAY, REPLAY_PIECE};
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
                *kept = Kept::Whole(Given::default());
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

    /// The answer has begun: nothing more need be kept.
    pub(super) fn forget(self) {
        self.source.lock().forget();
    }
}

/// What of a body has been given away.
#[derive(Debug)]
pub(super) enum Kept {
    /// All of it.
    Whole(Given),
    /// The same, for the attempt that is giving it again, and for none after it.
    OnceMore(Given),
    /// It was too much, or is not needed any more.
    Lost,
}

/// A body, or its beginning, that was given away.
///
/// The data is copied: a frame may be a single byte, and keeps all that its connection received
/// together with it in memory. So what is held is in proportion to the bytes, however they were cut.
#[derive(Debug, Default)]
pub(super) struct Given {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What a field of trailers is taken to hold besides its name and value, in bytes: its places in
/// the map, and what each of the two allocations wastes.
const FIELD_OVERHEAD: usize = 256;

impl Kept {
    /// Keeps some data as well, or loses all if that is too much.
    pub(super) fn keep_data(&mut self, data: &[u8]) {
        let Self::Whole(given) = self else {
            return;
        };
        if given.data.len() + data.len() > REPLAY {
            *self = Self::Lost;
        } else {
            given.append(data);
        }
    }

    /// Keeps the trailers as well, or loses all if that is too much.
    pub(super) fn keep_trailers(&mut self, trailers: &HeaderMap) {
        let Self::Whole(given) = self else {
            return;
        };
        let size: usize = trailers.iter().map(field_size).sum();
        if given.data.len() + size > REPLAY {
            *self = Self::Lost;
        } else {
            given.trailers = Some(trailers.clone());
        }
    }

    /// What was given from a place on, or a part of it. Places are counted in bytes; the trailers
    /// are one more.
    pub(super) fn get(&self, place: usize) -> Option<Frame<Bytes>> {
        let given = self.given()?;
        let rest = given.data.get(place..)?;
        if rest.is_empty() {
            return given
                .trailers
                .clone()
                .map(Frame::trailers)
                .filter(|_| place == given.data.len());
        }
        let piece = &rest[..rest.len().min(REPLAY_PIECE)];
        Some(Frame::data(Bytes::copy_from_slice(piece)))
    }

    /// The place behind all that is kept.
    pub(super) fn end(&self) -> usize {
        let given = self.given();
        given.map_or(0, |given| {
            given.data.len() + usize::from(given.trailers.is_some())
        })
    }

    /// How many bytes of data were given from a place on.
    pub(super) fn bytes_from(&self, place: usize) -> usize {
        let given = self.given();
        given.map_or(0, |given| given.data.len().saturating_sub(place))
    }

    /// Keeps no more than what follows a place, for as long as that is not given again.
    pub(super) fn forget_before(&mut self, place: usize) {
        *self = match std::mem::replace(self, Self::Lost) {
            kept if place >= kept.end() => Self::Lost,
            Self::Whole(given) | Self::OnceMore(given) => Self::OnceMore(given),
            Self::Lost => Self::Lost,
        };
    }

    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::OnceMore(_) | Self::Lost => false,
        }
    }

    /// Whether it need only be kept until it was given once more.
    pub(super) fn is_once_more(&self) -> bool {
        match self {
            Self::OnceMore(_) => true,
            Self::Whole(_) | Self::Lost => false,
        }
    }

    fn given(&self) -> Option<&Given> {
        match self {
            Self::Whole(given) | Self::OnceMore(given) => Some(given),
            Self::Lost => None,
        }
    }
}

impl Given {
    /// Grows like a vector, but never beyond what may be kept.
    fn append(&mut self, data: &[u8]) {
        let needed = self.data.len() + data.len();
        if needed > self.data.capacity() {
            let capacity = needed.max(self.data.capacity() * 2).min(REPLAY);
            self.data.reserve_exact(capacity - self.data.len());
        }
        self.data.extend_from_slice(data);
    }
}

fn field_size((name, value): (&HeaderName, &HeaderValue)) -> usize {
    name.as_str().len() + value.len() + FIELD_OVERHEAD
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

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_yet() -> Kept {
        Kept::Whole(Given::default())
    }

    fn all_of(kept: &Kept) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(frame) = kept.get(all.len()) {
            all.extend(frame.into_data().unwrap());
        }
        all
    }

    #[test]
    fn single_bytes_hold_no_more_than_they_are() {
        let mut kept = nothing_yet();
        let mut expected = Vec::new();
        for at in 0..REPLAY {
            kept.keep_data(&[at as u8]);
            expected.push(at as u8);
        }
        assert_eq!(kept.given().unwrap().data.capacity(), REPLAY);
        assert_eq!(all_of(&kept), expected);
        kept.keep_data(b"x");
        assert!(!kept.is_whole());
        assert_eq!(kept.end(), 0);
    }

    #[test]
    fn an_odd_cut_makes_the_memory_no_larger() {
        let mut kept = nothing_yet();
        for _ in 0..4 {
            kept.keep_data(&[0; REPLAY / 5 + 1]);
        }
        assert!(kept.given().unwrap().data.capacity() <= REPLAY);
        assert_eq!(kept.bytes_from(10), 4 * (REPLAY / 5 + 1) - 10);
    }

    #[test]
    fn trailers_count_by_what_they_hold() {
        let fields = |count: usize| -> HeaderMap {
            let fields = (0..count).map(|at| {
                let name = HeaderName::try_from(format!("x-{at}")).unwrap();
                (name, HeaderValue::from_static(""))
            });
            fields.collect()
        };
        let most = REPLAY / FIELD_OVERHEAD;
        let mut kept = nothing_yet();
        kept.keep_trailers(&fields(most));
        assert!(!kept.is_whole(), "the names were not counted");
        for (data, whole) in [(0, true), (REPLAY / 2, true), (REPLAY, false)] {
            let mut kept = nothing_yet();
            kept.keep_data(&vec![b'x'; data]);
            kept.keep_trailers(&fields(most / 3));
            assert_eq!(kept.is_whole(), whole, "{data}");
            assert_eq!(kept.end(), if whole { data + 1 } else { 0 });
            let last = kept.get(data).map(|frame| frame.into_trailers().unwrap());
            assert_eq!(last.is_some(), whole);
            assert!(kept.get(data + 1).is_none());
        }
    }
}
