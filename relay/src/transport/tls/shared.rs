//! What the connection, its streams and its carrier share.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::task::Waker;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::streams::{Key, Streams};
use crate::transport::ConnectionLost;

/// Two locks, neither ever held across a wait. Whoever takes both takes `tls` first.
pub(super) struct Shared {
    /// Held by the carrier while it encrypts and decrypts, and by whoever exports a key.
    pub(super) tls: Mutex<rustls::Connection>,
    streams: Mutex<Streams>,
    /// Decrypted in all, in bytes.
    pub(super) arrived: AtomicU64,
    /// The peer has opened a stream.
    opened: Notify,
    lost: CancellationToken,
}

impl Shared {
    pub(super) fn new(tls: rustls::Connection, streams: Streams) -> Self {
        Self {
            tls: Mutex::new(tls),
            streams: Mutex::new(streams),
            arrived: AtomicU64::new(0),
            opened: Notify::new(),
            lost: CancellationToken::new(),
        }
    }

    /// Calls into the streams, then wakes whoever waited for what came of it.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut Streams) -> R) -> R {
        let mut streams = self.streams.lock();
        let unaccepted = streams.unaccepted.len();
        let result = call(&mut streams);
        let wake = std::mem::take(&mut streams.wake);
        let opened = streams.unaccepted.len().saturating_sub(unaccepted);
        let lost = streams.over.is_some();
        drop(streams);
        wake.into_iter().for_each(Waker::wake);
        (0..opened).for_each(|_| self.opened.notify_one());
        if lost && !self.lost.is_cancelled() {
            self.lost.cancel();
        }
        result
    }

    /// The next stream that the peer opened. Cancel-safe.
    pub(super) async fn accept(&self) -> Result<Key, ConnectionLost> {
        loop {
            let next = self.with(|streams| {
                let next = streams.unaccepted.pop_front().map(Ok);
                next.or_else(|| streams.over.clone().map(Err))
            });
            if let Some(next) = next {
                return next;
            }
            // A stream that comes before this is polled leaves its permit behind.
            tokio::select! {
                () = self.opened.notified() => {}
                () = self.lost.cancelled() => {}
            }
        }
    }

    /// Waits until the connection is gone. Cancel-safe.
    pub(super) async fn lost(&self) -> ConnectionLost {
        self.lost.cancelled().await;
        self.with(|streams| streams.over.clone())
            .expect("a lost connection has a reason")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}
