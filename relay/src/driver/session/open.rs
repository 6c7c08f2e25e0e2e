//! Opening streams.

use std::pin::pin;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;

use super::Session;
use crate::audit::Entry;
use crate::driver::stream::{Stream, StreamHandle};
use crate::driver::{Reset, span};
use crate::proto::{Caller, Generation, Open, ServiceName, StreamHeader};
use crate::session::OpenRefusal;
use crate::transport::TransportStream;

/// How long an open may wait for room, and for its header to be with the transport.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// What a stream is opened for.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// What is called.
    pub service: ServiceName,
    /// Who calls.
    pub caller: Caller,
    /// A W3C Trace Context `traceparent` to go on with.
    pub traceparent: Option<String>,
}

/// Why a stream was not opened. No payload of it was sent; after [`OpenError::Timeout`] its header may
/// have reached the acceptor, which is told of the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session is over.
    #[error("the session is over")]
    SessionClosed,
    /// One of the ends is stopping.
    #[error("the session is draining and takes no new streams")]
    Draining,
    /// The peer allows no more at once, and none ended in time.
    #[error("too many streams are open in the session")]
    TooManyStreams,
    /// The connection did not take the header in time.
    #[error("the connection took nothing for 10 s")]
    Timeout,
}

impl Session {
    /// Opens a stream: waits for room and until its header is with the transport, each 10 s at
    /// most, but not for the acceptor. Cancel-safe: a stream that was begun is reset.
    pub async fn open(&self, request: OpenRequest) -> Result<Stream, OpenError> {
        let handle = timeout(OPEN_DEADLINE, self.reserve(&request))
            .await
            .map_err(|_| OpenError::TooManyStreams)??;
        let stream = timeout(OPEN_DEADLINE, self.send_header(handle, request))
            .await
            .map_err(|_| OpenError::Timeout)??;
        Ok(stream)
    }

    async fn reserve(&self, request: &OpenRequest) -> Result<StreamHandle, OpenError> {
        loop {
            let mut room = pin!(self.shared.room());
            room.as_mut().enable();
            if !self.is_open() {
                return Err(OpenError::SessionClosed);
            }
            match self.shared.with(|session, now| session.open(now)) {
                Ok(id) => {
                    self.shared.metrics.stream_opened();
                    let OpenRequest {
                        service,
                        traceparent,
                        ..
                    } = request;
                    let span = span::stream(&self.shared.span, id, service, traceparent.as_deref());
                    return Ok(StreamHandle::new(self.shared.clone(), id, span));
                }
                Err(OpenRefusal::Draining) => return Err(OpenError::Draining),
                Err(OpenRefusal::TooMany) => room.await,
            }
        }
    }

    async fn send_header(
        &self,
        handle: StreamHandle,
        request: OpenRequest,
    ) -> Result<Stream, OpenError> {
        handle.audit(|parties| {
            let OpenRequest {
                service,
                caller,
                traceparent,
            } = request.clone();
            Entry::new(parties, service, caller, traceparent)
        });
        let open = Open {
            stream: handle.id(),
            service: request.service,
            caller: request.caller,
            traceparent: request.traceparent,
            resumable: self.shared.resumes(),
            generation: Generation(0),
        };
        let transport = self.transport_for(&open).await?;
        let mut header = BytesMut::new();
        StreamHeader::Open(open).encode(&mut header);
        let mut stream = Stream::opened(handle, transport, header.freeze());
        match stream.flush().await {
            Ok(()) => Ok(stream),
            Err(Reset { .. }) => Err(OpenError::SessionClosed),
        }
    }

    /// A transport stream for a new stream, on the connection that there is or the next one.
    async fn transport_for(&self, open: &Open) -> Result<TransportStream, OpenError> {
        let shared = &self.shared;
        let over = async {
            shared.closed().cancelled().await;
            Err(OpenError::SessionClosed)
        };
        let opened = async {
            loop {
                let line = shared.connected_line().await;
                let opening = line.over.run_until_cancelled(line.connection.open());
                match opening.await {
                    Some(Ok(transport)) => {
                        let begun = shared.on_line(&line, |session, _| {
                            session.keep(open);
                            session.begin(open.stream)
                        });
                        match begun {
                            Some(true) => return Ok(transport),
                            Some(false) => return Err(OpenError::SessionClosed),
                            None => {}
                        }
                    }
                    // It is about to be found lost.
                    Some(Err(_)) => line.over.cancelled().await,
                    None => {}
                }
            }
        };
        tokio::select! {
            over = over => over,
            opened = opened => opened,
        }
    }
}
