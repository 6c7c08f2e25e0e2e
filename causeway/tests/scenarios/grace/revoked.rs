//! Whose certificate is revoked has neither a new session nor the one that there was, be it live or
//! without a connection; and nobody takes that for an end.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Line, QUICK, await_detached,
    told::{end_of, half_sent},
};
use crate::{
    protocols::on_each_transport,
    support::{Origin, Plane, Process, Side, causeway, echoes, eventually, wait_for},
};

/// How long a session may live on after the list has changed.
const AT_ONCE: Duration = Duration::from_secs(5);

on_each_transport![a_revoked_client_is_cut_and_stays_out];

fn a_revoked_client_is_cut_and_stays_out(transport: &str) {
    let (db, up, echo) = (Origin::by_hand(), Origin::by_hand(), Origin::echo());
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("db", &db.tcp())
        .tcp_ingress("db")
        .forward("up", &up.tcp())
        .tcp_ingress_to("other", "acme/other/echo")
        .start();
    let _other = another_client(&mut plane, transport, &echo);
    let mut bystander = plane.dial_ingress("other");
    echoes(&mut bystander);
    let mut cut = in_the_middle(&mut plane, &db, &up);
    let state = plane.path(Side::Client).join("state");
    let of_edge = plane.path(Side::Edge).join("state");

    let number = serial(&state);
    let mut sessions = plane.sessions().into_iter();
    assert!(sessions.any(|it| it["certificate_serial"] == *number));
    let began = Instant::now();
    plane.authority().revoke(&state, &of_edge);
    let ended = eventually(AT_ONCE, || {
        let sessions = plane.sessions();
        let other = |session: &Value| session["peer"] == "acme/other";
        sessions.iter().all(other).then_some(sessions.len())
    });
    assert_eq!(ended, Some(1), "{}", plane.edge.log());
    eprintln!(
        "over {transport}: over {:?} after it was revoked",
        began.elapsed()
    );
    for (whose, socket) in &mut cut {
        assert_eq!(end_of(socket), "reset", "{whose} over {transport}");
    }
    let is_why = |log: &str, what: &str| {
        let mut lines = log.lines().filter(|line| line.contains(what));
        lines.any(|line| line.contains("revoked") && line.contains(&number))
    };
    for (process, what) in [
        (&plane.edge, "its session ends"),
        (&plane.client, "disconnected"),
    ] {
        wait_for("both ends to say why", || {
            is_why(&process.log(), what).then_some(())
        });
    }

    // It comes back, and hears why it may not; then it waits for somebody to help.
    are_kept_out(&plane);
    wait_for("the edge to say why", || {
        is_why(&plane.edge.log(), "not admitted").then_some(())
    });
    wait_for("it to wait long", || {
        let dialing = &plane.status(Side::Client)["dialing"];
        let error = dialing["last_error"].as_str()?;
        let waits = dialing["next_attempt_in_ms"].as_u64()? > 10_000;
        (waits && error.contains("revoked") && error.contains(&number)).then_some(())
    });
    let refused = metric(&plane, "handshakes_total{outcome=\"revoked\"}");
    assert!(
        refused <= 2,
        "each of its two keepers has asked once: {refused}"
    );
    assert_eq!(plane.client.has_ended(), None);
    assert_eq!(
        metric(
            &plane,
            "sessions_ended_total{code=\"revoked\",by=\"local\"}"
        ),
        1
    );
    assert_eq!(metric(&plane, "revoked_certificates"), 1);
    assert_eq!(
        metric(&plane, "revocation_list_reloads_total{outcome=\"applied\"}"),
        1
    );
    echoes(&mut bystander);
    echoes(&mut plane.dial_ingress("other"));
    assert_eq!(plane.sessions().len(), 1);

    // With another certificate it is welcome.
    fs::remove_dir_all(&state).unwrap();
    plane.authority().issue(&["client", "acme/demo"], &state);
    plane.client.kill();
    plane.start_again(Side::Client);
    wait_for("a session with another certificate", || {
        (plane.sessions().len() == 2).then_some(())
    });
}

on_each_transport![a_client_that_is_revoked_while_it_is_away_does_not_go_on];

fn a_client_that_is_revoked_while_it_is_away_does_not_go_on(transport: &str) {
    let Some(line) = Line::lay() else {
        return;
    };
    let db = line.network.client.within(Origin::by_hand);
    let up = line.network.edge.within(Origin::by_hand);
    let mut plane = line
        .plane(transport, &format!("{QUICK}grace = \"60s\"\n"))
        .expose("db", &db.tcp())
        .tcp_ingress("db")
        .forward("up", &up.tcp())
        .start();
    let mut cut = in_the_middle(&mut plane, &db, &up);
    line.cut();
    await_detached(&mut plane);
    let state = plane.path(Side::Client).join("state");
    let of_edge = plane.path(Side::Edge).join("state");
    plane.authority().revoke(&state, &of_edge);
    let gone = eventually(AT_ONCE, || plane.sessions().is_empty().then_some(()));
    assert!(gone.is_some(), "{}", plane.edge.log());
    let client = plane.status(Side::Client);
    assert_eq!(client["sessions"].as_array().unwrap().len(), 1, "{client}");

    line.heal();
    wait_for("the client to be told", || {
        let log = plane.client.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("the session does not go on"));
        lines
            .any(|line| line.contains("refused: revoked"))
            .then_some(())
    });
    for (whose, socket) in &mut cut {
        assert_eq!(end_of(socket), "reset", "{whose} over {transport}");
    }
    are_kept_out(&plane);
    assert_eq!(metric(&plane, "handshakes_total{outcome=\"resumed\"}"), 0);
    assert_eq!(plane.client.has_ended(), None);
}

/// The list of who is revoked can be anything but whole, and be gone: whoever was on it stays out, and
/// whoever was not stays in.
#[test]
fn a_list_that_is_wrong_keeps_the_one_before() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .start();
    let mut bystander = plane.dial_ingress("echo");
    echoes(&mut bystander);
    let [first, second] = ["first", "second"].map(|name| {
        let directory = plane.path(Side::Client).join(name);
        let cluster = format!("acme/{name}");
        plane.authority().issue(&["client", &cluster], &directory);
        directory
    });
    for side in [Side::Edge, Side::Client] {
        let state = plane.path(side).join("state");
        let list = state.join("crl.pem");
        plane.authority().revoke(&first, &state);
        told(&mut plane, side, "a list", |told| told["entries"] == 1);
        fs::write(&list, "-----BEGIN X509 CRL-----\nMIIB").unwrap();
        let is_refused = |told: &Value, times: u64, word: &str| {
            let error = told["last_error"].as_str().unwrap_or_default();
            let failures = told["reload_failures"].as_u64().unwrap_or_default();
            told["entries"] == 1 && failures >= times && error.contains(word)
        };
        told(&mut plane, side, "it to be torn", |told| {
            is_refused(told, 1, "not valid PEM")
        });
        fs::remove_file(&list).unwrap();
        told(&mut plane, side, "it to be gone", |told| {
            is_refused(told, 2, "is gone")
        });
        let shown = status(&plane, side);
        assert!(
            shown.contains("is gone") && shown.contains("revoked     1"),
            "{shown}"
        );
        let metrics = plane.metrics(side);
        assert!(
            metrics.contains("causeway_revocation_list_reloads_total{outcome=\"rejected\"}"),
            "{metrics}"
        );
        echoes(&mut bystander);
    }
    plane
        .authority()
        .revoke(&second, &plane.path(Side::Edge).join("state"));
    plane
        .authority()
        .publish(&plane.path(Side::Client).join("state"));
    for side in [Side::Edge, Side::Client] {
        told(&mut plane, side, "a list again", |told| {
            told["entries"] == 2 && told["last_error"].is_null()
        });
    }
    echoes(&mut bystander);
}

on_each_transport![an_edge_that_is_revoked_is_left_and_not_dialled_into_a_session];

fn an_edge_that_is_revoked_is_left_and_not_dialled_into_a_session(transport: &str) {
    let (db, up) = (Origin::by_hand(), Origin::by_hand());
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("db", &db.tcp())
        .tcp_ingress("db")
        .forward("up", &up.tcp())
        .start();
    let mut cut = in_the_middle(&mut plane, &db, &up);
    let of_client = plane.path(Side::Client).join("state");
    let of_edge = plane.path(Side::Edge).join("state");
    plane.authority().revoke(&of_edge, &of_client);
    let gone = eventually(AT_ONCE, || plane.sessions().is_empty().then_some(()));
    assert!(gone.is_some(), "{}", plane.client.log());
    for (whose, socket) in &mut cut {
        assert_eq!(end_of(socket), "reset", "{whose} over {transport}");
    }
    for (process, what) in [
        (&plane.client, "the session ends"),
        (&plane.edge, "closed by the peer: revoked"),
    ] {
        wait_for("both ends to say why", || {
            process.log().contains(what).then_some(())
        });
    }
    let refuses = |plane: &mut Plane| {
        wait_for("it to be refused", || {
            let error = plane.status(Side::Client)["dialing"]["last_error"].clone();
            let error = error.as_str()?;
            error
                .contains("of the edge edge-1 is revoked")
                .then_some(())
        });
    };
    refuses(&mut plane);
    plane.client.kill();
    plane.start_again(Side::Client);
    refuses(&mut plane);
    assert_eq!(metric(&plane, "handshakes_total{outcome=\"admitted\"}"), 1);
}

/// As soon as the edge has seen the last of who was refused.
#[track_caller]
fn are_kept_out(plane: &Plane) {
    wait_for("the refusal to be counted", || {
        (metric(plane, "handshakes_total{outcome=\"revoked\"}") >= 1).then_some(())
    });
}

/// A client of another cluster, with an echo behind it.
fn another_client(plane: &mut Plane, transport: &str, echo: &Origin) -> Process {
    let home = plane.path(Side::Client).join("other");
    fs::create_dir(&home).unwrap();
    plane
        .authority()
        .issue(&["client", "acme/other"], &home.join("state"));
    let file = home.join("client.toml");
    let text = format!(
        "[identity]\ndir = \"state\"\n[edge]\naddress = \"{}\"\ntransport = \"{transport}\"\n\
         [admin]\nlisten = \"off\"\n[[expose]]\nservice = \"echo\"\ntarget = \"{}\"\nhealth = \"off\"\n",
        plane.tunnel(),
        echo.tcp()
    );
    fs::write(&file, text).unwrap();
    let process = Process::start(
        "another client",
        causeway().args(["client", "--config"]).arg(file),
        &home.join("client.log"),
    );
    wait_for("both clients to be connected", || {
        (plane.sessions().len() == 2).then_some(())
    });
    process
}

/// A stream each way with something under way on it: all four sockets.
fn in_the_middle(plane: &mut Plane, db: &Origin, up: &Origin) -> [(&'static str, TcpStream); 4] {
    let mut calling = plane.dial_ingress("db");
    let mut exposed = db.accept();
    half_sent(&mut calling, &mut exposed);
    half_sent(&mut exposed, &mut calling);
    let mut caller = plane.dial_forward("up");
    let mut upstream = up.accept();
    half_sent(&mut caller, &mut upstream);
    half_sent(&mut upstream, &mut caller);
    [
        ("a caller of the ingress", calling),
        ("its origin", exposed),
        ("a caller of the forward", caller),
        ("its upstream", upstream),
    ]
}

/// Waits until a process says this of its list.
#[track_caller]
fn told(plane: &mut Plane, side: Side, what: &str, holds: impl Fn(&Value) -> bool) {
    wait_for(what, || {
        let told = plane.status(side)["revocation_list"].clone();
        holds(&told).then_some(())
    });
}

/// What `causeway status` shows of a process.
fn status(plane: &Plane, side: Side) -> String {
    let mut command = causeway();
    command.args(["status", "--config"]).arg(plane.config(side));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// The serial number of the certificate in a directory, as it is shown.
fn serial(directory: &Path) -> String {
    let mut command = causeway();
    command.args(["certs", "inspect", "--json"]).arg(directory);
    let shown: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    shown["certificates"][0]["serial"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn metric(plane: &Plane, series: &str) -> u64 {
    let series = format!("causeway_{series} ");
    let metrics = plane.metrics(Side::Edge);
    let value = metrics.lines().find_map(|line| line.strip_prefix(&series));
    value.map_or(0, |value| value.parse().unwrap())
}
