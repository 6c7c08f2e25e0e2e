//! Streams of HTTP/2 origins that stop speaking HTTP: extended CONNECT (RFC 8441 §4).
//!
//! Each has a connection of its own, as over HTTP/1.1: it takes no room from requests, and what
//! breaks off resets the stream of the tunnel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::super::body::OriginBody;
use super::super::failure::Failure;
use super::super::limits::{ORIGIN_HEAD, ORIGIN_STREAM_WINDOW, ORIGIN_WINDOW, SEND_BUFFER};
use super::super::link::{Link, OriginIo, Verdict};
use super::super::metrics::Protocol;
use super::super::tasks::{Handover, TaskOwner, Tasks};
use super::super::upload::RequestBody;
use super::{Destination, Lease, Origins, SendError, failure};

/// The length of a frame's header, which begins with the length of the rest (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;

/// The use of a connection for one extended CONNECT. Dropping it resets the connection.
#[derive(Debug)]
pub(in super::super) struct ConnectLease {
    requests: http2::SendRequest<RequestBody>,
    handover: Handover,
    /// Owns the connection's tasks.
    connection: TaskOwner,
    link: Link,
    all: Tasks,
}

impl ConnectLease {
    /// Where the writer of the stream is found once the origin has agreed.
    pub(super) fn handover(&self) -> Handover {
        self.handover.clone()
    }

    /// Both directions have ended: the connection says goodbye.
    pub(super) fn finish(self) {
        drop(self.requests);
        let connection = self.connection;
        let goodbye = async move { connection.finished().await };
        self.link.spawn(self.all.owned(goodbye));
    }
}

struct Opened {
    requests: http2::SendRequest<RequestBody>,
    offered: bool,
    verdict: Verdict,
}

impl Origins {
    /// Asks an origin by extended CONNECT to speak another protocol, and waits for the head of its
    /// answer. Dropping the future, or later the lease, gives it up.
    ///
    /// # Errors
    ///
    /// [`Failure::UpgradeUnsupported`] if the origin has not offered this in its SETTINGS
    /// (RFC 8441 §3), which this waits for.
    pub(in super::super) async fn connect(
        self: &Arc<Self>,
        to: &Destination,
        mut request: Request<RequestBody>,
    ) -> Result<Response<OriginBody>, Failure> {
        let connection = TaskOwner::new();
        let handover = Handover::default();
        let tasks = connection.tasks().with_handover(handover.clone());
        let (publish, opened) = oneshot::channel();
        let drive = self.drive_connect(to, tasks.clone(), publish);
        to.link.spawn(tasks.owned(drive));
        let opened = opened.await.unwrap_or(Err(Failure::OriginClosed))?;
        if !opened.offered {
            return Err(Failure::UpgradeUnsupported);
        }
        let upload = request.body_mut().begin(None);
        let mut lease = ConnectLease {
            requests: opened.requests,
            handover,
            connection,
            link: to.link.clone(),
            all: self.tasks.tasks().clone(),
        };
        match lease.requests.try_send_request(request).await {
            Ok(response) => Ok(Lease::Connect(Box::new(lease)).attach(response)),
            Err(error) => Err(SendError::new(error, &opened.verdict, &upload).failure),
        }
    }

    /// Opens a connection, says so once the origin's SETTINGS are known, and drives it.
    fn drive_connect(
        &self,
        to: &Destination,
        tasks: Tasks,
        publish: oneshot::Sender<Result<Opened, Failure>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let link = to.link.clone();
        let service = to.service.clone();
        let principal = self.principal.clone();
        let traceparent = to.traceparent.clone();
        let metrics = self.metrics.clone();
        async move {
            let open = async {
                let io = link.open(&service, &principal, traceparent).await?;
                let verdict = io.verdict();
                let (io, greeting) = Greeted::new(io);
                let (requests, connection) = http2::Builder::new(tasks)
                    .initial_stream_window_size(ORIGIN_STREAM_WINDOW)
                    .initial_connection_window_size(ORIGIN_WINDOW)
                    .max_send_buf_size(SEND_BUFFER)
                    .max_header_list_size(ORIGIN_HEAD as u32)
                    .handshake(TokioIo::new(io))
                    .await
                    .map_err(|error| failure(&error, &verdict))?;
                metrics.opened(Protocol::H2);
                // The tasks of the connection, which read, run by themselves.
                if greeting.await.is_err() {
                    return Err(verdict.get().map_or(Failure::OriginClosed, Failure::Reset));
                }
                let opened = Opened {
                    requests,
                    offered: connection.is_extended_connect_protocol_enabled(),
                    verdict,
                };
                Ok((opened, connection))
            };
            let (opened, connection) = match open.await {
                Ok(opened) => opened,
                Err(failure) => {
                    drop(publish.send(Err(failure)));
                    return;
                }
            };
            drop(publish.send(Ok(opened)));
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the origin failed");
            }
        }
    }
}

/// A connection's bytes, which says when the origin's first frame was read and understood: its
/// SETTINGS (RFC 9113 §3.4).
struct Greeted {
    io: OriginIo,
    /// The first bytes of the frame's header.
    length: [u8; 3],
    received: usize,
    /// Taken when it is said.
    greeting: Option<oneshot::Sender<()>>,
}

impl Greeted {
    fn new(io: OriginIo) -> (Self, oneshot::Receiver<()>) {
        let (greeting, greeted) = oneshot::channel();
        let io = Self {
            io,
            length: [0; 3],
            received: 0,
            greeting: Some(greeting),
        };
        (io, greeted)
    }

    fn is_complete(&self) -> bool {
        let [high, middle, low] = self.length;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.received >= FRAME_HEADER + length
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_none() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        // h2 applies what it has before it asks for more.
        if self.is_complete()
            && let Some(greeting) = self.greeting.take()
        {
            // Nobody waits if the request was given up.
            let _ = greeting.send(());
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        for &byte in &buf.filled()[before..] {
            let at = self.received;
            if let Some(slot) = self.length.get_mut(at) {
                *slot = byte;
            }
            self.received += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
