//! Where edges are: names become candidates, and stay true while the client runs.
//!
//! ```text
//! [edge] address, srv,
//! what edges have told ──▶ questions ──▶ resolver ──▶ book: fresh, stale, denied, failed
//!                              ▲                     │
//!                              └── targets of SRV ◀──┤
//!                                                     ▼
//!                                        Discovered: candidates, complete or not
//! ```
//!
//! Nothing here ends because DNS is away. What is known is used for as long as its TTL says, and
//! beyond that for a bounded time while nobody answers (RFC 8767).

mod assemble;
mod book;
mod failure;
mod order;
mod pushed;
mod question;
mod resolve;
mod told;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::RngExt;
use relay::settings::HostPort;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::config::{EdgeSettings, ResolverSettings};
use crate::metrics::ClientMetrics;
use assemble::{candidates, questions};
use book::Book;
use pushed::Pushed;
use question::{Answer, Failure, Question};
use resolve::Resolver;
use told::NameState;

pub(crate) use order::{addresses_in_order, in_order};
pub(crate) use told::ToldName;

/// An edge that may be there, by all that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// As it was named: by the configuration, or as the target of an SRV record.
    pub(crate) at: HostPort,
    /// Where sockets go: AAAA and A in turn (RFC 8305 §4).
    pub(crate) addresses: Vec<SocketAddr>,
    /// Lower ones are tried first: of SRV records as they say, then of addresses as they are stated.
    pub(crate) priority: u32,
    /// Among equal priorities, how often it comes first (RFC 2782).
    pub(crate) weight: u16,
}

/// All edges that there are, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discovered {
    pub(crate) candidates: Vec<Candidate>,
    /// Whether every name was answered for, be it long ago: only then is what is missing gone.
    pub(crate) complete: bool,
    /// Whether every name was asked for, with whatever outcome: what is not known yet may come first.
    pub(crate) settled: bool,
    /// Every name that was asked for.
    pub(crate) names: Vec<ToldName>,
}

impl Discovered {
    /// Whether the edge at this address has been taken away, and others are left.
    pub(crate) fn has_lost(&self, address: SocketAddr) -> bool {
        self.complete && !self.candidates.is_empty() && !self.lists(address)
    }

    fn lists(&self, address: SocketAddr) -> bool {
        let mut all = self.candidates.iter().flat_map(|it| &it.addresses);
        all.any(|listed| *listed == address)
    }

    /// Why there is no candidate, as far as it can be said.
    pub(crate) fn why_nothing(&self) -> Option<String> {
        let why: Vec<_> = self.names.iter().filter_map(ToldName::why).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }
}

/// What the rest of the client has of it.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    discovered: watch::Receiver<Discovered>,
    edge: Arc<EdgeSettings>,
    pushed: watch::Sender<Pushed>,
    hurry: Arc<Notify>,
}

/// The task's own end.
pub(crate) struct Discoverer {
    edge: Arc<EdgeSettings>,
    pushed: watch::Receiver<Pushed>,
    resolver: Resolver,
    book: Book,
    discovered: watch::Sender<Discovered>,
    hurry: Arc<Notify>,
    metrics: Arc<ClientMetrics>,
}

impl Discovery {
    /// With the task that has to run for it. Addresses that are stated literally are there at once.
    pub(crate) fn new(
        edge: &EdgeSettings,
        settings: &ResolverSettings,
        metrics: Arc<ClientMetrics>,
    ) -> (Self, Discoverer) {
        let hurry = Arc::new(Notify::new());
        let (sender, discovered) = watch::channel(Discovered::default());
        let edge = Arc::new(edge.clone());
        let (pushing, pushed) = watch::channel(Pushed::default());
        let mut discoverer = Discoverer {
            edge: edge.clone(),
            pushed,
            resolver: Resolver::new(settings),
            book: Book::new(settings),
            discovered: sender,
            hurry: hurry.clone(),
            metrics,
        };
        discoverer.ask_for_what_is_wanted();
        discoverer.publish();
        let discovery = Self {
            discovered,
            edge,
            pushed: pushing,
            hurry,
        };
        (discovery, discoverer)
    }

    /// An edge has told of all edges. Who told last counts.
    pub(crate) fn told(&self, list: &[String]) {
        self.push(|pushed| pushed.told(&self.edge, list));
    }

    /// The edge that a slot has a session with has told where it can be reached itself.
    pub(crate) fn advertised(&self, slot: usize, list: &[String]) {
        self.push(|pushed| pushed.advertised(&self.edge, slot, list));
    }

    fn push(&self, change: impl FnOnce(&mut Pushed)) {
        self.pushed.send_if_modified(|pushed| {
            let before = pushed.clone();
            change(pushed);
            *pushed != before
        });
    }

    /// What is known, and whatever it becomes.
    pub(crate) fn watch(&self) -> watch::Receiver<Discovered> {
        self.discovered.clone()
    }

    /// What is known now.
    pub(crate) fn now(&self) -> Discovered {
        self.discovered.borrow().clone()
    }

    /// An edge could not be reached: perhaps it is elsewhere by now.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_one();
    }
}

impl Discoverer {
    /// Keeps what is known true. Ends only by being dropped.
    pub(crate) async fn run(mut self) -> std::convert::Infallible {
        let mut asking = JoinSet::new();
        loop {
            for question in self.book.take_due(Instant::now()) {
                let resolver = self.resolver.current();
                asking.spawn(async move {
                    let outcome = match resolver {
                        Ok(resolver) => resolver.ask(&question).await,
                        Err(failure) => Err(failure),
                    };
                    (question, outcome)
                });
            }
            tokio::select! {
                Some(asked) = asking.join_next() => {
                    let (question, outcome) = asked.expect("asking does not panic");
                    self.note(&question, outcome);
                }
                () = until(self.book.next_change(Instant::now())) => {}
                // While nobody can tell any more, nothing changes.
                Ok(()) = self.pushed.changed() => {}
                () = self.hurry.notified() => self.book.hurry(Instant::now()),
            }
            self.ask_for_what_is_wanted();
            self.publish();
        }
    }

    fn ask_for_what_is_wanted(&mut self) {
        let now = Instant::now();
        let pushed = self.pushed.borrow_and_update();
        let wanted = questions(&self.edge, &pushed, &self.book, now);
        let wanted: BTreeSet<Question> = wanted.collect();
        self.book.want(&wanted, now);
    }

    fn note(&mut self, question: &Question, outcome: Result<Answer, Failure>) {
        let now = Instant::now();
        let label = match &outcome {
            Ok(_) => "answered",
            Err(failure) => failure.label(),
        };
        self.metrics.looked_up(question.label(), label);
        let before = self.book.state(question, now);
        // A fleet of clients does not come back in step.
        let jitter = rand::rng().random_range(0.5..=1.0);
        self.book.note(question, outcome, now, jitter);
        let after = self.book.state(question, now);
        match (before.why(), after.why()) {
            (before, Some(why)) if before != Some(why) => {
                let kept = after.is_usable();
                tracing::warn!(name = %question, error = why, last_answer_serves = kept, "name not resolved");
            }
            (Some(_), None) => tracing::info!(name = %question, "name resolved again"),
            (None, None) | (_, Some(_)) => {}
        }
    }

    fn publish(&self) {
        let now = Instant::now();
        let names = self.book.told(now);
        let new = Discovered {
            settled: names.iter().all(|name| name.state != NameState::Asking),
            candidates: candidates(&self.edge, &self.pushed.borrow(), &self.book, now),
            complete: self.book.is_complete(now),
            names,
        };
        let stale = new.names.iter().filter(|name| name.state.is_stale());
        self.metrics.discovered(new.candidates.len(), stale.count());
        self.discovered.send_if_modified(|old| {
            if *old == new {
                return false;
            }
            report(&old.candidates, &new.candidates);
            *old = new;
            true
        });
    }
}

/// Where edges are is for whoever looks closer; that there are others is for everybody.
fn report(old: &[Candidate], new: &[Candidate]) {
    let named = |candidates: &[Candidate]| -> BTreeSet<String> {
        candidates.iter().map(|it| it.at.to_string()).collect()
    };
    let (before, after) = (named(old), named(new));
    for edge in after.difference(&before) {
        tracing::info!(%edge, "an edge is known");
    }
    for edge in before.difference(&after) {
        tracing::info!(%edge, "an edge is no longer known");
    }
    for candidate in new {
        tracing::debug!(edge = %candidate.at, addresses = ?candidate.addresses, priority = candidate.priority, weight = candidate.weight, "candidate");
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
