//! The PROXY protocol behind the tunnel: nginx asks whose connection it is.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{Answer, CALLER, OTHER, Told, ask};
use crate::support::{CLUSTER, Plane, peer, run};

#[test]
fn nginx_is_told_who_calls() {
    let told = "$proxy_protocol_addr $proxy_protocol_port $remote_addr";
    let (Some(origin), Some(curl)) = (Told::start("proxy_protocol", told), peer("curl")) else {
        return;
    };
    let announced = format!("{}\"\nproxy_protocol = \"v2", origin.address);
    let here = tempfile::tempdir().unwrap();
    let socket = here.path().join("forward.sock");
    let mut plane = Plane::builder()
        .expose("db", &format!("tcp://{announced}"))
        .tcp_ingress("db")
        .expose("web", &format!("http://{announced}"))
        .http_ingress_to("web", &format!("{CLUSTER}/web"))
        .edge_toml(&format!(
            "[[upstream]]\nservice = \"state\"\ntarget = \"tcp://{announced}\"\nallow = [\"{CLUSTER}\"]\n"
        ))
        .client_toml(&format!(
            "[[forward]]\nservice = \"state\"\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n",
            socket.display()
        ))
        .start();

    for to in [plane.ingress("db"), plane.forward("state")] {
        for caller in [CALLER, OTHER] {
            let answer = ask(caller, to, &[]);
            assert_eq!(answer.outcome, "200", "{answer:?}");
            assert_eq!(answer.body, format!("{} 127.0.0.1", answer.local));
        }
    }

    // Nobody in particular: requests share connections, and a unix socket has no address.
    let nobody = "  127.0.0.1";
    let Answer { outcome, body, .. } = ask(CALLER, plane.ingress("web"), &[]);
    assert_eq!((outcome.as_str(), body.as_str()), ("200", nobody));
    let mut local = Command::new(curl);
    local.args(["-sSf", "--max-time", "20", "http://origin.test/"]);
    let output = run(local.arg("--unix-socket").arg(&socket), Stdio::null());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), nobody);
}

/// The header comes in front of TLS, as nginx expects it.
#[test]
fn nginx_is_told_who_calls_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (certificate, key) = (certificate.display(), key.display());
    let how =
        format!("ssl proxy_protocol; ssl_certificate {certificate}; ssl_certificate_key {key}");
    let told = "$proxy_protocol_addr $proxy_protocol_port $ssl_server_name";
    let (Some(origin), Some(_)) = (Told::start(&how, told), peer("curl")) else {
        return;
    };
    let mut plane = Plane::builder()
        .client_toml(&format!(
            "[[expose]]\nservice = \"web\"\ntarget = \"https://{}\"\nserver_name = \"origin.test\"\n\
             ca = \"{certificate}\"\nproxy_protocol = \"v2\"\n",
            origin.address
        ))
        .tcp_ingress("web")
        .start();
    let answer = ask(CALLER, plane.ingress("web"), &[]);
    assert_eq!(answer.outcome, "200", "{answer:?}");
    assert_eq!(answer.body, format!("{} origin.test", answer.local));
}

/// A server that does not expect the header takes it for nonsense.
#[test]
fn nginx_that_does_not_ask_answers_nothing_else() {
    let Some(origin) = Told::start("", "$remote_addr") else {
        return;
    };
    let target = |more: &str| format!("tcp://{}{more}", origin.address);
    let mut plane = Plane::builder()
        .expose("told", &target("\"\nproxy_protocol = \"v2"))
        .tcp_ingress("told")
        .expose("untold", &target(""))
        .tcp_ingress("untold")
        .start();
    let outcome = |to: SocketAddr| ask(CALLER, to, &[]).outcome;
    assert_eq!(outcome(plane.ingress("untold")), "200");
    assert_ne!(outcome(plane.ingress("told")), "200");
}
