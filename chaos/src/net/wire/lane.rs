//! One way of a wire: the thread that carries its packets.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tun_rs::SyncDevice;

use super::{Error, Trace};
use crate::wire::{Decision, Direction, Moment, Nat, Packet, Shape, Tally, Way};

/// How many packets are taken from an interface before those that are due are looked at.
const BATCH: usize = 64;

/// No IP packet is longer.
const LONGEST: usize = 65_536;

/// One way of a wire. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Where the addresses of packets are changed, if anywhere: at the client's end of the wire.
#[derive(Debug)]
pub(super) enum Translate {
    Nothing,
    Entering(Arc<Mutex<Nat>>),
    Leaving(Arc<Mutex<Nat>>),
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    beginning: Instant,
    is_over: AtomicBool,
    /// Readable when the state was changed, or this is over.
    changed: OwnedFd,
    /// Packets that arrived, and that the receiver's system did not take.
    refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    direction: Direction,
    trace: Vec<Decision>,
    keeps: Trace,
}

impl Lane {
    /// Begins to carry packets from the first of these interfaces to the second.
    pub(super) fn open(
        way: Way,
        direction: Direction,
        beginning: Instant,
        (from, to): (Arc<SyncDevice>, Arc<SyncDevice>),
        translate: Translate,
        keeps: Trace,
    ) -> Result<Self, Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let changed = eventfd(0, flags)
            .map_err(io::Error::from)
            .map_err(Error::system("make an event"))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                direction,
                trace: Vec::new(),
                keeps,
            }),
            beginning,
            is_over: AtomicBool::new(false),
            changed,
            refused: AtomicU64::new(0),
        });
        let carrier = Carrier {
            shared: Arc::clone(&shared),
            from,
            to,
            translate,
        };
        let thread = thread::Builder::new()
            .name(format!("wire {way:?}"))
            .spawn(move || carrier.carry())
            .map_err(Error::system("start a thread"))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn shape(&self) -> Shape {
        *self.shared.state.lock().direction.shape()
    }

    /// Shapes it anew, and says how.
    pub(super) fn change(&self, change: impl FnOnce(Shape) -> Shape) -> Shape {
        let mut state = self.shared.state.lock();
        let shape = change(*state.direction.shape());
        // Read under the lock, so that the direction never sees time go back.
        let now = self.shared.now();
        state.direction.set_shape(now, shape);
        drop(state);
        self.shared.wake();
        shape
    }

    pub(super) fn tally(&self) -> Tally {
        *self.shared.state.lock().direction.tally()
    }

    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    pub(super) fn on_the_way(&self) -> usize {
        self.shared.state.lock().direction.on_the_way()
    }

    pub(super) fn trace(&self) -> Vec<Decision> {
        self.shared.state.lock().trace.clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.wake();
        let Some(ended) = self.thread.take().map(JoinHandle::join) else {
            return;
        };
        // A wire that stood still is no emulation: whoever relied on it has to know.
        if !thread::panicking() {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => panic!("a wire failed: {error}"),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }
}

impl Shared {
    fn now(&self) -> Moment {
        Moment::after(self.beginning.elapsed())
    }

    fn wake(&self) {
        // It fails only when it has been written 2⁶⁴ times without being read: then it wakes anyway.
        let _ = rustix::io::write(&self.changed, &1_u64.to_ne_bytes());
    }
}

/// What the thread owns.
struct Carrier {
    shared: Arc<Shared>,
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    translate: Translate,
}

impl Carrier {
    fn carry(self) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        let (mut entering, mut leaving) = (Vec::new(), Vec::new());
        while !self.shared.is_over.load(Ordering::Acquire) {
            let there_may_be_more = self.take(&mut buffer, &mut entering)?;
            let next = self.pass(&mut entering, &mut leaving);
            for packet in leaving.drain(..) {
                self.hand_over(packet)?;
            }
            if !there_may_be_more {
                self.wait(next)?;
            }
        }
        Ok(())
    }

    /// Takes what the sender has sent, up to a batch; says whether it was a whole one.
    fn take(&self, buffer: &mut [u8], entering: &mut Vec<Packet>) -> io::Result<bool> {
        for _ in 0..BATCH {
            let length = match self.from.recv(buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let Ok(packet) = Packet::from_bytes(buffer[..length].to_vec()) else {
                continue;
            };
            // What is sent to no one host is the kernel's own talk.
            if packet.destination().is_multicast() {
                continue;
            }
            entering.extend(match &self.translate {
                Translate::Entering(nat) => nat.lock().outbound(packet),
                Translate::Leaving(_) | Translate::Nothing => Some(packet),
            });
        }
        Ok(true)
    }

    /// Puts packets on the wire and gets those that have arrived; says when the next will.
    fn pass(&self, entering: &mut Vec<Packet>, leaving: &mut Vec<Packet>) -> Option<Moment> {
        let mut state = self.shared.state.lock();
        let now = self.shared.now();
        for packet in entering.drain(..) {
            let decision = state.direction.handle_packet(now, packet);
            if state.keeps == Trace::Keep {
                state.trace.push(decision);
            }
        }
        leaving.extend(std::iter::from_fn(|| state.direction.poll_deliver(now)));
        state.direction.poll_timeout()
    }

    fn hand_over(&self, packet: Packet) -> io::Result<()> {
        let packet = match &self.translate {
            Translate::Leaving(nat) => nat.lock().inbound(packet),
            Translate::Entering(_) | Translate::Nothing => Some(packet),
        };
        match packet {
            Some(packet) => match self.to.send(packet.bytes()) {
                Ok(_) => Ok(()),
                // The receiver's kernel has no room, or takes no packet of this kind: its loss.
                Err(error) if is_refused(&error) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            None => Ok(()),
        }
    }

    /// Waits until there is something to take, something is due, or the owner has changed something.
    fn wait(&self, next: Option<Moment>) -> io::Result<()> {
        let timeout = next
            .map(|next| timespec(next.since(self.shared.now())))
            .transpose()?;
        let mut sources = [
            PollFd::from_borrowed_fd(self.from.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.changed.as_fd(), PollFlags::IN),
        ];
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !sources[1].revents().is_empty() {
            // What it counts does not matter; it may also have been read already.
            let _ = rustix::io::read(&self.shared.changed, &mut [0; 8]);
        }
        Ok(())
    }
}

fn is_refused(error: &io::Error) -> bool {
    let of_the_packet = [
        rustix::io::Errno::AGAIN,
        rustix::io::Errno::NOBUFS,
        rustix::io::Errno::NOMEM,
        rustix::io::Errno::INVAL,
    ];
    of_the_packet
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn timespec(duration: Duration) -> io::Result<Timespec> {
    Timespec::try_from(duration).map_err(|_| io::ErrorKind::InvalidInput.into())
}
