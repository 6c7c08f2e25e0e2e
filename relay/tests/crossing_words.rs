//! What two ends say at the same moment passes on the way; each still learns the truth.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay::ResetBy;
use relay::proto::{
    Attempt, Caller, Control, Generation, Limits, Open, Opener, ResetCode, StreamId,
};
use relay::session::{
    Event, HeaderOutcome, LivenessConfig, Over, SessionConfig, SessionState, SharedBudget,
};

fn end(side: Opener, now: Instant) -> SessionState {
    let limits = Limits {
        stream_base: 100,
        max_streams: 4,
        grace: Duration::from_secs(1),
    };
    let config = SessionConfig {
        side,
        local: limits,
        peer: limits,
        stream_window: 200,
        growth_budget: 1000,
        shared_budget: Arc::new(SharedBudget::new(1000)),
        liveness: LivenessConfig::default(),
        seed: 1,
        attempt: Attempt(1),
        resume: false,
    };
    SessionState::new(config, now)
}

/// The header of a stream that ends with its connection.
fn header(stream: StreamId) -> Open {
    Open {
        stream,
        service: "test".parse().unwrap(),
        caller: Caller {
            principal: "ingress/test".into(),
            address: None,
        },
        traceparent: None,
        resumable: false,
        generation: Generation(0),
    }
}

/// Both ends, and a stream that the first has opened.
fn opened(now: Instant) -> (SessionState, SessionState, StreamId) {
    let mut a = end(Opener::Initiator, now);
    let mut b = end(Opener::Responder, now);
    let id = a.open(now).unwrap();
    assert!(matches!(
        b.handle_open(&header(id), now),
        Ok(HeaderOutcome::New { .. })
    ));
    (a, b, id)
}

fn said(state: &mut SessionState, now: Instant) -> Vec<Control> {
    std::iter::from_fn(|| state.poll_control(now)).collect()
}

fn hear(state: &mut SessionState, messages: Vec<Control>, now: Instant) {
    for message in messages {
        state.handle_control(message, now).unwrap();
    }
}

fn overs(state: &mut SessionState) -> Vec<Over> {
    std::iter::from_fn(|| state.poll_event())
        .filter_map(|event| {
            if let Event::Over(_, over) = event {
                Some(over)
            } else {
                None
            }
        })
        .collect()
}

/// The caller's socket breaks right behind its end: the word that the end has arrived is taken for
/// the word that the reset has, and the reset was never said.
#[test]
fn a_reset_that_meets_the_acknowledgement_of_an_end_is_still_said() {
    let now = Instant::now();
    let (mut a, mut b, id) = opened(now);
    assert_eq!(
        a.send(id, Generation(0), &mut Bytes::from(vec![0; 10]).into(), now)
            .len(),
        10
    );
    b.received(id, Generation(0), 10, now).unwrap();
    b.consumed(id, 10, now);
    a.finish(id);
    hear(&mut b, said(&mut a, now), now);
    let acknowledged = said(&mut b, now);

    a.reset(id, ResetCode::CallerReset, String::new());
    hear(&mut a, acknowledged, now);
    hear(&mut b, said(&mut a, now), now);
    let told = Over::Reset {
        code: ResetCode::CallerReset,
        message: String::new(),
        by: ResetBy::Peer,
    };
    assert_eq!(overs(&mut b), [told]);
    hear(&mut a, said(&mut b, now), now);
    assert_eq!((a.live_streams(), b.live_streams()), (0, 0));
}

#[test]
fn two_resets_that_pass_each_other_end_the_stream_once_at_each_end() {
    let now = Instant::now();
    let (mut a, mut b, id) = opened(now);
    a.reset(id, ResetCode::CallerReset, String::new());
    b.reset(id, ResetCode::OriginReset, String::new());
    let (from_a, from_b) = (said(&mut a, now), said(&mut b, now));
    hear(&mut a, from_b, now);
    hear(&mut b, from_a, now);
    for state in [&mut a, &mut b] {
        let [Over::Reset { by, .. }] = &overs(state)[..] else {
            panic!("over once, by a reset");
        };
        assert_eq!(*by, ResetBy::Local);
    }
    let (from_a, from_b) = (said(&mut a, now), said(&mut b, now));
    hear(&mut a, from_b, now);
    hear(&mut b, from_a, now);
    assert_eq!((a.live_streams(), b.live_streams()), (0, 0));
    assert!(said(&mut a, now).is_empty() && said(&mut b, now).is_empty());
}

/// Each has ended its direction and waits until the other has taken all of it, which nobody does.
#[test]
fn two_users_that_go_away_with_bytes_unread_leave_nothing_behind() {
    let now = Instant::now();
    let (mut a, mut b, id) = opened(now);
    for (from, to) in [(0, 1), (1, 0)] {
        let both = [&mut a, &mut b];
        let mut bytes = Bytes::from(vec![0; 10]).into();
        both[from].send(id, Generation(0), &mut bytes, now);
        both[to].received(id, Generation(0), 10, now).unwrap();
        both[from].finish(id);
    }
    a.abandon(id);
    hear(&mut b, said(&mut a, now), now);
    assert_eq!(overs(&mut b), [], "somebody may still read there");
    b.abandon(id);
    for _ in 0..2 {
        hear(&mut a, said(&mut b, now), now);
        hear(&mut b, said(&mut a, now), now);
    }
    for state in [&mut a, &mut b] {
        assert!(matches!(
            overs(state)[..],
            [Over::Reset {
                code: ResetCode::Cancelled,
                ..
            }]
        ));
        assert_eq!(state.live_streams(), 0);
    }
}

/// A stream that was opened before the word came that the other end drains is on its way when that
/// has no stream left.
#[test]
fn whoever_drains_knows_of_the_streams_that_are_still_on_their_way() {
    let now = Instant::now();
    let mut a = end(Opener::Initiator, now);
    let mut b = end(Opener::Responder, now);
    a.drain(Duration::from_secs(60));
    let id = b.open(now).unwrap();
    hear(&mut b, said(&mut a, now), now);
    assert!(!a.is_drained(), "nothing was heard yet");
    hear(&mut a, said(&mut b, now), now);
    assert!(!a.is_drained() && a.live_streams() == 0);
    assert!(matches!(
        a.handle_open(&header(id), now),
        Ok(HeaderOutcome::New { .. })
    ));
    while a.poll_event().is_some() {}
    b.reset(id, ResetCode::CallerReset, String::new());
    hear(&mut a, said(&mut b, now), now);
    assert!(a.is_drained());
    assert!(std::iter::from_fn(|| a.poll_event()).any(|event| event == Event::Idle));
    // Both have said all that they will.
    hear(&mut b, said(&mut a, now), now);
    assert!(said(&mut b, now).is_empty() && said(&mut a, now).is_empty());
}
