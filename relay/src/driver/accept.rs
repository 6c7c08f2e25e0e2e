//! The accept task: takes the streams that the peer opens, and hands each to the handler.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::attach::MovedSender;
use super::line::Line;
use super::shared::{ClosedBy, Shared, close};
use super::stream::{MovedReceiver, Stream, StreamHandle};
use super::{span, surface_panic};
use crate::audit::Entry;
use crate::proto::{
    CloseCode, FrameBuffer, MAX_HEADER_FRAME, Open, ResetCode, ServiceName, StreamAnswer,
    StreamHeader,
};
use crate::session::HeaderOutcome;
use crate::transport::{BoxFuture, RecvHalf, StreamBroken, TransportStream};

/// How many streams may be waiting for their headers; more wait in the transport. A header that
/// never comes takes one of these places from its own session, until its connection is over.
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

/// What takes the streams that the peer opens. Any function that takes an [`Incoming`] is one.
pub trait HandleStreams: Send + Sync {
    /// Serves a stream, in a task of its own on the session's worker and within the stream's span.
    fn serve(&self, incoming: Incoming) -> BoxFuture<'static, ()>;

    /// Whether a stream for `service` may outlive its connection, if its opener wants that. Asked
    /// for each of its headers, before [`Self::serve`].
    fn resumes(&self, service: &ServiceName) -> bool {
        let _ = service;
        true
    }
}

impl<F> HandleStreams for F
where
    F: Fn(Incoming) -> BoxFuture<'static, ()> + Send + Sync,
{
    fn serve(&self, incoming: Incoming) -> BoxFuture<'static, ()> {
        self(incoming)
    }
}

/// What takes a session's streams.
pub type StreamHandler = Arc<dyn HandleStreams>;

/// Accepts from every connection of the session until that is over, then waits for the handlers.
pub(super) async fn run(shared: Arc<Shared>, handler: StreamHandler) {
    let mut handlers = JoinSet::new();
    let headers = Arc::new(Semaphore::new(MAX_HEADERS));
    while let Some(line) = shared
        .closed()
        .run_until_cancelled(shared.connected_line())
        .await
    {
        let over = line.over.clone();
        let accepting = accept(&shared, &line, &handler, &headers, &mut handlers);
        tokio::select! {
            () = shared.closed().cancelled() => break,
            () = over.cancelled() => {}
            never = accepting => match never {},
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

/// Accepts from one of them. Cancel-safe.
async fn accept(
    shared: &Arc<Shared>,
    line: &Arc<Line>,
    handler: &StreamHandler,
    headers: &Arc<Semaphore>,
    handlers: &mut JoinSet<()>,
) -> Infallible {
    loop {
        tokio::select! {
            transport = next_stream(line, headers) => {
                let Some((transport, permit)) = transport else {
                    // Why, and whether all is well, is the control stream's to say.
                    return std::future::pending().await;
                };
                let (shared, line, handler) = (shared.clone(), line.clone(), handler.clone());
                // The task lives as long as its stream, so its size counts: what admitting it takes
                // is in a box that is gone by then.
                let admitting = Box::pin(async move {
                    let admitting = admit(&shared, &line, handler.as_ref(), transport, permit);
                    let incoming = admitting.instrument(shared.span.clone()).await?;
                    let span = incoming.stream.span().clone();
                    let serving = span.in_scope(|| handler.serve(incoming));
                    Some(serving.instrument(span))
                });
                handlers.spawn(async move {
                    if let Some(serving) = admitting.await {
                        serving.await;
                    }
                });
            }
            Some(ended) = handlers.join_next() => surface_panic(ended),
        }
    }
}

/// The next transport stream, and a place to read its header in; `None` if there will be no more.
async fn next_stream(
    line: &Line,
    headers: &Arc<Semaphore>,
) -> Option<(TransportStream, OwnedSemaphorePermit)> {
    let permit = headers.clone().acquire_owned().await.ok()?;
    let transport = line.connection.accept().await.ok()?;
    Some((transport, permit))
}

/// Reads the header of a transport stream, and asks the session what it leads to: a new stream, or a
/// live one that goes on here.
async fn admit(
    shared: &Arc<Shared>,
    line: &Arc<Line>,
    handler: &dyn HandleStreams,
    mut transport: TransportStream,
    place: OwnedSemaphorePermit,
) -> Option<Incoming> {
    let read = read_header(transport.recv.as_mut());
    let read = shared.closed().run_until_cancelled(read);
    let read = line.over.run_until_cancelled(read).await??;
    // What follows may take as long as the path is slow.
    drop(place);
    let (mut header, early) = match read {
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
    if let StreamHeader::Open(open) = &mut header {
        open.resumable = open.resumable && handler.resumes(&open.service);
    }
    let outcome = shared.on_line(line, |session, now| match &header {
        StreamHeader::Open(open) => session.handle_open(open, now),
        StreamHeader::Attach(attach) => session.handle_attach(attach),
    })?;
    match (outcome, header) {
        (Ok(HeaderOutcome::New { answer }), StreamHeader::Open(open)) => {
            shared.metrics.stream_accepted();
            open_here(shared, open, transport, early, answer).await
        }
        (Ok(HeaderOutcome::New { .. }), StreamHeader::Attach(_))
        | (Ok(HeaderOutcome::TooLate), _) => None,
        (Ok(HeaderOutcome::Moved { answer, skip }), _) => {
            go_on_here(shared, line, transport, early, answer, skip).await;
            None
        }
        (Ok(HeaderOutcome::Overload), _) => {
            shared.metrics.stream_accepted();
            None
        }
        (Err(violation), _) => {
            shared.violated(&violation);
            None
        }
    }
}

async fn open_here(
    shared: &Arc<Shared>,
    open: Open,
    transport: TransportStream,
    early: Bytes,
    answer: StreamAnswer,
) -> Option<Incoming> {
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
    let mut stream = match Stream::accepted(handle, transport, early, answer) {
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

/// A live stream goes on at this transport stream.
async fn go_on_here(
    shared: &Arc<Shared>,
    line: &Line,
    transport: TransportStream,
    early: Bytes,
    answer: StreamAnswer,
    skip: u64,
) {
    let (id, generation) = (answer.stream, answer.generation);
    shared.metrics.stream_moved();
    shared.hand_receiver(
        id,
        MovedReceiver {
            generation,
            half: transport.recv,
            answer: None,
            skip,
            early,
        },
    );
    let mut first = BytesMut::new();
    answer.encode(&mut first);
    let moved = MovedSender {
        shared: shared.clone(),
        id,
        generation,
        half: transport.send,
    };
    moved.send_again(line, first.freeze(), answer.start).await;
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
