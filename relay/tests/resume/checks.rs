//! What must be true of the two ends of a session whatever happens, looked at from outside.

use relay::proto::{Ack, Control};
use relay::session::Over;

use crate::end::End;
use crate::sizes::Sizes;
use crate::stream::{Stream, Words};
use crate::world::World;

/// The promises of a word that `end` says, to `peer`.
pub(crate) fn check_said(end: &mut End, peer: &End, message: &Control, sizes: &Sizes) {
    match message {
        Control::Ack(ack) => check_ack(end, peer, ack, sizes),
        Control::Fin { stream, last } => {
            let known = &end.streams[stream];
            assert!(known.finished, "{stream}: an end that nobody made");
            assert_eq!(*last, known.written, "{stream}: an end elsewhere");
        }
        Control::Release { stream, released } => {
            let words = &mut end.streams.get_mut(stream).unwrap().words;
            assert!(words.said_released <= *released, "{stream}: released less");
            words.said_released = *released;
        }
        Control::Ping(_) | Control::Pong(_) | Control::Connected { .. } | Control::Reset { .. } => {
        }
        Control::Hello(_)
        | Control::HelloAck(_)
        | Control::Drain { .. }
        | Control::HealthReport(_)
        | Control::EdgeList(_)
        | Control::Close(_)
        | Control::Unknown => panic!("nobody has said {message:?}"),
    }
}

fn check_ack(end: &mut End, peer: &End, ack: &Ack, sizes: &Sizes) {
    let Ack {
        stream: id,
        consumed,
        limit,
        ended,
        stopped,
    } = *ack;
    assert!(
        !stopped || end.streams[&id].given_up,
        "{id}: nobody reads, it says, and its user does"
    );
    let Some(known) = end.streams.get_mut(&id) else {
        // Ended or reset before its header came.
        assert_eq!((consumed, ended), (0, true), "{id} is not known here");
        return;
    };
    assert!(
        consumed <= known.consumed,
        "{id}: {consumed} acknowledged, {} consumed",
        known.consumed
    );
    if limit == 0 {
        assert!(
            ended && known.over.is_some(),
            "{id} is told to be over, and is not"
        );
        return;
    }
    if ended {
        let sent = peer.streams.get(&id).map(|it| (it.finished, it.written));
        assert_eq!(
            sent,
            Some((true, consumed)),
            "{id}: confirmed an end that is none"
        );
    }
    let words = &mut known.words;
    assert!(
        consumed >= words.said_consumed,
        "{id}: acknowledged less than before"
    );
    assert!(limit >= words.said_limit, "{id}: granted less than before");
    let most = u64::from(sizes.base).max(sizes.window);
    assert!(
        ended || limit - words.heard_released <= consumed + most,
        "{id}: a window of more than {most}"
    );
    (words.said_consumed, words.said_limit) = (consumed, limit);
    words.said_end |= ended;
}

/// What is true between any two steps.
pub(crate) fn check_always(ends: &mut [End; 2], sizes: &Sizes, lost: bool) {
    for end in ends.iter() {
        let used = end.state.growth_used();
        assert!(
            used <= sizes.budgets[end.side],
            "more than the budget: {used}"
        );
        assert_eq!(end.process.used(), used);
        assert_eq!(end.process.kept(), end.state.kept());
        let live = end.streams.values().filter(|it| it.over.is_none());
        let kept: u64 = live.clone().map(kept).sum();
        assert!(
            kept <= end.state.kept(),
            "{kept} bytes kept, {} of memory counted",
            end.state.kept()
        );
        let held: u64 = live
            .map(|stream| beyond_base(stream, sizes.base.into()))
            .sum();
        assert!(
            held <= used,
            "{held} bytes held or granted beyond the base, {used} accounted for"
        );
    }
    for (end, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        for (id, stream) in end.streams.iter().filter(|(_, it)| it.over.is_none()) {
            let all = peer.streams.get(id).map(|it| (it.finished, it.written));
            let is_all = all == Some((true, stream.received));
            let taken_for_all = end.state.is_all_received(*id);
            assert!(is_all || !taken_for_all, "{id}: not all was received");
        }
    }
    for (side, other) in [(0, 1), (1, 0)] {
        for id in std::mem::take(&mut ends[side].ended) {
            let (here, there) = (&ends[side].streams[&id], ends[other].streams.get(&id));
            match here.over.as_ref().unwrap() {
                Over::Complete => {
                    let there = there.expect("the other end knows what is complete");
                    assert_all_moved(id, here, there);
                    assert_all_moved(id, there, here);
                }
                Over::Reset { code, .. } => {
                    let given_up = here.given_up || there.is_some_and(|it| it.given_up);
                    let expired = ends.iter().any(|end| end.expired);
                    let can_move = here.resumable && there.is_none_or(|it| it.resumable);
                    let cannot_move = lost && !can_move;
                    let explained = given_up || expired || cannot_move;
                    assert!(explained, "{id}: reset by {code} and nobody wanted it");
                }
            }
        }
    }
}

/// What a stream keeps at least of what it has sent.
fn kept(stream: &Stream) -> u64 {
    if stream.resumable && !stream.given_up {
        stream.written - stream.words.heard_consumed
    } else {
        0
    }
}

/// What a stream may hold of what it has sent, and what it has granted, beyond the base.
fn beyond_base(stream: &Stream, base: u64) -> u64 {
    let Words {
        said_consumed,
        said_limit,
        heard_released,
        ..
    } = stream.words;
    let kept = kept(stream).saturating_sub(base);
    let ended = stream.words.said_end;
    let granted = if ended {
        0
    } else {
        (said_limit - heard_released).saturating_sub(said_consumed + base)
    };
    kept + granted
}

fn assert_all_moved(id: relay::proto::StreamId, from: &Stream, to: &Stream) {
    assert!(from.finished, "{id} is complete without an end");
    assert_eq!(
        (to.received, to.consumed),
        (from.written, from.written),
        "{id} is complete but short"
    );
}

impl World {
    /// What is true once all streams are over.
    pub(crate) fn check_settled(&self) {
        for end in &self.ends {
            assert_eq!(end.process.used(), 0, "what was granted has come back");
            assert_eq!(end.process.kept(), 0, "what was kept is let go of");
            for (id, stream) in &end.streams {
                assert!(stream.over.is_some(), "{id} never ended");
            }
        }
        let [a, b] = &self.ends;
        for (id, here) in &a.streams {
            if here.over == Some(Over::Complete) {
                let there = b.streams.get(id).and_then(|it| it.over.as_ref());
                assert!(
                    there.is_some(),
                    "{id} is complete at one end, and the other never knew it"
                );
            }
        }
    }

    /// The streams that are live, and where; for a message.
    pub(crate) fn unsettled(&self) -> String {
        let live = |end: &End| {
            let mut live: Vec<_> = end.state.stream_ids().collect();
            live.sort_unstable();
            format!("{live:?} on connection {:?}", end.line)
        };
        format!(
            "initiator {}, responder {}",
            live(&self.ends[0]),
            live(&self.ends[1])
        )
    }
}
