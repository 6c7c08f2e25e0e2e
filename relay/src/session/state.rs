//! All of a session's state.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{GrowthBudget, ProcessBudget};
use super::liveness::{Liveness, LivenessConfig, Verdict};
use super::ranges::SeenIds;
use super::rx::AckUrgency;
use super::stream::{LiveStream, Phase, ResetBy};
use super::tx::RELEASE_AFTER;
use super::violation::Violation;
use crate::proto::{Ack, Close, Control, Limits, Opener, ResetCode, ServiceInfo, StreamId};

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
    /// The same for all sessions of the process.
    pub process_budget: Arc<ProcessBudget>,
    /// When to ping and when to give up.
    pub liveness: LivenessConfig,
    /// Any number; it spreads the pings of many sessions.
    pub seed: u64,
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
    /// No stream is live any more.
    Idle,
    /// The initiator's services, as they are from now on.
    Services(Vec<ServiceInfo>),
    /// The peer is stopping.
    Draining,
    /// The peer answered a Ping.
    RoundTrip(Duration),
    /// The peer closes the connection.
    Closed(Close),
    /// The peer has been silent for too long.
    Dead,
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

/// What the header of a new stream leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is live.
    New,
    /// It was reset before its header came.
    AlreadyOver,
    /// The peer has too many open; it was reset.
    Overload,
}

/// The pure session.
///
/// Order of calls: after any `handle_*` and after any of the stream calls, drain
/// [`poll_event`](Self::poll_event), then [`poll_control`](Self::poll_control), then wait until
/// [`deadline`](Self::deadline) at the latest and call [`handle_timeout`](Self::handle_timeout).
#[derive(Debug)]
pub struct SessionState {
    config: SessionConfig,
    streams: HashMap<StreamId, LiveStream>,
    next_index: u64,
    seen: SeenIds,
    own_live: u32,
    peer_live: u32,
    draining: bool,
    budget: GrowthBudget,
    liveness: Liveness,
    transport_rtt: Duration,
    outbox: Outbox,
    events: VecDeque<Event>,
    release_at: Option<Instant>,
    grown: Vec<StreamId>,
    room_wanted: bool,
}

/// What is to be said, as small as it can be kept: each stream stands in each queue at most once.
#[derive(Debug, Default)]
struct Outbox {
    ping: Option<u64>,
    pong: Option<u64>,
    /// Streams that are not live here, of which the peer is to be told so, and how many bytes it
    /// said they had.
    over: VecDeque<(StreamId, u64)>,
    streams: VecDeque<StreamId>,
    later: VecDeque<(Instant, StreamId)>,
    services: Option<Vec<ServiceInfo>>,
    drain: Option<Duration>,
    close: Option<Close>,
}

impl SessionState {
    /// A session at its beginning, after the handshake.
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        let budget = GrowthBudget::new(config.growth_budget, config.process_budget.clone());
        let liveness = Liveness::new(config.liveness, config.side, config.seed, now);
        Self {
            config,
            streams: HashMap::new(),
            next_index: 0,
            seen: SeenIds::default(),
            own_live: 0,
            peer_live: 0,
            draining: false,
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
        if self.own_live >= self.config.peer.max_streams {
            self.room_wanted = true;
            return Err(OpenRefusal::TooMany);
        }
        let id = StreamId::new(self.config.side, self.next_index);
        self.next_index += 1;
        self.insert(id, Phase::Open, now);
        Ok(id)
    }

    /// Takes the header of a stream that the peer opened.
    pub fn handle_open(&mut self, id: StreamId, now: Instant) -> Result<Opened, Violation> {
        if id.opener() == self.config.side {
            return Err(wrong(id, "opened by the end that did not open it"));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            return match stream.phase {
                Phase::Announced => {
                    stream.phase = Phase::Open;
                    Ok(Opened::New)
                }
                Phase::Open | Phase::Resetting { .. } => Err(wrong(id, "opened twice")),
            };
        }
        if self.seen.contains(id.index()) {
            return Ok(Opened::AlreadyOver);
        }
        self.see(id)?;
        self.insert(id, Phase::Open, now);
        if self.peer_live > self.most_peer_streams() {
            let message = "too many streams are open".to_owned();
            self.reset(id, ResetCode::Overload, message);
            return Ok(Opened::Overload);
        }
        Ok(Opened::New)
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
        self.streams.insert(id, stream);
        *self.live_count(id) += 1;
        self.liveness.set_busy(true, now);
    }

    fn live_count(&mut self, id: StreamId) -> &mut u32 {
        if id.opener() == self.config.side {
            &mut self.own_live
        } else {
            &mut self.peer_live
        }
    }

    // ---- what a pump does ----

    /// How many bytes may be sent on `id` now; 0 if it is over.
    pub fn credit(&self, id: StreamId) -> u64 {
        match self.streams.get(&id) {
            Some(stream) if !stream.is_resetting() => stream.tx.available(),
            Some(_) | None => 0,
        }
    }

    /// Counts `count` bytes handed to the transport, at most [`Self::credit`].
    pub fn sent(&mut self, id: StreamId, count: u64, now: Instant) {
        self.liveness.sent(now);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.tx.send(count, now);
        }
    }

    /// Ends our direction.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.tx.is_finished()) {
            stream.tx.finish();
            stream.pending.fin = true;
            self.enqueue(id);
        }
    }

    /// Counts `count` bytes that came from the transport.
    pub fn received(&mut self, id: StreamId, count: u64, now: Instant) -> Result<(), Violation> {
        self.liveness.heard(now);
        match self.streams.get_mut(&id) {
            Some(stream) if !stream.is_resetting() => stream.rx.receive(count),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts `count` bytes that the local reader took.
    pub fn consumed(&mut self, id: StreamId, count: u64, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_resetting()) {
            stream.rx.consume(count);
            self.acknowledge_in_time(id, now);
        }
    }

    /// Whether all bytes of the peer's direction have arrived, and it has ended. So it is with a
    /// stream that is over and was not reset.
    pub fn is_all_received(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_none_or(|stream| stream.rx.is_all_received())
    }

    /// Whether this end has nothing left to do with a stream: it has ended its direction and
    /// consumed the other, or the stream is over.
    pub fn is_settled(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_none_or(|s| s.is_resetting() || (s.tx.is_finished() && s.rx.is_complete()))
    }

    /// The acceptor has reached its target.
    pub fn connected(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.pending.connected = true;
            self.enqueue(id);
        }
    }

    /// Resets a stream. It stays until the peer has confirmed; its user hears [`Event::Over`] now.
    pub fn reset(&mut self, id: StreamId, code: ResetCode, message: String) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_resetting()) else {
            return;
        };
        stream.rx.give_back(&mut self.budget);
        stream.phase = Phase::Resetting {
            code,
            message: message.clone(),
        };
        stream.pending.reset = true;
        self.enqueue(id);
        let by = ResetBy::Local;
        self.events
            .push_back(Event::Over(id, Over::Reset { code, message, by }));
    }

    fn acknowledge_in_time(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match stream.ack_urgency() {
            AckUrgency::Now => {
                stream.pending.ack = true;
                self.enqueue(id);
            }
            AckUrgency::Soon if !stream.ack_waits => {
                stream.ack_waits = true;
                self.outbox.later.push_back((now + ACK_DELAY, id));
            }
            AckUrgency::Soon | AckUrgency::None => {}
        }
    }

    fn enqueue(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.queued) {
            stream.queued = true;
            self.outbox.streams.push_back(id);
        }
    }

    // ---- what the session as a whole does ----

    /// Tells the peer which services there are from now on.
    pub fn announce_services(&mut self, services: Vec<ServiceInfo>) {
        self.outbox.services = Some(services);
    }

    /// Opens nothing more, and asks the peer not to either.
    pub fn drain(&mut self, grace: Duration) {
        self.draining = true;
        self.outbox.drain = Some(grace);
    }

    /// Says the last word; whoever drives the session closes the connection after it is written.
    pub fn close(&mut self, close: Close) {
        self.outbox.close.get_or_insert(close);
    }

    /// The round trip as the transport measures it.
    pub fn set_transport_rtt(&mut self, rtt: Duration) {
        self.transport_rtt = rtt;
    }

    /// The round trip as the last Ping measured it.
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// How many streams are live.
    pub fn live_streams(&self) -> usize {
        self.streams.len()
    }

    /// What windows have been granted beyond their base, in bytes.
    pub fn growth_used(&self) -> u64 {
        self.budget.used()
    }

    /// All streams that are live, in no order.
    pub fn stream_ids(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.keys().copied()
    }

    // ---- what the peer says ----

    /// Takes a control message.
    pub fn handle_control(&mut self, message: Control, now: Instant) -> Result<(), Violation> {
        self.liveness.heard(now);
        match message {
            Control::Hello(_) | Control::HelloAck(_) => {
                return Err(Violation::Unexpected("a second hello"));
            }
            Control::Ping { nonce } => self.outbox.pong = Some(nonce),
            Control::Pong { nonce } => {
                let rtt = self.liveness.pong(nonce, now);
                self.events.extend(rtt.map(Event::RoundTrip));
            }
            Control::Ack(ack) => self.handle_ack(&ack, now)?,
            Control::Release { stream, released } => {
                self.live_or_past(stream)?;
                if let Some(live) = self.streams.get_mut(&stream) {
                    live.rx.release(released, &mut self.budget)?;
                }
            }
            Control::Connected { stream } => {
                if stream.opener() != self.config.side {
                    return Err(wrong(stream, "connected by the end that opened it"));
                }
                if self.live_or_past(stream)?.is_some() {
                    self.events.push_back(Event::Connected(stream));
                }
            }
            Control::Fin { stream, last } => self.handle_fin(stream, last, now)?,
            Control::Reset {
                stream,
                code,
                message,
            } => {
                self.handle_reset(stream, code, message, now)?;
            }
            Control::Drain { .. } => {
                self.draining = true;
                self.events.push_back(Event::Draining);
            }
            Control::HealthReport(services) => self.events.push_back(Event::Services(services)),
            Control::Close(close) => self.events.push_back(Event::Closed(close)),
            Control::Unknown => {}
        }
        Ok(())
    }

    fn handle_ack(&mut self, ack: &Ack, now: Instant) -> Result<(), Violation> {
        let id = ack.stream;
        let Some(stream) = self.live_or_past(id)? else {
            return Ok(());
        };
        if stream.is_resetting() {
            if ack.ended {
                self.retire(id, now);
            }
            return Ok(());
        }
        stream.tx.acknowledge(ack)?;
        if stream.is_over() {
            self.events.push_back(Event::Over(id, Over::Complete));
            self.retire(id, now);
            return Ok(());
        }
        if stream.tx.is_grown() && !stream.grown {
            stream.grown = true;
            self.grown.push(id);
            self.release_at.get_or_insert(now + RELEASE_AFTER);
        }
        self.events.push_back(Event::Writable(id));
        Ok(())
    }

    fn handle_fin(&mut self, id: StreamId, last: u64, now: Instant) -> Result<(), Violation> {
        if self.is_unseen(id) {
            self.see(id)?;
            self.insert(id, Phase::Announced, now);
            if self.peer_live > self.most_peer_streams() {
                return Err(wrong(
                    id,
                    "ended beyond the number of streams that may be open",
                ));
            }
        }
        let Some(stream) = self.live_or_past(id)? else {
            return self.tell_over(id, last);
        };
        if stream.is_resetting() {
            return Ok(());
        }
        stream.rx.finish(last)?;
        self.events.push_back(Event::Finished(id));
        self.acknowledge_in_time(id, now);
        Ok(())
    }

    fn handle_reset(
        &mut self,
        id: StreamId,
        code: ResetCode,
        message: String,
        now: Instant,
    ) -> Result<(), Violation> {
        if self.is_unseen(id) {
            self.see(id)?;
        } else if let Some(stream) = self.live_or_past(id)? {
            if !stream.is_resetting() {
                let by = ResetBy::Peer;
                let over = Over::Reset { code, message, by };
                self.events.push_back(Event::Over(id, over));
            }
            self.retire(id, now);
        }
        self.tell_over(id, 0)
    }

    /// Whether a message speaks of a stream of the peer whose header has not come yet.
    fn is_unseen(&self, id: StreamId) -> bool {
        id.opener() != self.config.side && !self.seen.contains(id.index())
    }

    /// The stream, or nothing if it is retired; an error if it never was.
    fn live_or_past(&mut self, id: StreamId) -> Result<Option<&mut LiveStream>, Violation> {
        let exists = if id.opener() == self.config.side {
            id.index() < self.next_index
        } else {
            self.seen.contains(id.index())
        };
        if exists {
            Ok(self.streams.get_mut(&id))
        } else {
            Err(wrong(id, "never opened"))
        }
    }

    /// The peer asks of a stream that is over here. It asks once per Fin or Reset it has sent, so
    /// more questions than it can have streams are a flood.
    fn tell_over(&mut self, id: StreamId, consumed: u64) -> Result<(), Violation> {
        let most = 4 * self
            .config
            .local
            .max_streams
            .max(self.config.peer.max_streams) as usize;
        if self.outbox.over.len() > most + 64 {
            return Err(Violation::Unexpected("a flood of ends and resets"));
        }
        self.outbox.over.push_back((id, consumed));
        Ok(())
    }

    fn retire(&mut self, id: StreamId, now: Instant) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        stream.rx.give_back(&mut self.budget);
        *self.live_count(id) -= 1;
        if self.streams.is_empty() {
            self.events.push_back(Event::Idle);
            self.liveness.set_busy(false, now);
        }
        if id.opener() == self.config.side && std::mem::take(&mut self.room_wanted) {
            self.events.push_back(Event::Room);
        }
    }

    // ---- time ----

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> Instant {
        let ack = self.outbox.later.front().map(|(due, _)| *due);
        [ack, self.release_at]
            .into_iter()
            .flatten()
            .fold(self.liveness.deadline(), Instant::min)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, id)) = self
            .outbox
            .later
            .front()
            .filter(|(due, _)| *due <= now)
            .copied()
        {
            self.outbox.later.pop_front();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.ack_waits = false;
                stream.pending.ack = stream.ack_urgency() != AckUrgency::None;
                self.enqueue(id);
            }
        }
        if self.release_at.is_some_and(|due| due <= now) {
            self.release_idle(now);
        }
        match self.liveness.check(now) {
            Verdict::Alive => {}
            Verdict::Ping(nonce) => self.outbox.ping = Some(nonce),
            Verdict::Dead => self.events.push_back(Event::Dead),
        }
    }

    fn release_idle(&mut self, now: Instant) {
        let mut still_grown = Vec::new();
        for id in std::mem::take(&mut self.grown) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Some(released) = stream.tx.release(now) {
                stream.pending.release = Some(released);
                stream.grown = false;
                self.enqueue(id);
            } else {
                still_grown.push(id);
            }
        }
        self.release_at = (!still_grown.is_empty()).then_some(now + RELEASE_AFTER);
        self.grown = still_grown;
    }

    // ---- what comes out ----

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next message to write: what keeps the connection alive first, Close last.
    pub fn poll_control(&mut self, now: Instant) -> Option<Control> {
        if let Some(nonce) = self.outbox.pong.take() {
            return Some(Control::Pong { nonce });
        }
        if let Some(nonce) = self.outbox.ping.take() {
            return Some(Control::Ping { nonce });
        }
        if let Some((stream, consumed)) = self.outbox.over.pop_front() {
            return Some(Control::Ack(Ack {
                stream,
                consumed,
                limit: 0,
                ended: true,
            }));
        }
        while let Some(id) = self.outbox.streams.front().copied() {
            if let Some(message) = self.next_of_stream(id, now) {
                return Some(message);
            }
            self.outbox.streams.pop_front();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.queued = false;
            }
        }
        if let Some(services) = self.outbox.services.take() {
            return Some(Control::HealthReport(services));
        }
        if let Some(grace) = self.outbox.drain.take() {
            return Some(Control::Drain { grace });
        }
        self.outbox.close.take().map(Control::Close)
    }

    /// Whether [`Self::poll_control`] has anything to say.
    pub fn has_control(&self) -> bool {
        let Outbox {
            ping,
            pong,
            over,
            streams,
            later: _,
            services,
            drain,
            close,
        } = &self.outbox;
        let anything = ping.is_some() || pong.is_some() || services.is_some();
        anything || !over.is_empty() || !streams.is_empty() || drain.is_some() || close.is_some()
    }

    fn next_of_stream(&mut self, id: StreamId, now: Instant) -> Option<Control> {
        let stream = self.streams.get_mut(&id)?;
        if let Some(message) = stream.next_message(id) {
            return Some(message);
        }
        if !std::mem::take(&mut stream.pending.ack) || stream.ack_urgency() == AckUrgency::None {
            return None;
        }
        let rtt = self.liveness.rtt().unwrap_or(self.transport_rtt);
        let rtt = rtt.max(self.transport_rtt);
        let ack = stream
            .rx
            .acknowledge(now, rtt, self.config.stream_window, &mut self.budget);
        if stream.is_over() {
            self.events.push_back(Event::Over(id, Over::Complete));
            self.retire(id, now);
        }
        Some(Control::Ack(ack))
    }
}

fn wrong(stream: StreamId, what: &'static str) -> Violation {
    Violation::Stream { stream, what }
}
