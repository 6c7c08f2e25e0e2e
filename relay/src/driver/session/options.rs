//! What a session is started with, as the configuration states it.

use std::sync::Arc;

use crate::audit::AuditLog;
use crate::metrics::RelayMetrics;
use crate::proto::Limits;
use crate::session::{LivenessConfig, SharedBudget};
use crate::settings::SessionSettings;
use crate::transport::SessionBounds;

/// What a session is started with, beyond what its handshake says.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The largest window of one direction, in bytes. Default 4 MiB.
    pub stream_window: u64,
    /// What windows of the session may grow by, in bytes. Default 64 MiB.
    pub growth_budget: u64,
    /// What windows of all sessions of its tenant, or of the process, may grow by.
    pub shared_budget: Arc<SharedBudget>,
    /// When to ping and when to give up.
    pub liveness: LivenessConfig,
    /// Where the session counts.
    pub metrics: Arc<RelayMetrics>,
    /// Where its streams are recorded, if they are.
    pub audit: Option<Arc<AuditLog>>,
}

impl SessionOptions {
    /// As the configuration states them.
    pub fn new(
        settings: &SessionSettings,
        shared_budget: Arc<SharedBudget>,
        metrics: Arc<RelayMetrics>,
        audit: Option<Arc<AuditLog>>,
    ) -> Self {
        Self {
            stream_window: settings.stream_window,
            growth_budget: settings.growth_budget,
            shared_budget,
            liveness: LivenessConfig {
                ping: settings.ping_interval,
                dead: settings.dead_after,
                idle_ping: settings.idle_ping_interval,
                idle_dead: settings.idle_dead_after,
                full_size: false,
            },
            metrics,
            audit,
        }
    }
}

/// What this end holds for its peer, as the configuration states it.
pub fn limits(settings: &SessionSettings) -> Limits {
    Limits {
        stream_base: u32::try_from(settings.stream_base).unwrap_or(u32::MAX),
        max_streams: u32::try_from(settings.max_streams).unwrap_or(u32::MAX),
        grace: settings.grace,
    }
}

/// What the session will do, for the transport's own limits.
pub fn bounds(settings: &SessionSettings) -> SessionBounds {
    // Streams of the peer, some more than it was told (see `SessionState`), and our own.
    let streams = settings.max_streams + settings.max_streams / 8 + 16 + settings.max_streams;
    let bases = settings.stream_base.saturating_mul(streams);
    SessionBounds {
        streams,
        stream_window: settings.stream_window.max(settings.stream_base),
        all_windows: bases.saturating_add(settings.growth_budget),
        patience: settings.idle_dead_after.max(settings.dead_after),
    }
}
