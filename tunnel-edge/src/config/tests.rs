//! Files that are right, and what is said about those that are not.

use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Config, Problems> {
    let document = Document::parse(Path::new("edge.toml"), text)?;
    Config::from_document(&document)
}

const SMALLEST: &str = "[identity]\ndir = \"state\"\n";

#[test]
fn the_smallest_file_takes_every_default() {
    let config = read(SMALLEST).unwrap();
    assert_eq!(config.identity_dir, Path::new("state"));
    assert_eq!(config.tunnel, [DEFAULT_TUNNEL]);
    assert!(config.advertise.is_empty() && config.edges.is_empty());
    assert_eq!(config.admin.listen, Some(ListenAddr::Ip(DEFAULT_ADMIN)));
    assert_eq!(config.telemetry.listen, None);
    assert_eq!(config.session, SessionSettings::edge());
    assert_eq!((config.max_sessions, config.max_handshakes), (10_000, 256));
    assert_eq!(config.tenant_budget, None);
    assert!(config.workers >= 1);
    assert!(config.ingresses.is_empty() && config.upstreams.is_empty());
}

#[test]
fn a_full_file_is_read() {
    let text = r#"
[identity]
dir = "/var/lib/causeway"
[listen]
tunnel = ["0.0.0.0:7443", "[::1]:0"]
advertise = "edge-1.example.com:443"
edges = ["edge-1.example.com:443", "[2001:db8::2]:7443"]
[admin]
listen = "off"
[[ingress]]
kind = "http"
listen = "127.0.0.1:8080"
host = "{service}--{cluster}--{tenant}.apps.example.com"
anonymous = true
[[ingress]]
kind = "http"
name = "console"
listen = ["127.0.0.1:8081", "[::1]:8081"]
to = "acme/prod-1/console"
allow = ["10.0.0.0/8", "::1"]
[[ingress]]
kind = "tcp"
listen = "127.0.0.1:0"
to = "acme/prod-1/db"
allow = []
[[upstream]]
service = "state"
target = "h2c://127.0.0.1:9001"
allow = ["acme/*", "beta/prod-1"]
[session]
drain = "1m"
max_sessions = 5
tenant_budget = "96MiB"
"#;
    let config = read(text).unwrap();
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.advertise[0].to_string(), "edge-1.example.com:443");
    assert_eq!(config.edges[1].to_string(), "[2001:db8::2]:7443");
    let shown: Vec<_> = config
        .ingresses
        .iter()
        .map(|ingress| {
            let Ingress {
                name,
                kind,
                callers,
                connections: _,
                listen,
            } = ingress;
            format!(
                "{name} {} {} {callers} {}",
                kind.as_str(),
                kind.leads_to(),
                listen.len()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "http-0 http {service}--{cluster}--{tenant}.apps.example.com anyone 1",
            "console http acme/prod-1/console 10.0.0.0/8, ::1/128 2",
            "tcp-2 tcp acme/prod-1/db nobody 1",
        ]
    );
    let upstream = &config.upstreams[0];
    assert!(upstream.admits(&"acme/any".parse().unwrap()));
    assert!(!upstream.admits(&"beta/prod-2".parse().unwrap()));
    assert_eq!(config.session.drain, std::time::Duration::from_secs(60));
    assert_eq!(config.max_sessions, 5);
    assert_eq!(config.tenant_budget, Some(96 << 20));
}

#[test]
fn routes_belong_to_their_ingress_the_most_specific_first() {
    let text = r#"
[identity]
dir = "state"
[[route]]
ingress = "apps"
path = "/api"
to = "a/b/any"
[[route]]
ingress = "apps"
host = "*.example.com"
to = "a/b/below"
[[ingress]]
kind = "http"
name = "apps"
listen = "127.0.0.1:0"
anonymous = true
proxy_protocol_from = "10.0.0.1"
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
forwarding_header = "forwarded"
forwarding_fields = ["for", "host"]
max_connections = 7
max_connections_per_address = 3
keepalive = "off"
head_timeout = "3s"
max_head = "8KiB"
[[route]]
ingress = "apps"
host = "API.example.com."
path = "/v1/"
to = "a/b/v1"
set_host = "api.internal:8080"
strip_prefix = true
[[route]]
ingress = "apps"
host = "api.example.com"
path = "/v1/users"
to = "a/b/users"
"#;
    let config = read(text).unwrap();
    let [ingress] = &config.ingresses[..] else {
        panic!("one ingress");
    };
    let leads_to = "api.example.com/v1/users to a/b/users, api.example.com/v1 to a/b/v1, \
                    *.example.com/ to a/b/below, /api to a/b/any";
    assert_eq!(ingress.kind.leads_to(), leads_to);
    assert_eq!(ingress.connections.max, 7);
    assert_eq!(ingress.connections.max_per_address, Some(3));
    assert_eq!(ingress.connections.keepalive, None);
    assert_eq!(ingress.connections.proxy_protocol_from.len(), 1);
    let IngressKind::Http(http) = &ingress.kind else {
        panic!("an http ingress");
    };
    assert_eq!(http.entry, None);
    assert_eq!(http.trusted.header, ForwardingHeader::Forwarded);
    let believed = [ForwardingField::For, ForwardingField::Host];
    assert_eq!(http.trusted.fields, believed);
    assert!(http.trusted.include("::ffff:10.1.1.1".parse().unwrap()));
    assert_eq!(http.limits.head_timeout, std::time::Duration::from_secs(3));
    assert_eq!(http.limits.max_head, 8192);
    assert!(http.routes[1].strip_prefix);
    assert_eq!(
        http.routes[1].set_host.as_ref().unwrap(),
        "api.internal:8080"
    );
}

/// An ingress below the smallest file, from line 3, with nothing wrong but what is added.
const HTTP: &str = "[[ingress]]\nkind = \"http\"\nlisten = \"127.0.0.1:8080\"\n";
const TCP: &str = "[[ingress]]\nkind = \"tcp\"\nlisten = \"127.0.0.1:5432\"\n";
const NONE: &str = "";

/// What stands below the smallest file and all that is said about it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        NONE,
        "[[ingress]]\nkind = \"htp\"\nlisten = \"127.0.0.1:1\"\nanonymous = true",
        "edge.toml:4:8: ingress[0].kind: unknown value \"htp\"; expected one of http, tcp",
    ),
    (
        NONE,
        "[[ingress]]\nlisten = \"127.0.0.1:1\"\nanonymous = true",
        "edge.toml:3:1: ingress[0].kind: missing; expected one of http, tcp",
    ),
    (
        HTTP,
        "anonymous = true",
        "edge.toml:3:1: ingress[0].host: missing; an http ingress needs host = \"{service}--{cluster}--{tenant}.apps.example.com\", to = \"tenant/cluster/service\", or a [[route]]",
    ),
    (
        HTTP,
        "anonymous = true\nto = \"acme/prod-1\"",
        "edge.toml:7:6: ingress[0].to: \"acme/prod-1\" is no service of a cluster; write tenant/cluster/service, such as acme/prod-1/db",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nset_host = \"a@b\"",
        "edge.toml:8:12: ingress[0].set_host: \"a@b\" is no host; write one such as \"app.internal\" or \"app.internal:8080\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nforwarding_header = \"forwarded\"",
        "edge.toml:8:21: ingress[0].forwarding_header: nobody is believed; say who with trusted_proxies = [\"10.0.0.0/8\"]",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nforwarding_fields = \"for\"",
        "edge.toml:8:21: ingress[0].forwarding_fields: nobody is believed; say who with trusted_proxies = [\"10.0.0.0/8\"]",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\ntrusted_proxies = \"10.0.0.0/8\"\nforwarding_fields = [\"for\", \"by\"]",
        "edge.toml:9:29: ingress[0].forwarding_fields[1]: unknown value \"by\"; expected some of for, proto, host, port, prefix, user",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\ntrusted_proxies = \"10.0.0.0/8\"\nforwarding_header = \"forwarded\"\nforwarding_fields = [\"for\", \"user\"]",
        "edge.toml:10:29: ingress[0].forwarding_fields[1]: Forwarded does not say \"user\"; leave it out, or set forwarding_header = \"x-forwarded\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\ntrusted_proxies = \"10.0.0.0/8\"\nforwarding_fields = []",
        "edge.toml:9:21: ingress[0].forwarding_fields: is empty; list some of \"for\", \"proto\", \"host\", \"port\", \"prefix\" and \"user\", or leave it out for \"for\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\n[[route]]\ningress = \"web\"\nhost = \"a\"\nto = \"a/b/c\"",
        "edge.toml:9:11: route[0].ingress: there is no ingress \"web\"; give the one that is meant this name",
    ),
    (
        HTTP,
        "anonymous = true\n[[route]]\ningress = \"http-0\"\nto = \"a/b/c\"",
        "edge.toml:7:1: route[0]: fits every request; give it a host or a path, or say to in the ingress itself",
    ),
    (
        HTTP,
        "anonymous = true\n[[route]]\ningress = \"http-0\"\npath = \"/a\"\nto = \"a/b/c\"\n[[route]]\ningress = \"http-0\"\npath = \"/a/\"\nto = \"a/b/d\"",
        "edge.toml:14:6: route[1].to: routes /a twice; the other one is route[0].to at edge.toml:10:6",
    ),
    (
        TCP,
        "to = \"a/b/c\"\nanonymous = true\n[[route]]\ningress = \"tcp-0\"\npath = \"/a\"\nto = \"a/b/c\"",
        "edge.toml:9:11: route[0].ingress: is no http ingress; only those route by host and path",
    ),
    (
        TCP,
        "to = \"a/b/c\"\nanonymous = true\ntrusted_proxies = \"10.0.0.0/8\"",
        "edge.toml:8:19: ingress[0].trusted_proxies: only an http ingress takes it, this one is tcp",
    ),
    (
        HTTP,
        "to = \"a/b/c\"",
        "edge.toml:3:1: ingress[0]: says not who may call; write allow = [\"10.0.0.0/8\"], or anonymous = true for everyone who can reach it",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nallow = []",
        "edge.toml:7:13: ingress[0].anonymous: admits everyone, and allow only some; keep one of the two",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = false",
        "edge.toml:7:13: ingress[0].anonymous: false says nothing; leave it out and list who may call with allow",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = \"yes\"",
        "edge.toml:7:13: ingress[0].anonymous: expected true or false, found the string \"yes\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nallow = [\"service/web\"]",
        "edge.toml:7:10: ingress[0].allow[0]: \"service/web\" needs a TLS ingress, which is not built yet; allow networks, such as \"10.0.0.0/8\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nhost = \"x\"",
        "edge.toml:6:6: ingress[0].to: stands beside host; keep host to route by name, or to for one service",
    ),
    (
        TCP,
        "anonymous = true",
        "edge.toml:3:1: ingress[0].to: missing; say where it leads, e.g. to = \"acme/prod-1/db\"",
    ),
    (
        TCP,
        "anonymous = true\nto = \"a/b/c\"\nhost = \"x\"",
        "edge.toml:8:8: ingress[0].host: a tcp ingress sees no host names; say where it leads with to = \"tenant/cluster/service\"",
    ),
    (
        TCP,
        "anonymous = true\nto = \"a/b/c\"\n[[ingress]]\nkind = \"tcp\"\nanonymous = true\nto = \"a/b/d\"\nlisten = \"127.0.0.1:5432\"",
        "edge.toml:12:10: ingress[1].listen: listens on 127.0.0.1:5432 twice; the other one is ingress[0].listen at edge.toml:5:10",
    ),
    (
        TCP,
        "anonymous = true\nto = \"a/b/c\"\nname = \"db\"\n[[ingress]]\nkind = \"tcp\"\nname = \"db\"\nanonymous = true\nto = \"a/b/d\"\nlisten = \"127.0.0.1:5433\"",
        "edge.toml:11:8: ingress[1].name: is named db twice; the other one is ingress[0].name at edge.toml:8:8",
    ),
    (
        NONE,
        "[[ingress]]\nkind = \"tcp\"\nto = \"a/b/c\"\nanonymous = true\nlisten = \"unix:/run/x\"",
        "edge.toml:7:10: ingress[0].listen: \"unix:/run/x\" is a unix socket; this listener needs an IP address and a port",
    ),
    (
        NONE,
        "[listen]\ntunnel = \"127.0.0.1:7480\"",
        "edge.toml: admin.listen: listens on 127.0.0.1:7480 twice; the other one is listen.tunnel at edge.toml:4:10",
    ),
    (
        NONE,
        "[listen]\ntunnel = \"[::]:7480\"",
        "edge.toml: admin.listen: listens on 127.0.0.1:7480, and [::]:7480 of listen.tunnel at edge.toml:4:10 takes that port too: 0.0.0.0 is every IPv4 address, and [::] every IPv6 and every IPv4 address",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nallow = \"10.0.0.0/8\"\ntrusted_proxies = \"0.0.0.0/0\"",
        "edge.toml:8:19: ingress[0].trusted_proxies: 0.0.0.0/0 is everyone, so anyone could claim any address that allow admits; name the proxies",
    ),
    (
        TCP,
        "to = \"a/b/c\"\nallow = []\nproxy_protocol_from = \"::/0\"",
        "edge.toml:8:23: ingress[0].proxy_protocol_from: ::/0 is everyone, so anyone could claim any address that allow admits; name the proxies",
    ),
    (
        TCP,
        "to = \"a/b/c\"\nanonymous = true\nmax_connections = 5\nmax_connections_per_address = 6",
        "edge.toml:9:31: ingress[0].max_connections_per_address: is more than max_connections, which is 5",
    ),
    (
        HTTP,
        "anonymous = true\n[[route]]\ningress = \"http-0\"\nto = \"a/b/c\"\nhost = \"x\"\nstrip_prefix = true",
        "edge.toml:11:16: route[0].strip_prefix: there is nothing to strip; say what with path = \"/api\", or leave it out",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nset_host = \"a:0\"",
        "edge.toml:8:12: ingress[0].set_host: \"a:0\" is no host; write one such as \"app.internal\" or \"app.internal:8080\"",
    ),
    (
        HTTP,
        "to = \"a/b/c\"\nanonymous = true\nset_host = \"a:70000\"",
        "edge.toml:8:12: ingress[0].set_host: \"a:70000\" is no host; write one such as \"app.internal\" or \"app.internal:8080\"",
    ),
    (
        NONE,
        "[listen]\nadvertise = \"edge-1\"",
        "edge.toml:4:13: listen.advertise: \"edge-1\" has no port; write it like edge-1:443",
    ),
    (
        NONE,
        "[[upstream]]\nservice = \"a\"\ntarget = \"tcp://x:1\"",
        "edge.toml:3:1: upstream[0].allow: missing; say whose clients may call it, e.g. allow = [\"acme/*\"]; [] is nobody, [\"*\"] everybody",
    ),
    (
        NONE,
        "[[upstream]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nallow = [\"acme\"]",
        "edge.toml:6:10: upstream[0].allow[0]: \"acme\" names no clusters; write acme/prod-1, acme/* for all of a tenant, or * for all",
    ),
    (
        NONE,
        "[[upstream]]\nservice = \"a\"\ntarget = \"hello\"\nallow = []",
        "edge.toml:5:10: upstream[0].target: hello is built into clients only; give an address, such as h2c://127.0.0.1:9001",
    ),
    (
        NONE,
        "[session]\nmax_sessions = 0",
        "edge.toml:4:16: session.max_sessions: 0 is out of range; expected 1 to 1000000",
    ),
    (
        NONE,
        "[[ingress]]\nkind = \"htp\"\nlisten = \"here\"\nwho = \"me\"",
        "edge.toml:3:1: ingress[0]: says not who may call; write allow = [\"10.0.0.0/8\"], or anonymous = true for everyone who can reach it\nedge.toml:4:8: ingress[0].kind: unknown value \"htp\"; expected one of http, tcp\nedge.toml:5:10: ingress[0].listen: \"here\" is no address to listen on; write an IP address and a port such as 127.0.0.1:8080 or [::]:8080 (port 0: any free one), or unix:/path/to.sock\nedge.toml:6:1: ingress[0].who: unknown key; [[ingress]] has kind, name, listen, host, to, set_host, anonymous, allow, proxy_protocol_from, trusted_proxies, forwarding_header, forwarding_fields, max_connections, max_connections_per_address, keepalive, idle_timeout, head_timeout, body_timeout, max_head, max_headers",
    ),
];

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (ingress, below, message) in WRONG {
        let text = format!("{SMALLEST}{ingress}{below}\n");
        let problems = read(&text).expect_err(below);
        assert_eq!(problems.to_string(), *message, "about:\n{text}");
    }
}

#[test]
fn a_host_pattern_that_is_none_is_reported_with_its_line() {
    let text = format!("{SMALLEST}{HTTP}anonymous = true\nhost = \"{{service}}.example.com\"\n");
    let shown = read(&text).unwrap_err().to_string();
    assert!(
        shown.starts_with("edge.toml:7:8: ingress[0].host: "),
        "{shown}"
    );
}

#[test]
fn a_reload_says_what_needs_a_restart() {
    let old = read(SMALLEST).unwrap();
    let text = format!(
        "workers = 200\n{SMALLEST}[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n[session]\nmax_handshakes = 1\n{TCP}to = \"a/b/c\"\nanonymous = true\n"
    );
    let new = read(&text).unwrap();
    assert_eq!(
        Config::restart_keys(&old, &new),
        [
            "listen.tunnel",
            "session.max_handshakes",
            "admin.listen",
            "workers"
        ]
    );
    assert_eq!(Config::restart_keys(&old, &old), [""; 0]);
}
