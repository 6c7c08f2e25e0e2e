//! Very many names.

use std::time::Instant;

use super::world::*;

#[test]
fn ten_thousand_clusters_at_five_edges_converge() {
    let mut world = World::new(&[]);
    for nth in 1..6 {
        let label = format!("edge-{nth}").parse().unwrap();
        world.view().edges.insert(label, edge(nth));
    }
    for nth in 0..10_000 {
        let edges = [
            format!("edge-{}", nth % 5 + 1),
            format!("edge-{}", nth % 3 + 1),
        ];
        let cluster = format!("tenant-{}/cluster-{nth}", nth % 100);
        reach(world.view(), &cluster, &[&edges[0], &edges[1]]);
    }
    let timed = |what: &str, world: &mut World| {
        let began = Instant::now();
        let tally = world.round().tally;
        println!("{what}: {:?} {tally:?}", began.elapsed());
        tally
    };
    assert_eq!(timed("from empty", &mut world).added, 10_006);
    assert_eq!(timed("asked again", &mut world), Default::default());
    let (began, rounds) = (Instant::now(), world.reconciler.report().rounds);
    world.pass(MINUTE * 10);
    let rounds = world.reconciler.report().rounds - rounds;
    println!("{rounds} steady rounds: {:?}", began.elapsed());
    world.view().edges.remove(&"edge-1".parse().unwrap());
    timed("an edge is gone", &mut world);
    world.now += MINUTE * 5;
    let updated = timed("and not back in time", &mut world).updated;
    assert!(updated > 3000, "{updated}");
}
