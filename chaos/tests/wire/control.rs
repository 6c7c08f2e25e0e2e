//! Wires that are changed over HTTP while they run: by curl, and seen by ping.

use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use chaos::{
    net::{Settings, Trace, Translation, control::Controlling},
    wire::{Link, Loss, Probability, PublicAddress, Seed, Shape, Way, ladder},
};
use relay::settings::ListenAddr;
use serde_json::{Value, json};

use crate::{
    delay::times,
    support::{Family, Hosts, Prober, wait_for},
};

const ONE: &str = "/wires/client:server";

/// What curl asks.
struct Asked {
    controlling: Controlling,
}

impl Asked {
    fn of(hosts: &Hosts) -> Self {
        let address = ListenAddr::Ip("127.0.0.1:0".parse().unwrap());
        Self {
            controlling: Controlling::begin(&address, hosts.topology.wires()).unwrap(),
        }
    }

    /// The status, and what came with it.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.controlling.address());
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--noproxy",
            "*",
            "-w",
            "\n%{http_code}",
            "-X",
            method,
        ]);
        let output = curl.args(["-d", body, &url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let (answer, status) = printed.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), answer.to_owned())
    }

    /// What comes with a good answer.
    #[track_caller]
    fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(method, path, body);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    #[track_caller]
    fn refuses(&self, method: &str, path: &str, body: &str, expected: (u16, &str)) {
        let (status, answer) = self.ask(method, path, body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &answer["error"]), (expected.0, &json!(expected.1)));
    }
}

#[test]
fn ping_sees_what_is_set() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape::CLEAR);
        let asked = Asked::of(hosts);
        let ping = || hosts.ping(&format!("-c 5 -i 0.05 -w 20 {}", hosts.server(family)));

        let shown = asked.json("PUT", ONE, r#"{"delay": "50ms"}"#);
        assert_eq!(shown["up"]["link"]["delay"], "50ms");
        let printed = ping();
        let taken = times(&printed);
        assert!(taken.len() >= 5, "{printed}");
        // ping prints three digits.
        let least = Duration::from_millis(99);
        assert!(taken.iter().all(|time| *time >= least), "{printed}");

        asked.json("PUT", &format!("{ONE}/cut/down"), "");
        assert!(!wire.link().up.cut && wire.link().down.cut);
        let printed = hosts.ping(&format!("-c 5 -i 0.05 -W 2 {}", hosts.server(family)));
        assert!(
            printed.contains(" 0 received, 100% packet loss"),
            "{printed}"
        );
        let shown = wait_for("all answers to be lost", || {
            let shown = asked.json("GET", ONE, "");
            let down = &shown["down"];
            let lost = down["tally"]["cut"].as_u64() >= Some(5) && down["on_the_way"] == 0;
            lost.then_some(shown)
        });
        // What else was set is as it was.
        assert_eq!(shown["down"]["link"]["delay"], "50ms");

        asked.json("DELETE", &format!("{ONE}/cut"), "");
        let printed = ping();
        assert!(times(&printed).len() >= 5, "{printed}");
    });
}

#[test]
fn what_is_not_named_stays_by_patch_and_goes_by_put() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.wire(Shape::CLEAR);
    let asked = Asked::of(&hosts);
    asked.json("PUT", ONE, r#"{"link": "satellite"}"#);
    assert_eq!(wire.link(), ladder::SATELLITE);
    let path = format!("{ONE}/up");
    asked.json("PATCH", &path, r#"{"rate": "10Mbit"}"#);
    let faster = Shape {
        rate: chaos::wire::Rate::mbit(10),
        ..ladder::SATELLITE.up
    };
    let expected = Link {
        up: faster,
        down: ladder::SATELLITE.down,
    };
    assert_eq!(wire.link(), expected);
    asked.json("PUT", &path, r#"{"rate": "10Mbit"}"#);
    let up = Shape {
        rate: chaos::wire::Rate::mbit(10),
        ..Shape::CLEAR
    };
    assert_eq!(wire.link(), Link { up, ..expected });

    let all = asked.json("GET", "/wires", "");
    assert_eq!(all.as_object().unwrap().len(), 1);
    assert_eq!(all["client:server"]["up"]["link"], up.to_json());
    hosts.topology.take_wire("client", "server");
    assert_eq!(asked.json("GET", "/wires", ""), json!({}));
}

#[test]
fn what_means_nothing_changes_nothing() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.wire(ladder::DYING.up);
    let before = wire.link();
    let asked = Asked::of(&hosts);
    let body = "the body must be a JSON object, such as {\"delay\": \"100ms\", \"loss\": \"5%\"}";
    let refused = [
        ("PUT", ONE, "", 400, body),
        (
            "PUT",
            ONE,
            r#"{"delay": "5ms", "loss": "5"}"#,
            400,
            "loss: \"5\" is no share; write one from 0% to 100%, such as 5%",
        ),
        (
            "PATCH",
            ONE,
            r#"{"delay": "5ms", "speed": "5Mbit"}"#,
            400,
            "there is no \"speed\" of a link; there is link, delay, jitter, loss, reorder, duplicate, corrupt, rate, queue, mtu, cut, udp_blocked, tcp_blocked",
        ),
        (
            "PUT",
            "/wires/client:nobody/cut",
            "",
            404,
            "there is no wire \"client:nobody\"; there is client:server",
        ),
        (
            "PUT",
            "/wires/client:server/cut/left",
            "",
            404,
            "there is no way \"left\"; there is up (from who dials) and down (towards them)",
        ),
        (
            "PUT",
            "/wires/client:server/rebind",
            "",
            400,
            "client:server has no NAT, so there are no ports to change; lay it with one",
        ),
        (
            "PUT",
            "/wires/client:server/cut?for=10s",
            "",
            400,
            "\"?for=10s\" means nothing here: a wire stays as it is until it is changed again",
        ),
        (
            "PUT",
            "/wires/client:server/cut",
            r#"{"for": "10s"}"#,
            400,
            "a body means nothing here; leave it out",
        ),
        (
            "DELETE",
            ONE,
            "",
            405,
            "not by this method; GET / lists what there is",
        ),
        ("GET", "/links", "", 404, "no such path; GET / lists them"),
    ];
    for (method, path, body, status, why) in refused {
        asked.refuses(method, path, body, (status, why));
        assert_eq!(wire.link(), before, "{method} {path} {body}");
    }
    let (_, index) = asked.ask("GET", "/", "");
    for path in ["/wires/NAME/cut", "/wires/NAME/rebind"] {
        assert!(index.contains(path), "{index}");
    }
}

#[test]
fn a_rebinding_gives_the_client_another_port() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.lay(Settings {
        translation: Translation::Nat(PublicAddress {
            v4: [203, 0, 113, 7].into(),
            v6: "2001:db8:ffff::7".parse().unwrap(),
        }),
        ..Settings::default()
    });
    let asked = Asked::of(&hosts);
    let mut prober = Prober::new(&hosts, Family::V4);
    prober.send(&wire, 1);
    asked.json("PUT", &format!("{ONE}/rebind"), "");
    prober.send(&wire, 1);
    let [before, after] = prober.sources[..] else {
        panic!("{:?}", prober.sources);
    };
    assert_eq!(before.ip(), after.ip());
    assert_ne!(before.port(), after.port());
}

/// Changes draw nothing, and every fault has a sequence of its own.
#[test]
fn the_same_changes_leave_the_same_trace() {
    let run = || {
        let hosts = Hosts::create()?;
        let wire = hosts.lay(Settings {
            link: Link {
                up: Shape {
                    loss: Loss::Each(Probability::percent(20)),
                    ..Shape::CLEAR
                },
                down: Shape::CLEAR,
            },
            seed: Seed(23),
            trace: Trace::Keep,
            ..Settings::default()
        });
        let asked = Asked::of(&hosts);
        let mut prober = Prober::new(&hosts, Family::V4);
        let up = format!("{ONE}/up");
        prober.send(&wire, 200);
        asked.json("PATCH", &up, r#"{"duplicate": "20%", "jitter": "2ms"}"#);
        prober.send(&wire, 200);
        asked.json("PUT", &up, r#"{"loss": {"begin": "5%", "end": "20%"}}"#);
        prober.send(&wire, 200);
        Some(wire.trace(Way::Up))
    };
    let Some(first) = run() else {
        return;
    };
    assert_eq!(first.len(), 600);
    assert_eq!(Some(first), run());
}

#[test]
fn every_change_is_logged_with_the_name_of_the_wire() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let log = Log::default();
    let into = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || into.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let wire = hosts.wire(Shape::CLEAR);
        wire.set(
            Way::Down,
            Shape {
                cut: true,
                ..Shape::CLEAR
            },
        );
        drop(wire);
        hosts.topology.take_wire("client", "server");
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    let [laid, changed, up, down] = lines[..] else {
        panic!("{log}");
    };
    for (line, words) in [
        (laid, "laid wire=\"client:server\" link={\"down\":"),
        (changed, "changed wire=client:server way=\"down\" shape={"),
        (up, "taken away wire=client:server way=\"up\" tally={"),
        (down, "taken away wire=client:server way=\"down\" tally={"),
    ] {
        assert!(line.contains(words), "{line}");
    }
    assert!(changed.contains("\"cut\":true"), "{changed}");
}

/// What is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
