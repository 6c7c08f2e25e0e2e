//! The end that dialled: the HTTP/2 server. It answers, and opens streams by answering those requests
//! that the other end has sent ahead.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};

use super::stream::{H2Stream, Recv};
use super::{FIELDS, Purpose, SEND_BUFFER, SMALL_FRAMES, requests, windows};
use crate::transport::muxed::{Ended, Event, Multiplexer, PipeEnd, Violation};
use crate::transport::tls::{Limits, lost};

/// How many requests the other end may send ahead.
const MOST_AHEAD: usize = 1024;

/// See the module.
pub(super) struct Client {
    state: State,
    /// For streams of this end.
    ahead: VecDeque<(RecvStream, SendResponse<Bytes>)>,
    /// What this end says of the connection, until it is asked for.
    words: Option<H2Stream>,
    has_words: bool,
}

enum State {
    Handshake(Box<Handshake<PipeEnd, Bytes>>),
    Up(Box<Connection<PipeEnd, Bytes>>),
    /// It has ended or failed, and was told of.
    Over,
}

impl Client {
    pub(super) fn new(pipe: PipeEnd, limits: Limits) -> Self {
        let (one, all) = windows(limits);
        let most = requests(limits);
        let mut builder = Builder::new();
        builder
            .initial_window_size(one)
            .initial_connection_window_size(all)
            .max_concurrent_streams(u32::try_from(most).expect("it is at most 2³⁰"))
            .max_header_list_size(FIELDS)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES)
            // As at the edge; and each request is taken at once, so one that is reset before costs
            // no more than one that is reset after.
            .max_concurrent_reset_streams(most)
            .max_pending_accept_reset_streams(most)
            .max_local_error_reset_streams(None);
        Self {
            state: State::Handshake(Box::new(builder.handshake(pipe))),
            ahead: VecDeque::new(),
            words: None,
            has_words: false,
        }
    }

    fn poll_up(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<&mut Connection<PipeEnd, Bytes>, Ended>> {
        if let State::Handshake(handshake) = &mut self.state {
            let up = ready!(Pin::new(handshake.as_mut()).poll(cx));
            self.state = State::Over;
            self.state = State::Up(Box::new(up?));
        }
        match &mut self.state {
            State::Up(up) => Poll::Ready(Ok(up)),
            State::Handshake(_) | State::Over => Poll::Ready(Err(Ended::Lost(lost::silently()))),
        }
    }

    /// What `request` is, if there is something to tell of it.
    fn take(
        &mut self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> Result<Option<Event<H2Stream>>, Violation> {
        let breach = |what: &str| Violation::OfTheMultiplexer(format!("HTTP/2: {what}"));
        let purpose = Purpose::of(request.headers());
        let Some(purpose) = purpose.filter(|_| request.method() == Method::POST) else {
            return Err(breach("a request for something else"));
        };
        let id = respond.stream_id().as_u32();
        let body = request.into_body();
        match purpose {
            Purpose::Ahead if self.ahead.len() == MOST_AHEAD => {
                Err(breach("too many requests ahead"))
            }
            Purpose::Ahead => {
                self.ahead.push_back((body, respond));
                Ok(None)
            }
            Purpose::Open => Ok(answer(&mut respond).map(|send| {
                Event::Opened(H2Stream {
                    id,
                    send: Some(send),
                    recv: Recv::Body(body),
                })
            })),
            Purpose::Connection if self.has_words => {
                Err(breach("a second stream of the connection"))
            }
            Purpose::Connection => {
                self.has_words = true;
                self.words = answer(&mut respond).map(|send| H2Stream {
                    id,
                    send: Some(send),
                    recv: Recv::Nothing,
                });
                Ok(Some(Event::Words(H2Stream {
                    id,
                    send: None,
                    recv: Recv::Body(body),
                })))
            }
        }
    }
}

/// The direction to the other end; none if it has given the stream up.
fn answer(respond: &mut SendResponse<Bytes>) -> Option<SendStream<Bytes>> {
    respond.send_response(Response::new(()), false).ok()
}

impl Multiplexer for Client {
    type Stream = H2Stream;

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Event<H2Stream>> {
        loop {
            let connection = match ready!(self.poll_up(cx)) {
                Ok(connection) => connection,
                Err(ended) => return Poll::Ready(Event::Ended(ended)),
            };
            let (request, respond) = match ready!(connection.poll_accept(cx)) {
                Some(Ok(asked)) => asked,
                Some(Err(error)) => {
                    self.state = State::Over;
                    return Poll::Ready(Event::Ended(error.into()));
                }
                None => return Poll::Ready(Event::Ended(Ended::Lost(lost::silently()))),
            };
            match self.take(request, respond) {
                Ok(Some(event)) => return Poll::Ready(event),
                Ok(None) => {}
                Err(violation) => {
                    return Poll::Ready(Event::Ended(Ended::Violation(violation)));
                }
            }
        }
    }

    /// Pending until the other end has sent a request ahead, which is noticed as it comes.
    fn poll_open(&mut self, _: &mut Context<'_>) -> Poll<Result<H2Stream, Ended>> {
        while let Some((body, mut respond)) = self.ahead.pop_front() {
            if let Some(send) = answer(&mut respond) {
                return Poll::Ready(Ok(H2Stream {
                    id: respond.stream_id().as_u32(),
                    send: Some(send),
                    recv: Recv::Body(body),
                }));
            }
        }
        Poll::Pending
    }

    fn poll_own_words(&mut self, _: &mut Context<'_>) -> Poll<Result<H2Stream, Ended>> {
        match self.words.take() {
            Some(words) => Poll::Ready(Ok(words)),
            None => Poll::Pending,
        }
    }
}
