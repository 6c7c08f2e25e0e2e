//! What is exposed, let in, forwarded and offered comes and goes while the process runs, by
//! SIGHUP and by a change of the file, and streams that have nothing to do with it go on.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use crate::support::{
    Builder, CLUSTER, Origin, Plane, Process, Request, Side, causeway, echoes, wait_for,
};

/// An ingress comes by SIGHUP, together with what it leads to.
#[test]
fn what_is_added_works_after_sighup() {
    let (origin, mut plane, mut bystander) = with_bystander(|builder| builder);
    let added = Origin::echo();
    append(&plane, Side::Client, &expose("more", &added.tcp()));
    append(&plane, Side::Edge, &tcp_ingress("more"));
    plane.client.signal("HUP");
    plane.edge.signal("HUP");

    wait_for("the new ingress", || {
        has(&mut plane, Side::Edge, "ingresses", "name", "more")
    });
    wait_for("the new expose", || edge_knows(&mut plane, "more"));
    echoes(&mut plane.dial_ingress("more"));
    echoes(&mut bystander);
    assert_eq!(
        origin.accepted(),
        1,
        "the bystander's stream is the old one"
    );
}

/// The same without a signal: a change of the file is enough.
#[test]
fn a_change_of_the_file_is_enough() {
    let (_origin, mut plane, mut bystander) = with_bystander(|builder| builder);
    let added = Origin::echo();
    append(
        &plane,
        Side::Edge,
        &format!(
            "\n[[upstream]]\nservice = \"late\"\ntarget = \"{}\"\nallow = [\"acme/*\"]\n",
            added.tcp()
        ),
    );
    append(
        &plane,
        Side::Client,
        "\n[[forward]]\nservice = \"late\"\nlisten = \"127.0.0.1:0\"\n",
    );
    wait_for("the new upstream", || {
        has(&mut plane, Side::Edge, "upstreams", "service", "late")
    });
    wait_for("the new forward", || {
        has(&mut plane, Side::Client, "forwards", "service", "late")
    });
    echoes(&mut plane.dial_forward("late"));
    echoes(&mut bystander);
}

#[test]
fn what_is_removed_is_gone_for_new_callers() {
    let gone = Origin::echo();
    let (_origin, mut plane, mut bystander) = with_bystander(|builder| {
        builder
            .expose("gone", &gone.tcp())
            .tcp_ingress("gone")
            .forward("gone", &gone.tcp())
    });
    let mut left_behind = plane.dial_ingress("gone");
    echoes(&mut left_behind);
    echoes(&mut plane.dial_forward("gone"));
    let ingress = plane.ingress("gone");
    let forward = plane.forward("gone");
    for side in [Side::Edge, Side::Client] {
        let file = fs::read_to_string(plane.config(side)).unwrap();
        let kept: Vec<_> = file
            .split("\n\n")
            .filter(|table| !table.contains("\"gone\""))
            .collect();
        fs::write(plane.config(side), kept.join("\n\n")).unwrap();
    }
    plane.edge.signal("HUP");
    plane.client.signal("HUP");

    for address in [ingress, forward] {
        wait_for("the listener to be gone", || {
            let refused = TcpStream::connect(address).err()?;
            (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
        });
    }
    wait_for("the expose to be gone", || {
        edge_knows(&mut plane, "gone").is_none().then_some(())
    });
    is_reset(&mut left_behind);
    echoes(&mut bystander);
}

/// What there is of an ingress goes with it; what it has counted stays.
#[test]
fn an_http_ingress_that_is_removed_takes_its_gauges_along() {
    let app = Origin::http(|_, mut stream| {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let (_origin, mut plane, _bystander) = with_bystander(|builder| {
        builder
            .expose("app", &app.http_target())
            .http_ingress_to("gone", &format!("{CLUSTER}/app"))
            .http_ingress_to("stays", &format!("{CLUSTER}/app"))
    });
    for name in ["gone", "stays"] {
        let answer = Request::get(plane.ingress(name), "/", "app.test")
            .send()
            .unwrap();
        assert_eq!(answer.text().unwrap(), "ok");
    }
    let has = |plane: &Plane, metric: &str, name: &str| {
        let series = format!("causeway_http_{metric}{{ingress=\"{name}\"");
        plane.metrics(Side::Edge).contains(&series)
    };
    let gauges = ["requests_in_flight", "caller_connections"];
    for gauge in gauges {
        assert!(has(&plane, gauge, "gone"), "{gauge}");
    }
    let file = fs::read_to_string(plane.config(Side::Edge)).unwrap();
    let kept: Vec<_> = file
        .split("\n\n")
        .filter(|table| !table.contains("\"gone\""))
        .collect();
    fs::write(plane.config(Side::Edge), kept.join("\n\n")).unwrap();
    plane.edge.signal("HUP");
    wait_for("the gauges to be gone", || {
        gauges
            .iter()
            .all(|gauge| !has(&plane, gauge, "gone"))
            .then_some(())
    });
    for gauge in gauges {
        assert!(has(&plane, gauge, "stays"), "{gauge}");
    }
    assert!(has(&plane, "requests_total", "gone"));
}

/// A service whose target moves: new streams go there, the old target's are reset rather than
/// left with what is not exposed any more, and other services notice nothing.
#[test]
fn a_changed_target_is_for_that_service_alone() {
    let (old, new) = (Origin::echo(), Origin::echo());
    let (_origin, mut plane, mut bystander) =
        with_bystander(|builder| builder.expose("moving", &old.tcp()).tcp_ingress("moving"));
    let mut left_behind = plane.dial_ingress("moving");
    echoes(&mut left_behind);

    let file = fs::read_to_string(plane.config(Side::Client)).unwrap();
    let file = file.replace(&old.tcp(), &new.tcp());
    fs::write(plane.config(Side::Client), file).unwrap();
    plane.client.signal("HUP");
    wait_for("the new target", || {
        let status = plane.status(Side::Client);
        let exposes = status["exposes"].as_array()?;
        exposes
            .iter()
            .any(|expose| expose["target"] == new.tcp())
            .then_some(())
    });
    echoes(&mut plane.dial_ingress("moving"));
    assert_eq!((old.accepted(), new.accepted()), (1, 1));
    is_reset(&mut left_behind);
    echoes(&mut bystander);
}

/// A file that is wrong changes nothing, and says so: in the log, in the status, in the metrics.
#[test]
fn a_wrong_file_keeps_the_old_configuration() {
    let (_origin, mut plane, mut bystander) = with_bystander(|builder| builder);
    for side in [Side::Edge, Side::Client] {
        let good = fs::read_to_string(plane.config(side)).unwrap();
        fs::write(plane.config(side), good.replace("[identity]", "[identty]")).unwrap();
        process(&plane, side).signal("HUP");
        wait_for("the failure to be counted", || {
            let failures = &plane.status(side)["config"]["reload_failures"];
            (failures.as_u64()? > 0).then_some(())
        });
        let log = process(&plane, side).log();
        assert!(log.contains("identty"), "the log names the key: {log}");
        assert!(
            plane.metrics(side).lines().any(|line| {
                line.starts_with("causeway_config_reloads_total")
                    && line.contains("rejected")
                    && !line.ends_with(" 0")
            }),
            "{}",
            plane.metrics(side)
        );

        let status = causeway()
            .args(["status", "--config"])
            .arg(plane.config(side))
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        let shown = String::from_utf8(status.stdout).unwrap();
        assert!(
            shown.starts_with(side.name())
                && shown.contains("\n  rejected ")
                && shown.contains("identty"),
            "{shown}"
        );
        let note = String::from_utf8(status.stderr).unwrap();
        assert_eq!(note.lines().count(), 1, "{note}");
        assert!(note.contains("causeway check"), "{note}");

        echoes(&mut bystander);
        echoes(&mut plane.dial_ingress("echo"));
        fs::write(plane.config(side), good).unwrap();
    }
}

/// A plane with an `echo` behind a tcp ingress, and a stream on it that must not be touched.
fn with_bystander(more: impl FnOnce(Builder) -> Builder) -> (Origin, Plane, TcpStream) {
    let origin = Origin::echo();
    let builder = Plane::builder()
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo");
    let mut plane = more(builder).start();
    let mut bystander = plane.dial_ingress("echo");
    echoes(&mut bystander);
    (origin, plane, bystander)
}

/// A stream to what is not there any more is cut: it must not look like an end.
#[track_caller]
fn is_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

fn append(plane: &Plane, side: Side, more: &str) {
    let file = fs::read_to_string(plane.config(side)).unwrap();
    fs::write(plane.config(side), file + more).unwrap();
}

fn expose(service: &str, target: &str) -> String {
    format!("\n[[expose]]\nservice = \"{service}\"\ntarget = \"{target}\"\n")
}

fn tcp_ingress(service: &str) -> String {
    format!(
        "\n[[ingress]]\nname = \"{service}\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nto = \"acme/demo/{service}\"\nanonymous = true\n"
    )
}

fn process(plane: &Plane, side: Side) -> &Process {
    match side {
        Side::Edge => &plane.edge,
        Side::Client => &plane.client,
    }
}

fn has(plane: &mut Plane, side: Side, list: &str, key: &str, name: &str) -> Option<()> {
    let status = plane.status(side);
    let entries = status[list].as_array()?;
    entries.iter().any(|entry| entry[key] == name).then_some(())
}

/// Whether the client has told the edge that it exposes `service`.
fn edge_knows(plane: &mut Plane, service: &str) -> Option<()> {
    let sessions = plane.sessions();
    let services = sessions.first()?["services"].as_array()?.clone();
    services.contains(&Value::from(service)).then_some(())
}
