//! What is granted and what is kept come from one budget, also while there is no connection.

use std::time::{Duration, Instant};

use relay::proto::StreamId;

use crate::sizes::{Plan, Sizes};
use crate::world::World;

/// Streams of both ends, whose windows have grown in these directions.
fn grown(senders: &[usize], budgets: [u64; 2]) -> (World, Vec<StreamId>) {
    let sizes = Sizes {
        budgets,
        ..Sizes::small(30)
    };
    let mut world = World::new(sizes, Instant::now());
    let ids = [0, 0, 1, 1].map(|opener| {
        let id = world.open(opener, true).unwrap();
        world.with(opener, |end, links, _| end.begin(id, links));
        id
    });
    world.run_dry();
    for _ in 0..50 {
        for &id in &ids {
            for &side in senders {
                send_all(&mut world, side, id);
            }
            world.run_dry();
            for &side in senders {
                world.with(1 - side, |end, _, now| end.consume(id, u64::MAX, now));
            }
        }
        world.wait(Duration::from_millis(1));
        world.run_dry();
    }
    (world, ids.to_vec())
}

fn send_all(world: &mut World, side: usize, id: StreamId) {
    world.with(side, |end, links, now| end.send(id, u64::MAX, links, now));
}

#[test]
fn what_is_kept_without_a_connection_is_bounded() {
    let (mut world, ids) = grown(&[1], [250; 2]);
    world.disconnect(1);
    ids.iter().for_each(|id| send_all(&mut world, 1, *id));
    let streams = world.ends[1].streams.values();
    let kept: u64 = streams.map(|it| it.written - it.words.heard_consumed).sum();
    assert!(
        kept > 4 * 30,
        "windows have grown, and {kept} bytes are kept"
    );
    assert!(kept <= 4 * 30 + 250, "{kept} bytes are kept");
    world.finish_everything(Plan::each(0));
}

/// The peer grants more than this end may keep; every step is checked against the budget.
#[test]
fn nothing_is_sent_that_could_not_be_kept() {
    for budget in [0, 10, 50] {
        let (mut world, ids) = grown(&[0, 1], [250, budget]);
        assert!(world.ends[0].state.growth_used() > 50, "windows have grown");
        ids.iter().for_each(|id| send_all(&mut world, 1, *id));
        world.disconnect(1);
        ids.iter().for_each(|id| send_all(&mut world, 1, *id));
        let streams = world.ends[1].streams.values();
        let kept: u64 = streams.map(|it| it.written - it.words.heard_consumed).sum();
        let granted = world.ends[1].state.growth_used();
        assert!(
            granted <= budget && kept <= 4 * 30 + granted,
            "{kept} bytes are kept"
        );
        assert!(kept >= 4 * 30, "the base is always there");
        world.finish_everything(Plan::each(500));
    }
}

#[test]
fn what_is_given_back_to_a_lost_connection_is_given_back_to_the_next() {
    let (mut world, _) = grown(&[1], [250; 2]);
    let granted = world.ends[0].state.growth_used();
    assert!(granted > 0, "windows have grown");
    world.wait(Duration::from_secs(3));
    assert!(world.say(1, usize::MAX) > 0);
    world.cut(0, |_| 0);
    world.reconnect();
    assert_eq!(world.ends[0].state.growth_used(), granted);
    world.run_dry();
    assert_eq!(world.ends[0].state.growth_used(), 0);
}
