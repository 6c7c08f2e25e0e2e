//! How services are reached, read from what both processes say of themselves: their files may have
//! been changed, and ports may have been chosen by the system.

use std::net::SocketAddr;

use certs::ClusterId;
use relay::ServiceName;
use serde_json::{Map, Value};
use tunnel_edge::config::HostPattern;
use tunnel_edge::config::ServiceAddress;

use super::directory::{CLUSTER, TENANT};
use crate::status::reachable;

/// What `/api/status` says.
pub(crate) type Status = Map<String, Value>;

/// A service that the client exposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) name: ServiceName,
    pub(crate) target: String,
    pub(crate) way: Way,
}

/// How callers in the control plane reach a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over HTTP with a host name.
    Http { address: SocketAddr, host: String },
    /// Over TCP.
    Tcp(SocketAddr),
    /// No ingress leads to it.
    Nowhere,
}

/// A service of the control plane as the client's side reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) name: String,
    /// The first of its listeners.
    pub(crate) listen: String,
    /// What the edge connects it to, unless the edge does not know it.
    pub(crate) target: Option<String>,
}

impl Way {
    /// What to open, or to connect to.
    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::Http { address, host } => Some(format!("http://{host}:{}", address.port())),
            Self::Tcp(address) => Some(format!("tcp://{address}")),
            Self::Nowhere => None,
        }
    }
}

/// The services that the client exposes, each with the best way to it: an ingress of its own, then
/// one that tells services by their host names.
pub(crate) fn exposed(edge: &Status, client: &Status) -> Vec<Exposed> {
    let cluster: ClusterId = entries(edge, "sessions")
        .find_map(|session| session["peer"].as_str()?.parse().ok())
        .unwrap_or_else(|| ClusterId {
            tenant: TENANT.parse().expect("the tenant is a label"),
            cluster: CLUSTER.parse().expect("the cluster is a label"),
        });
    entries(client, "exposes")
        .filter_map(|expose| {
            let name: ServiceName = text(&expose["service"]).parse().ok()?;
            let to = ServiceAddress {
                cluster: cluster.clone(),
                service: name.clone(),
            };
            Some(Exposed {
                target: text(&expose["target"]),
                way: way(edge, &to),
                name,
            })
        })
        .collect()
}

fn way(edge: &Status, to: &ServiceAddress) -> Way {
    let exact = to.to_string();
    let leads_there = |ingress: &&Value| ingress["to"] == exact.as_str();
    if let Some((ingress, address)) = entries(edge, "ingresses")
        .filter(leads_there)
        .find_map(|ingress| Some((ingress, listens(ingress)?)))
    {
        return match ingress["kind"].as_str() {
            Some("http") => Way::Http {
                address,
                host: "localhost".to_owned(),
            },
            Some(_) | None => Way::Tcp(address),
        };
    }
    let by_host = |ingress: &Value| {
        let pattern: HostPattern = ingress["to"].as_str()?.parse().ok()?;
        Some(Way::Http {
            address: listens(ingress)?,
            host: pattern.render(&to.service, &to.cluster).ok()?,
        })
    };
    entries(edge, "ingresses")
        .find_map(by_host)
        .unwrap_or(Way::Nowhere)
}

/// What the client forwards to.
pub(crate) fn forwarded(edge: &Status, client: &Status) -> Vec<Forwarded> {
    entries(client, "forwards")
        .filter_map(|forward| {
            let listen = forward["listen"].as_array()?.first()?;
            let upstream =
                entries(edge, "upstreams").find(|it| it["service"] == forward["service"]);
            Some(Forwarded {
                name: text(&forward["service"]),
                listen: text(listen),
                target: upstream.map(|it| text(&it["target"])),
            })
        })
        .collect()
}

/// Where the edge accepts tunnels, as this machine reaches it.
pub(crate) fn tunnel_address(edge: &Status) -> Option<SocketAddr> {
    let address: SocketAddr = edge.get("listen")?["tunnel"][0].as_str()?.parse().ok()?;
    Some(SocketAddr::new(reachable(address.ip()), address.port()))
}

/// The session of the demo, as the edge sees it.
pub(crate) fn session(edge: &Status) -> Option<&Value> {
    sessions(edge).next()
}

/// All sessions of the demo, as the edge sees them.
pub(crate) fn sessions(edge: &Status) -> impl Iterator<Item = &Value> {
    entries(edge, "sessions")
}

fn listens(ingress: &Value) -> Option<SocketAddr> {
    let address: SocketAddr = ingress["listen"][0].as_str()?.parse().ok()?;
    Some(SocketAddr::new(reachable(address.ip()), address.port()))
}

fn entries<'a>(status: &'a Status, key: &str) -> impl Iterator<Item = &'a Value> {
    status
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(value: Value) -> Status {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn every_service_is_found_where_it_really_is() {
        let edge = status(json!({
            "listen": {"tunnel": ["0.0.0.0:7443"]},
            "sessions": [{"peer": "acme/demo"}],
            "ingresses": [
                {"kind": "http", "listen": ["0.0.0.0:8080"], "to": "{service}--{cluster}--{tenant}.localhost"},
                {"kind": "tcp", "listen": ["127.0.0.1:40001"], "to": "acme/demo/db"},
                {"kind": "http", "listen": ["127.0.0.1:8081"], "to": "acme/demo/fixed"},
                {"kind": "tcp", "listen": ["127.0.0.1:40003"], "to": "acme/other/web"},
            ],
            "upstreams": [{"service": "state", "target": "tcp://127.0.0.1:1"}],
        }));
        let client = status(json!({
            "exposes": [
                {"service": "web", "target": "http://127.0.0.1:3000"},
                {"service": "db", "target": "tcp://127.0.0.1:5432"},
                {"service": "fixed", "target": "hello"},
            ],
            "forwards": [
                {"service": "state", "listen": ["127.0.0.1:40002"]},
                {"service": "gone", "listen": ["unix:/run/gone.sock"]},
            ],
        }));
        let urls: Vec<_> = exposed(&edge, &client)
            .iter()
            .map(|it| it.way.url().unwrap())
            .collect();
        assert_eq!(
            urls,
            [
                "http://web--demo--acme.localhost:8080",
                "tcp://127.0.0.1:40001",
                "http://localhost:8081"
            ]
        );
        let forwards = forwarded(&edge, &client);
        assert_eq!(forwards[0].target.as_deref(), Some("tcp://127.0.0.1:1"));
        assert_eq!(forwards[1].listen, "unix:/run/gone.sock");
        assert_eq!(forwards[1].target, None);
        assert_eq!(
            tunnel_address(&edge),
            Some("127.0.0.1:7443".parse().unwrap())
        );
    }

    #[test]
    fn a_service_without_an_ingress_is_nowhere() {
        let client = status(json!({"exposes": [{"service": "web", "target": "hello"}]}));
        let found = exposed(&status(json!({"ingresses": []})), &client);
        assert_eq!(found[0].way, Way::Nowhere);
        assert_eq!(tunnel_address(&Map::new()), None);
    }
}
