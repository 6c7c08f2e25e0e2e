use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that answered its first ping within 10 ms of `start`.
fn answered(side: Opener, busy: bool) -> (Liveness, Instant) {
    let start = Instant::now();
    let mut liveness = Liveness::new(LivenessConfig::default(), side, 7, start);
    if side == Opener::Initiator {
        assert_eq!(liveness.check(start), Verdict::Ping(Echo::short(1)));
        let now = start + SECOND / 100;
        liveness.heard(now);
        assert_eq!(liveness.pong(Echo::short(1), now), Some(SECOND / 100));
    } else {
        liveness.heard(start + SECOND / 100);
    }
    liveness.set_busy(busy, start + SECOND / 100);
    (liveness, start + SECOND / 100)
}

#[test]
fn a_busy_connection_pings_after_five_seconds_and_dies_after_fifteen() {
    for side in [Opener::Initiator, Opener::Responder] {
        let (mut liveness, start) = answered(side, true);
        assert_eq!(liveness.check(start + SECOND * 4), Verdict::Alive);
        let due = liveness.deadline();
        assert!((start + SECOND * 9 / 2..=start + SECOND * 11 / 2).contains(&due));
        assert!(matches!(liveness.check(due), Verdict::Ping(_)));
        let overdue = liveness.deadline();
        assert!((due + SECOND..due + SECOND * 2).contains(&overdue));
        assert!(!liveness.is_suspect(overdue - SECOND / 1000));
        assert!(liveness.is_suspect(overdue));
        assert_eq!(liveness.check(overdue), Verdict::Suspect);
        assert_eq!(liveness.check(overdue), Verdict::Alive, "it is said once");
        assert_eq!(liveness.deadline(), start + SECOND * 15);
        assert_eq!(liveness.check(start + SECOND * 15), Verdict::Dead);
    }
}

#[test]
fn a_peer_that_is_heard_is_not_suspect_however_late_its_answer() {
    let (mut liveness, _) = answered(Opener::Initiator, true);
    let due = liveness.deadline();
    assert!(matches!(liveness.check(due), Verdict::Ping(_)));
    for half in 1..=10 {
        liveness.heard(due + SECOND * half / 2);
        assert_eq!(liveness.check(due + SECOND * half / 2), Verdict::Alive);
    }
    let last = due + SECOND * 5;
    assert!(!liveness.is_suspect(last + SECOND));
    assert!(liveness.is_suspect(last + SECOND * 3 / 2), "now it is not");
}

/// The last of it came when nobody was to read it, and was found when a Ping was due.
#[test]
fn what_came_unread_puts_death_off_from_the_look_before() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    liveness.arrived(100, start + SECOND);
    liveness.arrived_since(200, start + SECOND * 6);
    assert_eq!(liveness.dead_at(), start + SECOND * 16);
    liveness.arrived_since(300, start + SECOND * 7);
    assert_eq!(liveness.dead_at(), start + SECOND * 21);
}

#[test]
fn what_is_read_late_does_not_keep_a_dead_connection() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    liveness.arrived(1 << 20, start + SECOND);
    assert!(matches!(
        liveness.check(start + SECOND * 7),
        Verdict::Ping(_)
    ));
    for second in 8..16 {
        liveness.arrived(1 << 20, start + SECOND * second);
        liveness.read(1 << 16, start + SECOND * second);
    }
    assert!(liveness.is_suspect(start + SECOND * 15));
    assert_eq!(liveness.check(start + SECOND * 15), Verdict::Suspect);
    assert_eq!(liveness.check(start + SECOND * 16), Verdict::Dead);
}

/// The peer is there, but whether more than that can be known is asked.
#[test]
fn what_nobody_reads_puts_off_death_and_no_ping() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    let mut pings = 0;
    for second in 1..=60 {
        let now = start + SECOND * second;
        liveness.arrived_since(u64::from(second) * 100, now);
        let verdict = liveness.check(now);
        if let Verdict::Ping(_) = verdict {
            pings += 1;
        } else {
            assert_eq!(verdict, Verdict::Alive, "{second}");
        }
    }
    assert_eq!(pings, 1, "it is not answered, and nothing is overdue");
}

/// They make a caller wait whose stream's first long packet is lost, while short ones come through.
#[test]
fn a_stream_that_was_opened_has_the_path_proved_although_messages_come() {
    let config = LivenessConfig {
        full_size: true,
        ..LivenessConfig::default()
    };
    let start = Instant::now();
    let mut liveness = Liveness::new(config, Opener::Initiator, 7, start);
    let Verdict::Ping(first) = liveness.check(start) else {
        panic!("no first ping");
    };
    liveness.pong(first, start);
    liveness.set_busy(true, start);
    liveness.opened(start);
    let proved = (1..=6).find_map(|second| {
        let now = start + SECOND * second;
        liveness.heard(now);
        match liveness.check(now) {
            Verdict::Ping(echo) => Some(echo),
            Verdict::Alive | Verdict::Suspect | Verdict::Dead => None,
        }
    });
    assert_eq!(proved.map(|echo| echo.padding), Some(FULL_SIZE));
}

#[test]
fn acknowledgements_of_the_transport_put_death_off_for_as_long_again_at_most() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    assert!(matches!(
        liveness.check(start + SECOND * 6),
        Verdict::Ping(_)
    ));
    assert_eq!(liveness.check(start + SECOND * 8), Verdict::Suspect);
    // Those may have come before the last byte was heard.
    liveness.acknowledged(3, start + SECOND * 8);
    liveness.acknowledged(3, start + SECOND * 14);
    assert_eq!(liveness.deadline(), start + SECOND * 15);
    liveness.acknowledged(4, start + SECOND * 15);
    assert_eq!(liveness.check(start + SECOND * 15), Verdict::Alive);
    assert_eq!(liveness.deadline(), start + SECOND * 29);
    liveness.acknowledged(5, start + SECOND * 29);
    assert_eq!(liveness.check(start + SECOND * 29), Verdict::Alive);
    liveness.acknowledged(6, start + SECOND * 30);
    assert_eq!(liveness.check(start + SECOND * 30), Verdict::Dead);
}

#[test]
fn death_comes_when_acknowledgements_of_the_transport_have_ceased_for_as_long() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    liveness.acknowledged(3, start + SECOND * 6);
    liveness.acknowledged(4, start + SECOND * 6);
    assert!(matches!(
        liveness.check(start + SECOND * 6),
        Verdict::Ping(_)
    ));
    liveness.acknowledged(4, start + SECOND * 20);
    assert_eq!(liveness.check(start + SECOND * 20), Verdict::Suspect);
    assert_eq!(liveness.deadline(), start + SECOND * 21);
    liveness.heard(start + SECOND * 20);
    liveness.acknowledged(5, start + SECOND * 21);
    assert_eq!(
        liveness.dead_at(),
        start + SECOND * 35,
        "a byte begins it anew"
    );
}

/// The answer of the transport to the last that was said is looked at when a Ping is due, seconds later.
#[test]
fn an_acknowledgement_that_came_with_the_last_byte_puts_nothing_off() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    liveness.acknowledged(3, start);
    liveness.acknowledged(4, start + SECOND * 5);
    assert_eq!(liveness.dead_at(), start + SECOND * 15);
}

#[test]
fn only_the_initiator_pings_when_idle() {
    let (mut client, start) = answered(Opener::Initiator, false);
    assert!(matches!(
        client.check(start + SECOND * 22),
        Verdict::Ping(_)
    ));
    let (mut edge, start) = answered(Opener::Responder, false);
    assert_eq!(edge.check(start + SECOND * 49), Verdict::Alive);
    assert_eq!(edge.check(start + SECOND * 50), Verdict::Dead);
}

#[test]
fn what_stays_unanswered_brings_the_ping_forward() {
    let (mut liveness, start) = answered(Opener::Responder, true);
    liveness.sent(start + SECOND / 10);
    assert_eq!(liveness.deadline(), start + SECOND * 11 / 10);
    liveness.heard(start + SECOND / 5);
    assert!(liveness.deadline() > start + SECOND * 4);
}

#[test]
fn a_process_that_stood_still_asks_once_more_before_it_gives_up() {
    let (mut liveness, start) = answered(Opener::Initiator, true);
    let woken = start + SECOND * 300;
    assert!(matches!(liveness.check(woken), Verdict::Ping(_)));
    assert_eq!(liveness.check(woken + SECOND * 9), Verdict::Suspect);
    assert_eq!(liveness.check(woken + SECOND * 9), Verdict::Alive);
    assert_eq!(liveness.check(woken + SECOND * 10), Verdict::Dead);
}

#[test]
fn an_idle_silence_does_not_kill_the_first_stream() {
    let (mut liveness, start) = answered(Opener::Responder, false);
    liveness.set_busy(true, start + SECOND * 30);
    assert!(matches!(
        liveness.check(start + SECOND * 31),
        Verdict::Ping(_)
    ));
    assert_eq!(liveness.check(start + SECOND * 39), Verdict::Suspect);
    assert_eq!(liveness.check(start + SECOND * 39), Verdict::Alive);
    assert_eq!(liveness.check(start + SECOND * 40), Verdict::Dead);
}

/// As [`answered`], with full-size pings.
fn proved() -> (Liveness, Instant) {
    let config = LivenessConfig {
        full_size: true,
        ..LivenessConfig::default()
    };
    let start = Instant::now();
    let mut liveness = Liveness::new(config, Opener::Initiator, 7, start);
    let Verdict::Ping(echo) = liveness.check(start) else {
        panic!("the first ping is due at once");
    };
    assert_eq!(echo.padding, FULL_SIZE);
    let now = start + SECOND / 100;
    liveness.heard(now);
    assert!(
        liveness.is_suspect(start + SECOND),
        "short words say little"
    );
    assert!(liveness.pong(echo, now).is_some());
    assert!(!liveness.is_suspect(start + SECOND));
    liveness.set_busy(true, now);
    (liveness, now)
}

/// The next ping, after payload has moved at `start` and the peer is heard every second.
fn pinged_after_payload(liveness: &mut Liveness, start: Instant) -> (Echo, Instant) {
    liveness.sent(start);
    for second in 1..10 {
        liveness.heard(start + SECOND * (second - 1));
        let due = liveness.deadline();
        if due <= start + SECOND * second
            && let Verdict::Ping(echo) = liveness.check(due)
        {
            return (echo, due);
        }
    }
    panic!("no ping");
}

#[test]
fn short_answers_do_not_hide_that_full_packets_are_lost() {
    let (mut liveness, start) = proved();
    let (echo, at) = pinged_after_payload(&mut liveness, start);
    assert_eq!(echo.padding, FULL_SIZE);
    assert!(at <= start + SECOND * 11 / 2, "{:?}", at - start);
    liveness.heard(at + SECOND);
    liveness.moved(100, at + SECOND);
    let due = liveness.deadline();
    assert!((at + SECOND..at + SECOND * 2).contains(&due));
    assert_eq!(liveness.check(due), Verdict::Suspect);
    assert!(liveness.is_suspect(due));
    assert!(liveness.pong(echo, due + SECOND).is_some());
    assert!(!liveness.is_suspect(due + SECOND));
}

#[test]
fn much_payload_excuses_a_full_size_answer_for_a_while() {
    let (mut liveness, start) = proved();
    let (_, at) = pinged_after_payload(&mut liveness, start);
    liveness.moved(BULK, at);
    for second in 1..15 {
        liveness.heard(at + SECOND * second);
        assert!(!liveness.is_suspect(at + SECOND * second));
    }
    assert!(liveness.is_suspect(at + SECOND * 15));
}

#[test]
fn without_payload_a_ping_stays_short() {
    let (mut liveness, start) = proved();
    let due = liveness.deadline();
    assert!(due > start + SECOND * 4);
    assert_eq!(liveness.check(due), Verdict::Ping(Echo::short(2)));
}

#[test]
fn a_connection_that_is_doubted_is_asked_at_once_and_has_the_time_that_it_is_given() {
    let patience = SECOND / 4;
    for busy in [true, false] {
        let (mut liveness, start) = answered(Opener::Initiator, busy);
        let now = start + SECOND;
        liveness.doubt(patience);
        assert!(liveness.deadline() <= now);
        let Verdict::Ping(asked) = liveness.check(now) else {
            panic!("it is not asked");
        };
        assert_eq!(liveness.deadline(), now + SECOND / 50 + patience);
        // That was under way.
        let heard = now + SECOND / 10;
        liveness.heard(heard);
        let overdue = heard + SECOND / 50 + patience;
        assert_eq!(liveness.deadline(), overdue);
        assert_eq!(liveness.check(overdue), Verdict::Suspect);
        assert_eq!(liveness.check(overdue), Verdict::Alive, "it is said once");
        assert!(liveness.pong(asked, overdue).is_some());
        assert!(!liveness.is_suspect(overdue + SECOND));
    }
}

#[test]
fn a_doubt_does_not_wait_for_the_answer_to_what_was_asked_before() {
    let (mut liveness, _) = answered(Opener::Initiator, true);
    let due = liveness.deadline();
    let Verdict::Ping(before) = liveness.check(due) else {
        panic!("it is not asked");
    };
    liveness.doubt(Duration::ZERO);
    let Verdict::Ping(asked) = liveness.check(due) else {
        panic!("it is not asked again");
    };
    assert_eq!(liveness.pong(before, due), None);
    assert_eq!(liveness.check(due + SECOND / 50), Verdict::Suspect);
    assert_eq!(liveness.pong(asked, due + SECOND), Some(SECOND));
}
