//! The sessions that there are now, and where their keepers stand: what the rest of the client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use relay::Session;
use relay::proto::SessionId;
use tokio::sync::watch;
use tokio::time::Instant;

/// What others see of the keepers' work. Each keeper has a slot of its own.
#[derive(Debug)]
pub(crate) struct Link {
    sessions: watch::Sender<Vec<Option<Live>>>,
    dialing: Mutex<Vec<Dialing>>,
    next: AtomicUsize,
}

/// A session that there is.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) edge: String,
    pub(crate) edge_software: String,
    pub(crate) since: SystemTime,
}

/// Where a keeper stands.
#[derive(Clone, Debug)]
pub(crate) struct Dialing {
    pub(crate) state: DialState,
    pub(crate) attempt: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) next_attempt: Option<Instant>,
}

/// See [`Dialing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DialState {
    Dialing,
    Connected,
    Waiting,
    /// Other keepers have a session with every edge that there is, or are looking for one.
    Idle,
}

impl Link {
    /// With so many slots, at least one.
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        let dialing = |slot| Dialing {
            state: match slot {
                0 => DialState::Dialing,
                _ => DialState::Idle,
            },
            attempt: 0,
            last_error: None,
            next_attempt: None,
        };
        Arc::new(Self {
            sessions: watch::Sender::new(vec![None; slots]),
            dialing: Mutex::new((0..slots).map(dialing).collect()),
            next: AtomicUsize::new(0),
        })
    }

    /// Every session that there is now, in the order of the slots.
    pub(crate) fn live(&self) -> Vec<Live> {
        let sessions = self.sessions.borrow();
        let live = sessions.iter().flatten();
        live.filter(|live| live.session.is_open())
            .cloned()
            .collect()
    }

    /// How many of them have a connection.
    pub(crate) fn connected(&self) -> usize {
        let live = self.live();
        let connected = live.iter().filter(|live| live.session.is_connected());
        connected.count()
    }

    /// The session of one slot, if there is one now.
    pub(crate) fn live_in(&self, slot: usize) -> Option<Live> {
        let live = self.sessions.borrow().get(slot)?.clone();
        live.filter(|live| live.session.is_open())
    }

    /// A session for a new stream, in turn, as soon as there is one whose edge is not stopping and that
    /// was not `tried`. Cancel-safe.
    pub(crate) async fn session(&self, tried: &[SessionId]) -> Session {
        let mut watched = self.sessions.subscribe();
        loop {
            watched.mark_unchanged();
            if let Some(session) = self.session_now(tried) {
                return session;
            }
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The same, if there is one now.
    pub(crate) fn session_now(&self, tried: &[SessionId]) -> Option<Session> {
        let mut live = self.live();
        live.retain(|live| !live.session.is_peer_draining() && !tried.contains(&live.session.id()));
        // One that may be dead is only better than none.
        if live.iter().any(|live| !live.session.is_suspect()) {
            live.retain(|live| !live.session.is_suspect());
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let chosen = turn.checked_rem(live.len())?;
        Some(live.swap_remove(chosen).session)
    }

    /// A slot has another session now, or none.
    pub(crate) fn set_session(&self, slot: usize, live: Option<Live>) {
        self.sessions.send_modify(|sessions| sessions[slot] = live);
    }

    /// Where each keeper stands.
    pub(crate) fn dialing(&self) -> Vec<Dialing> {
        self.dialing.lock().clone()
    }

    pub(crate) fn update(&self, slot: usize, update: impl FnOnce(&mut Dialing)) {
        update(&mut self.dialing.lock()[slot]);
    }
}
