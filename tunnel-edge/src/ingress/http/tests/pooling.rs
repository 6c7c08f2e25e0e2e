//! Which connection carries a request.

use std::sync::Arc;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use relay::AppProtocol;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::super::limits::{KEEP_ALIVE_MARGIN, ORIGIN_IDLE, ORIGIN_STREAMS, SWEEP_INTERVAL};
use super::breaks::read_head;
use super::harness::{
    Answer, Edge, Setup, TestBody, channel, data, echo, empty, full, get, mirror, next, request,
    serve_origin, serve_origins, until, within,
};

const ORIGINS: [AppProtocol; 2] = [AppProtocol::Http1, AppProtocol::H2];

#[tokio::test]
async fn a_connection_carries_one_request_after_the_other() {
    for origin in ORIGINS {
        let edge = Edge::with_origin(origin, mirror).await;
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut caller = edge.caller(version).await;
            for _ in 0..50 {
                assert_eq!(caller.get("/").await.status, 200);
            }
        }
        assert_eq!(edge.session.opened().len(), 1, "{origin:?}");
        assert_eq!(
            edge.metric("causeway_http_origin_connections_opened_total"),
            1
        );
        assert_eq!(
            edge.metric("causeway_http_origin_connections_reused_total"),
            99
        );
        assert_eq!(edge.metric("causeway_http_requests_total"), 100);
    }
}

/// As in the edge: callers on one thread, the session on another.
#[tokio::test]
async fn a_connection_is_used_again_across_threads() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = worker.handle().clone();
    let thread = std::thread::spawn(move || worker.block_on(end));
    for origin in ORIGINS {
        let (edge, streams) = Edge::over(origin, Setup::default(), handle.clone()).await;
        handle.spawn(serve_origins(origin, streams, echo));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut caller = edge.caller(version).await;
            for size in 0..500 {
                let call = request("POST", "/", full(vec![b'x'; size * 200]));
                let answer = Answer::read(caller.send(call).await.unwrap()).await;
                assert_eq!(answer.text.len(), size * 200);
            }
        }
        // On a busy machine a connection may now and then not be ready in time.
        assert!(edge.session.opened().len() < 10, "{origin:?}");
    }
    drop(ended);
    assert!(thread.join().unwrap().is_err());
}

#[tokio::test]
async fn a_connection_that_the_origin_is_about_to_close_is_not_used() {
    let handler = |_: Request<Incoming>| async {
        let body = full("bye");
        Response::builder()
            .header("keep-alive", "timeout=1")
            .body(body)
            .unwrap()
    };
    let edge = Edge::with_origin(AppProtocol::Http1, handler).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    for _ in 0..3 {
        let answer = caller.get("/").await;
        assert!(!answer.headers.contains_key("keep-alive"));
    }
    assert_eq!(edge.session.opened().len(), 3);
}

#[tokio::test]
async fn the_time_that_an_origin_keeps_a_connection_begins_with_the_head_of_its_answer() {
    let (began, mut bodies) = mpsc::unbounded_channel();
    let handler = move |_: Request<Incoming>| {
        let (sender, body) = channel();
        began.send(sender).unwrap();
        async move {
            let answer = Response::builder().header("keep-alive", "timeout=2");
            answer.body(body).unwrap()
        }
    };
    let edge = Edge::with_origin(AppProtocol::Http1, handler).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    for slow in [false, true, false] {
        let answer = caller.send(get("/")).await.unwrap();
        let body = within(bodies.recv()).await.unwrap();
        if slow {
            // The time itself is what matters here.
            tokio::time::sleep(KEEP_ALIVE_MARGIN).await;
        }
        drop(body);
        assert_eq!(Answer::read(answer).await.status, 200);
    }
    assert_eq!(edge.session.opened().len(), 2);
}

/// Answers only after the test has allowed it.
fn gated(gate: Arc<Semaphore>) -> impl Fn(Request<Incoming>) -> Gated + Clone + Send + Sync {
    move |_| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            Response::new(full("done"))
        })
    }
}

type Gated = std::pin::Pin<Box<dyn Future<Output = Response<TestBody>> + Send>>;

#[tokio::test]
async fn requests_at_the_same_time_share_only_so_much() {
    for (origin, requests, connections) in [
        (AppProtocol::Http1, 3, 3),
        (AppProtocol::H2, ORIGIN_STREAMS, 1),
        (AppProtocol::H2, ORIGIN_STREAMS + 1, 2),
    ] {
        let gate = Arc::new(Semaphore::new(0));
        let edge = Arc::new(Edge::with_origin(origin, gated(gate.clone())).await);
        let (done, mut finished) = mpsc::unbounded_channel();
        for _ in 0..requests {
            let (edge, done) = (edge.clone(), done.clone());
            tokio::spawn(async move {
                let answer = edge.caller(Version::HTTP_11).await.get("/").await;
                done.send(answer.text).unwrap();
            });
        }
        let in_flight = || edge.metric("causeway_http_requests_in_flight");
        until(|| in_flight() == requests as u64).await;
        until(|| edge.session.opened().len() >= connections).await;
        gate.add_permits(requests);
        for _ in 0..requests {
            assert_eq!(within(finished.recv()).await.unwrap(), "done");
        }
        assert_eq!(
            edge.session.opened().len(),
            connections,
            "{origin:?} {requests}"
        );
    }
}

#[tokio::test]
async fn an_origin_may_allow_fewer_requests_on_a_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
    let handler = gated(gate.clone());
    tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, std::convert::Infallible>(answer.await) }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let mut server = hyper::server::conn::http2::Builder::new(executor);
                server.max_concurrent_streams(2);
                let _ = server.serve_connection(io, service).await;
            });
        }
    });
    let edge = Arc::new(edge);
    // The first answer makes the origin's settings known for certain.
    gate.add_permits(2);
    for _ in 0..2 {
        edge.caller(Version::HTTP_11).await.get("/").await;
    }
    let (done, mut finished) = mpsc::unbounded_channel();
    for _ in 0..5 {
        let (edge, done) = (edge.clone(), done.clone());
        tokio::spawn(async move {
            let answer = edge.caller(Version::HTTP_11).await.get("/").await;
            done.send(answer.status).unwrap();
        });
    }
    until(|| edge.session.opened().len() >= 2).await;
    gate.add_permits(5);
    for _ in 0..5 {
        assert_eq!(within(finished.recv()).await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_slow_caller_stalls_nobody_on_the_same_connection() {
    let handler = |request: Request<Incoming>| async move {
        if request.uri().path() == "/small" {
            return Response::new(full("small"));
        }
        let (sender, body) = channel();
        tokio::spawn(async move { while sender.send(data(vec![0; 65536])).await.is_ok() {} });
        Response::new(body)
    };
    let edge = Edge::with_origin(AppProtocol::H2, handler).await;
    let mut slow = Vec::new();
    for _ in 0..ORIGIN_STREAMS - 1 {
        let mut caller = edge.caller(Version::HTTP_11).await;
        let answer = caller.send(get("/endless")).await.unwrap();
        slow.push((caller, answer));
    }
    let mut caller = edge.caller(Version::HTTP_11).await;
    for _ in 0..100 {
        assert_eq!(caller.get("/small").await.text, "small");
    }
    assert_eq!(edge.session.opened().len(), 1);
}

#[tokio::test]
async fn an_origin_that_takes_nothing_stalls_nobody_on_the_callers_connection() {
    let handler = |request: Request<Incoming>| async move {
        if request.uri().path() == "/small" {
            return echo(request).await;
        }
        // The request's body is kept and never read.
        let _request = request;
        std::future::pending().await
    };
    let edge = Edge::with_origin(AppProtocol::Http1, handler).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    for _ in 0..20 {
        let (sender, body) = channel();
        tokio::spawn(async move { while sender.send(data(vec![0; 65536])).await.is_ok() {} });
        let super::harness::CallerConn::H2(sender, _) = &caller else {
            unreachable!("it speaks HTTP/2")
        };
        let mut sender = sender.clone();
        let call = request("POST", "/stuck", body);
        tokio::spawn(async move { sender.send_request(call).await.map(drop) });
    }
    for _ in 0..20 {
        let call = request("POST", "/small", full(vec![1; 300_000]));
        let mut answer = caller.send(call).await.unwrap().into_body();
        let mut received = 0;
        while let Some(piece) = next(&mut answer).await {
            received += piece.unwrap().len();
        }
        assert_eq!(received, 300_000);
    }
}

#[tokio::test]
async fn a_connection_that_closed_unseen_costs_no_request() {
    for origin in ORIGINS {
        let (edge, mut streams) = Edge::start(origin).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        for round in 0..3 {
            let serve = async {
                let reused = "causeway_http_origin_connections_reused_total";
                until(|| edge.metric(reused) == round).await;
                // Now the request waits behind an end that the worker has not seen.
                edge.session.freeze(false);
                let stream = streams.recv().await.unwrap();
                Serving(tokio::spawn(serve_origin(origin, stream, mirror)))
            };
            let (answer, server) = tokio::join!(caller.get("/"), within(serve));
            assert_eq!(answer.status, 200, "{origin:?} {round}");
            assert_eq!(edge.metric("causeway_http_retries_total"), round);
            until(|| edge.ingress.origins.ready(&edge.destination(origin)) == 1).await;
            edge.session.freeze(true);
            server.0.abort();
            let _ = server.0.await;
        }
    }
}

/// An origin at work.
struct Serving(JoinHandle<()>);

#[tokio::test]
async fn a_request_of_which_something_was_taken_is_not_sent_again() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    let origin = async {
        let mut stream = streams.recv().await.unwrap();
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        read_head(&mut stream).await;
        drop(stream);
    };
    let calls = async {
        assert_eq!(caller.get("/1").await.status, 200);
        let second = caller.send(request("POST", "/2", empty())).await.unwrap();
        assert_eq!(second.status(), 502);
    };
    tokio::join!(calls, within(origin));
    assert_eq!(edge.session.opened().len(), 1);
    assert_eq!(edge.metric("causeway_http_retries_total"), 0);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_ends_the_connection_behind_it() {
    let handler = |request: Request<Incoming>| async move {
        drop(request);
        Response::builder().status(413).body(full("no")).unwrap()
    };
    for origin in ORIGINS {
        let edge = Edge::with_origin(origin, handler).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let (sender, body) = channel();
        sender.send(data("part")).await.unwrap();
        let answer = caller.send(request("POST", "/", body)).await.unwrap();
        let answer = Answer::read(answer).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (413, "no"));
        assert_eq!(caller.get("/").await.status, 413);
    }
}

#[tokio::test]
async fn what_is_known_of_a_session_ends_with_it() {
    for origin in ORIGINS {
        let edge = Edge::with_origin(origin, mirror).await;
        assert_eq!(
            edge.caller(Version::HTTP_11).await.get("/").await.status,
            200
        );
        assert_eq!(edge.ingress.origins.links(), 1);
        edge.session.close();
        until(|| edge.ingress.origins.links() == 0).await;
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_the_end() {
    for origin in ORIGINS {
        let (edge, mut streams) = Edge::start(origin).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        let served = async {
            let stream = streams.recv().await.unwrap();
            Serving(tokio::spawn(serve_origin(origin, stream, mirror)))
        };
        let (answer, server) = tokio::join!(caller.get("/"), within(served));
        assert_eq!(answer.status, 200);
        let kept = || edge.ingress.origins.ready(&edge.destination(origin));
        until(|| kept() == 1).await;
        tokio::time::pause();
        tokio::time::sleep(ORIGIN_IDLE + SWEEP_INTERVAL * 2).await;
        tokio::time::resume();
        assert_eq!(kept(), 0, "{origin:?}");
        within(server.0).await.unwrap();
    }
}
