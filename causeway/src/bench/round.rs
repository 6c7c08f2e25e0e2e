//! The rounds: each path in turn, each figure of it in turn.

use std::io;
use std::net::SocketAddr;
use std::thread;

use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tunnel_client::config::Transport;

use super::Trouble;
use super::beside::Beside;
use super::figures::{Figure, Figures, Spent, Streams};
use super::load::{Way, bulk, connections, open_idle, ping, ping_beside_bulk, ping_beside_stalled};
use super::origin::Part;
use super::plan::{Path, Plan};
use super::table::throughput_label;
use super::tunnel::{Tunnel, bring_up};
use super::usage::{cpu_seconds, settled_memory};
use crate::pair::{Directory, Failure, Pair, Progress};

/// How many turns each of two has that are compared with each other. Neither is always the first.
const PAIRS: u32 = 4;

/// What stays from the first round to the last.
pub(super) struct Bench<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    directory: Directory,
    origin: Beside,
    hop: Beside,
    /// Last, since the directory is in it.
    _temporary: TempDir,
}

/// A path that is measured now.
struct Turn<'a> {
    bench: &'a Bench<'a>,
    /// The tunnel, if the path has one.
    pair: &'a mut Pair,
    /// What round and path this is.
    title: String,
}

/// Where a path begins, and whose CPU it takes.
#[derive(Clone)]
struct Entry {
    address: SocketAddr,
    pids: Vec<u32>,
}

impl<'a> Bench<'a> {
    /// Makes the authority and the identities, and starts what all rounds use.
    pub(super) async fn new(plan: &'a Plan, progress: &'a Progress) -> Result<Self, Trouble> {
        progress.step("making the authority and certificates");
        let temporary = tempfile::Builder::new()
            .prefix("causeway-bench-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        let directory = Directory::open(temporary.path()).map_err(Failure::from)?;
        directory.vouch().map_err(Failure::from)?;
        let origin = Beside::start(Part::Origin).await?;
        let hop = Beside::start(Part::Hop(origin.address)).await?;
        Ok(Self {
            plan,
            progress,
            directory,
            origin,
            hop,
            _temporary: temporary,
        })
    }

    /// Measures everything, with tunnels in `pair`.
    pub(super) async fn rounds(&self, pair: &mut Pair) -> Result<Figures, Trouble> {
        let mut figures = Figures::new();
        for round in 1..=self.plan.rounds {
            for path in &self.plan.paths {
                let mut turn = Turn {
                    bench: self,
                    pair,
                    title: format!("round {round}/{}, {}", self.plan.rounds, path.title()),
                };
                turn.measure(*path, &mut figures).await?;
            }
        }
        Ok(figures)
    }

    /// Ends what all rounds used.
    pub(super) async fn stop(self) {
        tokio::join!(self.origin.stop(), self.hop.stop());
    }
}

impl Turn<'_> {
    async fn measure(&mut self, path: Path, figures: &mut Figures) -> Result<(), Trouble> {
        match path {
            Path::Direct => {
                let entry = Entry {
                    address: self.bench.origin.address,
                    pids: Vec::new(),
                };
                self.traffic(path, &entry, figures).await
            }
            Path::Hop => {
                let entry = Entry {
                    address: self.bench.hop.address,
                    pids: vec![self.bench.hop.pid],
                };
                self.traffic(path, &entry, figures).await
            }
            Path::Tunnel(transport) => {
                // Memory first, and of processes that have done nothing yet.
                let fresh = self.tunnel(transport).await?;
                let kib = self.idle_stream(fresh.ingress, fresh.pids).await?;
                figures.add(path, Figure::IdleStreamKib, kib);
                let fresh = self.tunnel(transport).await?;
                let kib = self.idle_stream(fresh.fleeting, fresh.pids).await?;
                figures.add(path, Figure::IdleFleetingKib, kib);
                let fresh = self.tunnel(transport).await?;
                let entry = Entry {
                    address: fresh.ingress,
                    pids: fresh.pids.to_vec(),
                };
                self.traffic(path, &entry, figures).await?;
                self.resumption(path, fresh, figures).await?;
                self.pair.stop().await;
                Ok(())
            }
        }
    }

    async fn tunnel(&mut self, transport: Transport) -> Result<Tunnel, Trouble> {
        self.bench
            .progress
            .step(&format!("{}: starting edge and client", self.title));
        self.pair.stop().await;
        let Bench {
            directory,
            origin,
            progress,
            ..
        } = self.bench;
        Ok(bring_up(directory, transport, origin.address, self.pair, progress).await?)
    }

    /// Everything but memory.
    async fn traffic(
        &mut self,
        path: Path,
        entry: &Entry,
        figures: &mut Figures,
    ) -> Result<(), Trouble> {
        let (address, duration) = (entry.address, self.bench.plan.duration);
        let latency = self.run("ping", move || ping(address, duration)).await?;
        figures.add_ping(path, latency);
        let per_second = self
            .run("connections", move || connections(address, duration))
            .await?;
        figures.add(path, Figure::ConnectionsPerSecond, per_second);
        for streams in [Streams::One, Streams::Many] {
            for way in [Way::ToCompute, Way::ToControl] {
                self.throughput(path, entry, (way, streams), figures)
                    .await?;
            }
        }
        let (latency, beside) = self
            .run("ping beside bulk", move || {
                ping_beside_bulk(address, duration)
            })
            .await?;
        figures.add_loaded_ping(path, latency, beside);
        let pids = entry.pids.clone();
        let latency = self
            .run("ping beside callers that never read", move || {
                ping_beside_stalled(address, &pids, duration)
            })
            .await?;
        figures.add_stalled_ping(path, latency);
        Ok(())
    }

    async fn throughput(
        &mut self,
        path: Path,
        entry: &Entry,
        (way, streams): (Way, Streams),
        figures: &mut Figures,
    ) -> Result<(), Trouble> {
        let what = throughput_label(way, streams);
        let (Entry { address, pids }, duration) = (entry.clone(), self.bench.plan.duration);
        let (moved, cpu) = self
            .run(&what, move || {
                let before = cpu_seconds(&pids)?;
                let moved = bulk(address, way, streams.count(), duration)?;
                Ok((moved, cpu_seconds(&pids)? - before))
            })
            .await?;
        let between = !entry.pids.is_empty();
        figures.add_bulk(path, (way, streams), moved, between.then_some(cpu));
        Ok(())
    }

    /// Streams that resume beside streams that do not, in short turns: what else the machine does
    /// meets both.
    async fn resumption(
        &mut self,
        path: Path,
        tunnel: Tunnel,
        figures: &mut Figures,
    ) -> Result<(), Trouble> {
        let turn = self.bench.plan.duration / PAIRS;
        for streams in [Streams::One, Streams::Crowd] {
            for way in [Way::ToCompute, Way::ToControl] {
                let what = format!("{}, resumable or not", throughput_label(way, streams));
                let spend = move |address, sum: &mut Spent| {
                    let before = cpu_seconds(&tunnel.pids)?;
                    let moved = bulk(address, way, streams.count(), turn)?;
                    *sum += Spent {
                        moved,
                        cpu_seconds: cpu_seconds(&tunnel.pids)? - before,
                    };
                    io::Result::Ok(())
                };
                let (resumable, fleeting) = self
                    .run(&what, move || {
                        let (mut resumable, mut fleeting) = (Spent::default(), Spent::default());
                        for pair in 0..PAIRS {
                            if pair % 2 == 0 {
                                spend(tunnel.ingress, &mut resumable)?;
                            }
                            spend(tunnel.fleeting, &mut fleeting)?;
                            if pair % 2 == 1 {
                                spend(tunnel.ingress, &mut resumable)?;
                            }
                        }
                        Ok((resumable, fleeting))
                    })
                    .await?;
                figures.add_beside(path, (way, streams), resumable, fleeting);
            }
        }
        Ok(())
    }

    /// KiB for each stream, of edge and client together.
    async fn idle_stream(&mut self, ingress: SocketAddr, pids: [u32; 2]) -> Result<f64, Trouble> {
        let streams = self.bench.plan.idle_streams;
        self.run("memory of idle streams", move || {
            // What the first stream alone brings about is not for all of them to bear.
            drop(open_idle(ingress, 1)?);
            let before = settled_memory(&pids)?;
            let open = open_idle(ingress, streams)?;
            let after = settled_memory(&pids)?;
            drop(open);
            Ok((exact(after) - exact(before)) / exact(streams))
        })
        .await
    }

    /// Does what blocks on a thread of its own, as long as the tunnel lives.
    async fn run<T: Send + 'static>(
        &mut self,
        what: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let what = format!("{}: {what}", self.title);
        self.bench.progress.step(&what);
        let (done, outcome) = oneshot::channel();
        thread::Builder::new()
            .spawn(move || drop(done.send(work())))
            .context("cannot start a thread")?;
        tokio::select! {
            biased; // A process that ended is why the work failed.
            (kind, died) = self.pair.died() => {
                Err(Failure::died(kind, &died, &self.bench.directory.log(kind)).into())
            }
            outcome = outcome => Ok(outcome.context("the load panicked").and_then(|it| Ok(it?)).context(what)?),
        }
    }
}

/// Of a number far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "memory and streams are no such numbers"
)]
fn exact(number: u64) -> f64 {
    number as f64
}
