use proptest::prelude::*;

use super::*;

fn read_text(text: &str) -> Result<Change, String> {
    Change::from_json(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn what_is_not_named_stays_as_it_is() {
    let satellite = ladder::SATELLITE;
    let change = read_text(r#"{"delay": "100ms", "udp_blocked": true}"#).unwrap();
    for way in [Way::Up, Way::Down] {
        let before = satellite.shape(way);
        let expected = Shape {
            delay: Duration::from_millis(100),
            udp_blocked: true,
            ..before
        };
        assert_eq!(change.apply(way, before), expected);
        let alone = Shape {
            delay: Duration::from_millis(100),
            udp_blocked: true,
            ..Shape::CLEAR
        };
        assert_eq!(change.clone().of_everything().apply(way, before), alone);
    }
}

#[test]
fn every_key_is_read() {
    let document = r#"{
        "delay": "100ms", "jitter": "250us", "loss": {"begin": "1%", "end": "20%"},
        "reorder": {"rate": "2%", "delay": "30ms"}, "duplicate": "0.1%", "corrupt": "100%",
        "rate": "10Mbit", "queue": "64KiB", "mtu": 1500, "cut": true, "udp_blocked": true,
        "tcp_blocked": true
    }"#;
    let expected = Shape {
        delay: Duration::from_millis(100),
        jitter: Duration::from_micros(250),
        loss: Loss::Bursts(Bursts {
            begin: (0.01).try_into().unwrap(),
            end: (0.2).try_into().unwrap(),
            within: Probability::ALWAYS,
            between: Probability::NEVER,
            longest: Duration::MAX,
        }),
        reorder: Reorder {
            probability: (0.02).try_into().unwrap(),
            held_back: Duration::from_millis(30),
        },
        duplicate: (0.001).try_into().unwrap(),
        corrupt: Probability::ALWAYS,
        rate: Rate::mbit(10),
        queue: 65_536,
        mtu: 1500,
        cut: true,
        udp_blocked: true,
        tcp_blocked: true,
    };
    let change = read_text(document).unwrap();
    assert_eq!(change.apply(Way::Up, Shape::CLEAR), expected);
    let keys: Vec<_> = expected
        .to_json()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let mut known = KEYS;
    known.sort_unstable();
    assert_eq!(keys, known);
}

#[test]
fn a_link_has_two_ways() {
    let change = read_text(r#"{"link": "4g", "loss": "0%"}"#).unwrap();
    let mobile = ladder::MOBILE_4G;
    let quiet = |shape| Shape {
        loss: Loss::Each(Probability::NEVER),
        ..shape
    };
    assert_eq!(change.apply(Way::Up, Shape::CLEAR), quiet(mobile.up));
    assert_eq!(change.apply(Way::Down, Shape::CLEAR), quiet(mobile.down));
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_would_be_right() {
    let body = "the body must be a JSON object, such as {\"delay\": \"100ms\", \"loss\": \"5%\"}";
    let mistakes = [
        ("", body),
        ("[]", body),
        ("{\"delay\": ", body),
        (
            r#"{"dealy": "5s"}"#,
            "there is no \"dealy\" of a link; there is link, delay, jitter, loss, reorder, duplicate, corrupt, rate, queue, mtu, cut, udp_blocked, tcp_blocked",
        ),
        (
            r#"{"link": "pigeon"}"#,
            "link: there is no link \"pigeon\"; there is clear, datacentre, home-wifi, 4g, transatlantic, satellite, dying",
        ),
        (r#"{"delay": "2d"}"#, "delay: 2d is more than a day"),
        (
            r#"{"cut": "yes"}"#,
            "cut: \"yes\" is neither true nor false",
        ),
        (
            r#"{"loss": 5}"#,
            "loss: \"5\" is no share; write one from 0% to 100%, such as 5%",
        ),
        (
            r#"{"loss": {"begin": "1%"}}"#,
            "loss: bursts need \"end\": how probably one does, such as 20%",
        ),
        (
            r#"{"loss": {"begin": "1%", "end": "200%"}}"#,
            "loss.end: \"200%\" is no share; write one from 0% to 100%, such as 5%",
        ),
        (
            r#"{"reorder": "2%"}"#,
            "reorder: \"2%\" is no object; write {\"rate\": \"2%\", \"delay\": \"30ms\"}",
        ),
        (
            r#"{"reorder": {"rate": "2%", "by": "3ms"}}"#,
            "there is no \"by\" of reorder; there is rate, delay",
        ),
        (
            r#"{"rate": "0Mbit"}"#,
            "rate: \"0Mbit\" is no rate; write bits a second, at least 1, in bit, kbit, Mbit or Gbit, such as 10Mbit, or unlimited; to let nothing pass, use cut",
        ),
        (
            r#"{"mtu": 67}"#,
            "mtu: 67 bytes are less than 68, which every link carries; to let nothing pass, use cut",
        ),
        (
            r#"{"queue": null}"#,
            "queue: null is neither text nor a number",
        ),
    ];
    for (document, expected) in mistakes {
        assert_eq!(read_text(document).unwrap_err(), expected, "{document}");
    }
}

#[test]
fn every_link_of_the_ladder_reads_as_it_is_written() {
    for rung in LADDER {
        for way in [Way::Up, Way::Down] {
            reads_as_written(rung.link.shape(way));
        }
    }
}

#[track_caller]
fn reads_as_written(shape: Shape) {
    let written = shape.to_json();
    let change = read_text(&written.to_string()).unwrap();
    let read = change.apply(
        Way::Up,
        Shape {
            cut: !shape.cut,
            ..Shape::CLEAR
        },
    );
    assert_eq!(read.to_json(), written);
    // A share is written to a billionth of a percent, all else exactly.
    let of_chance = |shape: Shape| Shape {
        loss: Loss::Never,
        reorder: Reorder::NEVER,
        duplicate: Probability::NEVER,
        corrupt: Probability::NEVER,
        ..shape
    };
    assert_eq!(of_chance(read), of_chance(shape));
    assert_eq!(read.reorder.held_back, shape.reorder.held_back);
}

proptest! {
    #[test]
    fn every_shape_reads_as_it_is_written(
        delay in 0..86_400_000_000_u64,
        chances in prop::array::uniform4(0..=1_000_000_u32),
        bits in 1..u64::MAX,
        (queue, mtu) in (any::<u32>(), 68..65_536_usize),
        (bursts, cut) in any::<(bool, bool)>(),
    ) {
        let [loss, end, reorder, corrupt] = chances.map(Probability::per_million);
        let delay = Duration::from_micros(delay);
        reads_as_written(Shape {
            delay,
            jitter: Duration::from_micros(delay.as_micros() as u64 / 7),
            loss: if bursts {
                Loss::Bursts(Bursts { begin: loss, end, within: end, between: loss, longest: delay })
            } else {
                Loss::Each(loss)
            },
            reorder: Reorder { probability: reorder, held_back: delay },
            corrupt,
            rate: Rate::BitsPerSecond(bits.try_into().unwrap()),
            queue: queue as usize,
            mtu,
            cut,
            ..Shape::CLEAR
        });
    }

    #[test]
    fn no_document_panics(text in "\\PC*", key in "[a-z_]{1,11}", value in "[0-9a-zA-Z%.]{0,9}") {
        let _ = read_text(&text);
        let _ = read_text(&format!("{{\"{key}\": \"{value}\"}}"));
        for key in KEYS {
            let _ = read_text(&format!("{{\"{key}\": \"{value}\"}}"));
        }
    }
}
