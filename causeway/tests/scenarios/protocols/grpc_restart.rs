//! A gRPC channel that stays open works again once an end of the tunnel was killed and restarted.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use super::{Way, on_each_transport};
use crate::support::{CLUSTER, Plane, Server, Side, script, wait_for};

/// The time that the channel gives a call, and some more.
const CALL: Duration = Duration::from_secs(7);

/// `grpc_channel.py`: a call for each line that it is told.
struct Channel {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Channel {
    fn open(address: SocketAddr) -> Self {
        let mut child = script("grpc_channel.py")
            .unwrap()
            .arg(address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(answers.next().unwrap().unwrap(), "ready");
        Self {
            child,
            ask,
            answers,
        }
    }

    /// The status of one more call, which never lasts longer than its deadline.
    #[track_caller]
    fn call(&mut self) -> String {
        let began = Instant::now();
        writeln!(self.ask, "call").unwrap();
        let status = self.answers.next().unwrap().unwrap();
        assert!(
            began.elapsed() < CALL,
            "{status} after {:?}",
            began.elapsed()
        );
        status
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn works_again(transport: &str, way: Way, killed: Side) {
    let Some(mut serving) = script("grpc_server.py") else {
        return;
    };
    let server = Server::start("grpc_server.py", &mut serving);
    let target = format!("h2c://{}", server.address());
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("peer", &target)
        .forward("peer", &target)
        .tcp_ingress("peer")
        .http_ingress_to("peer-http", &format!("{CLUSTER}/peer"))
        .fixed_ports()
        .start();
    let entry = match way {
        Way::HttpIngress => plane.ingress("peer-http"),
        Way::TcpIngress => plane.ingress("peer"),
        Way::Forward => plane.forward("peer"),
    };
    let mut channel = Channel::open(entry);
    assert_eq!(channel.call(), "OK");

    match killed {
        Side::Edge => plane.edge.kill(),
        Side::Client => plane.client.kill(),
    }
    let broken = channel.call();
    assert!(
        ["UNAVAILABLE", "DEADLINE_EXCEEDED"].contains(&broken.as_str()),
        "{broken}"
    );

    plane.start_again(killed);
    plane.await_session();
    wait_for("the channel to work again", || {
        (channel.call() == "OK").then_some(())
    });
    // And it goes on to work.
    for _ in 0..20 {
        assert_eq!(channel.call(), "OK");
    }
}

on_each_transport![
    a_channel_through_the_http_ingress_survives_the_client,
    a_channel_through_the_http_ingress_survives_the_edge,
    a_channel_through_the_tcp_ingress_survives_the_client,
    a_channel_through_a_forward_survives_the_edge,
    a_channel_through_a_forward_survives_the_client,
];

fn a_channel_through_the_http_ingress_survives_the_client(transport: &str) {
    works_again(transport, Way::HttpIngress, Side::Client);
}

fn a_channel_through_the_http_ingress_survives_the_edge(transport: &str) {
    works_again(transport, Way::HttpIngress, Side::Edge);
}

fn a_channel_through_the_tcp_ingress_survives_the_client(transport: &str) {
    works_again(transport, Way::TcpIngress, Side::Client);
}

fn a_channel_through_a_forward_survives_the_edge(transport: &str) {
    works_again(transport, Way::Forward, Side::Edge);
}

fn a_channel_through_a_forward_survives_the_client(transport: &str) {
    works_again(transport, Way::Forward, Side::Client);
}
