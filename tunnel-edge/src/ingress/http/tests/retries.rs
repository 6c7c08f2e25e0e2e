//! Requests that are sent a second time, and those that are not.

use bytes::Bytes;
use http::{Response, Version};
use relay::{AppProtocol, OpenError, ResetCode};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use super::super::limits::REPLAY;
use super::breaks::{read_head, until_request};
use super::fake::{FakeIo, FakeSession, Refusal};
use super::harness::{
    Answer, Edge, channel, data, echo, empty, full, get, mirror, next, request, serve_origin,
    serve_origins, within,
};

const RETRIES: &str = "causeway_http_retries_total";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers a first request, takes the head of a second one, and is gone.
async fn vanish(mut stream: FakeIo) {
    read_head(&mut stream).await;
    stream.write_all(EMPTY).await.unwrap();
    read_head(&mut stream).await;
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again_when_a_kept_connection_ends_without_an_answer() {
    for (method, body, status, retries) in [
        ("GET", None, 200, 1),
        ("DELETE", None, 200, 1),
        ("PUT", Some("text"), 200, 1),
        ("POST", None, 502, 0),
        ("POST", Some("text"), 502, 0),
        ("PATCH", Some("text"), 502, 0),
        ("BREW", None, 502, 0),
    ] {
        let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let origin = async {
            vanish(streams.recv().await.unwrap()).await;
            if retries > 0 {
                let stream = streams.recv().await.unwrap();
                tokio::spawn(serve_origin(AppProtocol::Http1, stream, echo));
            }
        };
        let calls = async {
            assert_eq!(caller.get("/1").await.status, 200);
            let second = request(method, "/2", body.map_or_else(empty, full));
            let answer = Answer::read(caller.send(second).await.unwrap()).await;
            assert_eq!(answer.status, status, "{method} {body:?}");
            if status == 200 {
                assert_eq!(answer.text, body.unwrap_or(""));
            }
        };
        tokio::join!(calls, within(origin));
        assert_eq!(edge.metric(RETRIES), retries, "{method} {body:?}");
    }
}

#[tokio::test]
async fn there_is_no_third_attempt_and_none_after_a_new_connection() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    let origin = async {
        vanish(streams.recv().await.unwrap()).await;
        for _ in 0..2 {
            let mut stream = streams.recv().await.unwrap();
            read_head(&mut stream).await;
        }
    };
    let calls = async {
        assert_eq!(caller.get("/1").await.status, 200);
        for attempts in [3, 4] {
            let answer = caller.get("/2").await;
            assert_eq!(answer.status, 502);
            assert_eq!(edge.session.opened().len() + 1, attempts);
        }
    };
    tokio::join!(calls, within(origin));
    assert_eq!(edge.metric(RETRIES), 1);
}

#[tokio::test]
async fn a_body_of_which_too_much_was_sent_is_not_sent_again() {
    for (size, status) in [(REPLAY, 200), (REPLAY + 1, 502)] {
        let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let origin = async {
            let mut stream = streams.recv().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(EMPTY).await.unwrap();
            // All of the body, and then nothing.
            read_head(&mut stream).await;
            let mut body = vec![0; size];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body)
                .await
                .unwrap();
            drop(stream);
            if status == 200 {
                let stream = streams.recv().await.unwrap();
                tokio::spawn(serve_origin(AppProtocol::Http1, stream, echo));
            }
        };
        let calls = async {
            assert_eq!(caller.get("/1").await.status, 200);
            let second = request("PUT", "/2", full(vec![b'x'; size]));
            let answer = Answer::read(caller.send(second).await.unwrap()).await;
            assert_eq!(answer.status, status, "{size}");
            if status == 200 {
                assert_eq!(answer.text.len(), size);
            }
        };
        tokio::join!(calls, within(origin));
    }
}

/// An HTTP/2 origin that answers every request of a connection with this reset.
async fn refuse(stream: FakeIo, reason: h2::Reason) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        respond.send_reset(reason);
    }
}

#[tokio::test]
async fn what_an_http2_origin_refuses_unprocessed_is_sent_again() {
    for (reason, status) in [
        (h2::Reason::REFUSED_STREAM, 200),
        (h2::Reason::INTERNAL_ERROR, 502),
        (h2::Reason::CANCEL, 502),
    ] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        tokio::spawn(async move {
            tokio::spawn(refuse(streams.recv().await.unwrap(), reason));
            while let Some(stream) = streams.recv().await {
                tokio::spawn(serve_origin(AppProtocol::H2, stream, echo));
            }
        });
        let (sender, body) = channel();
        sender.send(data("one")).await.unwrap();
        let call = tokio::spawn(async move {
            let answer = caller.send(request("POST", "/", body)).await.unwrap();
            Answer::read(answer).await
        });
        if status == 200 {
            sender.send(data("two")).await.unwrap();
        }
        drop(sender);
        let answer = within(call).await.unwrap();
        assert_eq!(answer.status, status, "{reason:?}");
        assert_eq!(edge.metric(RETRIES), u64::from(status == 200));
        if status == 200 {
            assert_eq!(answer.text, "onetwo");
        }
    }
}

/// The origin refuses a body that came in small pieces, and has room for little of it when it answers.
#[tokio::test]
async fn what_is_sent_again_is_whole_though_its_answer_begins_before_it() {
    const PIECE: usize = 255;
    const SIZE: usize = REPLAY / PIECE * PIECE;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        let mut caller = edge.caller(version).await;
        let origin = async {
            let mut connection = h2::server::handshake(streams.recv().await.unwrap())
                .await
                .unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let driving =
                tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
            let mut body = request.into_body();
            let mut taken = 0;
            while taken < SIZE {
                let piece = body.data().await.unwrap().unwrap();
                taken += piece.len();
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            let mut builder = h2::server::Builder::new();
            builder.initial_window_size(1024);
            let second = streams.recv().await.unwrap();
            let mut connection = builder.handshake::<_, Bytes>(second).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let serving =
                tokio::spawn(async move { while let Some(Ok(_)) = connection.accept().await {} });
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            drop(driving);
            (
                request.into_body(),
                answer.send_data("begun".into(), false).map(|()| answer),
                serving,
            )
        };
        let calls = async {
            let (sender, body) = channel();
            let pieces = sender.clone();
            let sending = tokio::spawn(async move {
                for at in 0..SIZE / PIECE {
                    pieces.send(data(vec![at as u8; PIECE])).await.unwrap();
                }
            });
            let answer = caller.send(request("PUT", "/", body)).await.unwrap();
            within(sending).await.unwrap();
            (answer.into_body(), sender)
        };
        let ((mut answer, sender), (mut body, answering, _serving)) =
            tokio::join!(calls, within(origin));
        let mut answering = answering.unwrap();
        assert_eq!(next(&mut answer).await.unwrap().unwrap(), "begun");
        // Only now there is room for more.
        sender.send(data("last")).await.unwrap();
        drop(sender);
        let mut whole = Vec::new();
        while let Some(piece) = within(body.data()).await {
            let piece = piece.unwrap();
            whole.extend_from_slice(&piece);
            body.flow_control().release_capacity(piece.len()).unwrap();
        }
        let mut expected: Vec<u8> = (0..SIZE).map(|at| (at / PIECE) as u8).collect();
        expected.extend_from_slice(b"last");
        assert!(
            whole == expected,
            "{} of {} bytes",
            whole.len(),
            expected.len()
        );
        answering.send_data(Bytes::new(), true).unwrap();
        assert_eq!(edge.metric(RETRIES), 1);
    }
}

/// A frame of HTTP/2 on the connection as such.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn what_a_goaway_leaves_out_is_sent_again_and_what_it_covers_is_not() {
    for (last, status) in [(0_u32, 200), (1, 502)] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let origin = async {
            let mut stream = streams.recv().await.unwrap();
            until_request(&mut stream).await;
            stream.write_all(&frame(4, &[])).await.unwrap();
            let goaway = [last.to_be_bytes(), 0_u32.to_be_bytes()].concat();
            stream.write_all(&frame(7, &goaway)).await.unwrap();
            stream.shutdown().await.unwrap();
            if status == 200 {
                let next = streams.recv().await.unwrap();
                tokio::spawn(serve_origin(AppProtocol::H2, next, echo));
            }
            stream
        };
        let call = async {
            let answer = caller.send(request("POST", "/", full("text"))).await;
            let answer = Answer::read(answer.unwrap()).await;
            assert_eq!(answer.status, status, "{last}");
            if status == 200 {
                assert_eq!(answer.text, "text");
            }
        };
        tokio::join!(call, within(origin));
        assert_eq!(edge.metric(RETRIES), u64::from(status == 200));
    }
}

/// An HTTP/2 origin that refuses every request of a connection, all at once, as soon as there are
/// `requests`.
async fn end_unprocessed(stream: FakeIo, requests: usize) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut refused = Vec::new();
    while refused.len() < requests {
        refused.push(connection.accept().await.unwrap().unwrap());
    }
    for (_, respond) in &mut refused {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
    }
    connection.graceful_shutdown();
    while let Some(Ok(_)) = connection.accept().await {}
}

#[tokio::test]
async fn an_origin_that_ends_its_connections_by_and_by_is_asked_until_one_lasts() {
    for (refusals, status) in [(4, 200), (5, 502)] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        tokio::spawn(async move {
            for _ in 0..refusals {
                tokio::spawn(end_unprocessed(streams.recv().await.unwrap(), 1));
            }
            while let Some(stream) = streams.recv().await {
                tokio::spawn(serve_origin(AppProtocol::H2, stream, echo));
            }
        });
        let answer = within(caller.send(request("POST", "/", full("text")))).await;
        let answer = Answer::read(answer.unwrap()).await;
        assert_eq!(answer.status, status, "{refusals}");
        assert_eq!(edge.metric(RETRIES), 4, "{refusals}");
    }
}

/// An origin that is about to end its connections may end the next one before it is used.
#[tokio::test]
async fn a_connection_that_had_closed_is_no_last_try_after_a_refusal() {
    let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let origin = async {
        let first = streams.recv().await.unwrap();
        edge.session.refuse(Refusal::End);
        tokio::spawn(end_unprocessed(first, 1));
        let ended = streams.recv().await.unwrap();
        let third = streams.recv().await.unwrap();
        tokio::spawn(serve_origin(AppProtocol::H2, third, echo));
        ended
    };
    let call = caller.send(request("POST", "/", full("text")));
    let (answer, _ended) = within(async { tokio::join!(call, origin) }).await;
    let answer = Answer::read(answer.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, "text");
    assert_eq!(edge.metric(RETRIES), 2);
}

#[tokio::test]
async fn requests_that_are_refused_together_share_the_next_connection() {
    const TOGETHER: usize = 25;
    let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
    tokio::spawn(async move {
        tokio::spawn(end_unprocessed(streams.recv().await.unwrap(), TOGETHER));
        while let Some(stream) = streams.recv().await {
            tokio::spawn(serve_origin(AppProtocol::H2, stream, echo));
        }
    });
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..TOGETHER {
        let mut caller = edge.caller(Version::HTTP_2).await;
        calls.spawn(async move {
            let answer = caller.send(request("POST", "/", full("text"))).await;
            Answer::read(answer.unwrap()).await.status
        });
    }
    let statuses = within(calls.join_all()).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(edge.metric(RETRIES), TOGETHER as u64);
    assert_eq!(edge.session.opened().len(), 2);
}

#[tokio::test]
async fn what_a_session_does_not_take_goes_to_another_if_there_is_one() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let (edge, _streams) = Edge::start(protocol).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        edge.session.refuse(Refusal::Open(OpenError::Draining));
        let answer = caller.send(request("POST", "/", full("text"))).await;
        assert_eq!(Answer::read(answer.unwrap()).await.code(), "draining");
        assert_eq!(edge.metric(RETRIES), 0);

        let (second, mut streams) = FakeSession::new("web", protocol, Handle::current());
        tokio::spawn(async move {
            while let Some(stream) = streams.recv().await {
                tokio::spawn(serve_origin(protocol, stream, echo));
            }
        });
        edge.session.refuse(Refusal::Open(OpenError::Draining));
        edge.sessions.lock().push_back(second.clone());
        let answer = caller.send(request("POST", "/", full("text"))).await;
        let answer = Answer::read(answer.unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (200, "text")
        );
        assert_eq!((edge.metric(RETRIES), second.opened().len()), (1, 1));
    }
}

/// Whatever the lookup finds in turn, a session that did not take a request is not asked again, and
/// every other one is.
#[tokio::test]
async fn what_a_session_does_not_take_is_handed_on_until_one_does() {
    for (refusals, code) in [(4, ""), (5, "draining")] {
        let (edge, _streams) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        let mut sessions = vec![edge.session.clone()];
        let mut origins = Vec::new();
        for _ in 1..=refusals {
            let (next, streams) = FakeSession::new("web", AppProtocol::Http1, Handle::current());
            sessions.push(next);
            origins.push(tokio::spawn(serve_origins(
                AppProtocol::Http1,
                streams,
                echo,
            )));
        }
        for session in &sessions[..refusals] {
            session.refuse(Refusal::Open(OpenError::Draining));
        }
        let twice = sessions.iter().flat_map(|it| [it.clone(), it.clone()]);
        *edge.sessions.lock() = twice.collect();
        let answer = caller.send(request("POST", "/", full("text"))).await;
        let answer = Answer::read(answer.unwrap()).await;
        assert_eq!(answer.code(), code, "{refusals}");
        if code.is_empty() {
            assert_eq!(answer.text, "text");
        }
        let asked: Vec<_> = sessions.iter().map(|it| it.opened().len()).collect();
        assert!(asked[..5] == [1; 5], "{asked:?}");
        assert_eq!(asked.get(5).copied().unwrap_or(0), 0, "{asked:?}");
        assert_eq!(edge.metric(RETRIES), 4, "{refusals}");
    }
}

#[tokio::test]
async fn a_lost_session_is_replaced_for_what_is_idempotent_only() {
    for (method, status) in [("GET", 200), ("POST", 502)] {
        let (edge, mut first) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        let (second, mut streams) = FakeSession::new("web", AppProtocol::Http1, Handle::current());
        tokio::spawn(async move {
            let mut stream = first.recv().await.unwrap();
            read_head(&mut stream).await;
            stream.reset(ResetCode::SessionClosed);
            let stream = streams.recv().await.unwrap();
            serve_origin(AppProtocol::Http1, stream, mirror).await;
        });
        edge.sessions.lock().push_back(second.clone());
        let answer = caller.send(request(method, "/", empty())).await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
        assert_eq!(second.opened().len(), usize::from(status == 200));
    }
}

#[tokio::test]
async fn an_answer_that_begins_long_before_the_request_ends_loses_nothing() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(protocol, echo).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        assert_eq!(caller.send(get("/")).await.unwrap().status(), 200);
        let (sender, body) = channel();
        sender.send(data("first")).await.unwrap();
        let answer = caller.send(request("PUT", "/", body)).await.unwrap();
        let reading = tokio::spawn(Answer::read(answer));
        for _ in 0..10 {
            let piece = Bytes::from(vec![b'x'; REPLAY / 2]);
            within(sender.send(data(piece))).await.unwrap();
        }
        drop(sender);
        let text = within(reading).await.unwrap().text;
        assert_eq!(text.len(), 5 + 10 * (REPLAY / 2));
    }
}
