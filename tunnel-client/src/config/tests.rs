//! Files that are right, and what is said about those that are not.

use std::path::Path;
use std::time::Duration;

use relay::AppProtocol;
use relay::origin::Target;

use super::*;

fn read(text: &str) -> Result<Config, Problems> {
    let document = Document::parse(Path::new("client.toml"), text)?;
    Config::from_document(&document)
}

const SMALLEST: &str = "[identity]\ndir = \"state\"\n[edge]\naddress = \"edge.example.com\"\n";

#[test]
fn the_smallest_file_takes_every_default() {
    let config = read(SMALLEST).unwrap();
    assert_eq!(config.identity_dir, Path::new("state"));
    assert_eq!(config.state_dir, Path::new("state"));
    assert_eq!(
        config.edge.addresses,
        ["edge.example.com:443".parse().unwrap()]
    );
    assert!(config.edge.srv.is_empty());
    assert_eq!(config.edge.connect_to, []);
    assert_eq!(config.resolver, ResolverSettings::default());
    assert_eq!(config.edge.transport, Transport::Auto);
    assert_eq!(config.edge.edges, 2);
    assert_eq!(config.admin.listen, Some(ListenAddr::Ip(DEFAULT_ADMIN)));
    assert_eq!(config.telemetry.listen, None);
    assert_eq!(config.session, SessionSettings::client());
    assert_eq!(config.backoff, BackoffSettings::default());
    assert_eq!(config.workers, 1);
    assert!(config.exposes.is_empty() && config.forwards.is_empty());
}

#[test]
fn each_transport_is_asked_for_by_its_name() {
    use relay::transport::TransportKind::{self, H2, Quic, Tls, Yamux};
    let transports: [(&str, &[TransportKind]); 5] = [
        ("auto", &[Quic, Tls]),
        ("quic", &[Quic]),
        ("tls", &[Tls]),
        ("yamux", &[Yamux]),
        ("h2", &[H2]),
    ];
    for (name, kinds) in transports {
        let config = read(&format!("{SMALLEST}transport = \"{name}\"\n")).unwrap();
        assert_eq!(config.edge.transport.kinds(), kinds, "{name}");
    }
}

#[test]
fn edges_may_be_named_by_srv_records_and_reached_elsewhere() {
    let text = "[identity]\ndir = \"state\"\n[edge]\nsrv = [\"Apps.Example.com.\", \"_edge._tcp.example.org\"]\nconnect_to = [\"10.1.2.3\", \"[2001:db8::1]:7443\"]\n[resolver]\nservers = [\"10.0.0.53\", \"[2001:db8::53]:5353\"]\n";
    let config = read(text).unwrap();
    assert_eq!(
        config.edge.srv,
        ["_causeway._tcp.apps.example.com", "_edge._tcp.example.org"]
    );
    assert!(config.edge.addresses.is_empty());
    let connect_to: Vec<_> = config
        .edge
        .connect_to
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(connect_to, ["10.1.2.3", "[2001:db8::1]:7443"]);
    let servers: Vec<_> = config
        .resolver
        .servers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(servers, ["10.0.0.53:53", "[2001:db8::53]:5353"]);
}

/// What stands as `srv`, and what is said about it.
#[test]
fn a_name_that_can_have_no_srv_records_is_refused() {
    for (srv, message) in [
        (
            "\"192.0.2.1\"",
            "client.toml:4:7: edge.srv: 192.0.2.1 is an address, which has no SRV records; write address = \"192.0.2.1\"",
        ),
        (
            "\"a b\"",
            "client.toml:4:7: edge.srv: \"a b\" is no name with SRV records; write it like apps.example.com or _causeway._tcp.apps.example.com",
        ),
        (
            "[]",
            "client.toml:4:7: edge.srv: is empty; say whose SRV records name the edges, e.g. srv = \"apps.example.com\"",
        ),
        (
            "[\"apps.example.com\", \"_causeway._tcp.apps.example.com\"]",
            "client.toml:4:28: edge.srv[1]: asks for _causeway._tcp.apps.example.com twice; the other one is edge.srv[0] at client.toml:4:8",
        ),
    ] {
        let text = format!("[identity]\ndir = \"state\"\n[edge]\nsrv = {srv}\n");
        assert_eq!(read(&text).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_full_file_is_read() {
    let text = r#"
workers = 2
state_dir = "/var/lib/causeway"
[identity]
dir = "state"
[edge]
address = ["edge-1.example.com:7443", "[2001:db8::1]"]
transport = "quic"
edges = 1
[admin]
listen = "unix:admin.sock"
[telemetry]
listen = "0.0.0.0:7491"
[[expose]]
service = "executor"
target = "h2c://127.0.0.1:9000"
connect_timeout = "2s"
keepalive = "off"
[[expose]]
service = "api"
target = "https://api.internal"
h2 = true
ca = "ca.pem"
server_name = "api.example.com"
[[expose]]
service = "app"
target = "unix:app.sock"
protocol = "http"
[[expose]]
service = "hello"
target = "hello"
[[forward]]
service = "state"
listen = ["127.0.0.1:0", "127.0.0.1:0", "unix:state.sock"]
[session]
ping_interval = "1s"
dead_after = "3s"
stream_window = "1MiB"
max_streams = 100
"#;
    let document = Document::parse(Path::new("/etc/causeway/client.toml"), text).unwrap();
    let config = Config::from_document(&document).unwrap();
    assert_eq!(config.identity_dir, Path::new("/etc/causeway/state"));
    assert_eq!(config.state_dir, Path::new("/var/lib/causeway"));
    assert_eq!(config.edge.addresses[1].to_string(), "[2001:db8::1]:443");
    assert_eq!(config.edge.transport, Transport::Quic);
    assert_eq!(
        config.admin.listen.unwrap().to_string(),
        "unix:/etc/causeway/admin.sock"
    );
    assert_eq!(config.telemetry.listen.unwrap().to_string(), "0.0.0.0:7491");
    let [executor, api, app, hello] = &config.exposes[..] else {
        panic!("four services: {:?}", config.exposes);
    };
    assert_eq!(executor.origin.connect_timeout, Duration::from_secs(2));
    assert_eq!(executor.origin.keepalive, None);
    assert_eq!(api.origin.keepalive, Some(Duration::from_secs(30)));
    let Target::Https(https) = &api.origin.target else {
        panic!("an https target: {:?}", api.origin.target);
    };
    assert_eq!(api.origin.target.protocol(), AppProtocol::H2);
    assert_eq!(https.ca.as_deref(), Some(Path::new("/etc/causeway/ca.pem")));
    assert_eq!(
        https.server_name.as_ref().unwrap().to_string(),
        "api.example.com"
    );
    assert_eq!(
        app.origin.target.to_string(),
        "unix:///etc/causeway/app.sock"
    );
    assert_eq!(app.origin.target.protocol(), AppProtocol::Http1);
    assert_eq!(hello.origin.target, Target::Hello);
    assert_eq!(config.forwards[0].listen.len(), 3);
    assert_eq!(config.session.stream_window, 1 << 20);
    assert_eq!(config.session.max_streams, 100);
    assert_eq!(config.workers, 2);
}

#[test]
fn arguments_make_a_configuration_without_a_file() {
    let mut document = Document::of_arguments();
    document.set(
        relay::settings::Place::Argument,
        "edge",
        "address",
        "edge.example.com:7443",
    );
    document.set(relay::settings::Place::Argument, "identity", "dir", "state");
    document.push(
        "expose",
        &[("service", "web"), ("target", "http://127.0.0.1:3000")],
    );
    let config = Config::from_document(&document).unwrap();
    assert_eq!(
        config.exposes[0].origin.target.to_string(),
        "http://127.0.0.1:3000"
    );
    document.push("expose", &[("service", "web"), ("target", "3000")]);
    assert_eq!(
        Config::from_document(&document).unwrap_err().to_string(),
        "command line: expose[1].target: \"3000\" has no scheme; write one of tcp://, http://, h2c://, https://, unix:// in front, such as http://127.0.0.1:3000\n\
         command line: expose[1].service: exposes web twice; the other one is expose[0].service at command line"
    );
}

#[test]
fn how_targets_are_looked_at_is_read() {
    let text = format!(
        "{SMALLEST}
[[expose]]
service = \"bytes\"
target = \"tcp://127.0.0.1:1\"
[[expose]]
service = \"quick\"
target = \"http://127.0.0.1:1\"
health = \"http\"
health_path = \"/healthz?deep=1\"
health_interval = \"1s\"
[[expose]]
service = \"calls\"
target = \"h2c://127.0.0.1:1\"
health = \"grpc\"
health_service = \"acme.v1.Queue\"
health_timeout = \"300ms\"
health_rise = 1
health_fall = 5
[[expose]]
service = \"sleeper\"
target = \"unix:app.sock\"
health = \"off\"
[[expose]]
service = \"hello\"
target = \"hello\"
"
    );
    let config = read(&text).unwrap();
    let by_default = CheckSettings {
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
    };
    let [bytes, quick, calls, sleeper, hello] = &config.exposes[..] else {
        panic!("five services: {:?}", config.exposes);
    };
    assert_eq!(bytes.health, HealthSettings::Checked(by_default.clone()));
    let of_quick = CheckSettings {
        kind: CheckKind::Http("/healthz?deep=1".parse().unwrap()),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..by_default
    };
    assert_eq!(quick.health, HealthSettings::Checked(of_quick));
    let of_calls = CheckSettings {
        kind: CheckKind::Grpc("acme.v1.Queue".to_owned()),
        timeout: Duration::from_millis(300),
        rise: 1,
        fall: 5,
        ..by_default
    };
    assert_eq!(calls.health, HealthSettings::Checked(of_calls));
    assert_eq!(sleeper.health, HealthSettings::Off);
    assert_eq!(hello.health, HealthSettings::Off);
}

/// What stands below the smallest file, from line 5, and all that is said about it.
const WRONG: &[(&str, &str)] = &[
    (
        "transport = \"tcp\"",
        "client.toml:5:13: edge.transport: unknown value \"tcp\"; expected one of auto, quic, tls, yamux, h2",
    ),
    (
        "suffix = \"10.0.0.1\"",
        "client.toml:5:10: edge.suffix: \"10.0.0.1\" is no domain; write it like edges.example.com, or \"off\"",
    ),
    (
        "connect_to = \"edge.internal\"",
        "client.toml:5:14: edge.connect_to: \"edge.internal\" is a name; connect_to takes IP addresses, such as 10.1.2.3 or [2001:db8::1]:7443, and address the names",
    ),
    (
        "connect_to = [\"10.1.2.3\", \"2001:db8::1\"]",
        "client.toml:5:27: edge.connect_to[1]: write the IPv6 address in brackets: [2001:db8::1]",
    ),
    (
        "[resolver]\nservers = \"ns.example.com\"",
        "client.toml:6:11: resolver.servers: \"ns.example.com\" is a name, and there is nobody yet to ask for it; write the name server's IP address, such as 10.0.0.53 or [2001:db8::53]:5353",
    ),
    (
        "[resolver]\nservers = [\"10.0.0.53\", \"10.0.0.53:53\"]",
        "client.toml:6:25: resolver.servers[1]: asks 10.0.0.53:53 twice; the other one is resolver.servers[0] at client.toml:6:12",
    ),
    (
        "[resolver]\ntimeout = \"5m\"",
        "client.toml:6:11: resolver.timeout: 5m is out of range; expected 100ms to 1m",
    ),
    (
        "[resolver]\nmin_ttl = \"2m\"\nmax_ttl = \"1m\"",
        "client.toml:7:11: resolver.max_ttl: 1m must not be less than min_ttl, which is 2m",
    ),
    (
        "edges = 9",
        "client.toml:5:9: edge.edges: 9 is out of range; expected 1 to 8",
    ),
    (
        "edges = \"2\"",
        "client.toml:5:9: edge.edges: expected a whole number from 1 to 8, found the string \"2\"",
    ),
    (
        "adress = \"x\"",
        "client.toml:5:1: edge.adress: unknown key; did you mean address?",
    ),
    (
        "colour = \"x\"",
        "client.toml:5:1: edge.colour: unknown key; [edge] has address, srv, connect_to, suffix, transport, edges",
    ),
    (
        "[session]\nresume = false",
        "client.toml:6:1: session.resume: unknown key; it belongs below [[expose]]",
    ),
    (
        "[admin]\nlisten = \"0.0.0.0:7490\"",
        "client.toml:6:10: admin.listen: 0.0.0.0:7490 can be reached from other machines, and this listener has full control; use a loopback address or unix:path, and [telemetry] listen for health and metrics",
    ),
    (
        "[telemtry]\nlisten = \"0.0.0.0:7490\"",
        "client.toml:5:2: telemtry: unknown table; did you mean [telemetry]?",
    ),
    (
        "[telemetry]\nlisten = \"127.0.0.1:7490\"",
        "client.toml:6:10: telemetry.listen: listens on 127.0.0.1:7490 twice; the other one is admin.listen by default",
    ),
    (
        "[[ingress]]\nkind = \"tcp\"",
        "client.toml:5:3: ingress: unknown table; a client has [identity], [edge], [resolver], [admin], [telemetry], [audit], [[expose]], [[forward]], [session], [backoff]",
    ),
    (
        "[expose]\nservice = \"a\"",
        "client.toml:5:2: expose: may stand several times: write [[expose]]",
    ),
    (
        "[[session]]",
        "client.toml:5:3: session: may stand only once: write [session]",
    ),
    (
        "[[expose]]\nservice = \"Db\"\ntarget = \"hello\"",
        "client.toml:6:11: expose[0].service: service name \"Db\" may have only a-z, 0-9 and inner single hyphens, e.g. \"log-relay\"",
    ),
    (
        "[[expose]]\nservice = \"db\"",
        "client.toml:5:1: expose[0].target: missing; say where the service is, e.g. target = \"h2c://127.0.0.1:9000\"",
    ),
    (
        "[[expose]]\ntarget = \"hello\"",
        "client.toml:5:1: expose[0].service: missing; give it a name, e.g. service = \"executor\"",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"http://x\"\nh2 = true",
        "client.toml:8:6: expose[0].h2: only an https:// target takes it, this one is http://; write h2c:// for HTTP/2 without TLS",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nprotocol = \"http\"",
        "client.toml:8:12: expose[0].protocol: only a unix:// target takes it; for others the scheme says it (tcp, http, h2c, https)",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nca = \"ca.pem\"",
        "client.toml:8:6: expose[0].ca: only an https:// target takes it, this one is tcp://",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth = \"icmp\"",
        "client.toml:8:10: expose[0].health: unknown value \"icmp\"; expected one of tcp, http, grpc, off",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"http://x\"\nhealth = \"grpc\"",
        "client.toml:8:10: expose[0].health: gRPC needs HTTP/2, and this target speaks HTTP/1.1; write h2c:// if it speaks HTTP/2",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"https://x\"\nhealth = \"grpc\"",
        "client.toml:8:10: expose[0].health: gRPC needs HTTP/2, and this target speaks HTTP/1.1; add h2 = true if it speaks HTTP/2",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"unix:a\"\nhealth = \"grpc\"\nprotocol = \"http\"",
        "client.toml:8:10: expose[0].health: gRPC needs HTTP/2, and this target speaks HTTP/1.1; write protocol = \"h2c\" if it speaks HTTP/2",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"hello\"\nhealth = \"off\"",
        "client.toml:8:10: expose[0].health: hello is built in and always there; leave it out",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth = \"off\"\nhealth_fall = 2",
        "client.toml:9:15: expose[0].health_fall: health is \"off\"; leave it out",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"http://x\"\nhealth_path = \"/\"",
        "client.toml:8:15: expose[0].health_path: only health = \"http\" takes it",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"http://x\"\nhealth = \"http\"\nhealth_path = \"healthz\"",
        "client.toml:9:15: expose[0].health_path: \"healthz\" is no path; write it like \"/healthz\"",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"http://x\"\nhealth = \"http\"\nhealth_path = \"/a b\"",
        "client.toml:9:15: expose[0].health_path: \"/a b\" is no path; write it like \"/healthz\"",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"h2c://x\"\nhealth_service = \"a.B\"",
        "client.toml:8:18: expose[0].health_service: only health = \"grpc\" takes it",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"h2c://x\"\nhealth = \"grpc\"\nhealth_service = \"a b\"",
        "client.toml:9:18: expose[0].health_service: no name of a gRPC service; write it like \"acme.v1.Queue\"",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_interval = \"50ms\"",
        "client.toml:8:19: expose[0].health_interval: 50ms is out of range; expected 100ms to 1h",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_interval = \"off\"",
        "client.toml:8:19: expose[0].health_interval: cannot be switched off; write a duration such as \"5s\"",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_timeout = \"11s\"",
        "client.toml:8:18: expose[0].health_timeout: must not be longer than health_interval: a check is over before the next begins",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_timeout = \"10ms\"",
        "client.toml:8:18: expose[0].health_timeout: 10ms is out of range; expected 50ms to 2m",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_rise = 0",
        "client.toml:8:15: expose[0].health_rise: 0 is out of range; expected 1 to 100",
    ),
    (
        "[[expose]]\nservice = \"a\"\ntarget = \"tcp://x:1\"\nhealth_fall = \"3\"",
        "client.toml:8:15: expose[0].health_fall: expected a whole number from 1 to 100, found the string \"3\"",
    ),
    (
        "[[forward]]\nservice = \"a\"\nlisten = []",
        "client.toml:7:10: forward[0].listen: is empty; say where local callers connect to, e.g. listen = \"127.0.0.1:7001\"",
    ),
    (
        "[[forward]]\nservice = \"a\"\nlisten = [\"127.0.0.1:1\", 2]",
        "client.toml:7:26: forward[0].listen[1]: expected a string, found the integer 2",
    ),
    (
        "[[forward]]\nservice = \"a\"\nlisten = \"localhost:1\"",
        "client.toml:7:10: forward[0].listen: \"localhost:1\" is no address to listen on; write an IP address and a port such as 127.0.0.1:8080 or [::]:8080 (port 0: any free one), or unix:/path/to.sock",
    ),
    (
        "[session]\nping_interval = 5",
        "client.toml:6:17: session.ping_interval: \"5\" has no unit; write one of ms, s, m, h, d, such as \"5s\"",
    ),
    (
        "[session]\nping_interval = \"5\"",
        "client.toml:6:17: session.ping_interval: \"5\" has no unit; write one of ms, s, m, h, d, such as \"5s\"",
    ),
    (
        "[session]\nping_interval = \"1h\"",
        "client.toml:6:17: session.ping_interval: 1h is out of range; expected 100ms to 10m",
    ),
    (
        "[session]\ndead_after = \"5s\"",
        "client.toml:6:14: session.dead_after: 5s must be longer than ping_interval, which is 5s",
    ),
    (
        "[session]\nstream_window = \"8KiB\"",
        "client.toml:6:17: session.stream_window: 8KiB must not be less than stream_base, which is 16KiB",
    ),
    (
        "[session]\nmax_sessions = 5",
        "client.toml:6:1: session.max_sessions: unknown key; [session] has ping_interval, dead_after, idle_ping_interval, idle_dead_after, handshake_timeout, grace, stream_base, stream_window, growth_budget, max_streams, drain",
    ),
    (
        "[backoff]\ninitial = \"1m\"",
        "client.toml:5:1: backoff.max: 30s must not be less than initial, which is 1m",
    ),
    (
        "address = \"b\"",
        "client.toml:5:1: not TOML: duplicate key",
    ),
    (
        "[edge\naddress = 1",
        "client.toml:5:6: not TOML: unclosed table, expected `]`",
    ),
];

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (below, message) in WRONG {
        let text = format!("{SMALLEST}{below}\n");
        let problems = read(&text).expect_err(below);
        assert_eq!(problems.to_string(), *message, "about:\n{text}");
    }
}

#[test]
fn everything_that_is_missing_is_said_at_once() {
    assert_eq!(
        read("").unwrap_err().to_string(),
        "client.toml: identity.dir: missing; name the directory with key.pem, cert.pem and ca.pem, e.g. dir = \"identity\" below [identity]\n\
         client.toml: edge.address: missing; say where the edge is, e.g. address = \"edge.example.com\" below [edge]"
    );
}

#[test]
fn a_reload_says_what_needs_a_restart() {
    let old = read(SMALLEST).unwrap();
    let text = format!(
        "workers = 2\n{SMALLEST}transport = \"quic\"\n[session]\ngrace = \"60s\"\n[[expose]]\nservice = \"a\"\ntarget = \"hello\"\n"
    );
    let new = read(&text).unwrap();
    assert_eq!(
        Config::restart_keys(&old, &new),
        ["edge.transport", "session", "workers"]
    );
    assert_eq!(Config::restart_keys(&old, &old), [""; 0]);
}
