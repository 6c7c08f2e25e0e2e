//! What the client listens on, as the kernel tells it: its admin listener and its forwards, and
//! nothing else.

use std::process::Command;

use crate::support::{Origin, Plane, peer};

#[test]
fn the_client_listens_on_admin_and_forwards_only() {
    let Some(ss) = peer("ss") else { return };
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .forward("state", &origin.tcp())
        .start();
    let forward = plane.forward("state").to_string();
    let pid = format!("pid={},", plane.client.pid());
    let sockets = |kind: &str| -> Vec<String> {
        let output = Command::new(&ss)
            .args([kind, "-n", "-a", "-p", "-H"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter(|line| line.contains(&pid))
            .map(str::to_owned)
            .collect()
    };

    // The admin listener is a unix socket here, so that forwards are all there is on TCP.
    let listening: Vec<_> = sockets("-t")
        .into_iter()
        .filter(|line| line.starts_with("LISTEN"))
        .map(|line| line.split_whitespace().nth(3).unwrap().to_owned())
        .collect();
    assert_eq!(listening, [forward], "TCP listeners of the client");

    let (low, high) = ephemeral_ports();
    let udp = sockets("-u");
    assert!(!udp.is_empty(), "a QUIC client has a UDP socket");
    for line in udp {
        let local = line.split_whitespace().nth(3).unwrap();
        let port: u16 = local.rsplit(':').next().unwrap().parse().unwrap();
        assert!((low..=high).contains(&port), "{line}");
    }
}

/// The range from which the kernel takes ports that nobody asked for.
fn ephemeral_ports() -> (u16, u16) {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let mut ports = range.split_whitespace().map(|port| port.parse().unwrap());
    (ports.next().unwrap(), ports.next().unwrap())
}
