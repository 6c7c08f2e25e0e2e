//! HTTP/1.1 to an origin: one request at a time on each connection.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::super::failure::Failure;
use super::super::headers::is_coding_undone;
use super::super::limits::{KEEP_ALIVE_MARGIN, ORIGIN_BUFFER, READY_WAIT};
use super::super::link::Verdict;
use super::super::metrics::Protocol;
use super::super::pool::Health;
use super::super::upload::{RequestBody, Upload};
use super::{Destination, Origins, Pool, Reuse, SendError, failure};

/// A connection. Dropping it closes it once its exchange, if any, is over.
#[derive(Debug)]
pub(super) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    /// Ends the connection's task at once, which resets the stream that it runs on.
    abort: CancellationToken,
    verdict: Verdict,
    /// When the origin is about to close it, if it said so with its last answer.
    expires: Option<Instant>,
}

impl Http1 {
    pub(super) fn health(&self) -> Health {
        let expired = self.expires.is_some_and(|time| time <= Instant::now());
        if self.sender.is_closed() || expired {
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
            Reuse::Besides(_) | Reuse::OpenedSince(_) => None,
        };
        let reused = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect_http1(to).await?,
        };
        Ok(Http1Lease {
            connection: Some(connection),
            upload: Arc::default(),
            expires: None,
            pool: pool.clone(),
            reused,
        })
    }

    async fn connect_http1(&self, to: &Destination) -> Result<Http1, Failure> {
        let traceparent = to.traceparent.clone();
        let io = to
            .link
            .open(&to.service, &self.principal, traceparent)
            .await?;
        let (verdict, span) = (io.verdict(), io.span());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(ORIGIN_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| failure(&error, &verdict))?;
        let tasks = self.tasks.tasks();
        let abort = tasks.token();
        let drive = async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the origin failed");
            }
        };
        to.link
            .spawn(tasks.owned_until(abort.clone(), drive.instrument(span)));
        self.metrics.opened(Protocol::Http1);
        Ok(Http1 {
            sender,
            abort,
            verdict,
            expires: None,
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
    /// When the origin is about to close the connection, if it said so. Counted from the head of
    /// its answer: the end may come here long after the origin wrote it, if the caller reads slowly.
    expires: Option<Instant>,
    pool: Arc<Pool>,
    reused: bool,
}

impl Http1Lease {
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.upload = request.body_mut().begin(None);
        if expects_continue(request.headers()) && !self.upload.is_complete() {
            self.upload.hold();
            let upload = self.upload.clone();
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    upload.release();
                }
            });
        }
        let connection = self.connection.as_mut().expect("the lease has not ended");
        let mut answer = pin!(connection.sender.try_send_request(request));
        // If this future is dropped, the guard goes first: the connection must be cut before
        // hyper notices that nobody waits any more, and closes it in an orderly way.
        let cut = connection.abort.clone().drop_guard();
        let answered = answer.as_mut().await;
        cut.disarm();
        match answered {
            Ok(response) if !is_coding_undone(response.headers()) => {
                tracing::debug!("no answer: it comes in a transfer coding that is not understood");
                Err(SendError::of_answer(Failure::OriginProtocol))
            }
            Ok(response) => {
                self.expires = keep_alive(response.headers())
                    .map(|time| Instant::now() + time.saturating_sub(KEEP_ALIVE_MARGIN));
                // Who begins with a success may be answering while it reads; who refuses does not
                // read what it has not asked for.
                if response.status().is_success() {
                    self.upload.release();
                } else {
                    self.upload.refuse();
                }
                Ok(response)
            }
            Err(error) => Err(SendError::new(error, &connection.verdict, &self.upload)),
        }
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Keeps the connection for the next request. If the origin answered before it had the whole
    /// request, the rest still goes to it, and then the connection closes; at once if it has
    /// not asked for a body that waited for that.
    pub(super) fn finish(mut self) {
        if self.upload.is_unwanted() {
            return;
        }
        if let Some(mut connection) = self.connection.take()
            && self.upload.is_complete()
        {
            connection.expires = self.expires;
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

/// Whether the caller waits for a 100 before it sends the body (RFC 9110 §10.1.1).
fn expects_continue(headers: &HeaderMap) -> bool {
    let expected = headers.get(EXPECT).map(HeaderValue::as_bytes);
    expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// For how long the origin will keep an idle connection, if it says so. The field is no longer
/// standard (RFC 2068 §19.7.1.1), but Node and Apache send it and keep to it.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let timeout = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(timeout.parse::<u32>().ok()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_may_say_how_long_it_keeps_a_connection() {
        for (value, expected) in [
            ("timeout=5", Some(5)),
            ("max=100, timeout=72", Some(72)),
            ("timeout=x", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(keep_alive(&headers), None);
            headers.insert("keep-alive", value.parse().unwrap());
            assert_eq!(keep_alive(&headers), expected.map(Duration::from_secs));
        }
    }
}
