//! What shows that the peer is there, by counters that are looked at now and then.

use std::time::Instant;

/// What has arrived on the connection, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrived {
    /// In all, when it was last looked at.
    pub(super) total: u64,
    pub(super) looked_at: Option<Instant>,
    /// Since the last Ping, and not read as payload yet.
    pub(super) fresh: u64,
}

/// The acknowledgements that the transport has had of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledged {
    /// How many there were when they were last looked at, since something was heard; and when that was.
    pub(super) since_heard: Option<(u64, Instant)>,
    /// No later than the last of them.
    pub(super) at: Option<Instant>,
}

impl Arrived {
    /// So much has arrived in all; whether that is more than before.
    pub(super) fn grows_to(&mut self, total: u64) -> bool {
        let more = total.saturating_sub(self.total);
        self.total += more;
        self.fresh += more;
        more > 0
    }
}

impl Acknowledged {
    pub(super) fn counted(&mut self, count: u64, now: Instant) {
        match self.since_heard {
            // They may be older than what was heard.
            None => self.at = None,
            // It came behind the last look, who knows how soon.
            Some((before, looked)) if count > before => self.at = Some(looked),
            Some(_) => {}
        }
        self.since_heard = Some((count, now));
    }
}
