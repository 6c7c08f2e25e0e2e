//! Words that meet on the way, and a connection that is lost just then.

use std::time::Instant;

use relay::proto::ResetCode;
use relay::session::{Over, ResetBy};

use crate::sizes::{Plan, Sizes};
use crate::world::World;

const ALL: usize = usize::MAX;

fn world() -> World {
    World::new(Sizes::small(10), Instant::now())
}

/// The end of an empty direction overtakes the header and is confirmed; then the header is lost.
#[test]
fn a_header_that_is_lost_behind_the_end_of_its_stream_is_sent_again() {
    let mut world = world();
    let id = world.open(0, true).unwrap();
    world.with(0, |end, links, _| {
        end.begin(id, links);
        end.finish(id);
    });
    assert_eq!(world.say(0, ALL), 1);
    world.hear_control(0, 0, ALL);
    assert_eq!(world.say(1, ALL), 1);
    world.hear_control(0, 1, ALL);
    world.cut(0, |_| 0);
    world.finish_everything(Plan::each(5));
    for end in &world.ends {
        assert_eq!(end.streams[&id].over, Some(Over::Complete));
    }
    assert_eq!(world.ends[0].streams[&id].received, 5);
}

/// The word that an end has arrived meets the reset on its way, which is then lost.
#[test]
fn a_reset_that_is_lost_is_said_again_though_an_end_was_confirmed_meanwhile() {
    let mut world = world();
    let id = world.open(0, true).unwrap();
    world.with(0, |end, links, now| {
        end.begin(id, links);
        end.send(id, 5, links, now);
        end.finish(id);
    });
    world.run_dry();
    world.with(1, |end, _, now| end.consume(id, 5, now));
    world.say(1, ALL);
    world.with(0, |end, _, _| end.reset(id));
    world.say(0, ALL);
    world.hear_control(0, 1, ALL);
    world.cut(0, |_| 0);
    world.finish_everything(Plan::each(0));
    let told = Over::Reset {
        code: ResetCode::Cancelled,
        message: "a test".into(),
        by: ResetBy::Peer,
    };
    assert_eq!(world.ends[1].streams[&id].over, Some(told));
}

/// Every connection is lost before anything comes back on it.
#[test]
fn an_end_that_asks_again_on_every_connection_is_no_flood() {
    let mut world = world();
    let ids: Vec<_> = (0..4).map(|_| world.open(0, true).unwrap()).collect();
    for id in ids {
        world.with(0, |end, _, _| end.reset(id));
    }
    for _ in 0..100 {
        let number = world.reconnect();
        assert_eq!(world.say(0, ALL), 4);
        world.hear_control(number, 0, ALL);
    }
    world.finish_everything(Plan::each(0));
}

#[test]
fn the_word_that_the_target_was_reached_is_said_again() {
    let mut world = world();
    let id = world.open(0, true).unwrap();
    world.with(0, |end, links, _| end.begin(id, links));
    world.run_dry();
    world.with(1, |end, _, _| end.state.connected(id));
    assert_eq!(world.say(1, ALL), 1);
    world.cut(0, |_| 0);
    world.reconnect();
    world.run_dry();
    assert!(world.ends[0].streams[&id].connected);
}

/// What is being sent again is acknowledged meanwhile; the receiver still counts on all of it.
#[test]
fn what_is_acknowledged_while_it_is_sent_again_is_sent_to_its_end() {
    let mut world = world();
    let id = world.open(0, true).unwrap();
    world.with(0, |end, links, now| {
        end.begin(id, links);
        end.send(id, 10, links, now);
    });
    world.run_dry();
    world.with(1, |end, _, now| end.consume(id, 10, now));
    world.cut(0, |_| 0);
    let next = world.reconnect();
    assert!(world.attach(0, 0));
    assert!(world.with(0, |end, links, _| end.send_again(id, 4, links)));
    assert!(world.say(1, ALL) > 0);
    world.hear_control(next, 1, ALL);
    assert_eq!(world.ends[0].streams[&id].words.heard_consumed, 10);
    world.finish_here(Plan::each(5));
    assert_eq!(world.ends[1].streams[&id].received, 15);
}

/// Both users have ended what they send, and go away with bytes unread: each waits until the other has
/// taken everything, unless they hear of each other; and that word is lost once.
#[test]
fn two_users_that_read_no_more_hear_of_each_other_on_the_next_connection() {
    let mut world = world();
    let id = world.open(0, true).unwrap();
    world.with(0, |end, links, _| end.begin(id, links));
    world.run_dry();
    for side in [0, 1] {
        world.with(side, |end, links, now| {
            assert_eq!(end.send(id, 5, links, now), 5);
            end.finish(id);
        });
    }
    world.run_dry();
    for side in [0, 1] {
        world.with(side, |end, _, _| {
            end.give_up(id, |state| state.abandon(id));
        });
        world.say(side, ALL);
    }
    world.cut(0, |_| 0);
    for end in &world.ends {
        assert_eq!(end.streams[&id].over, None, "nobody knows of the other yet");
    }
    world.finish_everything(Plan::each(0));
}
