//! A request and its answer, as both directions of a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::StatusCode;

use crate::transport::StreamBroken;
use crate::transport::muxed::MuxStream;

/// Dropping it resets what is not over, with CANCEL.
pub(super) struct H2Stream {
    pub(super) id: u32,
    /// None where nothing is to be said.
    pub(super) send: Option<SendStream<Bytes>>,
    pub(super) recv: Recv,
}

/// The direction from the peer.
pub(super) enum Recv {
    /// The head of the answer has not come.
    Awaited(ResponseFuture),
    Body(RecvStream),
    /// Nothing comes.
    Nothing,
}

impl MuxStream for H2Stream {
    fn id(&self) -> u32 {
        self.id
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.recv {
                Recv::Nothing => return Poll::Ready(None),
                Recv::Awaited(answer) => {
                    self.recv = match ready!(Pin::new(answer).poll(cx)) {
                        Ok(answer) if answer.status() == StatusCode::OK => {
                            Recv::Body(answer.into_body())
                        }
                        Ok(_) | Err(_) => Recv::Nothing,
                    };
                }
                Recv::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(part)) => {
                        // A stream that is gone has nothing to release.
                        let _ = body.flow_control().release_capacity(part.len());
                        if !part.is_empty() {
                            return Poll::Ready(Some(part));
                        }
                    }
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>> {
        if chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let Some(send) = &mut self.send else {
            return Poll::Ready(Err(StreamBroken));
        };
        send.reserve_capacity(chunk.len().min(super::SEND_BUFFER));
        let mut room = send.capacity();
        while room == 0 {
            room = match ready!(send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(StreamBroken)),
            };
        }
        let part = chunk.split_to(room.min(chunk.len()));
        Poll::Ready(send.send_data(part, false).map_err(|_| StreamBroken))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if let Some(send) = &mut self.send {
            // An error says that the peer has refused the rest, which is as good as an end.
            let _ = send.send_data(Bytes::new(), true);
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
