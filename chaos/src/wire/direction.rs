//! One way of a link.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    chances::{Chances, Draw, Seed},
    decision::{Carried, Cause, Decision, Fate, Tally},
    moment::Moment,
    packet::{Packet, Protocol},
    shape::{Loss, Shape},
};

/// One way of a link, and all packets that are on it.
///
/// The caller gives it packets with [`handle_packet`](Self::handle_packet) and fetches with
/// [`poll_deliver`](Self::poll_deliver) those that have arrived, after every packet and at the time
/// that [`poll_timeout`](Self::poll_timeout) then says. Time never goes back from one call to the
/// next. Being called late changes when packets are fetched, not when they arrived.
#[derive(Debug)]
pub struct Direction {
    shape: Shape,
    chances: Chances,
    /// When the burst began that is going on.
    burst: Option<Moment>,
    /// What waits to be sent. The first is being sent if there is a `sent_at`.
    queue: VecDeque<Queued>,
    /// How many bytes wait behind the first.
    waiting: usize,
    /// When the last bit of the queue's first is on its way.
    sent_at: Option<Moment>,
    /// By when they arrive, and among those that arrive together by when they left.
    in_flight: BTreeMap<(Moment, u64), Packet>,
    /// How many have been in flight.
    flights: u64,
    /// When the latest of those arrives that keep their order.
    in_order_until: Moment,
    tally: Tally,
}

#[derive(Debug)]
struct Queued {
    packet: Packet,
    jitter: Duration,
    held_back: bool,
}

impl Direction {
    /// An empty one.
    pub fn new(shape: Shape, seed: Seed) -> Self {
        Self {
            shape,
            chances: Chances::new(seed),
            burst: None,
            queue: VecDeque::new(),
            waiting: 0,
            sent_at: None,
            in_flight: BTreeMap::new(),
            flights: 0,
            in_order_until: Moment::BEGINNING,
            tally: Tally::default(),
        }
    }

    /// How it is shaped.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// What it has done.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many packets are on it, in the queue or in flight.
    pub fn on_the_way(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    /// Shapes it anew. What is in flight arrives as it would have; what is in the queue stays there,
    /// however long that is, and leaves it at the new rate.
    pub fn set_shape(&mut self, now: Moment, shape: Shape) {
        self.send_until(now);
        self.shape = shape;
        if let (Some(sent_at), Some(first)) = (self.sent_at, self.queue.front()) {
            let at_the_new_rate = now + shape.rate.time_for(first.packet.length());
            self.sent_at = Some(sent_at.min(at_the_new_rate));
        }
    }

    /// Takes a packet, and says what becomes of it.
    pub fn handle_packet(&mut self, now: Moment, packet: Packet) -> Decision {
        self.send_until(now);
        let number = self.tally.offered;
        self.tally.offered += 1;
        let fate = self.decide(now, &packet);
        match fate {
            Fate::Carried(carried) => self.enqueue(now, packet, carried),
            Fate::Dropped(cause) => self.tally.dropped(cause),
        }
        Decision { number, fate }
    }

    /// Fetches a packet that has arrived by now.
    pub fn poll_deliver(&mut self, now: Moment) -> Option<Packet> {
        self.send_until(now);
        let first = self.in_flight.first_entry()?;
        let (arrival, _) = *first.key();
        if arrival > now {
            return None;
        }
        let packet = first.remove();
        self.tally.delivered += 1;
        self.tally.delivered_bytes += packet.length() as u64;
        self.tally.first_arrival.get_or_insert(arrival);
        self.tally.latest_arrival = self.tally.latest_arrival.max(arrival);
        Some(packet)
    }

    /// When to call [`poll_deliver`](Self::poll_deliver) again, if no packet comes before.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let flying = self.in_flight.first_key_value().map(|((due, _), _)| *due);
        // What is still being sent cannot arrive before that, so nobody has to look when it is.
        let sending = self.sent_at.map(|sent_at| sent_at + self.shape.delay);
        flying.into_iter().chain(sending).min()
    }

    fn decide(&mut self, now: Moment, packet: &Packet) -> Fate {
        // Drawn also for what never has a chance, so that the sequences keep step with the packets.
        let draw = self.chances.draw();
        let lost = self.is_lost(now, draw);
        let shape = &self.shape;
        let dropped = if shape.cut {
            Some(Cause::Cut)
        } else if shape.udp_blocked && packet.protocol() == Protocol::Udp {
            Some(Cause::UdpBlocked)
        } else if shape.tcp_blocked && packet.protocol() == Protocol::Tcp {
            Some(Cause::TcpBlocked)
        } else if packet.length() > shape.mtu {
            Some(Cause::TooLong)
        } else if lost {
            Some(Cause::Lost)
        } else if !self.has_room(packet) {
            Some(Cause::QueueFull)
        } else {
            None
        };
        if let Some(cause) = dropped {
            return Fate::Dropped(cause);
        }
        let corrupted = shape.corrupt.happens(draw.corrupt);
        Fate::Carried(Carried {
            jitter: share(shape.jitter, draw.jitter),
            held_back: shape.reorder.probability.happens(draw.reorder),
            duplicated: shape.duplicate.happens(draw.duplicate),
            flipped: corrupted.then(|| packet.choose_bit(draw.bit)).flatten(),
        })
    }

    fn is_lost(&mut self, now: Moment, draw: Draw) -> bool {
        match self.shape.loss {
            Loss::Never => false,
            Loss::Each(probability) => probability.happens(draw.loss),
            Loss::Bursts(bursts) => {
                let going_on = self
                    .burst
                    .filter(|since| now.since(*since) < bursts.longest);
                self.burst = match going_on {
                    Some(since) => (!bursts.end.happens(draw.burst)).then_some(since),
                    None => bursts.begin.happens(draw.burst).then_some(now),
                };
                let loss = match self.burst {
                    Some(_) => bursts.within,
                    None => bursts.between,
                };
                loss.happens(draw.loss)
            }
        }
    }

    fn has_room(&self, packet: &Packet) -> bool {
        self.sent_at.is_none() || self.waiting + packet.length() <= self.shape.queue
    }

    fn enqueue(&mut self, now: Moment, mut packet: Packet, carried: Carried) {
        if let Some(bit) = carried.flipped {
            packet.flip(bit);
            self.tally.corrupted += 1;
        }
        self.tally.held_back += u64::from(carried.held_back);
        let copy = carried.duplicated.then(|| packet.clone());
        let queued = |packet| Queued {
            packet,
            jitter: carried.jitter,
            held_back: carried.held_back,
        };
        self.push(now, queued(packet));
        if let Some(copy) = copy {
            if self.has_room(&copy) {
                self.tally.duplicated += 1;
                self.tally.corrupted += u64::from(carried.flipped.is_some());
                self.push(now, queued(copy));
            } else {
                self.tally.dropped(Cause::QueueFull);
            }
        }
    }

    fn push(&mut self, now: Moment, queued: Queued) {
        let length = queued.packet.length();
        self.queue.push_back(queued);
        if self.sent_at.is_some() {
            self.waiting += length;
        } else {
            self.sent_at = Some(now + self.shape.rate.time_for(length));
            self.send_until(now);
        }
    }

    /// Puts in flight all that has been sent by now, each when it was sent.
    fn send_until(&mut self, now: Moment) {
        while let Some(sent_at) = self.sent_at.filter(|sent_at| *sent_at <= now) {
            if let Some(sent) = self.queue.pop_front() {
                self.fly(sent_at, sent);
            }
            self.sent_at = self.queue.front().map(|next| {
                let length = next.packet.length();
                self.waiting -= length;
                sent_at + self.shape.rate.time_for(length)
            });
        }
    }

    fn fly(&mut self, sent_at: Moment, sent: Queued) {
        let arrival = (sent_at + self.shape.delay + sent.jitter).max(self.in_order_until);
        let arrival = if sent.held_back {
            arrival + self.shape.reorder.held_back
        } else {
            self.in_order_until = arrival;
            arrival
        };
        self.in_flight.insert((arrival, self.flights), sent.packet);
        self.flights += 1;
    }
}

/// The share of a duration that drew this number among those of 64 bits.
fn share(whole: Duration, drawn: u64) -> Duration {
    let nanos = (whole.as_nanos().min(u128::from(u64::MAX)) * u128::from(drawn)) >> 64;
    Duration::from_nanos(nanos as u64)
}
