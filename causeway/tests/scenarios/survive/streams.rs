//! A thousand streams that never rest, half of them opened by each end, and when each moves again
//! after a fault.

use std::{
    io::{self, Read},
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

use crate::support::{Host, Pattern};

/// How many each end opens.
const OF_EACH_END: usize = 500;

/// How many of them are being opened at once: what listens beside it has a queue of 128 (listen(2)).
const AT_ONCE: usize = 32;

/// What each sends of the pattern while nothing is wrong, and how often.
const PIECE: usize = 256;
const PACE: Duration = Duration::from_millis(500);

/// What each sends at once into a fault: more than a stream may have under way without having earned it.
const BURST: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Steady,
    Burst,
    End,
}

/// Streams to echoes and back, every byte of which is compared with what was sent.
pub(super) struct Streams {
    phase: watch::Sender<Phase>,
    seen: Arc<Seen>,
    ends: Vec<thread::JoinHandle<()>>,
}

/// What the readers have seen.
#[derive(Default)]
struct Seen {
    /// How many have had something echoed.
    begun: AtomicUsize,
    mended: OnceLock<Instant>,
    /// When after that the first byte came, of each.
    moving: Mutex<Vec<Duration>>,
    /// When after that all had come, of each.
    complete: Mutex<Vec<Duration>>,
}

impl Streams {
    /// Opens them to echoes behind these addresses, each from its host.
    pub(super) fn open(ways: [(&Arc<Host>, SocketAddr); 2]) -> Self {
        let (phase, phases) = watch::channel(Phase::Steady);
        let seen = Arc::<Seen>::default();
        let open = |(host, address): (&Arc<Host>, SocketAddr)| {
            let (host, phases, seen) = (Arc::clone(host), phases.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                host.enter().unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                runtime.unwrap().block_on(carry_all(address, phases, seen));
            })
        };
        let ends = ways.map(open).into();
        Self { phase, seen, ends }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        OF_EACH_END * self.ends.len()
    }

    /// How many have got something back.
    pub(super) fn begun(&self) -> usize {
        self.check();
        self.seen.begun.load(Ordering::Relaxed)
    }

    /// Has each send more than it may, at once.
    pub(super) fn burst(&self) {
        self.phase.send_replace(Phase::Burst);
    }

    /// Says since when bytes should come again. What comes from now on counts.
    pub(super) fn mended(&self, since: Instant) {
        self.seen.mended.set(since).expect("mended once");
    }

    /// When each of those that move again did, after it was mended, the first first.
    pub(super) fn moving(&self) -> Vec<Duration> {
        self.check();
        let mut moving = self.seen.moving.lock().unwrap().clone();
        moving.sort();
        moving
    }

    /// Ends them all: when each was complete, after it was mended.
    pub(super) fn end(self) -> Vec<Duration> {
        self.phase.send_replace(Phase::End);
        for end in self.ends {
            end.join().expect("a stream lost or repeated something");
        }
        let mut complete = self.seen.complete.lock().unwrap().clone();
        complete.sort();
        complete
    }

    /// One that fails is not waited for.
    fn check(&self) {
        let failed = self.ends.iter().any(thread::JoinHandle::is_finished);
        assert!(!failed, "a stream ended before it was told to");
    }
}

/// Whatever is wrong with one of them ends them all, with a panic that says so.
async fn carry_all(address: SocketAddr, phases: watch::Receiver<Phase>, seen: Arc<Seen>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut streams = JoinSet::new();
    for nth in 0..OF_EACH_END {
        let (phases, seen) = (phases.clone(), Arc::clone(&seen));
        let places = Arc::clone(&places);
        streams.spawn(async move {
            let place = places.acquire_owned().await.unwrap();
            let stream = open(address).await.unwrap();
            drop(place);
            seen.begun.fetch_add(1, Ordering::Relaxed);
            let (from, to) = stream.into_split();
            let (sent, received) = tokio::join!(send(to, nth, phases), receive(from, &seen));
            assert_eq!(sent.unwrap(), received.unwrap(), "stream {nth}");
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
}

/// A stream that has brought a first word back.
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let mut back = [0; 5];
    stream.write_all(b"begin").await?;
    stream.read_exact(&mut back).await?;
    assert_eq!(&back, b"begin");
    Ok(stream)
}

/// Sends as it is told: how many bytes there were.
async fn send(
    mut to: OwnedWriteHalf,
    nth: usize,
    mut phases: watch::Receiver<Phase>,
) -> io::Result<usize> {
    let mut pattern = Pattern::new(u64::MAX);
    let mut piece = vec![0; BURST];
    let mut sent = 0;
    // They take turns, as strangers would.
    let first = PACE * u32::try_from(nth).unwrap() / u32::try_from(OF_EACH_END).unwrap();
    let mut pace = interval_at(tokio::time::Instant::now() + first, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let length = tokio::select! {
            _ = pace.tick() => PIECE,
            changed = phases.changed() => {
                changed.map_err(io::Error::other)?;
                match *phases.borrow_and_update() {
                    Phase::Steady => continue,
                    Phase::Burst => BURST,
                    Phase::End => break,
                }
            }
        };
        pattern.read_exact(&mut piece[..length])?;
        to.write_all(&piece[..length]).await?;
        sent += length;
    }
    to.shutdown().await?;
    Ok(sent)
}

/// Reads to the end: how many bytes there were, each of which is as it was sent.
async fn receive(mut from: OwnedReadHalf, seen: &Seen) -> io::Result<usize> {
    let mut pattern = Pattern::new(u64::MAX);
    let mut buffer = vec![0; 16 * 1024];
    let mut expected = buffer.clone();
    let (mut received, mut moves) = (0, false);
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        pattern.read_exact(&mut expected[..count])?;
        assert!(
            buffer[..count] == expected[..count],
            "other bytes than were sent, within {count} after {received}"
        );
        received += count;
        if let Some(mended) = seen.mended.get()
            && !moves
        {
            moves = true;
            seen.moving.lock().unwrap().push(mended.elapsed());
        }
    }
    if let Some(mended) = seen.mended.get() {
        seen.complete.lock().unwrap().push(mended.elapsed());
    }
    Ok(received)
}
