//! Connections that stop speaking HTTP: WebSocket and whatever else both ends agree on
//! (RFC 9110 §7.8).

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::caller::CutGuard;
use super::limits::SPLICE_BUFFER;
use super::link::Link;
use super::metrics::RequestGuard;
use super::origin::Lease;
use super::tasks::Tasks;

/// The two sides of an upgraded connection, which are joined once HTTP is over on both.
#[derive(Debug)]
pub(super) struct Splice {
    caller: OnUpgrade,
    origin: OnUpgrade,
    lease: Lease,
    cut: CutGuard,
    request: RequestGuard,
    link: Link,
}

impl Splice {
    pub(super) fn new(
        caller: OnUpgrade,
        origin: OnUpgrade,
        lease: Lease,
        cut: CutGuard,
        request: RequestGuard,
        link: Link,
    ) -> Self {
        Self {
            caller,
            origin,
            lease,
            cut,
            request,
            link,
        }
    }

    /// Runs on the thread that owns the session, as one of `tasks`.
    pub(super) fn spawn(self, tasks: &Tasks) {
        let link = self.link.clone();
        link.spawn(tasks.owned(self.run()));
    }

    /// Moves bytes both ways until both ends have ended. An end is passed on as an end and leaves
    /// the other direction alone; if either side fails, both are reset. So they are if the future
    /// is dropped.
    async fn run(self) {
        let joined = async {
            let (caller, origin) = tokio::try_join!(self.caller, self.origin)?;
            // From here on dropping the stream resets it, whoever holds the lease.
            drop(self.lease);
            let mut caller = TokioIo::new(caller);
            copy(&mut caller, origin).await?;
            // Before the caller's socket is dropped: a reset would take back what the kernel has
            // yet to send.
            self.cut.disarm();
            drop(caller);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, seconds = self.request.elapsed().as_secs(), "upgraded connection failed");
        }
    }
}

async fn copy(caller: &mut TokioIo<Upgraded>, origin: Upgraded) -> std::io::Result<()> {
    let mut origin = TokioIo::new(origin);
    let size = SPLICE_BUFFER;
    copy_bidirectional_with_sizes(caller, &mut origin, size, size).await?;
    Ok(())
}
