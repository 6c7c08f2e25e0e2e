//! Accepting callers, and the life of one caller's connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use relay::descriptors::{Purpose, leave_reserve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::HttpIngress;
use super::caller::{Caller, CallerIo, Judgement};
use super::failure::{Failure, HEAD_MALFORMED, HEAD_TOO_LARGE, PROXY_HEADER};
use super::limits::{
    ACCEPT_PAUSE, CALLER_PING, CALLER_STREAM_WINDOW, CALLER_STREAMS, CALLER_WINDOW, GOODBYE,
    REFUSAL, SEND_BUFFER,
};
use super::request::Access;
use super::tasks::{TaskOwner, Tasks};
use crate::config::HttpLimits;
use crate::ingress::arrival::arrive;

/// Accepts callers until `stop`, then waits until all are gone.
pub(super) async fn accept(
    ingress: &Arc<HttpIngress>,
    listener: TcpListener,
    stop: &CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut sweep = pin!(ingress.origins.sweep());
    loop {
        tokio::select! {
            // Stopping first, so that a busy listener cannot put it off; the ended ones before
            // new ones, so that their books are not forgotten under load.
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            () = &mut sweep => {}
            (socket, peer, permit) = next(ingress, &listener) => {
                // Those that are here free descriptors without the loop.
                let _: Option<()> = stop.run_until_cancelled(leave_reserve(&socket, Purpose::Callers)).await;
                connections.spawn(connection(ingress.clone(), socket, peer, permit, stop.clone()));
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    ingress.origins.clear();
}

/// The next caller, once there is room for one. Cancel safe.
async fn next(
    ingress: &HttpIngress,
    listener: &TcpListener,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = ingress.permits.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => return (socket, peer, permit),
            // Either the caller has left already, or the process has no more descriptors or
            // memory, which only time can change.
            Err(error) => {
                tracing::warn!(ingress = ingress.name, %error, "a caller could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a caller's connection failed");
    }
}

async fn connection(
    ingress: Arc<HttpIngress>,
    socket: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    let _counted = ingress.metrics.caller();
    let (socket, peer) = match arrive(socket, peer, &ingress.connections).await {
        Ok(arrived) => arrived,
        Err(error) => {
            ingress.metrics.failed(PROXY_HEADER);
            tracing::warn!(ingress = ingress.name, %peer, %error, "a caller is reset");
            return;
        }
    };
    // The connections of a proxy are its many callers'.
    let counted_alone = !ingress.settings.trusted.include(peer.ip());
    let room = counted_alone.then(|| ingress.address_limit.enter(peer.ip()));
    let caller = Caller::new(peer, ingress.settings.limits, Instant::now());
    let owner = TaskOwner::new();
    if let Some(None) = room {
        // It takes nobody's place, and there is a place for only so many of its kind.
        drop(permit);
        return match ingress.refusals.try_acquire() {
            Ok(_refusal) => {
                let access = Access::TooManyConnections;
                let refusing = speak_http(&ingress, socket, &caller, access, &owner, &stop);
                let _ = timeout(REFUSAL, refusing).await;
            }
            Err(_) => ingress.metrics.failed(Failure::TooManyConnections.code()),
        };
    }
    let _permit = permit;
    speak_http(&ingress, socket, &caller, Access::Granted, &owner, &stop).await;
    if let Some(splice) = caller.take_splice() {
        splice.spawn(owner.tasks());
    }
    owner.finished().await;
}

/// Serves HTTP on the socket until it ends or is upgraded.
async fn speak_http(
    ingress: &Arc<HttpIngress>,
    socket: TcpStream,
    caller: &Arc<Caller>,
    access: Access,
    owner: &TaskOwner,
    stop: &CancellationToken,
) {
    let service = service_fn(|request| {
        let tasks = owner.tasks().clone();
        let answer = ingress
            .clone()
            .answer(caller.clone(), access, tasks, request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let builder = builder(owner.tasks().clone(), &ingress.settings.limits);
    let io = TokioIo::new(CallerIo::new(socket, caller.clone()));
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    let mut stopping = false;
    let mut leaving = false;
    let mut look = pin!(sleep(Duration::ZERO));
    loop {
        tokio::select! {
            // The connection first: what it has done may make the other branches moot.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection of a caller failed");
                    count_refused(ingress, &*error);
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => match caller.judge(Instant::now()) {
                Judgement::Fine(time) => look.as_mut().reset(Instant::now() + time),
                Judgement::Idle if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + GOODBYE);
                }
                Judgement::Idle | Judgement::TooSlow => {
                    tracing::debug!("a caller was silent or slow for too long");
                    // Something may still be on its way to it, which must not look complete.
                    drop(caller.cut_unless_disarmed());
                    return;
                }
            },
        }
    }
}

/// Counts a head that hyper has refused in its own words, so that no request came about.
fn count_refused(ingress: &HttpIngress, error: &(dyn std::error::Error + 'static)) {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse_too_large() => ingress.metrics.failed(HEAD_TOO_LARGE),
        Some(error) if error.is_parse() => ingress.metrics.failed(HEAD_MALFORMED),
        Some(_) | None => {}
    }
}

fn builder(tasks: Tasks, limits: &HttpLimits) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        // Our own watch also covers the time before the version is known, and lets a connection
        // be idle for longer than a head may take.
        .header_read_timeout(None)
        .max_buf_size(limits.max_head)
        .max_headers(limits.max_headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .keep_alive_interval(CALLER_PING)
        .keep_alive_timeout(CALLER_PING)
        .max_concurrent_streams(CALLER_STREAMS)
        .initial_stream_window_size(CALLER_STREAM_WINDOW)
        .initial_connection_window_size(CALLER_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX));
    builder
}
