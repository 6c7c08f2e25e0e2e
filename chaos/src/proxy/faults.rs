//! The faults that are in force, and changing them while connections run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relay::settings::format_duration;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::direction::{Direction, Directions};
use super::fault::{Fault, Placed};
use super::kind::{Applies, Kind};
use super::lane::Lane;
use super::throttle::Throttle;

/// What a proxy passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// TCP only.
    Tcp,
    /// UDP only.
    Udp,
    /// Both, at the same port number.
    Both,
}

/// The faults of a proxy, shared by its connections, its control listener and its timeline.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    protocols: Protocols,
    in_force: watch::Sender<InForce>,
    revisions: AtomicU64,
    up: Arc<Throttle>,
    down: Arc<Throttle>,
}

/// What is in force at a moment.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    up: Stacks,
    down: Stacks,
    /// How often UDP callers have been given new ports towards the server.
    pub(crate) rebinds: u64,
}

/// What is set in a direction, by kind. What is set for a time lies on what it took the place of;
/// the last is in force, and no stack is empty.
#[derive(Clone, Debug, Default)]
struct Stacks(BTreeMap<Kind, Vec<Set>>);

/// A fault since it was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Set {
    pub(crate) fault: Fault,
    pub(crate) since: Instant,
    /// Tells it from the same fault set again.
    pub(crate) revision: u64,
    /// When it is to be over, if it was set for a time.
    until: Option<Instant>,
}

/// A fault that is to be over some time.
#[derive(Debug)]
pub struct Hold {
    kind: Kind,
    directions: Directions,
    revision: u64,
}

/// A fault of which nothing that this proxy passes on could take notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} is for {}, and this proxy passes {passes} only", .kind.description().applies.name())]
pub struct NoEffect {
    kind: Kind,
    passes: Protocols,
}

impl Faults {
    /// None yet.
    pub fn none(protocols: Protocols) -> Self {
        Self(Arc::new(Shared {
            protocols,
            in_force: watch::Sender::new(InForce::default()),
            revisions: AtomicU64::new(0),
            up: Arc::default(),
            down: Arc::default(),
        }))
    }

    /// What the proxy passes on whose faults these are.
    pub fn protocols(&self) -> Protocols {
        self.0.protocols
    }

    /// Puts a fault in force, in place of all of the same kind.
    ///
    /// # Errors
    /// If it could have no effect on what is passed on.
    pub fn set(&self, placed: Placed) -> Result<(), NoEffect> {
        self.put(placed, None).map(drop)
    }

    /// Puts a fault in force for a time, after which the caller calls [`Self::release`]. Then, what
    /// else is set of this kind is in force again.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn hold(&self, placed: Placed, lasts: Duration) -> Result<Hold, NoEffect> {
        self.put(placed, Some(lasts))
    }

    fn put(&self, placed: Placed, lasts: Option<Duration>) -> Result<Hold, NoEffect> {
        let Placed { directions, fault } = placed;
        let kind = fault.kind();
        self.check(kind)?;
        tracing::info!(%fault, %directions, "fault set");
        let since = Instant::now();
        let set = Set {
            fault,
            since,
            revision: self.0.revisions.fetch_add(1, Ordering::Relaxed),
            until: lasts.map(|lasts| since + lasts),
        };
        self.change(|in_force| {
            if kind == Kind::Rebind {
                in_force.rebinds += 1;
                return;
            }
            for direction in directions.each() {
                in_force.of_mut(direction).put(set);
            }
        });
        Ok(Hold {
            kind,
            directions,
            revision: set.revision,
        })
    }

    /// Takes a held fault away, unless somebody has set or cleared its kind meanwhile.
    pub fn release(&self, hold: Hold) {
        let mut ended = false;
        self.change(|in_force| {
            for direction in hold.directions.each() {
                ended |= in_force.of_mut(direction).release(hold.kind, hold.revision);
            }
        });
        if ended {
            tracing::info!(fault = %hold.kind, "fault over");
        }
    }

    /// Takes a fault away; whether there was one.
    pub fn clear(&self, kind: Kind, directions: Directions) -> bool {
        let mut found = false;
        self.change(|in_force| {
            for direction in directions.each() {
                found |= in_force.of_mut(direction).0.remove(&kind).is_some();
            }
        });
        if found {
            tracing::info!(fault = %kind, %directions, "fault cleared");
        }
        found
    }

    /// Takes all faults away.
    pub fn clear_all(&self) {
        tracing::info!("all faults cleared");
        self.change(|in_force| {
            in_force.up = Stacks::default();
            in_force.down = Stacks::default();
        });
    }

    /// What is in force now.
    pub fn now(&self) -> InForce {
        self.0.in_force.borrow().clone()
    }

    /// Whether a fault of this kind can do anything here.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, kind: Kind) -> Result<(), NoEffect> {
        let passes = self.0.protocols;
        let has_effect = match (kind.description().applies, passes) {
            (Applies::Both, _) | (_, Protocols::Both) => true,
            (Applies::Tcp, passes) => passes == Protocols::Tcp,
            (Applies::Udp, passes) => passes == Protocols::Udp,
        };
        has_effect.then_some(()).ok_or(NoEffect { kind, passes })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<InForce> {
        self.0.in_force.subscribe()
    }

    /// The rate that all connections share in a direction.
    pub(crate) fn throttle(&self, direction: Direction) -> Arc<Throttle> {
        match direction {
            Direction::Up => Arc::clone(&self.0.up),
            Direction::Down => Arc::clone(&self.0.down),
        }
    }

    fn change(&self, change: impl FnOnce(&mut InForce)) {
        self.0.in_force.send_modify(change);
        // A rate may be another now, and nobody shall wait for what went at an old one.
        self.0.up.forgive();
        self.0.down.forgive();
    }
}

impl InForce {
    /// The faults of a direction.
    pub fn faults(&self, direction: Direction) -> impl Iterator<Item = Fault> {
        self.of(direction).tops().map(|set| set.fault)
    }

    /// Whether a fault of this kind is in force in a direction.
    pub fn has(&self, kind: Kind, direction: Direction) -> bool {
        self.of(direction).0.contains_key(&kind)
    }

    /// As a document: `{"up": {"latency": {"delay": "100ms", …}}, "down": {}}`. What is set for a
    /// time says as `for` how much of it is left.
    pub fn to_json(&self) -> Value {
        let now = Instant::now();
        let directions = Direction::ALL.into_iter().map(|direction| {
            let sets = self.of(direction).tops();
            let faults: Map<String, Value> = sets
                .map(|set| (set.fault.kind().name().to_owned(), set.to_json(now)))
                .collect();
            (direction.name().to_owned(), faults.into())
        });
        Value::Object(directions.collect())
    }

    /// Whether nothing can come back: either direction is cut.
    pub(crate) fn is_cut(&self) -> bool {
        let mut directions = Direction::ALL.into_iter();
        directions.any(|direction| self.has(Kind::Cut, direction))
    }

    pub(crate) fn lane(&self, direction: Direction) -> Lane {
        Lane::of(self.of(direction).tops())
    }

    fn of(&self, direction: Direction) -> &Stacks {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn of_mut(&mut self, direction: Direction) -> &mut Stacks {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl Stacks {
    /// What is in force.
    fn tops(&self) -> impl Iterator<Item = &Set> {
        self.0.values().filter_map(|stack| stack.last())
    }

    /// What is for a time covers what is there, anything else takes its place.
    fn put(&mut self, set: Set) {
        let stack = self.0.entry(set.fault.kind()).or_default();
        if set.until.is_none() {
            stack.clear();
        }
        stack.push(set);
    }

    /// Takes one away wherever it lies; whether it was in force.
    fn release(&mut self, kind: Kind, revision: u64) -> bool {
        let Some(stack) = self.0.get_mut(&kind) else {
            return false;
        };
        let was_in_force = stack.last().is_some_and(|top| top.revision == revision);
        stack.retain(|set| set.revision != revision);
        if stack.is_empty() {
            self.0.remove(&kind);
        }
        was_in_force
    }
}

impl Set {
    fn to_json(self, now: Instant) -> Value {
        let mut document = self.fault.to_json();
        if let Some(until) = self.until {
            let left = until.saturating_duration_since(now);
            document["for"] = format_duration(left).into();
        }
        document
    }
}

impl Protocols {
    /// Whether TCP is passed on.
    pub fn has_tcp(self) -> bool {
        match self {
            Self::Tcp | Self::Both => true,
            Self::Udp => false,
        }
    }

    /// Whether UDP is passed on.
    pub fn has_udp(self) -> bool {
        match self {
            Self::Udp | Self::Both => true,
            Self::Tcp => false,
        }
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Both => "TCP and UDP",
        })
    }
}

#[cfg(test)]
mod tests;
