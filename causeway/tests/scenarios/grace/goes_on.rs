//! A cut that no connection survives: long exchanges of others' clients with others' servers go on,
//! and nothing of them is lost or repeated.

use super::{Line, QUICK, await_detached};
use crate::{
    protocols::on_each_transport,
    support::{CLUSTER, Plane, Side, wait_for},
    survive::Numbered,
};

on_each_transport![grpc_and_websockets_go_on];

fn grpc_and_websockets_go_on(transport: &str) {
    let Some(line) = Line::lay() else {
        return;
    };
    let serve = |name| {
        Some((
            line.serve(Side::Client, name)?,
            line.serve(Side::Edge, name)?,
        ))
    };
    let (Some(rpc), Some(ws)) = (serve("grpc_server.py"), serve("ws_server.py")) else {
        return;
    };
    let mut plane = line
        .plane(transport, QUICK)
        .expose("rpc", &format!("h2c://{}", rpc.0.address()))
        .expose("ws", &format!("http://{}", ws.0.address()))
        .http_ingress_to("rpc-http", &format!("{CLUSTER}/rpc"))
        .http_ingress_to("ws-http", &format!("{CLUSTER}/ws"))
        .forward("rpc-up", &format!("tcp://{}", rpc.1.address()))
        .forward("ws-up", &format!("tcp://{}", ws.1.address()))
        .start();
    let exchanges = [
        line.numbered(Side::Edge, "grpc_numbered.py", plane.ingress("rpc-http")),
        line.numbered(Side::Edge, "ws_numbered.py", plane.ingress("ws-http")),
        line.numbered(Side::Client, "grpc_numbered.py", plane.forward("rpc-up")),
        line.numbered(Side::Client, "ws_numbered.py", plane.forward("ws-up")),
    ];

    for nth in 1..=2 {
        line.cut();
        await_detached(&mut plane);
        for exchange in &exchanges {
            assert!(exchange.goes_on(), "told of a cut during the grace");
        }
        line.heal();
        wait_for("both ends to go on with their session", || {
            let mut both = [Side::Edge, Side::Client].into_iter();
            both.all(|side| resumed(&plane, side) >= nth).then_some(())
        });
    }
    // Each has ended as it should only if every number came back, once and in its place.
    let answered = exchanges.map(Numbered::end);
    eprintln!("{transport}: {answered:?} messages, none lost or repeated");
}

/// How often one process has gone on with a session.
fn resumed(plane: &Plane, side: Side) -> u64 {
    let metrics = plane.metrics(side);
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("causeway_sessions_resumed_total "));
    count.unwrap().parse().unwrap()
}
