//! Which keeper holds a session with which edge, so that no two hold one with the same.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long an address is believed to lead to an edge that another keeper has, at first and at most:
/// behind one address there may be several edges.
const FIRST_BELIEF: Duration = Duration::from_secs(60);
const LONGEST_BELIEF: Duration = Duration::from_secs(600);

/// What all keepers share.
#[derive(Debug)]
pub(crate) struct Claims {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// By the name that the edge has proved: whose it is, and how often it was claimed by them.
    held: HashMap<String, (usize, usize)>,
    /// Where addresses have led to.
    found: HashMap<SocketAddr, Found>,
    seeking: BTreeSet<usize>,
}

#[derive(Debug)]
struct Found {
    edge: String,
    belief: Duration,
    until: Instant,
}

/// An edge that a keeper has for itself, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Arc<Claims>,
    edge: String,
}

impl Claims {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// Whenever an edge may have become free.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The edge that was found at `address`, unless another keeper has it. A keeper may have it
    /// several times, for an older session and a newer one.
    pub(super) fn claim(
        self: &Arc<Self>,
        slot: usize,
        edge: &str,
        address: SocketAddr,
        now: Instant,
    ) -> Option<Claim> {
        let mut state = self.state.lock();
        let before = state.found.get(&address).filter(|it| it.edge == edge);
        let (owner, times) = state.held.get(edge).copied().unwrap_or((slot, 0));
        let belief = match before {
            Some(before) if owner != slot => (before.belief * 2).min(LONGEST_BELIEF),
            Some(_) | None => FIRST_BELIEF,
        };
        let found = Found {
            edge: edge.to_owned(),
            belief,
            until: now + belief,
        };
        state.found.insert(address, found);
        if owner != slot {
            return None;
        }
        state.held.insert(edge.to_owned(), (slot, times + 1));
        state.seeking.remove(&slot);
        Some(Claim {
            claims: self.clone(),
            edge: edge.to_owned(),
        })
    }

    /// Those of the addresses that are not believed to lead to an edge that another keeper has; the
    /// others are all that is remembered.
    pub(super) fn free(
        &self,
        slot: usize,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Vec<SocketAddr> {
        let mut state = self.state.lock();
        state.found.retain(|address, _| addresses.contains(address));
        let is_free = |address: &&SocketAddr| !state.believes_taken(slot, **address, now);
        addresses.iter().filter(is_free).copied().collect()
    }

    /// When the next address stops to be believed taken.
    pub(super) fn next_doubt(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        let until = state.found.values().map(|found| found.until);
        until.filter(|until| *until > now).min()
    }

    /// Whether there is something to look for in so many addresses, beside what other keepers look for
    /// in them. If so, this one counts as looking until it has found an edge, or this says no.
    pub(super) fn may_seek(&self, slot: usize, addresses: usize) -> bool {
        let mut state = self.state.lock();
        state.seeking.remove(&slot);
        let may = addresses > state.seeking.len();
        if may {
            state.seeking.insert(slot);
        }
        may
    }
}

impl State {
    fn believes_taken(&self, slot: usize, address: SocketAddr, now: Instant) -> bool {
        let Some(found) = self.found.get(&address).filter(|it| it.until > now) else {
            return false;
        };
        let owner = self.held.get(&found.edge);
        owner.is_some_and(|(owner, _)| *owner != slot)
    }
}

impl Claim {
    /// Gives it up to look for another: the place among those who look is taken before others learn
    /// that the edge is free.
    pub(super) fn give_up(self, slot: usize) {
        self.claims.state.lock().seeking.insert(slot);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.claims.state.lock();
        if let Some((_, times)) = state.held.get_mut(&self.edge) {
            *times -= 1;
            if *times == 0 {
                state.held.remove(&self.edge);
            }
        }
        drop(state);
        self.claims.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> [SocketAddr; 2] {
        ["192.0.2.1:443", "192.0.2.2:443"].map(|it| it.parse().unwrap())
    }

    #[test]
    fn no_two_keepers_have_the_same_edge() {
        let (claims, [here, there], now) = (Claims::new(), addresses(), Instant::now());
        let mut changes = claims.changes();
        let first = claims.claim(0, "edge-1", here, now).unwrap();
        assert!(claims.claim(1, "edge-1", there, now).is_none());
        assert_eq!(claims.free(1, &addresses(), now), []);
        assert_eq!(claims.free(0, &addresses(), now), addresses());
        // A newer session of the same keeper.
        let second = claims.claim(0, "edge-1", here, now).unwrap();
        drop(first);
        assert!(claims.claim(1, "edge-1", here, now).is_none());
        changes.mark_unchanged();
        drop(second);
        assert!(changes.has_changed().unwrap());
        assert!(claims.claim(1, "edge-1", here, now).is_some());
    }

    #[test]
    fn an_address_that_leads_to_a_taken_edge_is_tried_again_less_and_less_often() {
        let (claims, [here, _], mut now) = (Claims::new(), addresses(), Instant::now());
        let _held = claims.claim(0, "edge-1", here, now).unwrap();
        for belief in [60, 120, 240, 480, 600, 600] {
            assert_eq!(claims.free(1, &[here], now), []);
            let until = now + Duration::from_secs(belief);
            assert_eq!(claims.next_doubt(now), Some(until));
            now = until;
            assert_eq!(claims.free(1, &[here], now), [here]);
            assert!(claims.claim(1, "edge-1", here, now).is_none());
        }
        assert!(
            claims.claim(1, "edge-2", here, now).is_some(),
            "another edge there"
        );
    }

    #[test]
    fn no_more_keepers_look_than_there_are_addresses_to_look_at() {
        let claims = Claims::new();
        assert!(claims.may_seek(0, 1));
        assert!(claims.may_seek(0, 1), "again");
        assert!(!claims.may_seek(1, 1));
        assert!(claims.may_seek(1, 2));
        let [here, _] = addresses();
        let claim = claims.claim(0, "edge-1", here, Instant::now()).unwrap();
        assert!(claims.may_seek(1, 1), "the other one has found something");
        claim.give_up(0);
        assert!(!claims.may_seek(1, 1));
        assert!(claims.may_seek(0, 1));
    }
}
