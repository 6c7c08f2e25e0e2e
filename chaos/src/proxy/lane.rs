//! The faults of one direction, as what carries bytes asks for them.

use std::time::{Duration, Instant};

use super::fault::Fault;
use super::faults::Set;
use crate::wire::Share;

/// The faults in force in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// How much later, and how much of that is at random.
    pub(crate) latency: Option<(Duration, Duration)>,
    pub(crate) bandwidth: Option<Bandwidth>,
    /// The most of a piece, and the least between two.
    pub(crate) slice: Option<(usize, Duration)>,
    pub(crate) slow_close: Option<Duration>,
    pub(crate) truncate: Option<Counted>,
    pub(crate) reset: Option<Trigger>,
    pub(crate) timeout: Option<Silence>,
    pub(crate) corrupt: Option<Share>,
    pub(crate) cut: bool,
    pub(crate) loss: Option<Share>,
    pub(crate) duplicate: Option<Share>,
    /// How many, and how long they are held back.
    pub(crate) reorder: Option<(Share, Duration)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bandwidth {
    /// In bytes a second.
    pub(crate) rate: u64,
    pub(crate) queue: Duration,
}

/// So many bytes, counted anew when the fault is set anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) bytes: u64,
    pub(crate) revision: u64,
}

/// When something happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// So long after the fault was set or the connection began.
    After { since: Instant, time: Duration },
    /// Once so many bytes have passed since then.
    Counted(Counted),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Silence {
    pub(crate) since: Instant,
    /// How long until the connection is closed; never if none.
    pub(crate) closes: Option<Duration>,
}

impl Lane {
    pub(crate) fn of<'s>(faults: impl Iterator<Item = &'s Set>) -> Self {
        let mut lane = Self::default();
        for &Set {
            fault,
            since,
            revision,
            ..
        } in faults
        {
            let counted = |bytes| Counted { bytes, revision };
            match fault {
                Fault::Latency { delay, jitter } => lane.latency = Some((delay, jitter)),
                Fault::Bandwidth { rate, queue } => {
                    lane.bandwidth = Some(Bandwidth { rate, queue });
                }
                Fault::Slice { size, pause } => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    lane.slice = Some((size, pause));
                }
                Fault::SlowClose { delay } => lane.slow_close = Some(delay),
                Fault::Truncate { bytes } => lane.truncate = Some(counted(bytes)),
                Fault::Reset {
                    bytes: Some(bytes), ..
                } => lane.reset = Some(Trigger::Counted(counted(bytes))),
                Fault::Reset { after, bytes: None } => {
                    lane.reset = Some(Trigger::After { since, time: after });
                }
                Fault::Timeout { after } => {
                    let closes = (!after.is_zero()).then_some(after);
                    lane.timeout = Some(Silence { since, closes });
                }
                Fault::Corrupt { rate } => lane.corrupt = Some(rate),
                Fault::Cut => lane.cut = true,
                Fault::Loss { rate } => lane.loss = Some(rate),
                Fault::Duplicate { rate } => lane.duplicate = Some(rate),
                Fault::Reorder { rate, delay } => lane.reorder = Some((rate, delay)),
                // Not a state: the number of times is watched instead.
                Fault::Rebind => {}
            }
        }
        lane
    }
}
