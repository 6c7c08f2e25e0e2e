//! A session's life as its keeper's current one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use relay::driver::{ClosedBy, HandleStreams, SessionOptions, StreamHandler};
use relay::proto::Features;
use relay::transport::{BoxFuture, TransportKind};
use relay::{CloseCode, Closed, Incoming, ServiceName, Session};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Keeper;
use super::attempts::Attempts;
use super::claims::Claim;
use super::gone::Next;
use super::mend::Course;
use super::preference::source_towards;
use super::retired::{AS_LONG_AS_IT_TAKES, Leaving};
use super::roam::Source;
use super::seek::Begun;
use crate::dial::{Reached, Way, shown};
use crate::expose::Exposes;
use crate::hello;
use crate::link::{DialState, Link, Live};

/// How a session's life as the current one ended.
pub(super) enum Ended {
    Over(Closed, Way, Claim),
    /// It lives on for its streams; new ones go to another.
    Left(Leaving, Box<Begun>),
    /// It lives on for its streams; new ones go to the sessions of other keepers.
    Dropped(Leaving, Claim),
}

impl Keeper {
    /// Runs a session until it is over, or until there is a better one. The one that was `left` for
    /// it ends with its last stream.
    pub(super) async fn live(
        &self,
        begun: Begun,
        left: Option<Leaving>,
        attempts: &mut Attempts,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Ended {
        let Begun {
            reached,
            claim,
            way,
            ..
        } = begun;
        let Reached { established, edge } = reached;
        attempts.hint = established.ack.worker_hint.or(attempts.hint);
        attempts.may_probe = established.ack.features.contains(Features::EARLY_PING);
        self.discovery
            .advertised(self.slot, &established.ack.advertise);
        let edge_software = established.ack.software.clone();
        let shown = shown(established.connection.as_ref());
        let session = Session::start(
            established,
            self.options_over(way.transport),
            &self.cluster,
            self.worker.clone(),
            self.handler(&edge),
        );
        let span = session.span().clone();
        let living = async {
            let address = session.snapshot().remote;
            tracing::info!(edge, %address, "connected");
            self.link.update(self.slot, |dialing| {
                dialing.state = DialState::Connected;
                dialing.last_error = None;
            });
            let live = Live {
                session: session.clone(),
                edge: edge.clone(),
                edge_software,
                since: SystemTime::now(),
            };
            self.link.set_session(self.slot, Some(live));
            self.metrics.connected(self.link.connected());
            if let Some(left) = left {
                self.retire(left, stop.clone(), grace);
            }
            let over = self.until_over(&session, stop, grace);
            let course = Course {
                session: session.clone(),
                edge: edge.clone(),
                way: Arc::new(Mutex::new(way)),
                shown: Arc::new(Mutex::new(shown)),
                source: Arc::new(Mutex::new(Source::new(source_towards(way.address)))),
                hint: attempts.hint,
                may_probe: attempts.may_probe,
            };
            let leaving = |patience| Leaving {
                course: course.clone(),
                patience,
            };
            let next = self.next(&course, attempts);
            let over = async {
                tokio::select! {
                    closed = over => closed,
                    // It is over then, which is heard above.
                    never = self.end_when_revoked(&course) => match never {},
                }
            };
            tokio::select! {
                closed = over => {
                    report_loss(&closed);
                    let way = *course.way.lock();
                    Ended::Over(closed, way, claim)
                }
                never = self.mend(&course) => match never {},
                // A client that stops looks no further.
                Some(next) = stop.run_until_cancelled(next) => match next {
                    Next::Better(better) => {
                        Ended::Left(leaving(AS_LONG_AS_IT_TAKES), Box::new(better))
                    }
                    Next::Instead(other) => Ended::Left(leaving(grace), Box::new(other)),
                    Next::Enough => {
                        self.without_session();
                        Ended::Dropped(leaving(grace), claim)
                    }
                },
            }
        };
        living.instrument(span).await
    }

    fn without_session(&self) {
        self.link.set_session(self.slot, None);
        self.metrics.connected(self.link.connected());
    }

    /// Over QUIC short messages pass alone, so whether full packets do is asked, if there is another
    /// transport to go to.
    fn options_over(&self, transport: TransportKind) -> SessionOptions {
        let mut options = self.options.clone();
        options.liveness.full_size = self.proves_full_size(transport);
        options
    }

    pub(super) fn proves_full_size(&self, transport: TransportKind) -> bool {
        match transport {
            TransportKind::Quic => self.transports.len() > 1,
            // Where a long packet is lost, whatever follows it waits.
            TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => false,
        }
    }

    async fn until_over(
        &self,
        session: &Session,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Closed {
        let mut changes = self.exposes.changes();
        // The list may have changed since Hello was made.
        changes.mark_changed();
        let mut edges = session.edges();
        edges.mark_changed();
        loop {
            tokio::select! {
                closed = session.closed() => {
                    self.without_session();
                    return closed;
                }
                Ok(()) = changes.changed() => {
                    session.announce_services(self.exposes.services());
                }
                Ok(()) = edges.changed() => {
                    if let Some(edges) = &*edges.borrow_and_update() {
                        self.discovery.told(edges);
                    }
                }
                () = stop.cancelled() => {
                    session.drain(grace).await;
                    session.finished().await;
                }
            }
        }
    }

    fn handler(&self, edge: &str) -> StreamHandler {
        Arc::new(OfEdge {
            exposes: self.exposes.clone(),
            link: self.link.clone(),
            slot: self.slot,
            arrival: hello::Arrival {
                edge: Some(edge.to_owned()),
                cluster: Some(self.cluster.clone()),
                ..hello::Arrival::default()
            },
        })
    }
}

/// Takes the streams of one edge.
struct OfEdge {
    exposes: Arc<Exposes>,
    link: Arc<Link>,
    slot: usize,
    arrival: hello::Arrival,
}

impl HandleStreams for OfEdge {
    fn serve(&self, incoming: Incoming) -> BoxFuture<'static, ()> {
        let mut arrival = self.arrival.clone();
        if let Some(live) = self.link.live_in(self.slot) {
            let snapshot = live.session.snapshot();
            arrival.transport = Some(snapshot.transport.to_string());
            arrival.key_exchange = Some(snapshot.key_exchange);
        }
        self.exposes.clone().serve(incoming, arrival)
    }

    fn resumes(&self, service: &ServiceName) -> bool {
        self.exposes.resumes(service)
    }
}

fn report_loss(closed: &Closed) {
    if closed.close.code == CloseCode::Superseded {
        tracing::error!(
            "another client with the same identity and replica has taken over; \
             is a copy of this state directory in use?"
        );
        return;
    }
    if closed.close.code == CloseCode::Revoked {
        return tracing::error!(%closed, "disconnected");
    }
    match closed.by {
        ClosedBy::Local => tracing::info!(%closed, "disconnected"),
        ClosedBy::Peer | ClosedBy::Network | ClosedBy::Grace => {
            tracing::warn!(%closed, "disconnected")
        }
    }
}
