//! `health…` of `[[expose]]`: whether and how a service's target is looked at.

use std::time::Duration;

use http::uri::PathAndQuery;
use relay::AppProtocol;
use relay::origin::Target;
use relay::settings::Section;

/// The keys of a check.
pub(super) const HEALTH_KEYS: &[&str] = &[
    "health",
    "health_path",
    "health_service",
    "health_interval",
    "health_timeout",
    "health_rise",
    "health_fall",
];

/// Whether a service's target is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthSettings {
    /// No, so that what sleeps may sleep; also what is built in.
    Off,
    /// Yes, again and again.
    Checked(CheckSettings),
}

/// How a target is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// What is asked of it.
    pub kind: CheckKind,
    /// From the beginning of one check to that of the next. Default 10 s.
    pub interval: Duration,
    /// How long one may take. Default 2 s, or the interval if that is less.
    pub timeout: Duration,
    /// After so many good checks in a row, a failing service is healthy again. Default 2.
    pub rise: u32,
    /// After so many bad checks in a row, a service is failing. Default 3.
    pub fall: u32,
}

/// What is asked of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// That it takes a connection, TLS included.
    Tcp,
    /// That it answers a GET of this path with 2xx or 3xx.
    Http(PathAndQuery),
    /// That it says by `grpc.health.v1` that this service is serving; all of it, if empty.
    Grpc(String),
}

/// The words of `health`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Tcp,
    Http,
    Grpc,
    Off,
}

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest name of a gRPC service that is asked for, in bytes.
const MAX_SERVICE: usize = 256;

impl HealthSettings {
    /// Reads the keys of a check of `target`.
    pub(super) fn read(section: &Section<'_>, target: &Target) -> Self {
        if *target == Target::Hello {
            refuse_all(section, "hello is built in and always there; leave it out");
            return Self::Off;
        }
        let words = [
            ("tcp", Word::Tcp),
            ("http", Word::Http),
            ("grpc", Word::Grpc),
            ("off", Word::Off),
        ];
        let word = section.choice("health", &words).unwrap_or(Word::Tcp);
        if word == Word::Off {
            for key in &HEALTH_KEYS[1..] {
                section.refuse(key, "health is \"off\"; leave it out");
            }
            return Self::Off;
        }
        if word != Word::Http {
            section.refuse("health_path", "only health = \"http\" takes it");
        }
        if word != Word::Grpc {
            section.refuse("health_service", "only health = \"grpc\" takes it");
        }
        let kind = match word {
            Word::Tcp | Word::Off => CheckKind::Tcp,
            Word::Http => CheckKind::Http(path(section)),
            Word::Grpc => {
                if let Some(instead) = without_http2(target) {
                    let message =
                        format!("gRPC needs HTTP/2, and this target speaks HTTP/1.1; {instead}");
                    section.problem("health", message);
                }
                CheckKind::Grpc(service(section))
            }
        };
        let ms = Duration::from_millis;
        let interval = section.duration("health_interval", INTERVAL, ms(100)..=ms(3_600_000));
        let timeout = section.duration(
            "health_timeout",
            TIMEOUT.min(interval),
            ms(50)..=ms(120_000),
        );
        if timeout > interval {
            section.problem(
                "health_timeout",
                "must not be longer than health_interval: a check is over before the next begins",
            );
        }
        let times = |key, default| {
            let times = section.count(key, default, 1..=100);
            u32::try_from(times).unwrap_or(u32::MAX)
        };
        Self::Checked(CheckSettings {
            kind,
            interval,
            timeout,
            rise: times("health_rise", 2),
            fall: times("health_fall", 3),
        })
    }
}

fn path(section: &Section<'_>) -> PathAndQuery {
    let read = section.read_with("health_path", |text, _| match text.parse() {
        Ok(path) if text.starts_with('/') && !text.contains('#') => Ok::<PathAndQuery, _>(path),
        Ok(_) | Err(_) => Err(format!("{text:?} is no path; write it like \"/healthz\"")),
    });
    read.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

fn service(section: &Section<'_>) -> String {
    let read = section.read_with("health_service", |text, _| {
        if text.len() <= MAX_SERVICE && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(text.to_owned())
        } else {
            Err("no name of a gRPC service; write it like \"acme.v1.Queue\"")
        }
    });
    read.unwrap_or_default()
}

/// What to write instead, if the target is known to speak HTTP/1.1 only.
fn without_http2(target: &Target) -> Option<&'static str> {
    match target {
        Target::Http(_) => Some("write h2c:// if it speaks HTTP/2"),
        Target::Https(https) if !https.h2 => Some("add h2 = true if it speaks HTTP/2"),
        Target::Unix { protocol, .. } if *protocol == AppProtocol::Http1 => {
            Some("write protocol = \"h2c\" if it speaks HTTP/2")
        }
        Target::Tcp(_)
        | Target::H2c(_)
        | Target::Https(_)
        | Target::Unix { .. }
        | Target::Hello => None,
    }
}

fn refuse_all(section: &Section<'_>, because: &str) {
    for key in HEALTH_KEYS {
        section.refuse(key, because);
    }
}
