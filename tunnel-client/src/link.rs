//! The session that there is now, and where its keeper stands: what the rest of the client sees.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use relay::Session;
use tokio::sync::watch;
use tokio::time::Instant;

/// What others see of the keeper's work.
#[derive(Debug)]
pub(crate) struct Link {
    session: watch::Sender<Option<Live>>,
    dialing: Mutex<Dialing>,
}

/// The session that there is.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) edge: String,
    pub(crate) edge_software: String,
    pub(crate) since: SystemTime,
}

/// Where the keeper stands.
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
}

impl Link {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            session: watch::Sender::new(None),
            dialing: Mutex::new(Dialing {
                state: DialState::Dialing,
                attempt: 0,
                last_error: None,
                next_attempt: None,
            }),
        })
    }

    /// The session, if there is one now.
    pub(crate) fn live(&self) -> Option<Live> {
        self.session
            .borrow()
            .clone()
            .filter(|live| live.session.is_open())
    }

    /// The session, as soon as there is one whose edge is not stopping. Cancel-safe.
    pub(crate) async fn session(&self) -> Session {
        let mut watched = self.session.subscribe();
        loop {
            if let Some(live) = self.live().filter(|live| !live.session.is_peer_draining()) {
                return live.session;
            }
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// There is another session now, or none.
    pub(crate) fn set_session(&self, live: Option<Live>) {
        self.session.send_replace(live);
    }

    /// Where the keeper stands.
    pub(crate) fn dialing(&self) -> Dialing {
        self.dialing.lock().clone()
    }

    pub(crate) fn update(&self, update: impl FnOnce(&mut Dialing)) {
        update(&mut self.dialing.lock());
    }
}
