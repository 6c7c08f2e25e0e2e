use super::*;

/// No test waits for it.
const LONG: Duration = Duration::from_secs(60);

fn placed(text: &str) -> Placed {
    text.parse().unwrap()
}

fn shown(faults: &Faults) -> [Vec<String>; 2] {
    let now = faults.now();
    Direction::ALL.map(|direction| now.faults(direction).map(|it| it.to_string()).collect())
}

#[test]
fn faults_are_set_replaced_and_cleared_by_direction() {
    let faults = Faults::none(Protocols::Both);
    faults.set(placed("cut")).unwrap();
    faults.set(placed("up latency delay=1s")).unwrap();
    faults.set(placed("latency delay=2s")).unwrap();
    let latency = "latency delay=2s jitter=0s".to_owned();
    let both = vec![latency.clone(), "cut".to_owned()];
    assert_eq!(shown(&faults), [both.clone(), both]);
    assert!(faults.clear(Kind::Cut, Directions::One(Direction::Up)));
    assert!(!faults.clear(Kind::Cut, Directions::One(Direction::Up)));
    assert_eq!(shown(&faults)[0], [latency]);
    assert_eq!(
        faults.now().to_json()["down"]["latency"]["delay"].as_str(),
        Some("2s")
    );
    faults.clear_all();
    assert_eq!(shown(&faults), [vec![], vec![]] as [Vec<String>; 2]);
}

#[test]
fn a_held_fault_gives_its_place_back_unless_somebody_took_it() {
    let faults = Faults::none(Protocols::Both);
    faults.set(placed("latency delay=1s")).unwrap();
    let hold = faults.hold(placed("up latency delay=5s"), LONG).unwrap();
    assert_eq!(shown(&faults)[0], ["latency delay=5s jitter=0s"]);
    faults.release(hold);
    assert_eq!(shown(&faults)[0], ["latency delay=1s jitter=0s"]);

    let hold = faults.hold(placed("latency delay=5s"), LONG).unwrap();
    faults.set(placed("down latency delay=7s")).unwrap();
    faults.release(hold);
    assert_eq!(shown(&faults)[0], ["latency delay=1s jitter=0s"]);
    assert_eq!(shown(&faults)[1], ["latency delay=7s jitter=0s"]);

    let hold = faults.hold(placed("cut"), LONG).unwrap();
    faults.release(hold);
    assert!(!faults.now().has(Kind::Cut, Direction::Up));
}

#[test]
fn held_faults_that_overlap_end_each_by_itself() {
    let faults = Faults::none(Protocols::Both);
    faults.set(placed("latency delay=1s")).unwrap();
    let first = faults.hold(placed("latency delay=2s"), LONG).unwrap();
    let second = faults.hold(placed("up latency delay=3s"), LONG).unwrap();
    let [begin, covered, top] =
        [1, 2, 3].map(|seconds| vec![format!("latency delay={seconds}s jitter=0s")]);
    assert_eq!(shown(&faults), [top.clone(), covered]);
    faults.release(first);
    assert_eq!(shown(&faults), [top, begin.clone()]);
    faults.release(second);
    assert_eq!(shown(&faults), [begin.clone(), begin]);

    let first = faults.hold(placed("cut"), LONG).unwrap();
    let second = faults.hold(placed("cut"), LONG).unwrap();
    faults.release(first);
    assert!(faults.now().has(Kind::Cut, Direction::Up));
    faults.release(second);
    assert!(!faults.now().has(Kind::Cut, Direction::Up));
}

#[test]
fn what_is_set_or_cleared_takes_held_faults_away() {
    let faults = Faults::none(Protocols::Both);
    let first = faults.hold(placed("cut"), LONG).unwrap();
    let second = faults.hold(placed("cut"), LONG).unwrap();
    assert!(faults.clear(Kind::Cut, Directions::Both));
    faults.release(second);
    faults.release(first);
    assert!(!faults.now().has(Kind::Cut, Direction::Up));

    let first = faults.hold(placed("latency delay=2s"), LONG).unwrap();
    let second = faults.hold(placed("latency delay=3s"), LONG).unwrap();
    faults.set(placed("latency delay=1s")).unwrap();
    faults.release(second);
    faults.release(first);
    assert_eq!(shown(&faults)[0], ["latency delay=1s jitter=0s"]);
}

#[test]
fn only_a_fault_in_force_can_end() {
    let faults = Faults::none(Protocols::Both);
    faults.hold(placed("cut"), LONG).unwrap();
    let mut stacks = faults.now().up;
    let [covered, top] = [7, 8].map(|revision| Set {
        revision,
        ..stacks.0[&Kind::Cut][0]
    });
    stacks.put(covered);
    stacks.put(top);
    assert!(!stacks.release(Kind::Cut, covered.revision));
    assert!(stacks.release(Kind::Cut, top.revision));
    assert!(!stacks.release(Kind::Cut, top.revision), "it is gone");
    assert!(!stacks.release(Kind::Loss, top.revision));
}

#[test]
fn what_is_for_a_time_says_how_much_of_it_is_left() {
    let faults = Faults::none(Protocols::Both);
    faults.set(placed("up cut")).unwrap();
    faults.hold(placed("down cut"), LONG).unwrap();
    let document = faults.now().to_json();
    assert!(document["up"]["cut"].get("for").is_none(), "{document}");
    let set = faults.now().down.0[&Kind::Cut][0];
    let at = |after| set.to_json(set.since + Duration::from_secs(after))["for"].clone();
    assert_eq!([at(0), at(20), at(61)], ["1m", "40s", "0s"]);
}

#[test]
fn what_could_have_no_effect_is_refused() {
    let faults = Faults::none(Protocols::Udp);
    assert_eq!(
        faults.set(placed("slice")).unwrap_err().to_string(),
        "slice is for TCP, and this proxy passes UDP only"
    );
    let faults = Faults::none(Protocols::Tcp);
    assert_eq!(
        faults.set(placed("rebind")).unwrap_err().to_string(),
        "rebind is for UDP, and this proxy passes TCP only"
    );
    faults.set(placed("corrupt")).unwrap();
}
