//! A response of one event each second, for minutes: it arrives event by event, and to its end, on
//! every transport and way at once.

use std::{io::Read, net::SocketAddr, thread};

use super::{TRANSPORTS, Way};
use crate::support::{CLUSTER, Plane, Request, Server, script};

/// How many seconds it lasts: two minutes, and ten in the long suite.
fn seconds() -> usize {
    match std::env::var_os("CAUSEWAY_TEST_FULL") {
        Some(_) => 600,
        None => 120,
    }
}

/// The events that came, each as one piece, from `address`.
fn events(address: SocketAddr) -> Vec<String> {
    let path = format!("/?n={}", seconds());
    let mut answer = Request::get(address, &path, "drip.test").send().unwrap();
    assert_eq!(answer.status, 200);
    let mut events = Vec::new();
    let mut piece = [0; 4096];
    loop {
        // The caller's patience for each is far below what several would take together.
        let count = answer.read(&mut piece).unwrap();
        if count == 0 {
            return events;
        }
        events.push(String::from_utf8_lossy(&piece[..count]).into_owned());
    }
}

#[test]
fn a_slow_response_arrives_as_it_is_sent() {
    let Some(mut serving) = script("drip_server.py") else {
        return;
    };
    let server = Server::start("drip_server.py", &mut serving);
    let target = format!("http://{}", server.address());
    let mut planes: Vec<_> = TRANSPORTS
        .iter()
        .map(|transport| {
            let plane = Plane::builder()
                .transport(transport)
                .expose("drip", &target)
                .forward("drip", &target)
                .tcp_ingress("drip")
                .http_ingress_to("drip-http", &format!("{CLUSTER}/drip"))
                .start();
            (transport, plane)
        })
        .collect();
    let expected: Vec<String> = (0..seconds()).map(|n| format!("data: {n}\n\n")).collect();
    let mut callers = Vec::new();
    for (transport, plane) in &mut planes {
        for way in Way::ALL {
            let address = match way {
                Way::HttpIngress => plane.ingress("drip-http"),
                Way::TcpIngress => plane.ingress("drip"),
                Way::Forward => plane.forward("drip"),
            };
            let way = format!("{way:?} over {transport}");
            callers.push((way, thread::spawn(move || events(address))));
        }
    }
    for (way, caller) in callers {
        let events = caller.join().unwrap();
        assert_eq!(events.concat(), expected.concat(), "{way}");
        // A machine that is too busy may once deliver two at once; a buffer would do so always.
        let alone = events.iter().filter(|event| expected.contains(event));
        let alone = alone.count();
        assert!(alone * 10 >= seconds() * 9, "{way}: {alone} came alone");
    }
    for (transport, plane) in &mut planes {
        assert_eq!(plane.sessions().len(), 1, "{transport}");
    }
}
