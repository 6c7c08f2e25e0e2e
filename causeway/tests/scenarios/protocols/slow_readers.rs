//! Callers that read nothing, beside one on the same service: it must not feel them.

use std::process::Stdio;

use super::on_each_transport;
use crate::support::{CLUSTER, Plane, Server, run, script};

on_each_transport![three_stalled_callers_leave_a_fourth_alone];

/// Prints the latencies, which are a measurement; that no call is held up is the test.
fn three_stalled_callers_leave_a_fourth_alone(transport: &str) {
    let (Some(mut serving), Some(mut calling)) =
        (script("grpc_server.py"), script("grpc_stalled.py"))
    else {
        return;
    };
    let server = Server::start("grpc_server.py", &mut serving);
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("peer", &format!("h2c://{}", server.address()))
        .http_ingress_to("web", &format!("{CLUSTER}/peer"))
        .start();
    let web = plane.ingress("web").to_string();
    let output = run(calling.arg(web), Stdio::null());
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("FAIL"), "{said}");
    assert!(said.contains("p99 ratio\t"), "{said}");
    assert_eq!(plane.sessions().len(), 1);
}
