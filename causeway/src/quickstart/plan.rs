//! What was asked for on the command line, checked before anything is written or started.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::str::FromStr;

use relay::origin::{Target, TargetError};
use relay::proto::InvalidServiceName;
use relay::{AppProtocol, ServiceName};

use crate::pair::{CLUSTER, TENANT};

/// Where `causeway status` looks for an edge and for a client.
const ADMIN_PORTS: (u16, u16) = (7480, 7490);
/// `NAME--demo--acme` is one DNS label, which has at most 63 bytes (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 63 - "--demo--acme".len();

/// What is exposed or offered under a name, written `NAME=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) target: Target,
}

/// The demo: what both configuration files are written from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Never empty.
    pub(super) exposes: Vec<Service>,
    pub(super) upstreams: Vec<Service>,
    /// Where HTTP callers connect to.
    pub(super) http: SocketAddr,
    /// Where the edge takes clients.
    pub(super) tunnel: SocketAddr,
    /// Where a fault proxy in front of that listens, if there is to be one.
    pub(super) line: Option<SocketAddr>,
    pub(super) edge_admin: SocketAddr,
    pub(super) client_admin: SocketAddr,
}

/// Why a text is no [`Service`].
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    #[error("write NAME=URL, such as web=http://127.0.0.1:3000")]
    Shape,
    #[error(transparent)]
    Name(#[from] InvalidServiceName),
    #[error(
        "the name {0} has {length} characters; {LONGEST_NAME} are possible here, since {0}--{CLUSTER}--{TENANT} must fit into one DNS label", length = .0.as_str().len()
    )]
    TooLong(ServiceName),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{0} is not UTF-8, so it cannot be written into a configuration; use another path")]
    Path(PathBuf),
    #[error("the current directory is unknown ({0}); write the whole path of the socket")]
    Here(io::Error),
}

/// Why arguments that are right one by one make no demo.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("{option} {name} is given twice; names must differ, such as {name}-2")]
    Twice {
        option: &'static str,
        name: ServiceName,
    },
    #[error(
        "--upstream {0}=hello: hello is built into clients, so only --expose has it; give an address, such as {0}=http://127.0.0.1:3000"
    )]
    HelloUpstream(ServiceName),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error(
        "{option} {address}: another program listens there; stop it, or take another address ({option} {ip}:0 takes any free port)",
        ip = bracketed(address.ip())
    )]
    InUse {
        option: &'static str,
        address: SocketAddr,
    },
    #[error("{option} {address}: cannot listen there ({error}); take another address")]
    System {
        option: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
}

impl Plan {
    pub(super) fn new(
        exposes: Vec<Service>,
        upstreams: Vec<Service>,
        http: SocketAddr,
        tunnel: SocketAddr,
    ) -> Result<Self, PlanError> {
        all_differ("--expose", &exposes)?;
        all_differ("--upstream", &upstreams)?;
        let hello = upstreams.iter().find(|it| it.target == Target::Hello);
        if let Some(upstream) = hello {
            return Err(PlanError::HelloUpstream(upstream.name.clone()));
        }
        let exposes = if exposes.is_empty() {
            vec![Service::hello()]
        } else {
            exposes
        };
        // Whoever takes any port for callers runs beside others, and leaves the known ones to them.
        let (edge_admin, client_admin) = if http.port() == 0 {
            (loopback(0), loopback(0))
        } else {
            (free_or_any(ADMIN_PORTS.0), free_or_any(ADMIN_PORTS.1))
        };
        Ok(Self {
            exposes,
            upstreams,
            http,
            tunnel,
            line: None,
            edge_admin,
            client_admin,
        })
    }

    /// With a fault proxy where the client connects to, and the edge behind it.
    pub(super) fn behind_a_proxy(self) -> Self {
        Self {
            line: Some(self.tunnel),
            tunnel: loopback(0),
            ..self
        }
    }

    /// Whether any service is called over HTTP.
    pub(super) fn has_http(&self) -> bool {
        self.exposes.iter().any(Service::is_http)
    }

    /// Whether the edge could listen where it is to. It says so itself, but not by which argument.
    pub(super) fn check_ports(&self) -> Result<(), PortError> {
        if self.has_http() {
            explain("--http", self.http, TcpListener::bind(self.http).map(drop))?;
        }
        let tunnel = self.line.unwrap_or(self.tunnel);
        if self.line.is_some() {
            explain("--tunnel", tunnel, TcpListener::bind(tunnel).map(drop))?;
        }
        explain("--tunnel", tunnel, UdpSocket::bind(tunnel).map(drop))
    }
}

impl Service {
    fn hello() -> Self {
        Self {
            name: "hello".parse().expect("hello is a name"),
            target: Target::Hello,
        }
    }

    /// Whether the http ingress leads to it, rather than a tcp ingress of its own.
    pub(super) fn is_http(&self) -> bool {
        match self.target.protocol() {
            AppProtocol::Http1 | AppProtocol::H2 => true,
            AppProtocol::Tcp => false,
        }
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let (name, url) = text.split_once('=').ok_or(ServiceError::Shape)?;
        let name: ServiceName = name.parse()?;
        if name.as_str().len() > LONGEST_NAME {
            return Err(ServiceError::TooLong(name));
        }
        let target = match url.parse()? {
            // The file is elsewhere, and so its paths would be too.
            Target::Unix { path, protocol } => {
                let path = std::path::absolute(path).map_err(ServiceError::Here)?;
                if path.to_str().is_none() {
                    return Err(ServiceError::Path(path));
                }
                Target::Unix { path, protocol }
            }
            target @ (Target::Tcp(_)
            | Target::Http(_)
            | Target::H2c(_)
            | Target::Https(_)
            | Target::Hello) => target,
        };
        Ok(Self { name, target })
    }
}

fn all_differ(option: &'static str, services: &[Service]) -> Result<(), PlanError> {
    let mut seen = BTreeSet::new();
    match services.iter().find(|it| !seen.insert(&it.name)) {
        None => Ok(()),
        Some(again) => Err(PlanError::Twice {
            option,
            name: again.name.clone(),
        }),
    }
}

fn explain(
    option: &'static str,
    address: SocketAddr,
    bound: io::Result<()>,
) -> Result<(), PortError> {
    bound.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            PortError::InUse { option, address }
        } else {
            PortError::System {
                option,
                address,
                error,
            }
        }
    })
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

fn free_or_any(port: u16) -> SocketAddr {
    match TcpListener::bind(loopback(port)) {
        Ok(_) => loopback(port),
        Err(_) => loopback(0),
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        text.parse().unwrap()
    }

    fn plan(exposes: &[&str], upstreams: &[&str]) -> Result<Plan, PlanError> {
        let all = |texts: &[&str]| texts.iter().map(|text| service(text)).collect();
        Plan::new(all(exposes), all(upstreams), loopback(0), loopback(0))
    }

    #[test]
    fn services_are_read() {
        assert_eq!(
            service("db=tcp://127.0.0.1:5432").target.to_string(),
            "tcp://127.0.0.1:5432"
        );
        assert!(!service("db=tcp://127.0.0.1:5432").is_http());
        for http in ["http://a", "h2c://a", "https://a", "hello"] {
            assert!(service(&format!("x={http}")).is_http(), "{http}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            service("app=unix://run/app.sock").target.to_string(),
            format!("unix://{}/run/app.sock", here.display())
        );
    }

    #[test]
    fn mistakes_are_told() {
        let long = "x".repeat(52);
        for (text, message) in [
            ("db", "write NAME=URL, such as web=http://127.0.0.1:3000"),
            (
                "db=ftp://a",
                "unknown scheme \"ftp\"; expected one of tcp, http, h2c, https, unix",
            ),
            ("=tcp://a:1", "a service name has 1 to 63 characters, not 0"),
            (
                &format!("{long}=tcp://a:1"),
                &format!(
                    "the name {long} has 52 characters; 51 are possible here, since {long}--demo--acme must fit into one DNS label"
                ),
            ),
        ] {
            assert_eq!(text.parse::<Service>().unwrap_err().to_string(), message);
        }
        let twice = plan(&["a=hello", "a=tcp://b:1"], &[]).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "--expose a is given twice; names must differ, such as a-2"
        );
        assert!(plan(&["a=hello"], &["a=tcp://b:1"]).is_ok());
        assert!(matches!(
            plan(&[], &["a=hello"]),
            Err(PlanError::HelloUpstream(_))
        ));
    }

    #[test]
    fn without_services_there_is_hello() {
        assert_eq!(plan(&[], &[]).unwrap().exposes, [service("hello=hello")]);
        assert!(plan(&[], &[]).unwrap().has_http());
        assert!(!plan(&["db=tcp://a:1"], &[]).unwrap().has_http());
    }

    #[test]
    fn an_address_in_use_names_its_argument() {
        let other = TcpListener::bind(loopback(0)).unwrap();
        let plan = Plan {
            http: other.local_addr().unwrap(),
            ..plan(&[], &[]).unwrap()
        };
        let error = plan.check_ports().unwrap_err().to_string();
        let begin = format!("--http {}: another program listens there", plan.http);
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.contains("--http 127.0.0.1:0 takes"), "{error}");

        let mut plan = self::plan(&[], &[]).unwrap().behind_a_proxy();
        plan.line = Some(other.local_addr().unwrap());
        let error = plan.check_ports().unwrap_err().to_string();
        let begin = format!(
            "--tunnel {}: another program listens there",
            other.local_addr().unwrap()
        );
        assert!(error.starts_with(&begin), "{error}");
    }
}
