//! A cut that no connection survives: long exchanges of others' clients with others' servers go on,
//! and nothing of them is lost or repeated.

use super::{Line, QUICK, await_detached};
use crate::{
    protocols::on_each_transport,
    support::{CLUSTER, Plane, Side},
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
    let mut exchanges = [
        line.numbers(Side::Edge, "grpc", plane.ingress("rpc-http")),
        line.numbers(Side::Edge, "ws", plane.ingress("ws-http")),
        line.numbers(Side::Client, "grpc", plane.forward("rpc-up")),
        line.numbers(Side::Client, "ws", plane.forward("ws-up")),
    ];

    for _ in 0..2 {
        line.cut();
        await_detached(&mut plane);
        for exchange in &mut exchanges {
            assert!(!exchange.has_ended(), "told of a cut during the grace");
            exchange.ask_for_more();
        }
        line.heal();
        for exchange in &mut exchanges {
            assert_eq!(exchange.answer(), "passed");
        }
    }
    for side in [Side::Edge, Side::Client] {
        assert!(resumed(&plane, side) >= 1, "{}", side.name());
    }
    let ends = exchanges.map(super::Numbers::end);
    for (end, proper) in ends.iter().zip(["OK", "1000", "OK", "1000"]) {
        assert!(end.starts_with(&format!("complete {proper} ")), "{end}");
    }
    eprintln!("{transport}: {ends:?}");
}

/// How often one process has gone on with a session.
fn resumed(plane: &Plane, side: Side) -> u64 {
    let metrics = plane.metrics(side);
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("causeway_sessions_resumed_total "));
    count.unwrap().parse().unwrap()
}
