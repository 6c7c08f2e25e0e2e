//! The accept task: takes the streams that the peer opens, and hands each to the handler.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::shared::{ClosedBy, Shared, close};
use super::span;
use super::stream::{Stream, StreamHandle};
use crate::audit::Entry;
use crate::proto::{CloseCode, FrameBuffer, MAX_HEADER_FRAME, Open, ResetCode, StreamHeader};
use crate::session::{Opened, Violation};
use crate::transport::{BoxFuture, RecvHalf, StreamBroken, TransportStream};

/// How many streams may be waiting for their headers; more wait in the transport. A header that
/// never comes takes one of these places from its own session, until that is over.
const MAX_HEADERS: usize = 1024;

/// How long handlers may take to notice that the session is over.
const HANDLERS_END: Duration = Duration::from_secs(10);

/// A stream that the peer has opened.
#[derive(Debug)]
pub struct Incoming {
    /// What its header says.
    pub open: Open,
    /// The stream.
    pub stream: Stream,
}

/// Takes each stream that the peer opens, in a task of its own on the session's worker and within
/// the stream's span.
pub type StreamHandler = Arc<dyn Fn(Incoming) -> BoxFuture<'static, ()> + Send + Sync>;

/// Accepts until the session is over, then waits for the handlers.
pub(super) async fn run(shared: Arc<Shared>, handler: StreamHandler) {
    let mut handlers = JoinSet::new();
    let headers = Arc::new(tokio::sync::Semaphore::new(MAX_HEADERS));
    loop {
        tokio::select! {
            () = shared.closed().cancelled() => break,
            permit = headers.clone().acquire_owned() => {
                let Ok(permit) = permit else { break };
                tokio::select! {
                    () = shared.closed().cancelled() => break,
                    accepted = shared.connection.accept() => match accepted {
                        Ok(transport) => {
                            let (shared, handler) = (shared.clone(), handler.clone());
                            handlers.spawn(async move {
                                let admitting = admit(&shared, transport);
                                let admitted = admitting.instrument(shared.span.clone()).await;
                                drop(permit);
                                if let Some(incoming) = admitted {
                                    let span = incoming.stream.span().clone();
                                    handler(incoming).instrument(span).await;
                                }
                            });
                        }
                        // Why, and whether all is well, is the control stream's to say.
                        Err(_) => {
                            shared.closed().cancelled().await;
                            break;
                        }
                    },
                    Some(ended) = handlers.join_next() => surface_panic(ended),
                }
            }
        }
    }
    let all_ended = async {
        while let Some(ended) = handlers.join_next().await {
            surface_panic(ended);
        }
    };
    if tokio::time::timeout(HANDLERS_END, all_ended).await.is_err() {
        tracing::error!("handlers outlived their session and are aborted");
    }
}

fn surface_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the handler of a stream panicked");
    }
}

/// Reads the header of a stream and asks the session whether it is new.
async fn admit(shared: &Arc<Shared>, mut transport: TransportStream) -> Option<Incoming> {
    let read = read_header(transport.recv.as_mut());
    let (header, early) = match shared.closed().run_until_cancelled(read).await? {
        Ok(read) => read,
        Err(HeaderError::Broken) => {
            transport.recv.stop(ResetCode::Protocol);
            return None;
        }
        Err(HeaderError::Malformed(code, message)) => {
            shared.end(ClosedBy::Local, close(code, &message));
            return None;
        }
    };
    let open = match header {
        StreamHeader::Open(open) => open,
        StreamHeader::Attach(_) => {
            shared.violated(&Violation::Unexpected(
                "an attachment, which was not negotiated",
            ));
            return None;
        }
    };
    match shared.with(|session, now| session.handle_open(open.stream, now)) {
        Ok(Opened::New) => shared.metrics.stream_accepted(),
        Ok(Opened::AlreadyOver) => return None,
        Ok(Opened::Overload) => {
            shared.metrics.stream_accepted();
            return None;
        }
        Err(violation) => {
            shared.violated(&violation);
            return None;
        }
    }
    let traceparent = open.traceparent.as_deref();
    let span = span::stream(&shared.span, open.stream, &open.service, traceparent);
    let handle = StreamHandle::new(shared.clone(), open.stream, span);
    handle.audit(|parties| {
        let Open {
            service,
            caller,
            traceparent,
            ..
        } = open.clone();
        Entry::new(parties, service, caller, traceparent)
    });
    let mut stream = match Stream::accepted(handle, transport, early) {
        Ok(stream) => stream,
        Err(violation) => {
            shared.violated(&violation);
            return None;
        }
    };
    // A peer that refuses the answer may still send: what that means is the handler's to see.
    stream.flush_what_fits().await.ok()?;
    Some(Incoming { open, stream })
}

enum HeaderError {
    /// The transport stream is gone, which says nothing.
    Broken,
    /// The peer broke the protocol.
    Malformed(CloseCode, String),
}

/// The header, and the payload that came right behind it.
async fn read_header(recv: &mut dyn RecvHalf) -> Result<(StreamHeader, Bytes), HeaderError> {
    let mut frames = FrameBuffer::new(MAX_HEADER_FRAME);
    let mut chunks = VecDeque::new();
    let malformed = |code, error: &dyn std::fmt::Display| {
        HeaderError::Malformed(code, format!("header of a stream: {error}"))
    };
    loop {
        match poll_fn(|cx| recv.poll_read(cx, &mut chunks)).await {
            Ok(0) | Err(StreamBroken) => return Err(HeaderError::Broken),
            Ok(_) => chunks.drain(..).for_each(|chunk| frames.push(&chunk)),
        }
        let frame = frames
            .next_frame()
            .map_err(|error| malformed(error.close_code(), &error))?;
        if let Some(frame) = frame {
            let header = StreamHeader::decode(frame)
                .map_err(|error| malformed(CloseCode::Protocol, &error))?;
            return Ok((header, frames.into_rest()));
        }
    }
}
