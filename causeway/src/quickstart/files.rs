//! The two configuration files: what a deployment has, with words about what to change there.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::plan::{Plan, Service};
use crate::config::Kind;
use crate::pair::{CLUSTER, TENANT, identity_name};

/// The name of the tcp ingress to a service.
fn tcp_ingress(service: &Service) -> String {
    format!("tcp-{}", service.name)
}

/// `edge.toml`.
pub(super) fn edge(plan: &Plan) -> String {
    let mut file = format!(
        r#"# The edge of the demo. It plays the control plane: it accepts tunnels and leads callers into them.
#
# Written by `causeway quickstart`. Change what you like: services and ingresses are taken over
# as you save, the rest by a restart, and a file with your changes is never written over.
# All keys: `causeway config example edge`.

[identity]
# key.pem, cert.pem and ca.pem, as `causeway certs issue edge demo` writes them.
dir = "{identity}"

[listen]
# Where clients connect to, over UDP and TCP. A deployment has "[::]:7443", and customers' clusters reach it.
tunnel = {tunnel}

[admin]
# Health, metrics and `causeway status`: full control, so for this machine only.
listen = {admin}

[session]
# How long stopping waits for open streams. The default is "5m"; a demo should be gone at once.
drain = "3s"
"#,
        identity = identity_name(Kind::Edge),
        tunnel = address(plan.tunnel),
        admin = address(plan.edge_admin),
    );
    if plan.has_http() {
        let _ = write!(
            file,
            r#"
# HTTP/1.1 and HTTP/2 callers. The host name says which service of which cluster they mean, such as
# {example}--{CLUSTER}--{TENANT}.localhost. Browsers and curl look for names under localhost on this
# machine by themselves; a deployment has its own domain and one wildcard DNS record.
[[ingress]]
kind = "http"
name = "web"
listen = {listen}
host = "{{service}}--{{cluster}}--{{tenant}}.localhost"
{anonymous}"#,
            example = plan
                .exposes
                .iter()
                .find(|it| it.is_http())
                .map_or("hello", |it| it.name.as_str()),
            listen = address(plan.http),
            anonymous = anonymous(plan.http.ip()),
        );
    }
    for service in plan.exposes.iter().filter(|it| !it.is_http()) {
        let _ = write!(
            file,
            r#"
# Bytes over TCP, all to the service {service}. Port 0 takes a free one, which `causeway status` shows.
[[ingress]]
kind = "tcp"
name = "{name}"
listen = "127.0.0.1:0"
to = "{TENANT}/{CLUSTER}/{service}"
{anonymous}"#,
            service = service.name,
            name = tcp_ingress(service),
            anonymous = anonymous(IpAddr::from([127, 0, 0, 1])),
        );
    }
    for Service { name, target } in &plan.upstreams {
        let _ = write!(
            file,
            r#"
# A service of the control plane that clients may call. Nobody may who is not in allow.
[[upstream]]
service = "{name}"
target = {target}
allow = ["{TENANT}/{CLUSTER}"]
"#,
            target = quoted(&target.to_string()),
        );
    }
    file
}

/// `client.toml`, for an edge that listens at `tunnel`.
pub(super) fn client(plan: &Plan, tunnel: SocketAddr) -> String {
    let mut file = format!(
        r#"# The client of the demo. It plays a customer's cluster, {TENANT}/{CLUSTER}: it dials the edge, and nobody
# dials it. What is exposed below can be called through the tunnel, and nothing else.
#
# Written by `causeway quickstart`. Change what you like: services and ingresses are taken over
# as you save, the rest by a restart, and a file with your changes is never written over.
# All keys: `causeway config example client`.

[identity]
# key.pem, cert.pem and ca.pem, as `causeway certs issue client {TENANT}/{CLUSTER}` writes them. The
# certificate says whose client this is; nothing in this file could.
dir = "{identity}"

[edge]
# The only address that is dialled. A deployment has a name: "edge.example.com", port 443 unless stated.
address = {tunnel}

[admin]
# Health, metrics and `causeway status`: full control, so for this machine only.
listen = {admin}

[session]
# How long stopping waits for open streams. The default is "2m"; a demo should be gone at once.
drain = "3s"
"#,
        identity = identity_name(Kind::Client),
        tunnel = address(tunnel),
        admin = address(plan.client_admin),
    );
    for Service { name, target } in &plan.exposes {
        let _ = write!(
            file,
            r#"
# A service here that the control plane may call. This list is the allow-list; no edge can widen it.
[[expose]]
service = "{name}"
target = {target}
"#,
            target = quoted(&target.to_string()),
        );
    }
    for Service { name, .. } in &plan.upstreams {
        let _ = write!(
            file,
            r#"
# A service of the control plane that is called from here, at this address. Port 0 takes a free one,
# which `causeway status` shows.
[[forward]]
service = "{name}"
listen = "127.0.0.1:0"
"#
        );
    }
    file
}

fn anonymous(ip: IpAddr) -> &'static str {
    if ip.is_loopback() {
        "# Whoever can connect may call. That is fine on a loopback address, where only this machine can;\n\
         # anywhere else, write allow = [\"10.0.0.0/8\"] instead.\n\
         anonymous = true\n"
    } else {
        "# Whoever can connect may call, and this is no loopback address: others can. Better write\n\
         # allow = [\"10.0.0.0/8\"] with your own network instead.\n\
         anonymous = true\n"
    }
}

fn address(address: SocketAddr) -> String {
    format!("\"{address}\"")
}

/// A TOML basic string (TOML 1.0, String).
fn quoted(text: &str) -> String {
    let mut string = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(string, "\\u{:04X}", u32::from(c));
            }
            c => string.push(c),
        }
    }
    string + "\""
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use relay::origin::Target;
    use relay::proto::AppProtocol;
    use relay::settings::Document;
    use tunnel_edge::config::Callers;

    use super::*;

    fn plan(exposes: &[&str], upstreams: &[&str], http: &str) -> Plan {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let tunnel = "127.0.0.1:7443".parse().unwrap();
        Plan::new(all(exposes), all(upstreams), http.parse().unwrap(), tunnel).unwrap()
    }

    fn edge_config(plan: &Plan) -> tunnel_edge::config::Config {
        let document = Document::parse(Path::new("/demo/edge.toml"), &edge(plan)).unwrap();
        tunnel_edge::config::Config::from_document(&document).unwrap()
    }

    fn client_config(plan: &Plan) -> tunnel_client::config::Config {
        let text = client(plan, "127.0.0.1:41234".parse().unwrap());
        let document = Document::parse(Path::new("/demo/client.toml"), &text).unwrap();
        tunnel_client::config::Config::from_document(&document).unwrap()
    }

    #[test]
    fn hello_needs_one_http_ingress() {
        let plan = plan(&[], &[], "127.0.0.1:8080");
        let edge = edge_config(&plan);
        assert_eq!(edge.identity_dir, Path::new("/demo/edge"));
        assert_eq!(edge.tunnel, [plan.tunnel]);
        assert_eq!(edge.session.drain.as_secs(), 3);
        assert_eq!(edge.ingresses.len(), 1);
        let ingress = &edge.ingresses[0];
        assert_eq!(ingress.listen, [plan.http]);
        assert_eq!(ingress.callers, Callers::Anonymous);
        assert_eq!(
            ingress.kind.leads_to(),
            "{service}--{cluster}--{tenant}.localhost"
        );
        let client = client_config(&plan);
        assert_eq!(client.identity_dir, Path::new("/demo/client"));
        assert_eq!(client.edge.addresses[0].to_string(), "127.0.0.1:41234");
        assert_eq!(client.session.drain.as_secs(), 3);
        assert_eq!(client.exposes[0].origin.target, Target::Hello);
        assert!(client.forwards.is_empty());
    }

    #[test]
    fn bytes_have_an_ingress_each_and_upstreams_a_forward() {
        let exposes = [
            "db=tcp://127.0.0.1:5432",
            "web=tcp://[::1]:1",
            "api=h2c://127.0.0.1:9000",
        ];
        let plan = plan(&exposes, &["state=http://127.0.0.1:3000"], "[::1]:0");
        let edge = edge_config(&plan);
        let ingresses: Vec<_> = edge
            .ingresses
            .iter()
            .map(|it| (it.name.as_str(), it.kind.leads_to()))
            .collect();
        assert_eq!(
            ingresses,
            [
                ("web", "{service}--{cluster}--{tenant}.localhost".to_owned()),
                ("tcp-db", "acme/demo/db".to_owned()),
                ("tcp-web", "acme/demo/web".to_owned()),
            ]
        );
        assert_eq!(edge.upstreams[0].allow[0].to_string(), "acme/demo");
        let client = client_config(&plan);
        let targets: Vec<_> = client
            .exposes
            .iter()
            .map(|it| it.origin.target.to_string())
            .collect();
        assert_eq!(
            targets,
            [
                "tcp://127.0.0.1:5432",
                "tcp://[::1]:1",
                "h2c://127.0.0.1:9000"
            ]
        );
        assert_eq!(client.forwards[0].listen[0].to_string(), "127.0.0.1:0");
    }

    #[test]
    fn bytes_alone_need_no_http_ingress() {
        let plan = plan(&["db=tcp://127.0.0.1:5432"], &[], "127.0.0.1:8080");
        assert_eq!(edge_config(&plan).ingresses.len(), 1);
    }

    #[test]
    fn an_address_that_others_reach_is_called_so() {
        assert!(edge(&plan(&[], &[], "0.0.0.0:80")).contains("this is no loopback address"));
        assert!(!edge(&plan(&[], &[], "127.0.0.1:80")).contains("this is no loopback address"));
    }

    #[test]
    fn paths_come_back_as_they_were() {
        for path in [
            "/run/app.sock",
            "/a b/\"c\"",
            "/back\\slash",
            "/o'clock",
            "/tab\there\u{7f}",
        ] {
            let plan = plan(&[&format!("app=unix://{path}")], &[], "127.0.0.1:0");
            let target = Target::Unix {
                path: PathBuf::from(path),
                protocol: AppProtocol::Tcp,
            };
            assert_eq!(
                client_config(&plan).exposes[0].origin.target,
                target,
                "{path}"
            );
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        let plan = plan(
            &["db=tcp://a:1", "hello=hello"],
            &["s=tcp://a:1"],
            "127.0.0.1:0",
        );
        let client = client(&plan, plan.tunnel);
        for line in edge(&plan).lines().chain(client.lines()) {
            assert!(line.len() <= 110, "{line}");
        }
    }
}
