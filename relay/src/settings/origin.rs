//! `target` and what goes with it, the same for what a client exposes and for an edge's upstreams.

use std::time::Duration;

use super::section::Section;
use super::sockets::{idle_timeout, keepalive};
use crate::origin::{HttpsTarget, Target};
use crate::proto::AppProtocol;

/// The keys that say how a target is reached.
pub const ORIGIN_KEYS: &[&str] = &[
    "target",
    "protocol",
    "h2",
    "ca",
    "server_name",
    "connect_timeout",
    "idle_timeout",
    "keepalive",
    "proxy_protocol",
    "resume",
];

/// How the process behind a service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSettings {
    /// What is dialled.
    pub target: Target,
    /// How long name resolution, connecting and TLS may take together. Default 5 s: longer than a lost SYN and its
    /// repetition take (1 s + 2 s), shorter than what callers wait for.
    pub connect_timeout: Duration,
    /// How long a stream may move nothing either way before it is reset; `None`, the default, if it may for good.
    pub idle_timeout: Option<Duration>,
    /// How long a TCP connection may be silent before the kernel probes it; `None` if it never does. Default 30 s.
    pub keepalive: Option<Duration>,
    /// Whether a connection begins by saying whose it is.
    pub announce: Announce,
    /// Whether streams outlive their connection. Default yes. Without it neither end keeps what was sent, at most
    /// `stream_window` for each direction of a stream, and a lost connection resets the streams that it carried.
    pub resume: bool,
}

/// Whether a connection to a target begins by saying whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Announce {
    /// No: the target sees our own address only.
    #[default]
    Nothing,
    /// By a header of the PROXY protocol, version 2.
    ProxyV2,
}

/// Whose targets they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginOwner {
    /// A client's: may be the built-in `hello`.
    Client,
    /// An edge's.
    Edge,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl OriginSettings {
    /// Reads the keys of a target; `None` if there is a problem with the target itself.
    pub fn read(section: &Section<'_>, owner: OriginOwner) -> Option<Self> {
        section.require(
            "target",
            "say where the service is, e.g. target = \"h2c://127.0.0.1:9000\"",
        );
        let connect_timeout = section.duration(
            "connect_timeout",
            CONNECT_TIMEOUT,
            Duration::from_millis(100)..=Duration::from_secs(120),
        );
        let idle_timeout = idle_timeout(section);
        let keepalive = keepalive(section);
        let announce = section.choice("proxy_protocol", &[("v2", Announce::ProxyV2)]);
        let target: Target = section.read_with("target", |text, directory| {
            text.parse::<Target>()
                .map(|target| target.relative_to(directory))
        })?;
        if owner == OriginOwner::Edge && target == Target::Hello {
            section.problem(
                "target",
                "hello is built into clients only; give an address, such as h2c://127.0.0.1:9001",
            );
        }
        if target == Target::Hello {
            section.refuse(
                "proxy_protocol",
                "hello is built in and knows its callers anyway; leave it out",
            );
            for key in ["connect_timeout", "keepalive"] {
                section.refuse(
                    key,
                    "hello is built in, there is no connection; leave it out",
                );
            }
        }
        if matches!(target, Target::Unix { .. }) {
            section.refuse("keepalive", "a unix socket has none; leave it out");
        }
        let target = with_protocol(section, with_tls(section, target));
        Some(Self {
            target,
            connect_timeout,
            idle_timeout,
            keepalive,
            announce: announce.unwrap_or_default(),
            resume: section.flag("resume").unwrap_or(true),
        })
    }
}

fn with_tls(section: &Section<'_>, target: Target) -> Target {
    match target {
        Target::Https(https) => Target::Https(HttpsTarget {
            h2: section.flag("h2").unwrap_or(false),
            ca: section.path("ca"),
            server_name: section.parsed("server_name"),
            ..https
        }),
        Target::Tcp(_) | Target::Http(_) | Target::H2c(_) | Target::Unix { .. } | Target::Hello => {
            let scheme = target.scheme();
            let hint = match target {
                Target::Http(_) | Target::H2c(_) => "; write h2c:// for HTTP/2 without TLS",
                Target::Tcp(_) | Target::Https(_) | Target::Unix { .. } | Target::Hello => "",
            };
            section.refuse(
                "h2",
                &format!("only an https:// target takes it, this one is {scheme}{hint}"),
            );
            for key in ["ca", "server_name"] {
                section.refuse(
                    key,
                    &format!("only an https:// target takes it, this one is {scheme}"),
                );
            }
            target
        }
    }
}

fn with_protocol(section: &Section<'_>, target: Target) -> Target {
    match target {
        Target::Unix { path, .. } => {
            let words = [
                ("tcp", AppProtocol::Tcp),
                ("http", AppProtocol::Http1),
                ("h2c", AppProtocol::H2),
            ];
            let protocol = section
                .choice("protocol", &words)
                .unwrap_or(AppProtocol::Tcp);
            Target::Unix { path, protocol }
        }
        Target::Tcp(_) | Target::Http(_) | Target::H2c(_) | Target::Https(_) | Target::Hello => {
            section.refuse(
                "protocol",
                "only a unix:// target takes it; for others the scheme says it (tcp, http, h2c, https)",
            );
            target
        }
    }
}
