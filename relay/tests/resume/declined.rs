//! Streams whose opener would let them outlive their connection, and whose acceptor does not.

use std::time::Instant;

use bytes::Bytes;
use relay::proto::{Attempt, Generation, ResetCode, StreamAnswer, StreamId};
use relay::session::{Over, Replayed, SessionState};

use crate::end::End;
use crate::sizes::{Plan, Sizes};
use crate::stream::{Place, header, is_declined};
use crate::world::World;

const FIRST: Generation = Generation(0);

/// An opener that has sent this on its stream.
fn opener(sent: &'static [u8], now: Instant) -> (SessionState, StreamId) {
    let [
        _,
        End {
            state: mut opener, ..
        },
    ] = World::new(Sizes::small(20), now).ends;
    let id = opener.open(now).unwrap();
    opener.keep(&header(id, true));
    assert!(opener.begin(id));
    let mut chunk = Bytes::from_static(sent).into();
    opener.send(id, FIRST, &mut chunk, now);
    assert!(chunk.is_empty());
    (opener, id)
}

fn declined(stream: StreamId, generation: Generation) -> StreamAnswer {
    StreamAnswer {
        stream,
        generation,
        received: 0,
        start: 0,
        resumable: false,
    }
}

#[test]
fn what_was_kept_is_let_go_of_when_the_acceptor_keeps_nothing() {
    let now = Instant::now();
    let (mut opener, id) = opener(b"0123456789", now);
    assert_eq!(opener.kept(), 10);
    let answer = declined(id, FIRST);
    opener.handle_answer(id, FIRST, &answer).unwrap();
    assert_eq!(opener.kept(), 0);
    opener.send(id, FIRST, &mut Bytes::from_static(b"more").into(), now);
    assert_eq!(opener.kept(), 0, "nor is what comes after");
}

#[test]
fn what_is_being_sent_again_is_sent_to_its_end() {
    let now = Instant::now();
    let (mut opener, id) = opener(b"0123456789", now);
    opener.connect(Attempt(2), now);
    let again = opener.attach(id).unwrap().generation;
    let sent = |bytes| Replayed::Bytes(Bytes::from_static(bytes));
    assert_eq!(opener.replayed(id, again, 0), sent(b"0123456789"));
    let answer = declined(id, again);
    opener.handle_answer(id, again, &answer).unwrap();
    assert_eq!(opener.replayed(id, again, 4), sent(b"456789"));
    let everything = Replayed::Everything { finished: false };
    assert_eq!(opener.replayed(id, again, 10), everything);
    assert_eq!(opener.kept(), 0);
}

/// The connection is lost before the answer has come: the opener hears by the next.
#[test]
fn an_opener_that_does_not_know_it_yet_is_told_by_a_reset() {
    let mut world = World::new(Sizes::small(20), Instant::now());
    let ids: Vec<_> = (0..3).map(|_| world.open(0, true).unwrap()).collect();
    for id in &ids {
        world.with(0, |end, links, _| end.begin(*id, links));
    }
    assert_eq!(ids.iter().filter(|id| is_declined(**id)).count(), 1);
    // The headers arrive, and no answer comes back.
    for transport in 0..ids.len() {
        let place = Place {
            connection: 0,
            transport,
        };
        assert!(world.hear_data(place, 0, usize::MAX) > 0);
    }
    world.cut(0, |_| 0);
    world.reconnect();
    world.finish_everything(Plan::each(50));
    for id in ids {
        let over = world.ends[0].streams[&id].over.as_ref().unwrap();
        let lost = matches!(
            over,
            Over::Reset {
                code: ResetCode::SessionClosed,
                ..
            }
        );
        assert_eq!(lost, is_declined(id), "{id}: {over:?}");
    }
}
