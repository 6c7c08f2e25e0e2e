//! `client.toml`: what a client dials, exposes and forwards, parsed once.
//!
//! ```text
//! Document (relay::settings) ──Config::from_document──▶ Config
//! ```
//!
//! `docs/configuration.md` describes every key for the people who write the file.

mod dialing;
mod health;
mod resolver;
mod services;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use relay::settings::{
    ADMIN_KEYS, AUDIT_KEYS, AdminSettings, AuditSettings, Document, ListenAddr, Loaded,
    ORIGIN_KEYS, Problems, Reading, SESSION_KEYS, Schema, SessionSettings, TELEMETRY_KEYS,
    TableSchema, TelemetrySettings, load,
};

pub use dialing::{BackoffSettings, ConnectTo, EdgeSettings, Suffix, Transport};
pub use health::{CheckKind, CheckSettings, HealthSettings};
pub use resolver::ResolverSettings;
pub use services::{CallerSockets, Expose, Forward};

/// A client's configuration, complete and consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory with `key.pem`, `cert.pem` and `ca.pem`.
    pub identity_dir: PathBuf,
    /// Where the client keeps its replica id. Default: the identity directory.
    pub state_dir: PathBuf,
    /// Which edges are dialled, and how.
    pub edge: EdgeSettings,
    /// How names of edges are resolved.
    pub resolver: ResolverSettings,
    /// When a failed attempt is repeated.
    pub backoff: BackoffSettings,
    /// Liveness and limits of sessions.
    pub session: SessionSettings,
    /// The listener with full control.
    pub admin: AdminSettings,
    /// The listener with health and metrics only.
    pub telemetry: TelemetrySettings,
    /// Where streams are recorded.
    pub audit: AuditSettings,
    /// What the control plane may call here: the allow-list. In the order of the file; no service twice.
    pub exposes: Vec<Expose>,
    /// What can be called in the control plane from here. In the order of the file; no service twice.
    pub forwards: Vec<Forward>,
    /// Worker threads. Default 1.
    pub workers: usize,
}

/// The tables and keys of `client.toml`.
pub const SCHEMA: Schema = Schema {
    kind: "a client",
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
            name: "edge",
            repeated: false,
            keys: &[dialing::EDGE_KEYS],
        },
        TableSchema {
            name: "resolver",
            repeated: false,
            keys: &[resolver::RESOLVER_KEYS],
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
            name: "expose",
            repeated: true,
            keys: &[&["service"], ORIGIN_KEYS, health::HEALTH_KEYS],
        },
        TableSchema {
            name: "forward",
            repeated: true,
            keys: &[services::FORWARD_KEYS],
        },
        TableSchema {
            name: "session",
            repeated: false,
            keys: &[SESSION_KEYS],
        },
        TableSchema {
            name: "backoff",
            repeated: false,
            keys: &[dialing::BACKOFF_KEYS],
        },
    ],
};

/// Where `[admin]` listens if nothing is stated.
pub const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7490);

impl Config {
    /// Reads a file, what it includes, and the `CAUSEWAY_*` variables.
    pub fn load(path: &Path) -> Result<Loaded<Self>, Problems> {
        let document = load(path, &SCHEMA)?;
        let config = Self::from_document(&document)?;
        Ok(Loaded {
            config,
            sources: document.sources().clone(),
        })
    }

    /// Gives meaning to what was read, or built from arguments.
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
        let edge = EdgeSettings::read(&reading.section("edge"));
        let resolver = ResolverSettings::read(&reading.section("resolver"));
        let (admin, admin_used) =
            AdminSettings::read(&reading.section("admin"), ListenAddr::Ip(DEFAULT_ADMIN));
        let (telemetry, telemetry_used) = TelemetrySettings::read(&reading.section("telemetry"));
        let exposes = services::read_exposes(reading);
        let (forwards, forwards_used) = services::read_forwards(reading);

        let mut used: Vec<_> = admin_used.into_iter().chain(telemetry_used).collect();
        used.extend(forwards_used);
        used.retain(|listener| listener.value.is_fixed());
        reading.disjoint(&used);

        // Everything is read before anything is given up, so that every mistake is found at once.
        let backoff = BackoffSettings::read(&reading.section("backoff"));
        let session = SessionSettings::read(&reading.section("session"), SessionSettings::client());
        let identity_files: Vec<_> = identity_dir
            .iter()
            .flat_map(|dir| certs::files_in(dir))
            .collect();
        let audit = AuditSettings::read(&reading.section("audit"), &identity_files);
        let workers = top.count("workers", 1, 1..=256);
        let state_dir = top.path("state_dir");
        Some(Self {
            state_dir: state_dir.or_else(|| identity_dir.clone())?,
            identity_dir: identity_dir?,
            edge: edge?,
            resolver,
            backoff,
            session,
            admin,
            telemetry,
            audit,
            exposes,
            forwards,
            workers: usize::try_from(workers).ok()?,
        })
    }

    /// The keys that differ but only take effect after a restart; the others are taken over at once.
    pub fn restart_keys(old: &Self, new: &Self) -> Vec<&'static str> {
        // Taken apart, so that a key that is added has to be put on one side or the other.
        let Self {
            identity_dir,
            state_dir,
            edge,
            resolver,
            backoff,
            session,
            admin,
            telemetry,
            audit,
            exposes: _,
            forwards: _,
            workers,
        } = old;
        let EdgeSettings {
            addresses,
            srv,
            connect_to,
            suffix,
            transport,
            edges,
        } = edge;
        [
            ("identity.dir", *identity_dir != new.identity_dir),
            ("state_dir", *state_dir != new.state_dir),
            ("edge.address", *addresses != new.edge.addresses),
            ("edge.srv", *srv != new.edge.srv),
            ("edge.connect_to", *connect_to != new.edge.connect_to),
            ("edge.suffix", *suffix != new.edge.suffix),
            ("edge.transport", *transport != new.edge.transport),
            ("edge.edges", *edges != new.edge.edges),
            ("resolver", *resolver != new.resolver),
            ("backoff", *backoff != new.backoff),
            ("session", *session != new.session),
            ("admin.listen", *admin != new.admin),
            ("telemetry.listen", *telemetry != new.telemetry),
            ("audit.file", *audit != new.audit),
            ("workers", *workers != new.workers),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}
