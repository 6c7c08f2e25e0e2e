use super::*;
use crate::proxy::direction::Direction;
use crate::proxy::faults::Protocols;

#[test]
fn steps_come_in_the_order_of_time() {
    let timeline = Timeline::parse(
        "# a bad link\n\
         at 10s for 5s   cut          # all of it\n\
         \n\
         at 0s  up latency delay=80ms\n\
         at 15s for 1s cut\n\
         at 20s clear up latency\n\
         at 21s clear\n\
         repeat every 1m\n",
    )
    .unwrap();
    let shown: Vec<_> = timeline
        .steps
        .iter()
        .map(|(time, step)| (time.as_secs(), step.line))
        .collect();
    assert_eq!(
        shown,
        [(0, 4), (10, 2), (15, 2), (15, 5), (16, 5), (20, 6), (21, 7)]
    );
    assert_eq!(timeline.steps[2].1.act, Act::End);
    assert_eq!(
        timeline.repeat,
        Some(Repeat {
            line: 8,
            every: Duration::from_secs(60)
        })
    );
}

#[test]
fn errors_say_the_line_and_what_would_be_right() {
    for (text, error) in [
        (
            "\nin 5s cut",
            "line 2: \"in\" begins no line; write: at TIME",
        ),
        ("at 5 cut", "line 1: \"5\" has no unit; write one of ms, s"),
        ("at 5s", "line 1: no fault is named; write one such as"),
        (
            "at 5s cut for 3s",
            "line 1: \"for\" is no parameter; write NAME=VALUE",
        ),
        ("at 5s for 3s rebind", "line 1: rebind happens once"),
        ("repeat 5s", "line 1: write: at TIME [for TIME] FAULT"),
        ("repeat every 5s now", "line 1: \"now\" is too much here"),
        ("repeat every 99ms", "line 1: a period is at least 100ms"),
        (
            "# often\nrepeat every 100ms",
            "line 2: there is nothing to repeat; write: at TIME",
        ),
        ("# nothing yet\n\n", "nothing happens in it; write: at TIME"),
        (
            "at 1s cut\nat 2s for 0s cut",
            "line 2: a fault lasts longer than 0s",
        ),
        (
            "at 0s for 5s clear",
            "line 1: to take all faults away, write: at TIME clear",
        ),
        (
            "at 0s for 5s clear cut",
            "line 1: to take a fault away, write: at TIME clear cut",
        ),
        (
            "at 0s up clear",
            "line 1: to take a fault away, write: at TIME clear up FAULT",
        ),
        (
            "at 0s up clear cut",
            "line 1: to take a fault away, write: at TIME clear up cut",
        ),
        (
            "at 1s cut\nat 4s for 2s cut\nrepeat every 5s",
            "line 2: it goes on until 6s, but all begins again every 5s",
        ),
    ] {
        let found = Timeline::parse(text).unwrap_err().to_string();
        assert!(found.starts_with(error), "{text}: {found}");
    }
    let slice = Timeline::parse("at 1s slice").unwrap();
    let error = slice.check(&Faults::none(Protocols::Udp)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: slice is for TCP, and this proxy passes UDP only"
    );
}

#[tokio::test(start_paused = true)]
async fn faults_come_and_go_by_the_clock_again_and_again() {
    let faults = Faults::none(Protocols::Both);
    let text = "at 0s latency\nat 10s for 5s down cut\nat 18s clear\nrepeat every 20s";
    let run = tokio::spawn(Timeline::parse(text).unwrap().run(faults.clone()));
    let begin = Instant::now();
    for period in 0..3 {
        for (second, expected) in [
            (1, "latency"),
            (11, "latency cut"),
            (16, "latency"),
            (19, ""),
        ] {
            sleep_until(begin + Duration::from_secs(period * 20 + second)).await;
            let now = faults.now();
            let kinds: Vec<_> = now
                .faults(Direction::Down)
                .map(|fault| fault.kind().name())
                .collect();
            assert_eq!(
                kinds.join(" "),
                expected,
                "at {second} s of period {period}"
            );
            assert!(!now.has(Kind::Cut, Direction::Up));
        }
    }
    run.abort();
}

#[tokio::test(start_paused = true)]
async fn faults_of_one_kind_that_overlap_are_over_at_their_times() {
    let faults = Faults::none(Protocols::Both);
    let text = "at 0s for 10s latency delay=1s\nat 2s for 30s latency delay=2s";
    let run = tokio::spawn(Timeline::parse(text).unwrap().run(faults.clone()));
    let begin = Instant::now();
    for (second, expected) in [
        (1, Some("1s")),
        (3, Some("2s")),
        (11, Some("2s")),
        (33, None),
    ] {
        sleep_until(begin + Duration::from_secs(second)).await;
        let now = faults.now().to_json();
        assert_eq!(
            now["up"]["latency"]["delay"].as_str(),
            expected,
            "at {second} s"
        );
    }
    run.await.unwrap();
}
