//! Who holds a stream's handle, and what they wait for.

use std::task::{Context, Poll, Waker};

use super::{Locked, Shared};
use crate::audit::Recording;
use crate::driver::Reset;
use crate::driver::stream::MovedReceiver;
use crate::proto::{Generation, StreamId};
use crate::session::{Over, Replayed, SessionState, Violation};
use crate::transport::SendHalf;

/// Who waits for what of a stream whose handle is held.
#[derive(Debug, Default)]
pub(in crate::driver) struct Slot {
    pub(super) sender: Option<Waker>,
    pub(super) receiver: Option<Waker>,
    pub(super) watcher: Option<Waker>,
    pub(super) connected: bool,
    pub(super) over: Option<Over>,
    /// Set once the handle is gone, if the stream is recorded.
    pub(super) record: Option<Recording>,
    /// Halves of a newer transport stream, until the stream's user takes them over.
    pub(in crate::driver) moved_sender: Option<(Generation, Box<dyn SendHalf>)>,
    pub(in crate::driver) moved_receiver: Option<Box<MovedReceiver>>,
}

/// Which of a stream's users waits.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) enum Waiter {
    Sender,
    Receiver,
    Watcher,
}

impl Shared {
    /// So much payload was read from the stream's `generation`. `false` if it has moved on.
    pub(in crate::driver) fn received(
        &self,
        id: StreamId,
        generation: Generation,
        count: u64,
    ) -> Result<bool, Violation> {
        self.with_locked(|Locked { session, line, .. }, now| {
            session.set_arrived(line.connection.arrived(), now);
            session.received(id, generation, count, now)
        })
    }

    /// From now on someone holds the stream. Of a session that is over, it is over too.
    pub(in crate::driver) fn add_slot(&self, id: StreamId) {
        let mut locked = self.locked.lock();
        let over = locked.all_reset.then(|| {
            let Reset { code, message, by } = self.session_reset();
            Over::Reset { code, message, by }
        });
        let slot = Slot {
            over,
            ..Slot::default()
        };
        locked.slots.insert(id, slot);
    }

    /// The handle of a stream was dropped: what was not settled is reset, and `record` made as soon
    /// as it is known how the stream ended.
    pub(in crate::driver) fn drop_slot(&self, id: StreamId, record: Option<Recording>) {
        self.with(|session, _| session.abandon(id));
        let mut locked = self.locked.lock();
        let over = match (locked.slots.get_mut(&id), record) {
            (Some(slot @ Slot { over: None, .. }), Some(record)) => {
                slot.record = Some(record);
                return;
            }
            (slot, record) => slot.and_then(|slot| slot.over.take()).zip(record),
        };
        locked.slots.remove(&id);
        drop(locked);
        if let Some((over, record)) = over {
            record.end(id, &over);
        }
    }

    /// Ready with what `found` finds, or with the reset of the stream; else `waiter` is woken when
    /// something changes.
    pub(in crate::driver) fn poll_stream<T>(
        &self,
        id: StreamId,
        waiter: Waiter,
        cx: &mut Context<'_>,
        found: impl FnOnce(&SessionState, &mut Slot) -> Option<T>,
    ) -> Poll<Result<T, Reset>> {
        let mut locked = self.locked.lock();
        let Locked { session, slots, .. } = &mut *locked;
        let Some(slot) = slots.get_mut(&id) else {
            return Poll::Ready(Err(self.session_reset()));
        };
        match &slot.over {
            Some(Over::Reset { code, message, by }) => {
                let (code, message, by) = (*code, message.clone(), *by);
                return Poll::Ready(Err(Reset { code, message, by }));
            }
            Some(Over::Complete) | None => {}
        }
        if let Some(found) = found(session, slot) {
            return Poll::Ready(Ok(found));
        }
        slot.wait(waiter, cx);
        Poll::Pending
    }

    /// Ready when the acceptor has reached its target.
    pub(in crate::driver) fn poll_connected(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        self.poll_stream(id, Waiter::Watcher, cx, |_, slot| {
            (slot.connected || slot.is_complete()).then_some(())
        })
    }

    /// Ready when the stream is over, however.
    pub(in crate::driver) fn poll_over(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        self.poll_stream(id, Waiter::Watcher, cx, |_, slot| {
            slot.is_complete().then_some(())
        })
    }

    /// A stream's receiver goes on at another transport stream.
    pub(in crate::driver) fn hand_receiver(&self, id: StreamId, moved: MovedReceiver) {
        self.with_locked(|locked, _| {
            if let Some(slot) = locked.slots.get_mut(&id) {
                slot.moved_receiver = Some(Box::new(moved));
                slot.receiver.take()
            } else {
                None
            }
        })
        .into_iter()
        .for_each(Waker::wake);
    }

    /// What is to be sent again at `offset`. Once that is nothing, the stream's sender has the half,
    /// unless its direction has ended.
    pub(in crate::driver) fn replayed(
        &self,
        id: StreamId,
        generation: Generation,
        offset: u64,
        half: Box<dyn SendHalf>,
    ) -> (Replayed, Option<Box<dyn SendHalf>>) {
        let (replayed, half, waker) = self.with_locked(|locked, _| {
            let replayed = locked.session.replayed(id, generation, offset);
            match (&replayed, locked.slots.get_mut(&id)) {
                (Replayed::Everything { finished: false }, Some(slot)) => {
                    slot.moved_sender = Some((generation, half));
                    (replayed, None, slot.sender.take())
                }
                _ => (replayed, Some(half), None),
            }
        });
        waker.into_iter().for_each(Waker::wake);
        (replayed, half)
    }

    /// The half that waits for a stream's sender.
    pub(in crate::driver) fn take_sender(
        &self,
        id: StreamId,
    ) -> Option<(Generation, Box<dyn SendHalf>)> {
        self.locked.lock().slots.get_mut(&id)?.moved_sender.take()
    }
}

impl Slot {
    pub(super) fn wait(&mut self, waiter: Waiter, cx: &mut Context<'_>) {
        let place = match waiter {
            Waiter::Sender => &mut self.sender,
            Waiter::Receiver => &mut self.receiver,
            Waiter::Watcher => &mut self.watcher,
        };
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.over == Some(Over::Complete)
    }

    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> + use<> {
        [
            self.sender.take(),
            self.receiver.take(),
            self.watcher.take(),
        ]
        .into_iter()
        .flatten()
    }
}
