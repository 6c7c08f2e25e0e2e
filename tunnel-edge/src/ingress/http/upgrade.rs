//! Connections that stop speaking HTTP: WebSocket and whatever else both ends agree on
//! (RFC 9110 §7.8).

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;

use super::caller::CutGuard;
use super::limits::SPLICE_BUFFER;
use super::metrics::RequestGuard;
use super::origin::Lease;

/// The two sides of an upgraded connection, which are joined once HTTP is over on both.
#[derive(Debug)]
pub(super) struct Splice {
    caller: OnUpgrade,
    origin: OnUpgrade,
    lease: Lease,
    cut: CutGuard,
    request: RequestGuard,
}

impl Splice {
    pub(super) fn new(
        caller: OnUpgrade,
        origin: OnUpgrade,
        lease: Lease,
        cut: CutGuard,
        request: RequestGuard,
    ) -> Self {
        Self {
            caller,
            origin,
            lease,
            cut,
            request,
        }
    }

    /// Moves bytes both ways until both ends have ended. An end is passed on as an end and leaves
    /// the other direction alone; if either side fails, both are reset.
    pub(super) async fn run(self) {
        let joined = async {
            let (caller, origin) = tokio::try_join!(self.caller, self.origin)?;
            // From here on dropping the stream resets it, whoever holds the lease.
            drop(self.lease);
            copy(caller, origin).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        match joined.await {
            Ok(()) => self.cut.disarm(),
            Err(error) => {
                tracing::debug!(%error, seconds = self.request.elapsed().as_secs(), "upgraded connection failed");
            }
        }
    }
}

async fn copy(caller: Upgraded, origin: Upgraded) -> std::io::Result<()> {
    let (mut caller, mut origin) = (TokioIo::new(caller), TokioIo::new(origin));
    let size = SPLICE_BUFFER;
    copy_bidirectional_with_sizes(&mut caller, &mut origin, size, size).await?;
    Ok(())
}
