//! `[[expose]]` and `[[forward]]`: which services go through the tunnel, in each direction.

use std::time::Duration;

use relay::ServiceName;
use relay::settings::{
    ListenAddr, OriginOwner, OriginSettings, Reading, Section, Stated, idle_timeout, keepalive,
};

use super::health::HealthSettings;

/// The keys of `[[forward]]`.
pub(super) const FORWARD_KEYS: &[&str] = &["service", "listen", "idle_timeout", "keepalive"];

/// How many services fit into a Hello with room to spare.
const MAX_EXPOSES: usize = 512;

/// `[[expose]]`: a service here that the control plane may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expose {
    /// The name that the control plane calls it by.
    pub service: ServiceName,
    /// Where it really is.
    pub origin: OriginSettings,
    /// Whether and how it is looked at.
    pub health: HealthSettings,
}

/// `[[forward]]`: a local listener that leads to a service of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The edge's name of the upstream.
    pub service: ServiceName,
    /// Where local callers connect to; never empty.
    pub listen: Vec<ListenAddr>,
    /// How its callers' connections are kept.
    pub sockets: CallerSockets,
}

/// How the connections of a forward's callers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerSockets {
    /// How long a stream may move nothing either way before it is reset; `None`, the default, if it may for good.
    pub idle_timeout: Option<Duration>,
    /// How long a TCP connection may be silent before the kernel probes it; `None` if it never does. Default 30 s.
    pub keepalive: Option<Duration>,
}

pub(super) fn read_exposes(reading: &Reading<'_>) -> Vec<Expose> {
    let mut names = Vec::new();
    let exposes = reading
        .sections("expose")
        .iter()
        .filter_map(|section| {
            let service = service(section, &mut names);
            let origin = OriginSettings::read(section, OriginOwner::Client);
            let origin = origin?;
            Some(Expose {
                service: service?,
                health: HealthSettings::read(section, &origin.target),
                origin,
            })
        })
        .collect();
    reading.unique(&names, "exposes");
    if let Some(beyond) = names.get(MAX_EXPOSES) {
        let message = format!("a client exposes at most {MAX_EXPOSES} services");
        reading.reject(beyond, message);
    }
    exposes
}

/// The forwards, and everything that they listen on.
pub(super) fn read_forwards(reading: &Reading<'_>) -> (Vec<Forward>, Vec<Stated<ListenAddr>>) {
    let mut names = Vec::new();
    let mut used = Vec::new();
    let forwards = reading
        .sections("forward")
        .iter()
        .filter_map(|section| {
            let service = service(section, &mut names);
            let hint = "say where local callers connect to, e.g. listen = \"127.0.0.1:7001\"";
            let stated = section.some_with("listen", hint, ListenAddr::parse);
            used.extend(stated.iter().cloned());
            let listen = stated.into_iter().map(|stated| stated.value).collect();
            let sockets = CallerSockets {
                idle_timeout: idle_timeout(section),
                keepalive: keepalive(section),
            };
            Some(Forward {
                service: service?,
                listen,
                sockets,
            })
        })
        .collect();
    reading.unique(&names, "forwards");
    (forwards, used)
}

fn service(section: &Section<'_>, names: &mut Vec<Stated<ServiceName>>) -> Option<ServiceName> {
    section.require("service", "give it a name, e.g. service = \"executor\"");
    let name: ServiceName = section.parsed("service")?;
    names.push(section.stated("service", name.clone()));
    Some(name)
}
