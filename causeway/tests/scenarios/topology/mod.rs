//! Several edges and several clients, each on a host of its own, with a name server, a caller and an
//! origin on others, and a wire between any two that talk.

mod planes;

use chaos::wire::{Link, Shape, Way};

use self::planes::{HEALTHY, Planes};
use crate::udp_blocked::echoes;

/// Who is cut off from one edge goes to the other, and its streams wait. Nobody else notices, at neither
/// edge.
#[test]
fn a_cut_wire_is_the_business_of_its_two_ends_alone() {
    let Some(planes) = Planes::create(&["edge-1", "edge-2"], &[("client-1", 1), ("client-2", 2)])
    else {
        return;
    };
    let first = planes.await_connected("client-1", 1).remove(0);
    let second = if first == "edge-1" {
        "edge-2"
    } else {
        "edge-1"
    };
    planes.await_connected("client-2", 2);
    let mut lost = planes.call(&first, "client-1");
    let mut others = ["edge-1", "edge-2"].map(|edge| planes.call(edge, "client-2"));
    let mut goes_on = |when: &str| {
        for stream in &mut others {
            assert!(echoes(stream), "{when}");
        }
    };
    assert!(echoes(&mut lost));
    goes_on("before");

    let wire = planes.wire("client-1", &first);
    wire.set_link(Link::symmetric(Shape {
        cut: true,
        ..HEALTHY
    }));
    goes_on("while nobody knows of the cut");
    planes.await_at("client-1", &[second]);
    goes_on("while one is cut off");
    let mut again = planes.call(second, "client-1");
    assert!(echoes(&mut again));

    wire.set_link(Link::symmetric(HEALTHY));
    goes_on("afterwards");
    assert!(echoes(&mut again));
    assert!(echoes(&mut lost), "it goes on where it was");
    for wire in planes.wires() {
        let cut = wire.tally(Way::Up).cut + wire.tally(Way::Down).cut;
        let was_cut = wire.name() == format!("client-1:{first}");
        assert_eq!(cut > 0, was_cut, "{}: {cut}", wire.name());
    }
}
