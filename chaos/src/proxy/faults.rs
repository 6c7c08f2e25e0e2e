//! The faults that are in force, and changing them while connections run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    up: BTreeMap<Kind, Set>,
    down: BTreeMap<Kind, Set>,
    /// How often UDP callers have been given new ports towards the server.
    pub(crate) rebinds: u64,
}

/// A fault since it was set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Set {
    pub(crate) fault: Fault,
    pub(crate) since: Instant,
    /// Tells it from the same fault set again.
    pub(crate) revision: u64,
}

/// A fault that is to be over some time, and what it took the place of.
#[derive(Debug)]
pub struct Hold {
    kind: Kind,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    direction: Direction,
    ours: u64,
    before: Option<Set>,
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

    /// Puts a fault in force, in place of one of the same kind.
    ///
    /// # Errors
    /// If it could have no effect on what is passed on.
    pub fn set(&self, placed: Placed) -> Result<(), NoEffect> {
        self.hold(placed).map(drop)
    }

    /// The same, for as long as [`Self::release`] is not called.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn hold(&self, placed: Placed) -> Result<Hold, NoEffect> {
        self.check(placed.fault.kind())?;
        let Placed { directions, fault } = placed;
        let kind = fault.kind();
        tracing::info!(%fault, %directions, "fault set");
        let mut places = Vec::new();
        let revision = self.0.revisions.fetch_add(1, Ordering::Relaxed);
        let set = Set {
            fault,
            since: Instant::now(),
            revision,
        };
        self.change(|in_force| {
            if kind == Kind::Rebind {
                in_force.rebinds += 1;
                return;
            }
            for direction in directions.each() {
                places.push(Place {
                    direction,
                    ours: revision,
                    before: in_force.of_mut(direction).insert(kind, set),
                });
            }
        });
        Ok(Hold { kind, places })
    }

    /// Puts back what a held fault took the place of, where nobody has changed it meanwhile.
    pub fn release(&self, hold: Hold) {
        let Hold { kind, places } = hold;
        tracing::info!(fault = %kind, "fault over");
        self.change(|in_force| {
            for place in &places {
                let lane = in_force.of_mut(place.direction);
                let still_ours = lane
                    .get(&kind)
                    .is_some_and(|now| now.revision == place.ours);
                match place.before {
                    Some(before) if still_ours => drop(lane.insert(kind, before)),
                    None if still_ours => drop(lane.remove(&kind)),
                    Some(_) | None => {}
                }
            }
        });
    }

    /// Takes a fault away; whether there was one.
    pub fn clear(&self, kind: Kind, directions: Directions) -> bool {
        let mut found = false;
        self.change(|in_force| {
            for direction in directions.each() {
                found |= in_force.of_mut(direction).remove(&kind).is_some();
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
            in_force.up.clear();
            in_force.down.clear();
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
        self.of(direction).values().map(|set| set.fault)
    }

    /// Whether a fault of this kind is in force in a direction.
    pub fn has(&self, kind: Kind, direction: Direction) -> bool {
        self.of(direction).contains_key(&kind)
    }

    /// As a document: `{"up": {"latency": {"delay": "100ms", …}}, "down": {}}`.
    pub fn to_json(&self) -> Value {
        let directions = Direction::ALL.into_iter().map(|direction| {
            let faults = self.faults(direction);
            let faults: Map<String, Value> = faults
                .map(|fault| (fault.kind().name().to_owned(), fault.to_json()))
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
        Lane::of(self.of(direction).values())
    }

    fn of(&self, direction: Direction) -> &BTreeMap<Kind, Set> {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn of_mut(&mut self, direction: Direction) -> &mut BTreeMap<Kind, Set> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
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
mod tests {
    use super::*;

    fn placed(text: &str) -> Placed {
        text.parse().unwrap()
    }

    fn shown(faults: &Faults) -> [Vec<String>; 2] {
        let now = faults.now();
        Direction::ALL.map(|direction| now.faults(direction).map(|it| it.to_string()).collect())
    }

    #[test]
    fn faults_are_set_replaced_and_cleared_by_direction() {
        let faults = Faults::none(Protocols::Both);
        faults.set(placed("cut")).unwrap();
        faults.set(placed("up latency delay=1s")).unwrap();
        faults.set(placed("latency delay=2s")).unwrap();
        let latency = "latency delay=2s jitter=0s".to_owned();
        let both = vec![latency.clone(), "cut".to_owned()];
        assert_eq!(shown(&faults), [both.clone(), both]);
        assert!(faults.clear(Kind::Cut, Directions::One(Direction::Up)));
        assert!(!faults.clear(Kind::Cut, Directions::One(Direction::Up)));
        assert_eq!(shown(&faults)[0], [latency]);
        assert_eq!(
            faults.now().to_json()["down"]["latency"]["delay"].as_str(),
            Some("2s")
        );
        faults.clear_all();
        assert_eq!(shown(&faults), [vec![], vec![]] as [Vec<String>; 2]);
    }

    #[test]
    fn a_held_fault_gives_its_place_back_unless_somebody_took_it() {
        let faults = Faults::none(Protocols::Both);
        faults.set(placed("latency delay=1s")).unwrap();
        let hold = faults.hold(placed("up latency delay=5s")).unwrap();
        assert_eq!(shown(&faults)[0], ["latency delay=5s jitter=0s"]);
        faults.release(hold);
        assert_eq!(shown(&faults)[0], ["latency delay=1s jitter=0s"]);

        let hold = faults.hold(placed("latency delay=5s")).unwrap();
        faults.set(placed("down latency delay=7s")).unwrap();
        faults.release(hold);
        assert_eq!(shown(&faults)[0], ["latency delay=1s jitter=0s"]);
        assert_eq!(shown(&faults)[1], ["latency delay=7s jitter=0s"]);

        let hold = faults.hold(placed("cut")).unwrap();
        faults.release(hold);
        assert!(!faults.now().has(Kind::Cut, Direction::Up));
    }

    #[test]
    fn what_could_have_no_effect_is_refused() {
        let faults = Faults::none(Protocols::Udp);
        assert_eq!(
            faults.set(placed("slice")).unwrap_err().to_string(),
            "slice is for TCP, and this proxy passes UDP only"
        );
        let faults = Faults::none(Protocols::Tcp);
        assert_eq!(
            faults.set(placed("rebind")).unwrap_err().to_string(),
            "rebind is for UDP, and this proxy passes TCP only"
        );
        faults.set(placed("corrupt")).unwrap();
    }
}
