//! HTTP/1.1 to an origin: one request at a time on each connection.

use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::body::{RequestBody, Upload};
use super::super::failure::Failure;
use super::super::limits::{ORIGIN_BUFFER, READY_WAIT};
use super::super::link::Verdict;
use super::super::metrics::Protocol;
use super::super::pool::Health;
use super::{Destination, Origins, Pool, Reuse, SendError, failure};

/// A connection. Dropping it closes it once its exchange, if any, is over.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// Ends the connection's task at once, which resets the stream that it runs on.
    abort: CancellationToken,
    verdict: Verdict,
}

impl Http1 {
    pub(super) fn health(&self) -> Health {
        if self.sender.is_closed() {
            Health::Gone
        } else if self.sender.is_ready() {
            Health::Ready
        } else {
            Health::Settling
        }
    }
}

impl Origins {
    pub(super) async fn lease_http1(
        &self,
        pool: &Arc<Pool>,
        to: &Destination,
        reuse: Reuse,
    ) -> Result<Http1Lease, Failure> {
        let kept = match reuse {
            Reuse::Any => kept(pool).await,
            Reuse::OpenedSince(_) => None,
        };
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect_http1(to).await?,
        };
        Ok(Http1Lease {
            connection: Some(connection),
            upload: Arc::default(),
            pool: pool.clone(),
            reused,
        })
    }

    async fn connect_http1(&self, to: &Destination) -> Result<Http1, Failure> {
        let traceparent = to.traceparent.clone();
        let io = to.link.open(&to.service, &self.principal, traceparent).await?;
        let verdict = io.verdict();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(ORIGIN_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| failure(&error, &verdict))?;
        let tasks = self.tasks.tasks();
        let abort = tasks.token();
        to.link.spawn(tasks.owned_until(abort.clone(), async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the origin failed");
            }
        }));
        self.metrics.opened(Protocol::Http1);
        Ok(Http1 {
            sender,
            abort,
            verdict,
        })
    }
}

/// A kept connection that is ready, or is so in a moment.
async fn kept(pool: &Pool) -> Option<Http1> {
    loop {
        let mut connection = pool.http1.lock().take(Http1::health)?;
        if connection.sender.is_ready() {
            return Some(connection);
        }
        // Otherwise it closes: it was about to, or is too slow to be worth the wait.
        if let Ok(Ok(())) = timeout(READY_WAIT, connection.sender.ready()).await {
            return Some(connection);
        }
    }
}

/// The use of a connection for one request.
#[derive(Debug)]
pub(in super::super) struct Http1Lease {
    /// Taken out only at the end of the lease.
    connection: Option<Http1>,
    upload: Arc<Upload>,
    pool: Arc<Pool>,
    reused: bool,
}

impl Http1Lease {
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.upload = request.body_mut().begin(None);
        let connection = self.connection.as_mut().expect("the lease has not ended");
        let mut answer = pin!(connection.sender.try_send_request(request));
        // If this future is dropped, the guard goes first: the connection must be cut before
        // hyper notices that nobody waits any more, and closes it in an orderly way.
        let cut = connection.abort.clone().drop_guard();
        let answered = answer.as_mut().await;
        cut.disarm();
        answered.map_err(|error| SendError::new(error, &connection.verdict))
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Keeps the connection for the next request. If the origin answered before it had the whole
    /// request, the rest still goes to it, and then the connection closes.
    pub(super) fn finish(mut self) {
        if let Some(connection) = self.connection.take()
            && self.upload.is_complete()
        {
            let surplus = self.pool.http1.lock().put(connection, Instant::now());
            drop(surplus);
        }
    }
}

impl Drop for Http1Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort.cancel();
        }
    }
}
