//! How much there is of what, and what users send.

use std::collections::BTreeMap;
use std::time::Duration;

use relay::proto::StreamId;
use relay::session::LivenessConfig;

/// How much there is of what.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    /// The base of a stream and its largest window.
    pub(crate) base: u32,
    pub(crate) window: u64,
    /// What each end may grant and keep beyond the base.
    pub(crate) budgets: [u64; 2],
    pub(crate) max_streams: u32,
    pub(crate) grace: Duration,
    pub(crate) resume: bool,
    pub(crate) liveness: LivenessConfig,
}

impl Sizes {
    /// Small, and no connection is ever found dead by its silence.
    pub(crate) fn small(base: u32) -> Self {
        let never = Duration::from_secs(1_000_000);
        Self {
            base,
            window: 200,
            budgets: [250; 2],
            max_streams: 4,
            grace: never,
            resume: true,
            liveness: LivenessConfig {
                dead: never,
                idle_dead: never,
                ..LivenessConfig::default()
            },
        }
    }
}

/// What users have left to send, by end and stream.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    each: u64,
    left: BTreeMap<(usize, StreamId), u64>,
}

impl Plan {
    /// So many bytes in each direction of every stream.
    pub(crate) fn each(each: u64) -> Self {
        let left = BTreeMap::new();
        Self { each, left }
    }

    pub(crate) fn left(&mut self, side: usize, id: StreamId) -> &mut u64 {
        self.left.entry((side, id)).or_insert(self.each)
    }
}
