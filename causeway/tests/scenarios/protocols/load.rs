//! Load by generators of others, wrk and h2load, on nginx: every request is answered as it should
//! be. nginx ends each connection after a thousand requests, which must go unseen.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use super::{Comparison, Report, nginx::Site, on_each_transport};
use crate::support::{CLUSTER, Plane, peer, run};

/// So many requests by 10 connections: few enough on each for it to last, and with 16 in flight on
/// each too many for those to the origin, which 32 share.
const MANY: &[&str] = &["-n", "8000", "-c", "10", "-m", "16"];
/// The same over HTTP/1.1, one in flight on each.
const MANY_ONE_BY_ONE: &[&str] = &["--h1", "-n", "8000", "-c", "10"];
/// 320 MiB by as many connections as there are answers at once, and by fewer.
const LARGE: &[&str] = &["-n", "16", "-c", "4", "-m", "4"];
const LARGE_ONE_BY_ONE: &[&str] = &["--h1", "-n", "16", "-c", "10"];

#[test]
fn load_over_http1() {
    let (Some(site), Some(h2load), Some(wrk)) = (Site::start(), peer("h2load"), peer("wrk")) else {
        return;
    };
    Comparison::of("http", site.address).run(|address| {
        let mut report = Report::default();
        let small = |words| by_h2load(&h2load, words, address, "/small");
        report.add("small", small(MANY_ONE_BY_ONE));
        let large = by_h2load(&h2load, LARGE_ONE_BY_ONE, address, "/large");
        report.add("large", large);
        report.add("wrk", by_wrk(&wrk, address));
        report
    });
}

#[test]
fn load_over_http2() {
    let (Some(site), Some(h2load)) = (Site::start(), peer("h2load")) else {
        return;
    };
    Comparison::of("h2c", site.h2c).run(|address| {
        let mut report = Report::default();
        report.add("small", by_h2load(&h2load, MANY, address, "/small"));
        report.add("large", by_h2load(&h2load, LARGE, address, "/large"));
        report
    });
}

on_each_transport![load_over_both];

/// The edge speaks one version to the caller and the other to the origin.
fn load_over_both(transport: &str) {
    let (Some(site), Some(h2load), Some(wrk)) = (Site::start(), peer("h2load"), peer("wrk")) else {
        return;
    };
    let mut plane = Plane::builder()
        .transport(transport)
        .expose("http1", &format!("http://{}", site.address))
        .http_ingress_to("to-http1", &format!("{CLUSTER}/http1"))
        .expose("http2", &format!("h2c://{}", site.h2c))
        .http_ingress_to("to-http2", &format!("{CLUSTER}/http2"))
        .start();
    let to = plane.ingress("to-http1");
    assert_eq!(by_h2load(&h2load, MANY, to, "/small"), all(8000));
    assert_eq!(by_h2load(&h2load, LARGE, to, "/large"), all(16));
    let to = plane.ingress("to-http2");
    assert_eq!(by_h2load(&h2load, MANY_ONE_BY_ONE, to, "/small"), all(8000));
    assert_eq!(by_h2load(&h2load, LARGE_ONE_BY_ONE, to, "/large"), all(16));
    assert_eq!(by_wrk(&wrk, to), "all 2xx");
    assert_eq!(plane.sessions().len(), 1);
}

/// What h2load reports if all is well.
fn all(count: usize) -> String {
    format!(
        "requests: {count} total, {count} started, {count} done, {count} succeeded, 0 failed, 0 errored, 0 timeout; \
         status codes: {count} 2xx, 0 3xx, 0 4xx, 0 5xx"
    )
}

fn by_h2load(h2load: &Path, words: &[&str], address: SocketAddr, path: &str) -> String {
    let output = run(
        Command::new(h2load)
            .args(words)
            .arg(format!("http://{address}{path}")),
        Stdio::null(),
    );
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    let line = |begin: &str| said.lines().find(|line| line.starts_with(begin));
    let lines = [line("requests: "), line("status codes: ")];
    let found = lines.map(|line| line.unwrap_or("nothing said")).join("; ");
    let fine = words
        .windows(2)
        .any(|pair| pair[0] == "-n" && found == pair[1].parse().map(all).unwrap());
    let verdict = if fine { "" } else { "FAIL " };
    format!("{verdict}{found}")
}

fn by_wrk(wrk: &Path, address: SocketAddr) -> &'static str {
    let output = run(
        Command::new(wrk)
            .args(["-t1", "-c32", "-d3s"])
            .arg(format!("http://{address}/small")),
        Stdio::null(),
    );
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    let complaints = ["Non-2xx", "Socket errors", " 0 requests in"];
    let fine = output.status.success()
        && said.contains(" requests in")
        && !complaints.iter().any(|complaint| said.contains(complaint));
    if fine { "all 2xx" } else { "FAIL" }
}
