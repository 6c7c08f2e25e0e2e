//! What a caller says of itself that only the edge may say.

use std::{io::Write, net::TcpStream};

use super::recording;
use crate::support::{Answer, CLUSTER, Plane};

/// Fields that only the edge may set, in every spelling that an origin could take for them.
#[test]
fn nobody_says_for_the_edge_who_the_caller_is() {
    let (origin, seen) = recording();
    let mut plane = Plane::builder()
        .expose("origin", &origin.http_target())
        .http_ingress_to("web", &format!("{CLUSTER}/origin"))
        .start();
    let web = plane.ingress("web");
    let spoofed = [
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "x-forwarded-for: 6.6.6.6, 7.7.7.7",
        "X-Forwarded-Host: 6.6.6.6",
        "X-Forwarded-Proto: 6.6.6.6",
        "X-Forwarded-Port: 6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded: for=6.6.6.6",
        "Forwarded-For: 6.6.6.6",
        "X-Client-IP: 6.6.6.6",
        "X_Client_IP: 6.6.6.6",
        "X-Cluster-Client-IP: 6.6.6.6",
        "True-Client-IP: 6.6.6.6",
        "CF-Connecting-IP: 6.6.6.6",
        "Fastly-Client-IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "Causeway-Caller: 6.6.6.6",
        // Would have the edge's own taken away again.
        "Connection: x-forwarded-for, forwarded",
    ];
    for field in spoofed {
        let mut stream = TcpStream::connect(web).unwrap();
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: origin.test\r\n{field}\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(Answer::read(&stream).unwrap().status, 200, "{field}");
        let (head, _) = seen.lock().unwrap().pop().unwrap();
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("6.6.6.6"), "{field}:\n{head}");
        for own in [
            "x-forwarded-for: 127.0.0.1\r\n",
            "forwarded: for=127.0.0.1;",
        ] {
            assert_eq!(head.matches(own).count(), 1, "{field}:\n{head}");
        }
    }
}
