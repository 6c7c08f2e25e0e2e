//! `edge.toml`: where an edge listens, what it routes and to whom, parsed once.
//!
//! ```text
//! Document (relay::settings) ──Config::from_document──▶ Config
//! ```
//!
//! `docs/configuration.md` describes every key for the people who write the file.

mod callers;
mod dns;
mod host;
mod ingress;
#[cfg(test)]
mod tests;
mod upstream;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use relay::proto::MAX_EDGES;
use relay::settings::{
    ADMIN_KEYS, AUDIT_KEYS, AdminSettings, AuditSettings, Document, HostPort, ListenAddr, Loaded,
    ORIGIN_KEYS, Problems, Reading, SESSION_KEYS, Schema, SessionSettings, TELEMETRY_KEYS,
    TableSchema, TelemetrySettings, load,
};

pub use callers::{Callers, CallersError};
pub use dns::{
    DnsProvider, DnsSettings, DnsTarget, EmbeddedSettings, Rfc2136Settings, TsigAlgorithm,
    UnusableSecret, ZonefileSettings,
};
pub use host::{HostPattern, HostPatternError, HostTooLong};
pub use ingress::{
    Connections, Entry, ForwardingField, ForwardingHeader, HostMatch, HttpLimits, HttpSettings,
    Ingress, IngressKind, PathPrefix, Route, ServiceAddress, ServiceAddressError, TcpSettings,
    TrustedProxies,
};
pub use upstream::{ClusterPattern, ClusterPatternError, Upstream};

/// An edge's configuration, complete and consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory with `key.pem`, `cert.pem` and `ca.pem`.
    pub identity_dir: PathBuf,
    /// Where the edge keeps what must survive its restart. Default: the identity directory.
    pub state_dir: PathBuf,
    /// Where clients connect to, over UDP; never empty.
    pub tunnel: Vec<SocketAddr>,
    /// The addresses that clients are told to come back to; if empty, the ones that they dialled.
    pub advertise: Vec<HostPort>,
    /// Every edge that clients are told of, at most 64; if empty, they are told of none.
    pub edges: Vec<HostPort>,
    /// Liveness and limits of sessions.
    pub session: SessionSettings,
    /// What the windows of all sessions of one tenant may be granted, and what may be kept for them, beyond the base
    /// of each stream, in bytes; `None`, the default, for half of what all sessions of the process may.
    pub tenant_budget: Option<u64>,
    /// Sessions that may be live at once. Default 10 000.
    pub max_sessions: usize,
    /// Handshakes that may be under way at once; further ones wait. Default 256.
    pub max_handshakes: usize,
    /// The listener with full control.
    pub admin: AdminSettings,
    /// The listener with health and metrics only.
    pub telemetry: TelemetrySettings,
    /// Where streams are recorded.
    pub audit: AuditSettings,
    /// What turns callers into streams. In the order of the file; no name twice.
    pub ingresses: Vec<Ingress>,
    /// What compute planes may call here. In the order of the file; no service twice.
    pub upstreams: Vec<Upstream>,
    /// Which names are published; `None`, the default, if none are.
    pub dns: Option<DnsSettings>,
    /// Worker threads. Default: one for each core that the process may use.
    pub workers: usize,
}

/// The tables and keys of `edge.toml`.
pub const SCHEMA: Schema = Schema {
    kind: "an edge",
    tables: &[
        TableSchema {
            name: "",
            repeated: false,
            keys: &[&["include", "workers", "state_dir"]],
        },
        TableSchema {
            name: "identity",
            repeated: false,
            keys: &[&["dir"]],
        },
        TableSchema {
            name: "listen",
            repeated: false,
            keys: &[&["tunnel", "advertise", "edges"]],
        },
        TableSchema {
            name: "admin",
            repeated: false,
            keys: &[ADMIN_KEYS],
        },
        TableSchema {
            name: "telemetry",
            repeated: false,
            keys: &[TELEMETRY_KEYS],
        },
        TableSchema {
            name: "audit",
            repeated: false,
            keys: &[AUDIT_KEYS],
        },
        TableSchema {
            name: "ingress",
            repeated: true,
            keys: &[ingress::KEYS],
        },
        TableSchema {
            name: "route",
            repeated: true,
            keys: &[ingress::ROUTE_KEYS],
        },
        TableSchema {
            name: "upstream",
            repeated: true,
            keys: &[&["service", "allow"], ORIGIN_KEYS],
        },
        TableSchema {
            name: "session",
            repeated: false,
            keys: &[
                SESSION_KEYS,
                &["tenant_budget", "max_sessions", "max_handshakes"],
            ],
        },
        TableSchema {
            name: "dns",
            repeated: false,
            keys: &[dns::KEYS],
        },
        TableSchema {
            name: "dns.embedded",
            repeated: false,
            keys: &[dns::EMBEDDED_KEYS],
        },
        TableSchema {
            name: "dns.rfc2136",
            repeated: false,
            keys: &[dns::RFC2136_KEYS],
        },
        TableSchema {
            name: "dns.zonefile",
            repeated: false,
            keys: &[dns::ZONEFILE_KEYS],
        },
    ],
};

/// Where `[admin]` listens if nothing is stated.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);

/// Where clients connect to if nothing is stated: every address of the machine.
pub const DEFAULT_TUNNEL: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 7443);

const MAX_SESSIONS: u64 = 10_000;
const MAX_HANDSHAKES: u64 = 256;
/// The most that a tenant may be given, in bytes.
const TIB: u64 = 1 << 40;

impl Config {
    /// How many callers all ingresses together may hold at once.
    pub fn most_callers(&self) -> u64 {
        let of_ingress = |ingress: &Ingress| {
            let listeners = match ingress.kind {
                IngressKind::Http(_) => 1,
                IngressKind::Tcp(_) => ingress.listen.len(),
            };
            ingress.connections.max.saturating_mul(listeners)
        };
        let most = self.ingresses.iter().map(of_ingress);
        let most = most.fold(0, usize::saturating_add);
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    /// Reads a file, what it includes, and the `CAUSEWAY_*` variables.
    pub fn load(path: &Path) -> Result<Loaded<Self>, Problems> {
        let document = load(path, &SCHEMA)?;
        let config = Self::from_document(&document)?;
        Ok(Loaded {
            config,
            sources: document.sources().clone(),
        })
    }

    /// Gives meaning to what was read.
    pub fn from_document(document: &Document) -> Result<Self, Problems> {
        let reading = Reading::begin(document, &SCHEMA);
        let config = Self::read(&reading);
        reading.finish(config)
    }

    fn read(reading: &Reading<'_>) -> Option<Self> {
        let top = reading.top();
        let identity = reading.section("identity");
        identity.require("dir", "name the directory with key.pem, cert.pem and ca.pem, e.g. dir = \"identity\" below [identity]");
        let identity_dir = identity.path("dir");
        let listen = reading.section("listen");
        let tunnel = if listen.has("tunnel") {
            let hint =
                "write an IP address and a port, or leave the key out to listen on [::]:7443";
            listen.some_with("tunnel", hint, ip_address)
        } else {
            vec![listen.stated("tunnel", DEFAULT_TUNNEL)]
        };
        let advertise = listen.each_with("advertise", |text, _| text.parse::<HostPort>());
        reading.unique(&advertise, "advertises");
        let edges = listen.each_with("edges", |text, _| text.parse::<HostPort>());
        reading.unique(&edges, "tells of");
        for (key, stated) in [("advertise", &advertise), ("edges", &edges)] {
            if stated.len() > MAX_EDGES {
                let message = format!("has {} addresses; clients take {MAX_EDGES}", stated.len());
                listen.problem(key, message);
            }
        }
        let (admin, admin_used) =
            AdminSettings::read(&reading.section("admin"), ListenAddr::Ip(DEFAULT_ADMIN));
        let (telemetry, telemetry_used) = TelemetrySettings::read(&reading.section("telemetry"));
        let (ingresses, ingresses_used) = ingress::read_all(reading);
        let upstreams = upstream::read_all(reading);
        let limits = reading.section("session");
        let (dns, dns_used) = dns::read(reading);

        // The tunnel's port number is taken for TCP too: other transports will listen there.
        let mut used: Vec<_> = tunnel
            .iter()
            .map(|stated| stated.clone().map(ListenAddr::Ip))
            .collect();
        used.extend(admin_used.into_iter().chain(telemetry_used));
        used.extend(
            ingresses_used
                .into_iter()
                .map(|stated| stated.map(ListenAddr::Ip)),
        );
        used.extend(dns::listeners(dns_used));
        used.retain(|listener| listener.value.is_fixed());
        reading.disjoint(&used);

        // Everything is read before anything is given up, so that every mistake is found at once.
        let session = SessionSettings::read(&limits, SessionSettings::edge());
        let tenant_budget = limits
            .has("tenant_budget")
            .then(|| limits.size("tenant_budget", 0, 0..=TIB));
        let max_sessions = limits.count("max_sessions", MAX_SESSIONS, 1..=1_000_000);
        let max_handshakes = limits.count("max_handshakes", MAX_HANDSHAKES, 1..=65_536);
        let identity_files: Vec<_> = identity_dir
            .iter()
            .flat_map(|dir| certs::files_in(dir))
            .collect();
        let audit = AuditSettings::read(&reading.section("audit"), &identity_files);
        let workers = top.count("workers", cores(), 1..=256);
        let state_dir = top.path("state_dir");
        let count = |value: u64| usize::try_from(value).ok();
        Some(Self {
            state_dir: state_dir.or_else(|| identity_dir.clone())?,
            identity_dir: identity_dir?,
            tunnel: tunnel.into_iter().map(|stated| stated.value).collect(),
            advertise: advertise.into_iter().map(|stated| stated.value).collect(),
            edges: edges.into_iter().map(|stated| stated.value).collect(),
            session,
            tenant_budget,
            max_sessions: count(max_sessions)?,
            max_handshakes: count(max_handshakes)?,
            admin,
            telemetry,
            audit,
            ingresses,
            upstreams,
            dns: if reading.section("dns").is_stated() {
                Some(dns?)
            } else {
                None
            },
            workers: count(workers)?,
        })
    }

    /// The keys that differ but only take effect after a restart; the others are taken over at once.
    pub fn restart_keys(old: &Self, new: &Self) -> Vec<&'static str> {
        // Taken apart, so that a key that is added has to be put on one side or the other.
        let Self {
            identity_dir,
            state_dir,
            tunnel,
            advertise: _,
            edges: _,
            session,
            tenant_budget,
            max_sessions,
            max_handshakes,
            admin,
            telemetry,
            audit,
            ingresses: _,
            upstreams: _,
            dns,
            workers,
        } = old;
        [
            ("identity.dir", *identity_dir != new.identity_dir),
            ("state_dir", *state_dir != new.state_dir),
            ("listen.tunnel", *tunnel != new.tunnel),
            ("session", *session != new.session),
            ("session.tenant_budget", *tenant_budget != new.tenant_budget),
            ("session.max_sessions", *max_sessions != new.max_sessions),
            (
                "session.max_handshakes",
                *max_handshakes != new.max_handshakes,
            ),
            ("admin.listen", *admin != new.admin),
            ("telemetry.listen", *telemetry != new.telemetry),
            ("audit.file", *audit != new.audit),
            ("dns", *dns != new.dns),
            ("workers", *workers != new.workers),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// The cores that this process may use; 1 if the system does not say.
fn cores() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u64::try_from(cores).unwrap_or(1).min(256)
}

/// An address to listen on that is no unix socket.
fn ip_address(text: &str, directory: &Path) -> Result<SocketAddr, String> {
    match ListenAddr::parse(text, directory) {
        Ok(ListenAddr::Ip(address)) => Ok(address),
        Ok(ListenAddr::Unix(_)) => Err(format!(
            "\"{text}\" is a unix socket; this listener needs an IP address and a port"
        )),
        Err(error) => Err(error.to_string()),
    }
}
