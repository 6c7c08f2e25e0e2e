//! Who the UDP callers are, and which of them is forgotten when there are too many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::DATAGRAM;
use super::flow::Flow;
use crate::proxy::Passing;

/// How many datagrams of one caller may wait to be looked at; further ones are lost. Their bytes are
/// bounded by [`crate::proxy::Options::buffer`] and one datagram.
const WAITING: usize = 256;

/// The callers, and a task for each.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) shared: Shared,
    pub(super) running: JoinSet<(SocketAddr, u64)>,
    known: HashMap<SocketAddr, Known>,
    /// Whether it was said that some are forgotten for others.
    crowded: bool,
    passing: Passing,
}

/// What all flows share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Where callers are heard and answered.
    pub(super) socket: Arc<UdpSocket>,
    /// Where flows receive, so that idle ones need no memory for it.
    pub(super) buffer: Arc<Mutex<Vec<u8>>>,
}

/// What a flow has of its caller.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) address: SocketAddr,
    pub(super) number: u64,
    coming: mpsc::Receiver<Bytes>,
    pub(super) standing: Arc<Standing>,
}

/// How much a caller says, and when there was something last.
#[derive(Debug)]
pub(super) struct Standing {
    heard: Mutex<Instant>,
    /// In bytes.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Known {
    number: u64,
    coming: mpsc::Sender<Bytes>,
    standing: Arc<Standing>,
    task: AbortHandle,
}

impl Callers {
    pub(super) fn new(socket: UdpSocket, passing: Passing) -> Self {
        Self {
            shared: Shared::of(socket),
            running: JoinSet::new(),
            known: HashMap::new(),
            crowded: false,
            passing,
        }
    }

    /// This came from there.
    pub(super) fn handle_datagram(&mut self, caller: SocketAddr, datagram: &[u8]) {
        let known = self.known.get(&caller);
        // One whose task has just ended is a new one.
        if known.is_none_or(|it| it.coming.is_closed()) {
            self.known.remove(&caller);
            if !self.make_room() {
                self.passing.ledger.refused();
                return;
            }
            self.open(caller);
        }
        if let Some(known) = self.known.get(&caller)
            && !known.take(datagram, self.passing.options.buffer)
        {
            self.passing.ledger.dropped(1);
        }
    }

    /// A task is over.
    pub(super) fn handle_end(&mut self, ended: Result<(SocketAddr, u64), JoinError>) {
        match ended {
            Ok((caller, number)) => {
                if let Entry::Occupied(known) = self.known.entry(caller)
                    && known.get().number == number
                {
                    known.remove();
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "a caller's task panicked");
            }
            // It made room for another.
            Err(_) => {}
        }
    }

    /// Whether there is room for another caller now.
    fn make_room(&mut self) -> bool {
        let most = self.passing.options.max_connections;
        if self.known.len() < most {
            // Said again only after a lull, rather than for each caller at the limit.
            self.crowded &= self.known.len() > most / 2;
            return true;
        }
        let by_silence = self
            .known
            .iter()
            .map(|(caller, it)| (it.standing.heard(), *caller));
        let Some((_, silent)) = by_silence.min() else {
            return false;
        };
        if let Some(known) = self.known.remove(&silent) {
            known.task.abort();
        }
        if !self.crowded {
            self.crowded = true;
            tracing::warn!(
                most,
                "more UDP callers than there may be: those silent longest are forgotten for new ones (--max-connections)"
            );
        }
        true
    }

    fn open(&mut self, address: SocketAddr) {
        let number = self.passing.ledger.next_number();
        let (coming, caller) = Caller::new(address, number);
        let standing = Arc::clone(&caller.standing);
        let serving = serve(self.passing.clone(), caller, self.shared.clone());
        let known = Known {
            number,
            coming,
            standing,
            task: self.running.spawn(serving),
        };
        self.known.insert(address, known);
    }
}

async fn serve(passing: Passing, caller: Caller, shared: Shared) -> (SocketAddr, u64) {
    let who = (caller.address, caller.number);
    match Flow::new(passing.clone(), caller, shared).await {
        Ok(flow) => flow.run().await,
        Err(error) => {
            tracing::warn!(to = %passing.to, %error, "cannot send to the server, so a caller's datagrams are lost");
            passing.ledger.refused();
        }
    }
    who
}

impl Shared {
    pub(super) fn of(socket: UdpSocket) -> Self {
        Self {
            socket: Arc::new(socket),
            buffer: Arc::new(Mutex::new(vec![0; DATAGRAM])),
        }
    }
}

impl Caller {
    /// And where to put what it sends.
    pub(super) fn new(address: SocketAddr, number: u64) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, coming) = mpsc::channel(WAITING);
        let standing = Arc::new(Standing {
            heard: Mutex::new(Instant::now()),
            waiting: AtomicUsize::new(0),
        });
        let caller = Self {
            address,
            number,
            coming,
            standing,
        };
        (sender, caller)
    }

    /// The next datagram; none if it is forgotten. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Bytes> {
        let datagram = self.coming.recv().await?;
        let waiting = &self.standing.waiting;
        waiting.fetch_sub(datagram.len(), Ordering::Relaxed);
        Some(datagram)
    }

    /// How many datagrams wait to be looked at.
    pub(super) fn waiting(&self) -> usize {
        self.coming.len()
    }
}

impl Standing {
    /// When something was received from the caller or the server, or sent to either.
    pub(super) fn heard(&self) -> Instant {
        *self.heard.lock()
    }

    /// That is now.
    pub(super) fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }
}

impl Known {
    /// Whether there was room for it among so many bytes.
    fn take(&self, datagram: &[u8], most: usize) -> bool {
        self.standing.hear();
        let waiting = &self.standing.waiting;
        let length = datagram.len();
        let before = waiting.fetch_add(length, Ordering::Relaxed);
        let datagram = Bytes::copy_from_slice(datagram);
        let taken = before <= most && self.coming.try_send(datagram).is_ok();
        if !taken {
            waiting.fetch_sub(length, Ordering::Relaxed);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_of_a_caller_is_bounded_in_bytes_and_number() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for (datagram, most) in [(vec![0; 60_000], 18), (vec![0; 10], WAITING)] {
            let (coming, mut caller) = Caller::new(address, 1);
            let known = Known {
                number: 1,
                coming,
                standing: Arc::clone(&caller.standing),
                task: tokio::spawn(async {}).abort_handle(),
            };
            let taken = (0..1_000).take_while(|_| known.take(&datagram, 1 << 20));
            assert_eq!(taken.count(), most);
            // Room again, once it was looked at.
            for _ in 0..most {
                assert_eq!(caller.recv().await.unwrap().len(), datagram.len());
            }
            assert!(known.take(&datagram, 0));
        }
    }
}
