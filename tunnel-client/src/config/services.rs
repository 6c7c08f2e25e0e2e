//! `[[expose]]` and `[[forward]]`: which services go through the tunnel, in each direction.

use relay::ServiceName;
use relay::settings::{ListenAddr, OriginOwner, OriginSettings, Reading, Section, Stated};

/// The keys of `[[forward]]`.
pub(super) const FORWARD_KEYS: &[&str] = &["service", "listen"];

/// How many services fit into a Hello with room to spare.
const MAX_EXPOSES: usize = 512;

/// `[[expose]]`: a service here that the control plane may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expose {
    /// The name that the control plane calls it by.
    pub service: ServiceName,
    /// Where it really is.
    pub origin: OriginSettings,
}

/// `[[forward]]`: a local listener that leads to a service of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The edge's name of the upstream.
    pub service: ServiceName,
    /// Where local callers connect to; never empty.
    pub listen: Vec<ListenAddr>,
}

pub(super) fn read_exposes(reading: &Reading<'_>) -> Vec<Expose> {
    let mut names = Vec::new();
    let exposes = reading
        .sections("expose")
        .iter()
        .filter_map(|section| {
            let service = service(section, &mut names);
            let origin = OriginSettings::read(section, OriginOwner::Client);
            Some(Expose {
                service: service?,
                origin: origin?,
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
            Some(Forward {
                service: service?,
                listen,
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
