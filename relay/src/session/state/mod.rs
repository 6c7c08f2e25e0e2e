//! All of a session's state: streams are opened here; [`local`] is what this end does with them,
//! [`peer`] what the other end says of them, [`output`] what comes out and when; [`line`] is the
//! connection that carries it all at the moment, [`attach`] how streams get onto it.

mod attach;
mod line;
mod local;
mod output;
mod peer;

pub use attach::{Attaching, HeaderOutcome, Replayed};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::proto::{
    Attempt, Close, Echo, Limits, MAX_EDGES, Opener, ResetCode, ServiceInfo, StreamId,
};
use crate::session::budget::{GrowthBudget, SharedBudget};
use crate::session::liveness::{Liveness, LivenessConfig};
use crate::session::ranges::SeenIds;
use crate::session::stream::{LiveStream, Phase, ResetBy};
use crate::session::violation::Violation;

/// How long an acknowledgement may wait for others.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// What a session is made of.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Which end this is.
    pub side: Opener,
    /// What this end holds for its peer.
    pub local: Limits,
    /// What the peer holds for this end.
    pub peer: Limits,
    /// The largest window that one direction may grow to, in bytes. Default 4 MiB.
    pub stream_window: u64,
    /// What all windows of the session may have beyond their base, in bytes. Default 64 MiB.
    pub growth_budget: u64,
    /// The same for all sessions of its tenant, or of the process.
    pub shared_budget: Arc<SharedBudget>,
    /// When to ping and when to give up.
    pub liveness: LivenessConfig,
    /// Any number; it spreads the pings of many sessions.
    pub seed: u64,
    /// The number of the connection that it begins on.
    pub attempt: Attempt,
    /// Both ends let streams outlive their connection.
    pub resume: bool,
}

/// What has happened that a user of the session waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is credit to send again.
    Writable(StreamId),
    /// The peer has said where its direction ends.
    Finished(StreamId),
    /// The acceptor has reached its target.
    Connected(StreamId),
    /// The stream is over; its id is not live any more, or is about to be retired.
    Over(StreamId, Over),
    /// A stream that could not be opened for want of room may be tried again.
    Room,
    /// No stream is live any more. After the peer has said that it opens no more, also as soon as all
    /// that it did open were seen.
    Idle,
    /// The initiator's services, as they are from now on.
    Services(Vec<ServiceInfo>),
    /// Every edge that a client may keep sessions with, as the responder tells now.
    Edges(Vec<String>),
    /// The peer is stopping, and this end is not.
    Draining,
    /// The peer's answer to a Ping is overdue.
    Suspect,
    /// The peer answered a Ping.
    RoundTrip(Duration),
    /// The peer closes the connection.
    Closed(Close),
    /// The peer has been silent for too long: this connection is dead.
    Dead,
    /// Streams of this end wait to be attached; see [`SessionState::poll_attach`].
    Attach,
    /// There was no connection for the whole grace.
    Expired,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Both directions ended with all their bytes, and both ends know.
    Complete,
    /// It was reset.
    Reset {
        /// Why.
        code: ResetCode,
        /// For people.
        message: String,
        /// By which end.
        by: ResetBy,
    },
}

/// Why no stream can be opened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenRefusal {
    /// The peer, or this end, is stopping.
    Draining,
    /// As many are open as the peer allows; wait for [`Event::Room`].
    TooMany,
}

/// The pure session.
///
/// Order of calls: after any `handle_*` and after any of the stream calls, drain
/// [`poll_event`](Self::poll_event), then [`poll_control`](Self::poll_control), then wait until
/// [`deadline`](Self::deadline) at the latest and call [`handle_timeout`](Self::handle_timeout).
#[derive(Debug)]
pub struct SessionState {
    config: SessionConfig,
    /// In boxes, since a table has more room than it has streams.
    streams: HashMap<StreamId, Box<LiveStream>>,
    next_index: u64,
    seen: SeenIds,
    own_live: u32,
    peer_live: u32,
    draining: bool,
    /// How many streams the peer has opened, once it opens no more.
    peer_opened: Option<u64>,
    budget: GrowthBudget,
    liveness: Liveness,
    transport_rtt: Duration,
    outbox: Outbox,
    events: VecDeque<Event>,
    release_at: Option<Instant>,
    grown: Vec<StreamId>,
    room_wanted: bool,
    line: Line,
    last_attempt: Attempt,
    to_attach: VecDeque<StreamId>,
}

/// The connection that carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Connected(Attempt),
    /// There is none; when that has lasted too long.
    Lost {
        expires: Instant,
    },
}

/// What is said as a whole: the last word replaces those before, and is said again on every new
/// connection.
#[derive(Debug)]
struct Whole<T> {
    last: Option<T>,
    due: bool,
}

/// What is to be said, as small as it can be kept: each stream stands in each queue at most once.
#[derive(Debug, Default)]
struct Outbox {
    ping: Option<Echo>,
    pong: Option<Echo>,
    /// Streams that are not live here, of which the peer is to be told so, and how many bytes it
    /// said they had.
    over: VecDeque<(StreamId, u64)>,
    streams: VecDeque<StreamId>,
    later: VecDeque<(Instant, StreamId)>,
    services: Whole<Vec<ServiceInfo>>,
    edges: Whole<Vec<String>>,
    drain: Whole<Duration>,
}

impl<T> Whole<T> {
    fn say(&mut self, word: T) {
        *self = Self {
            last: Some(word),
            due: true,
        };
    }

    fn repeat(&mut self) {
        self.due = self.last.is_some();
    }

    fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }
}

impl<T> Default for Whole<T> {
    fn default() -> Self {
        Self {
            last: None,
            due: false,
        }
    }
}

impl SessionState {
    /// A session at its beginning, after the handshake.
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        let budget = GrowthBudget::new(config.growth_budget, config.shared_budget.clone());
        let liveness = Liveness::new(config.liveness, config.side, config.seed, now);
        Self {
            line: Line::Connected(config.attempt),
            last_attempt: config.attempt,
            to_attach: VecDeque::new(),
            config,
            streams: HashMap::new(),
            next_index: 0,
            seen: SeenIds::default(),
            own_live: 0,
            peer_live: 0,
            draining: false,
            peer_opened: None,
            budget,
            liveness,
            transport_rtt: Duration::from_millis(100),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            release_at: None,
            grown: Vec::new(),
            room_wanted: false,
        }
    }

    // ---- opening ----

    /// Opens a stream of this end.
    pub fn open(&mut self, now: Instant) -> Result<StreamId, OpenRefusal> {
        if self.draining {
            return Err(OpenRefusal::Draining);
        }
        // As many as the peer allows, and as our own bounds are made for.
        let most = self
            .config
            .peer
            .max_streams
            .min(self.config.local.max_streams);
        if self.own_live >= most {
            self.room_wanted = true;
            return Err(OpenRefusal::TooMany);
        }
        let id = StreamId::new(self.config.side, self.next_index);
        self.next_index += 1;
        self.insert(id, Phase::Open, now);
        Ok(id)
    }

    /// What the peer may have open: as many as it was told, and some more, since it may know of
    /// an end before we do.
    fn most_peer_streams(&self) -> u32 {
        let told = self.config.local.max_streams;
        told.saturating_add(told / 8 + 16)
    }

    fn see(&mut self, id: StreamId) -> Result<(), Violation> {
        let most_missing = u64::from(self.config.local.max_streams) * 2 + 16;
        self.seen
            .insert(id.index(), most_missing)
            .map_err(|_| wrong(id, "far ahead of all that were opened"))
    }

    fn insert(&mut self, id: StreamId, phase: Phase, now: Instant) {
        let (tx_base, rx_base) = (self.config.peer.stream_base, self.config.local.stream_base);
        let stream = LiveStream::new(id, tx_base, rx_base, phase, now);
        self.streams.insert(id, Box::new(stream));
        *self.live_count(id) += 1;
        self.liveness.set_busy(true, now);
        self.liveness.opened(now);
    }

    /// Forgets a stream that is over on both ends.
    fn retire(&mut self, id: StreamId, now: Instant) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        stream.rx.give_back(&mut self.budget);
        self.budget.give_back(stream.drawn);
        self.budget.count_kept(stream.held, 0);
        *self.live_count(id) -= 1;
        if self.streams.is_empty() {
            self.events.push_back(Event::Idle);
            self.liveness.set_busy(false, now);
        }
        if id.opener() == self.config.side && std::mem::take(&mut self.room_wanted) {
            self.events.push_back(Event::Room);
        }
    }

    /// Puts a stream in the queue of those that have something to say.
    fn enqueue(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.queued) {
            stream.queued = true;
            self.outbox.streams.push_back(id);
        }
    }

    fn live_count(&mut self, id: StreamId) -> &mut u32 {
        if id.opener() == self.config.side {
            &mut self.own_live
        } else {
            &mut self.peer_live
        }
    }

    // ---- what the session as a whole does ----

    /// Tells the peer which services there are from now on.
    pub fn announce_services(&mut self, services: Vec<ServiceInfo>) {
        self.outbox.services.say(services);
    }

    /// Tells the peer of every edge that there is from now on: the first [`MAX_EDGES`].
    pub fn announce_edges(&mut self, mut edges: Vec<String>) {
        edges.truncate(MAX_EDGES);
        self.outbox.edges.say(edges);
    }

    /// Opens nothing more, and asks the peer not to either. It answers with how many it has opened.
    pub fn drain(&mut self, grace: Duration) {
        self.draining = true;
        // Whoever waits for room need not any longer.
        self.events.push_back(Event::Room);
        self.outbox.drain.say(grace);
    }

    /// Whether every stream is over that either end has opened, and there will be no more.
    pub fn is_drained(&self) -> bool {
        let opened = self.peer_opened.filter(|_| self.streams.is_empty());
        opened.is_some_and(|opened| self.seen.contains_all_below(opened))
    }

    /// Whether the peer has said how many streams it has opened in all.
    pub fn has_peer_drained(&self) -> bool {
        self.peer_opened.is_some()
    }

    fn look_whether_idle(&mut self) {
        if self.is_drained() {
            self.events.push_back(Event::Idle);
        }
    }

    /// How many streams are live.
    pub fn live_streams(&self) -> usize {
        self.streams.len()
    }

    /// What windows have been granted, and what is kept, beyond the base of each stream, in bytes.
    pub fn growth_used(&self) -> u64 {
        self.budget.used()
    }

    /// How much memory keeps what was sent and is not known to be consumed, in bytes.
    pub fn kept(&self) -> u64 {
        self.budget.kept()
    }

    /// All streams that are live, in no order.
    pub fn stream_ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.keys().copied()
    }
}

fn wrong(stream: StreamId, what: &'static str) -> Violation {
    Violation::Stream { stream, what }
}
