//! The end that listened: the HTTP/2 client. It opens all streams, its own and, ahead of demand, those
//! of the other end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::SendStream;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::{Method, Request, StatusCode};

use super::stream::{H2Stream, Recv};
use super::{FIELD, FIELDS, Purpose, SEND_BUFFER, SMALL_FRAMES, URI, requests, windows};
use crate::transport::BoxFuture;
use crate::transport::muxed::{Ended, Event, Multiplexer, PipeEnd, Violation};
use crate::transport::tls::{Limits, lost};

/// How many requests wait for the other end to open a stream: at first, and at most. The number
/// doubles when half of them are taken at once.
const FIRST_AHEAD: usize = 8;
const MOST_AHEAD: usize = 256;

/// How many wait at most when so many streams are expected: as many as every client takes.
const MOST_EXPECTED: usize = 1024;

/// How many requests there can be: every other number of 31 bits.
pub(super) const NUMBERS: u32 = 1 << 30;

/// See the module.
pub(super) struct Edge {
    state: State,
    /// How many requests were made.
    pub(super) made: u32,
    ahead: FuturesUnordered<Ahead>,
    wanted_ahead: usize,
    /// As many have waited as are wanted.
    has_been_ahead: bool,
    /// How many streams the other end is known to want to open.
    expected: usize,
    /// What the other end says of the connection, until it is told of.
    words: Option<H2Stream>,
    /// The connection's own stream is open: it comes first.
    speaks: bool,
}

type Up = (SendRequest<Bytes>, Connection<PipeEnd, Bytes>);

enum State {
    Handshake(BoxFuture<'static, Result<Up, h2::Error>>),
    Up(Box<Up>),
    /// It has ended or failed, and was told of.
    Over,
}

impl Edge {
    pub(super) fn new(pipe: PipeEnd, limits: Limits) -> Self {
        let (one, all) = windows(limits);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(one)
            .initial_connection_window_size(all)
            .max_header_list_size(FIELDS)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES)
            // Streams that we give up, whose last frames may still come: more are forgotten, and
            // answered by a reset each, which is no reason to close.
            .max_concurrent_reset_streams(requests(limits))
            .max_local_error_reset_streams(None);
        let handshake = Box::pin(async move { builder.handshake(pipe).await });
        Self {
            state: State::Handshake(handshake),
            made: 0,
            ahead: FuturesUnordered::new(),
            wanted_ahead: FIRST_AHEAD,
            has_been_ahead: false,
            expected: 0,
            words: None,
            speaks: false,
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<&mut Up, Ended>> {
        if let State::Handshake(handshake) = &mut self.state {
            let up = ready!(handshake.as_mut().poll(cx));
            self.state = State::Over;
            self.state = State::Up(Box::new(up?));
        }
        match &mut self.state {
            State::Up(up) => Poll::Ready(Ok(up)),
            State::Handshake(_) | State::Over => Poll::Ready(Err(Ended::Lost(lost::silently()))),
        }
    }

    /// Sends a request, once another may be open.
    fn poll_request(
        &mut self,
        purpose: Purpose,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseFuture, SendStream<Bytes>), Ended>> {
        if self.made == NUMBERS {
            return Poll::Ready(Err(Ended::UsedUp));
        }
        let (send, _) = ready!(self.poll_up(cx))?;
        ready!(send.poll_ready(cx))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(URI)
            .header(FIELD, purpose.value())
            .body(())
            .expect("its parts are valid");
        let sent = send.send_request(request, false)?;
        self.made += 1;
        Poll::Ready(Ok(sent))
    }

    fn keep_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        if self.has_been_ahead && self.ahead.len() <= self.wanted_ahead / 2 {
            self.wanted_ahead = (self.wanted_ahead * 2).min(MOST_AHEAD);
            self.has_been_ahead = false;
        }
        let wanted = self.wanted_ahead.max(self.expected.min(MOST_EXPECTED));
        while self.speaks
            && self.ahead.len() < wanted
            && let Poll::Ready(sent) = self.poll_request(Purpose::Ahead, cx)
        {
            let (answer, send) = sent?;
            self.ahead.push(Ahead {
                answer,
                send: Some(send),
            });
        }
        self.has_been_ahead |= self.ahead.len() >= self.wanted_ahead;
        Ok(())
    }
}

impl Multiplexer for Edge {
    type Stream = H2Stream;

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Event<H2Stream>> {
        let (_, connection) = match ready!(self.poll_up(cx)) {
            Ok(up) => up,
            Err(ended) => return Poll::Ready(Event::Ended(ended)),
        };
        if let Poll::Ready(closed) = Pin::new(connection).poll(cx) {
            self.state = State::Over;
            let ended = match closed {
                Ok(()) => Ended::Lost(lost::silently()),
                Err(error) => error.into(),
            };
            return Poll::Ready(Event::Ended(ended));
        }
        if let Some(words) = self.words.take() {
            return Poll::Ready(Event::Words(words));
        }
        if let Err(ended) = self.keep_ahead(cx) {
            return Poll::Ready(Event::Ended(ended));
        }
        match Pin::new(&mut self.ahead).poll_next(cx) {
            Poll::Ready(Some(Ok(stream))) => {
                self.expected = self.expected.saturating_sub(1);
                Poll::Ready(Event::Opened(stream))
            }
            Poll::Ready(Some(Err(violation))) => {
                Poll::Ready(Event::Ended(Ended::Violation(violation)))
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<H2Stream, Ended>> {
        let (answer, send) = ready!(self.poll_request(Purpose::Open, cx))?;
        Poll::Ready(Ok(H2Stream {
            id: answer.stream_id().as_u32(),
            send: Some(send),
            recv: Recv::Awaited(answer),
        }))
    }

    fn expect(&mut self, streams: usize) {
        self.expected = streams;
    }

    fn poll_own_words(&mut self, cx: &mut Context<'_>) -> Poll<Result<H2Stream, Ended>> {
        let (answer, send) = ready!(self.poll_request(Purpose::Connection, cx))?;
        self.speaks = true;
        let id = answer.stream_id().as_u32();
        self.words = Some(H2Stream {
            id,
            send: None,
            recv: Recv::Awaited(answer),
        });
        Poll::Ready(Ok(H2Stream {
            id,
            send: Some(send),
            recv: Recv::Nothing,
        }))
    }
}

/// A request that waits for the other end to open a stream.
struct Ahead {
    answer: ResponseFuture,
    /// Taken with the answer.
    send: Option<SendStream<Bytes>>,
}

impl Future for Ahead {
    type Output = Result<H2Stream, Violation>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(match answer {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(H2Stream {
                id: self.answer.stream_id().as_u32(),
                send: self.send.take(),
                recv: Recv::Body(answer.into_body()),
            }),
            Ok(_) | Err(_) => {
                let refused = "HTTP/2: it refuses a stream that is there for it to open";
                Err(Violation::OfTheMultiplexer(refused.into()))
            }
        })
    }
}
