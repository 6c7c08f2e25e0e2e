//! Every kind of traffic at once, round after round, for an hour: nothing fails, and what the
//! edge and the client hold when a round is over is what they held an hour ago.

mod load;
mod peers;
mod series;

use std::{
    thread,
    time::{Duration, Instant},
};

use self::{
    load::{BULK, Done, Load},
    peers::Servers,
    series::{Held, Row, failures, growth, held},
};
use crate::support::{CLUSTER, DEADLINE, Origin, Plane, eventually, wait_for};

/// How much more memory may be resident at rest in the last quarter of the rounds than in the
/// second, by the median of each: what is free but still resident differs by up to ten MiB from one
/// round to the next, which medians of many rounds even out.
const GROWTH: i64 = 8 << 20;

/// The same where a quarter is a round or two, and nothing is evened out: it shows no more than
/// that a good part of what is carried is not kept.
const GROWTH_OF_FEW: i64 = 32 << 20;

/// How many rounds are no longer few.
const MANY: usize = 16;

/// How often what is held is looked at during a round.
const LOOK: Duration = Duration::from_millis(250);

/// How long it lasts: `CAUSEWAY_TEST_MIXED_LOAD` (`"600s"`), else an hour in the long suite.
fn duration() -> Duration {
    let seconds = match std::env::var("CAUSEWAY_TEST_MIXED_LOAD") {
        Ok(text) => text.trim_end_matches('s').parse().unwrap(),
        Err(_) if std::env::var_os("CAUSEWAY_TEST_FULL").is_some() => 3600,
        Err(_) => 20,
    };
    Duration::from_secs(seconds)
}

#[test]
fn mixed_load_leaves_nothing_behind() {
    let Some(servers) = Servers::start() else {
        return;
    };
    let [echo, sink, source] = [Origin::echo(), Origin::digest(), Origin::source(BULK)];
    let mut plane = plane(
        &servers,
        &[("echo", &echo), ("sink", &sink), ("source", &source)],
    );
    let Some(mut load) = Load::prepare(&mut plane) else {
        return;
    };
    let session = plane.sessions()[0]["id"].clone();
    let duration = duration();
    // Long rounds load more, short ones are more rows.
    let seconds = (duration.as_secs() / 40).clamp(2, 15);
    eprintln!("{}", Row::HEAD);
    let began = Instant::now();

    // The first round pays for what is kept from then on.
    let fresh = held(&plane);
    let (done, most) = one_round(&mut load, &plane, seconds);
    let baseline = settled(&plane);
    let show = |done, most, after| {
        let row = Row {
            at: began.elapsed(),
            done,
            most,
            after,
        };
        eprintln!("{row}");
        row
    };
    show(Done::default(), fresh, fresh);
    show(done, most, baseline);

    let mut rows = Vec::new();
    while rows.len() < 4 || began.elapsed() < duration {
        let (done, most) = one_round(&mut load, &plane, seconds);
        let after = rest(&plane, baseline);
        rows.push(show(done, most, after));
        for count in [
            done.requests,
            done.calls,
            done.messages,
            done.commands,
            done.transfers,
            done.cut,
        ] {
            assert!(count > 0, "a kind of load did nothing: {done:?}");
        }
    }
    assert_eq!(plane.sessions()[0]["id"], session, "another session");
    let failures = failures(&plane);
    assert!(failures.is_empty(), "{failures:#?}");
    let growth = growth(&rows);
    let most = if rows.len() < MANY {
        GROWTH_OF_FEW
    } else {
        GROWTH
    };
    eprintln!("resident at rest, last quarter less second: {growth:?} bytes, {most} allowed");
    assert!(growth.iter().all(|growth| *growth <= most), "{growth:?}");
}

fn plane(servers: &Servers, origins: &[(&str, &Origin)]) -> Plane {
    let both = [
        ("site", "http", servers.nginx),
        ("grpc", "h2c", servers.grpc.address()),
        ("websocket", "http", servers.websocket.address()),
    ];
    let mut builder = Plane::builder();
    for (service, scheme, address) in both {
        builder = builder
            .expose(service, &format!("{scheme}://{address}"))
            .http_ingress_to(service, &format!("{CLUSTER}/{service}"))
            .forward(service, &format!("tcp://{address}"));
    }
    let redis = format!("tcp://{}", servers.redis);
    let origins = origins.iter().map(|(name, origin)| (*name, origin.tcp()));
    for (service, target) in origins.chain([("redis", redis)]) {
        builder = builder
            .expose(service, &target)
            .tcp_ingress(service)
            .forward(service, &target);
    }
    builder.start()
}

/// One round of load, and the most that was held during it.
fn one_round(load: &mut Load, plane: &Plane, seconds: u64) -> (Done, [Held; 2]) {
    let mut most = held(plane);
    let done = load.round(seconds, || {
        let now = held(plane);
        most = [most[0].most(now[0]), most[1].most(now[1])];
        // What is looked at is a course, not a state to wait for.
        thread::sleep(LOOK);
    });
    (done, most)
}

/// What is held once no stream is left, and nothing changes any more.
#[track_caller]
fn settled(plane: &Plane) -> [Held; 2] {
    const LOOKS: usize = 20;
    let mut looks: Vec<[Held; 2]> = Vec::new();
    wait_for("the first round to be over", || {
        let now = held(plane);
        let tasks = |held: [Held; 2]| held.map(|side| side.tasks);
        if looks.last().is_some_and(|last| tasks(*last) != tasks(now)) {
            looks.clear();
        }
        let idle = now.iter().all(|side| side.streams == 0 && side.growth == 0);
        looks.extend(idle.then_some(now));
        // The fewest descriptors: a look itself may open one.
        let fewest = |side: usize| looks.iter().map(|look| look[side].fds).min();
        (looks.len() >= LOOKS).then(|| {
            [0, 1].map(|side| Held {
                fds: fewest(side).expect("there were looks"),
                ..now[side]
            })
        })
    })
}

/// What is held once it is no more than after the first round.
#[track_caller]
fn rest(plane: &Plane, baseline: [Held; 2]) -> [Held; 2] {
    let mut last = baseline;
    let back = eventually(DEADLINE, || {
        last = held(plane);
        let sides = last.iter().zip(baseline);
        sides
            .into_iter()
            .all(|(now, then)| now.is_within(then))
            .then_some(last)
    });
    back.unwrap_or_else(|| {
        panic!("more is left than after the first round: {last:#?}, then {baseline:#?}")
    })
}
