//! What a peer may not do with connections, attachments and acknowledgements, and what it hears.

use std::time::Instant;

use bytes::Bytes;
use relay::proto::{
    Ack, Attach, Attempt, CloseCode, Control, Generation, Open, Opener, ResetCode, StreamAnswer,
    StreamId,
};
use relay::session::{HeaderOutcome, Replayed, SessionState, Violation};

use crate::sizes::Sizes;
use crate::stream::header;
use crate::world::World;

/// The session that is attacked, here the responder's, with one stream of its peer.
struct Victim {
    state: SessionState,
    id: StreamId,
    now: Instant,
}

impl Victim {
    /// The peer has sent 10 bytes and heard of 4 of them; this end has sent 10, and 4 are acknowledged.
    fn new() -> Self {
        let now = Instant::now();
        let [_, victim] = World::new(Sizes::small(20), now).ends;
        let mut victim = Self {
            state: victim.state,
            id: StreamId::new(Opener::Initiator, 0),
            now,
        };
        victim.open(&header(victim.id, true)).unwrap();
        let (id, first) = (victim.id, Generation(0));
        assert_eq!(victim.state.received(id, first, 10, now), Ok(true));
        victim.state.consumed(id, 4, now);
        let sent = victim
            .state
            .send(id, first, &mut Bytes::from(vec![7; 10]).into(), now);
        assert_eq!(sent.len(), 10);
        victim.ack(4).unwrap();
        victim
    }

    fn open(&mut self, open: &Open) -> Result<HeaderOutcome, Violation> {
        self.state.handle_open(open, self.now)
    }

    fn ack(&mut self, consumed: u64) -> Result<(), Violation> {
        let ack = Ack {
            stream: self.id,
            consumed,
            limit: 30,
            ended: false,
            stopped: false,
        };
        self.state.handle_control(Control::Ack(ack), self.now)
    }

    /// A new connection, and on it the attachment that an honest peer would send, changed.
    fn attach(&mut self, change: impl FnOnce(&mut Attach)) -> Result<HeaderOutcome, Violation> {
        self.state.connect(Attempt(2), self.now);
        let mut attach = Attach {
            stream: self.id,
            generation: Generation(1),
            received: 6,
            start: 4,
        };
        change(&mut attach);
        self.state.handle_attach(&attach)
    }

    fn is_refused(result: Result<HeaderOutcome, Violation>, why: &str) {
        let violation = result.unwrap_err();
        assert!(violation.to_string().ends_with(why), "{violation}");
        assert_eq!(violation.close_code(), CloseCode::Protocol);
    }
}

#[test]
fn an_honest_attachment_goes_on_from_what_was_received() {
    let mut victim = Victim::new();
    let answer = StreamAnswer {
        stream: victim.id,
        generation: Generation(1),
        received: 10,
        start: 6,
        resumable: true,
    };
    let moved = HeaderOutcome::Moved { answer, skip: 6 };
    assert_eq!(victim.attach(|_| ()), Ok(moved));
    let again = victim.state.replayed(victim.id, Generation(1), 6);
    assert_eq!(again, Replayed::Bytes(Bytes::from(vec![7; 4])));
}

#[test]
fn an_attempt_is_never_below_one_that_was() {
    let mut victim = Victim::new();
    victim.state.connect(Attempt(5), victim.now);
    for late in 0..=5 {
        assert!(!victim.state.may_connect(Attempt(late)), "attempt {late}");
    }
    victim.state.disconnect(victim.now);
    assert!(!victim.state.may_connect(Attempt(5)), "though it was lost");
    assert!(victim.state.may_connect(Attempt(6)));
}

#[test]
fn nobody_acknowledges_what_was_not_sent() {
    let mut victim = Victim::new();
    let violation = victim.ack(11).unwrap_err();
    let stream = victim.id;
    assert_eq!(violation, Violation::AckBeyondSent { stream });
    assert_eq!(violation.close_code(), CloseCode::Protocol);
}

#[test]
fn nobody_has_received_more_than_was_sent_nor_less_than_acknowledged() {
    let why = "attached with more or less than was received";
    Victim::is_refused(Victim::new().attach(|it| it.received = 11), why);
    Victim::is_refused(Victim::new().attach(|it| it.received = 3), why);
    Victim::is_refused(Victim::new().attach(|it| it.received = u64::MAX), why);
    for possible in [4, 10] {
        let moved = Victim::new().attach(|it| it.received = possible);
        assert!(
            matches!(moved, Ok(HeaderOutcome::Moved { .. })),
            "{moved:?}"
        );
    }
}

#[test]
fn nobody_goes_on_behind_a_gap() {
    let why = "attached with a gap";
    Victim::is_refused(Victim::new().attach(|it| it.start = 11), why);
    Victim::is_refused(Victim::new().attach(|it| it.start = u64::MAX), why);
}

#[test]
fn a_generation_that_was_is_too_late_and_changes_nothing() {
    let mut victim = Victim::new();
    let third = victim.attach(|it| it.generation = Generation(3));
    assert!(matches!(third, Ok(HeaderOutcome::Moved { .. })));
    for late in 0..=3 {
        let replayed = Attach {
            stream: victim.id,
            generation: Generation(late),
            received: 10,
            start: 0,
        };
        assert_eq!(
            victim.state.handle_attach(&replayed),
            Ok(HeaderOutcome::TooLate)
        );
        assert_eq!(victim.state.generation(victim.id), Some(Generation(3)));
    }
    for late in 0..3 {
        let counted = victim
            .state
            .received(victim.id, Generation(late), 1, victim.now);
        assert_eq!(counted, Ok(false), "bytes of generation {late}");
        let again = victim.state.replayed(victim.id, Generation(late), 6);
        assert_eq!(again, Replayed::TooLate);
        let mut new = Bytes::from_static(b"new").into();
        let sent = victim
            .state
            .send(victim.id, Generation(late), &mut new, victim.now);
        assert_eq!((sent.len(), new.len()), (0, 3));
    }
}

#[test]
fn nobody_attaches_a_stream_that_the_other_end_opened() {
    let mut victim = Victim::new();
    let own = victim.state.open(victim.now).unwrap();
    victim.state.keep(&header(own, true));
    assert!(victim.state.begin(own));
    let why = "attached by the end that did not open it";
    Victim::is_refused(victim.attach(|it| it.stream = own), why);
}

#[test]
fn nobody_attaches_what_was_never_opened_or_has_no_header_yet() {
    let next = StreamId::new(Opener::Initiator, 1);
    let why = "attached before it was opened";
    Victim::is_refused(Victim::new().attach(|it| it.stream = next), why);
    let mut victim = Victim::new();
    let (stream, last) = (next, 0);
    let end = Control::Fin { stream, last };
    victim.state.handle_control(end, victim.now).unwrap();
    Victim::is_refused(victim.attach(|it| it.stream = next), why);
}

#[test]
fn nobody_attaches_what_ends_with_its_connection() {
    let mut victim = Victim::new();
    let id = StreamId::new(Opener::Initiator, 1);
    victim.open(&header(id, false)).unwrap();
    // Not moved, so not reset either: the attachment comes by the connection that there is.
    let attach = Attach {
        stream: id,
        generation: Generation(1),
        received: 0,
        start: 0,
    };
    assert_eq!(
        victim.state.handle_attach(&attach),
        Ok(HeaderOutcome::TooLate)
    );
    assert_eq!(victim.state.generation(id), Some(Generation(0)));
    // Moved, it is over.
    assert_eq!(
        victim.attach(|it| it.stream = id),
        Ok(HeaderOutcome::TooLate)
    );
}

#[test]
fn a_stream_that_is_over_is_not_attached() {
    let mut victim = Victim::new();
    victim
        .state
        .reset(victim.id, ResetCode::Cancelled, String::new());
    assert_eq!(victim.attach(|_| ()), Ok(HeaderOutcome::TooLate));
    let stream = victim.id;
    let (code, message) = (ResetCode::Cancelled, String::new());
    let reset = Control::Reset {
        stream,
        code,
        message,
    };
    victim.state.handle_control(reset, victim.now).unwrap();
    assert_eq!(victim.state.live_streams(), 0);
    let attach = Attach {
        stream,
        generation: Generation(9),
        received: 10,
        start: 10,
    };
    assert_eq!(
        victim.state.handle_attach(&attach),
        Ok(HeaderOutcome::TooLate)
    );
}

#[test]
fn a_header_that_is_said_again_opens_nothing_twice() {
    let mut victim = Victim::new();
    let mut again = header(victim.id, true);
    Victim::is_refused(victim.open(&again), "opened twice");
    // Sent again because it was lost, which it was not: nothing of the answer was acknowledged yet.
    let mut fresh = header(StreamId::new(Opener::Initiator, 1), true);
    assert!(matches!(victim.open(&fresh), Ok(HeaderOutcome::New { .. })));
    fresh.generation = Generation(1);
    assert!(matches!(
        victim.open(&fresh),
        Ok(HeaderOutcome::Moved { skip: 0, .. })
    ));
    assert_eq!(victim.open(&fresh), Ok(HeaderOutcome::TooLate));
    // As a header, though what was acknowledged shows that the answer had come.
    again.generation = Generation(1);
    let why = "attached with more or less than was received";
    Victim::is_refused(victim.open(&again), why);
    assert_eq!(victim.state.live_streams(), 2);
}

#[test]
fn bytes_that_come_again_count_once_and_a_wrong_end_is_refused() {
    let mut victim = Victim::new();
    let Ok(HeaderOutcome::Moved { skip, .. }) = victim.attach(|it| it.start = 0) else {
        panic!("it goes on");
    };
    assert_eq!(skip, 10, "all that is here already");
    let stream = victim.id;
    let early = Control::Fin { stream, last: 9 };
    let refused = victim.state.handle_control(early, victim.now);
    assert_eq!(
        refused,
        Err(Violation::ContradictoryFin { stream, last: 9 })
    );
    let end = Control::Fin { stream, last: 12 };
    victim.state.handle_control(end, victim.now).unwrap();
    assert!(!victim.state.is_all_received(stream));
    let beyond = victim.state.received(stream, Generation(1), 3, victim.now);
    assert_eq!(beyond, Err(Violation::BeyondFin { stream, last: 12 }));
    assert_eq!(
        victim.state.received(stream, Generation(1), 2, victim.now),
        Ok(true)
    );
    assert!(victim.state.is_all_received(stream));
}

/// An acceptor that answers as if it had more, or goes on elsewhere than where this end stands.
#[test]
fn an_answer_from_elsewhere_is_refused() {
    let lie = |change: fn(&mut StreamAnswer)| {
        let now = Instant::now();
        let [_, mut opener] = World::new(Sizes::small(20), now).ends;
        let id = opener.state.open(now).unwrap();
        opener.state.keep(&header(id, true));
        assert!(opener.state.begin(id));
        opener.state.send(
            id,
            Generation(0),
            &mut Bytes::from_static(b"sent").into(),
            now,
        );
        opener.state.connect(Attempt(2), now);
        assert_eq!(opener.state.poll_attach(), Some(id));
        let generation = opener.state.attach(id).unwrap().generation;
        let mut answer = StreamAnswer {
            stream: id,
            generation,
            received: 4,
            start: 0,
            resumable: true,
        };
        change(&mut answer);
        opener.state.handle_answer(id, generation, &answer)
    };
    assert_eq!(lie(|_| ()), Ok(()));
    let wrong = "answered as if it were elsewhere";
    for (change, why) in [
        ((|it| it.received = 5) as fn(&mut StreamAnswer), wrong),
        (|it| it.start = 1, wrong),
        (|it| it.generation = Generation(0), wrong),
        (
            |it| it.stream = StreamId::new(Opener::Responder, 7),
            "answered by another stream",
        ),
    ] {
        let violation = lie(change).unwrap_err();
        assert!(violation.to_string().ends_with(why), "{violation}");
    }
}

/// Where resumption was not negotiated, nothing goes on.
#[test]
fn a_session_that_ends_with_its_connection_takes_no_other() {
    let now = Instant::now();
    let sizes = Sizes {
        resume: false,
        ..Sizes::small(20)
    };
    let [_, mut end] = World::new(sizes, now).ends;
    let id = StreamId::new(Opener::Initiator, 0);
    end.state.handle_open(&header(id, true), now).unwrap();
    assert!(!end.state.may_connect(Attempt(2)));
    let attach = Attach {
        stream: id,
        generation: Generation(1),
        received: 0,
        start: 0,
    };
    Victim::is_refused(
        end.state.handle_attach(&attach),
        "an attachment, which was not negotiated",
    );
}
