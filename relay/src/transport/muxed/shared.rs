//! What the connection, its streams and its driver share.

use std::collections::VecDeque;
use std::task::Waker;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::violation::Violation;
use crate::proto::{CloseCode, ResetCode};
use crate::transport::tls::frame::{self, Kind, small};
use crate::transport::tls::{Limits, round_trip::RoundTrip};
use crate::transport::{ConnectionLost, TransportStream};

/// How many bytes of the connection's own frames may wait, at most. They wait only for a peer that
/// does not read them.
const MOST_WORDS: usize = 1 << 20;

/// One lock, never held across a wait, nor while anybody is woken.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    state: Mutex<State>,
    opened: Notify,
    lost: CancellationToken,
}

/// See [`Shared`].
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) over: Option<ConnectionLost>,
    /// It was this end that closed the connection.
    pub(super) closes: bool,
    /// What is still to be said of that.
    farewell: Option<(CloseCode, String)>,
    /// Who waits for a stream of this end.
    openers: VecDeque<oneshot::Sender<TransportStream>>,
    /// How many streams the peer will open, as the multiplexer was not told yet.
    pub(super) expected: usize,
    /// Opened by the peer and not accepted yet.
    unaccepted: VecDeque<TransportStream>,
    /// Frames of the connection itself that are not sent yet.
    pub(super) words: Vec<u8>,
    pub(super) round_trip: RoundTrip,
    /// Something was written to a stream since the last look at the round trip.
    pub(super) written: bool,
    /// On all streams together, and not read yet, in bytes.
    arrived: usize,
    driver: Option<Waker>,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            opened: Notify::new(),
            lost: CancellationToken::new(),
        }
    }

    /// Calls into the state, for something that the driver does not have to act on.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut State) -> R) -> R {
        call(&mut self.state.lock())
    }

    /// Calls into the state, then has the driver look at it.
    fn tell<R>(&self, call: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = call(&mut state);
        let driver = state.driver.take();
        drop(state);
        driver.into_iter().for_each(Waker::wake);
        result
    }

    /// Whoever drives is woken by `waker` from now on.
    pub(super) fn driven_by(&self, waker: &Waker) {
        self.with(|state| match &mut state.driver {
            Some(driver) if driver.will_wake(waker) => {}
            driver => *driver = Some(waker.clone()),
        });
    }

    /// A stream of this end, once there is room for it.
    pub(super) async fn open(&self) -> Result<TransportStream, ConnectionLost> {
        let (tell, told) = oneshot::channel();
        self.tell(|state| match &state.over {
            Some(over) => Err(over.clone()),
            None => {
                state.openers.push_back(tell);
                Ok(())
            }
        })?;
        match told.await {
            Ok(stream) => Ok(stream),
            // Only the end of the connection makes it forget who waits.
            Err(_) => Err(self.lost().await),
        }
    }

    pub(super) fn somebody_wants_a_stream(&self) -> bool {
        self.with(|state| {
            let waits = state.openers.iter().position(|opener| !opener.is_closed());
            state.openers.drain(..waits.unwrap_or(state.openers.len()));
            waits.is_some()
        })
    }

    /// Gives `stream` to whoever has waited longest.
    pub(super) fn opened(&self, mut stream: TransportStream) {
        while let Some(opener) = self.with(|state| state.openers.pop_front()) {
            match opener.send(stream) {
                Ok(()) => return,
                Err(unwanted) => stream = unwanted,
            }
        }
    }

    /// The peer will open so many streams.
    pub(super) fn expect(&self, streams: usize) {
        self.tell(|state| state.expected = streams);
    }

    /// The peer has opened `stream`.
    pub(super) fn accepted(&self, stream: TransportStream) {
        self.with(|state| state.unaccepted.push_back(stream));
        self.opened.notify_one();
    }

    /// The next stream that the peer opened. Cancel-safe.
    pub(super) async fn accept(&self) -> Result<TransportStream, ConnectionLost> {
        loop {
            let next = self.with(|state| {
                let next = state.unaccepted.pop_front().map(Ok);
                next.or_else(|| state.over.clone().map(Err))
            });
            if let Some(next) = next {
                return next;
            }
            // A stream that comes before this is polled leaves its permit behind.
            tokio::select! {
                () = self.opened.notified() => {}
                () = self.lost.cancelled() => {}
            }
        }
    }

    /// Tells the peer that nobody reads its stream `id` any more.
    pub(super) fn stop(&self, id: u32, code: ResetCode) {
        self.say(&small(id, Kind::Stop, &code.number().to_be_bytes()));
    }

    /// Adds `frame` to what the peer is told of the connection.
    pub(super) fn say(&self, frame: &[u8]) {
        let full = self.tell(|state| {
            let full = state.words.len() + frame.len() > MOST_WORDS;
            if !full && state.over.is_none() {
                state.words.extend_from_slice(frame);
            }
            full
        });
        if full {
            self.violated(&Violation::Deaf);
        }
    }

    /// The peer broke the rules: it is told so.
    pub(super) fn violated(&self, violation: &Violation) {
        let why = ConnectionLost::Other(format!("the peer broke the protocol: {violation}"));
        self.close(CloseCode::Protocol, &violation.to_string(), why);
    }

    /// The connection is over, first of all for the reason that was given first; `code` and
    /// `reason` are still said.
    pub(super) fn close(&self, code: CloseCode, reason: &str, why: ConnectionLost) {
        self.tell(|state| {
            if state.over.is_none() {
                state.over = Some(why);
                state.closes = true;
                state.farewell = Some((code, reason.to_owned()));
            }
        });
        self.forget_openers();
    }

    /// The connection is gone. What has arrived can still be read.
    pub(super) fn lose(&self, why: ConnectionLost) {
        self.tell(|state| {
            state.over.get_or_insert(why);
        });
        self.forget_openers();
    }

    fn forget_openers(&self) {
        let openers = self.with(|state| std::mem::take(&mut state.openers));
        self.lost.cancel();
        drop(openers);
    }

    /// Waits until the connection is gone. Cancel-safe.
    pub(super) async fn lost(&self) -> ConnectionLost {
        self.lost.cancelled().await;
        self.with(|state| state.over.clone())
            .expect("a lost connection has a reason")
    }

    pub(super) fn is_over(&self) -> bool {
        self.with(|state| state.over.is_some())
    }

    /// The last frame, if there is something to be said.
    pub(super) fn farewell(&self) -> Option<Vec<u8>> {
        let farewell = self.with(|state| state.farewell.take());
        farewell.map(|(code, reason)| frame::close(code.number(), &reason))
    }

    /// Counts what has arrived on all streams together.
    pub(super) fn count_arrived(&self, bytes: usize) -> Result<(), Violation> {
        self.with(|state| {
            state.arrived += bytes;
            if state.arrived > self.limits.all_streams {
                return Err(Violation::BeyondAllWindows);
            }
            Ok(())
        })
    }

    /// Counts what was read of it, or thrown away.
    pub(super) fn count_taken(&self, bytes: usize) {
        if bytes > 0 {
            self.with(|state| state.arrived -= bytes);
        }
    }
}
