//! What an edge and a client are to be told, and their configuration files.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Side;
use crate::support::{network::Network, ports::port_for_server};

/// The client's cluster unless a test says otherwise.
pub(crate) const CLUSTER: &str = "acme/demo";

/// The host pattern of the http ingress.
pub(super) const HOST: &str = "{service}--{cluster}--{tenant}.apps.test";

/// What an edge and a client are to be told.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    exposes: Vec<(String, String, String)>,
    pub(super) upstreams: Vec<(String, String)>,
    pub(super) tcp_ingresses: Vec<(String, String)>,
    pub(super) http_ingress: bool,
    pub(super) http_ingresses: Vec<(String, String)>,
    transport: Option<String>,
    pub(super) log: Option<String>,
    pub(super) open_files: Option<(Side, u32)>,
    edge_extra: String,
    client_extra: String,
    fixed_ports: bool,
    pub(super) network: Option<Network>,
}

impl Builder {
    /// The client exposes `service` at `target`, which sees nothing but what the test sends.
    pub(crate) fn expose(self, service: &str, target: &str) -> Self {
        self.expose_checked(service, target, "health = \"off\"\n")
    }

    /// The client exposes `service` at `target` and looks at it as these keys say.
    pub(crate) fn expose_checked(mut self, service: &str, target: &str, keys: &str) -> Self {
        self.exposes
            .push((service.into(), target.into(), keys.into()));
        self
    }

    /// The edge offers `service` at `target`, and the client forwards to it.
    pub(crate) fn forward(mut self, service: &str, target: &str) -> Self {
        self.upstreams.push((service.into(), target.into()));
        self
    }

    /// The edge has a tcp ingress to `service` of the client's cluster.
    pub(crate) fn tcp_ingress(self, service: &str) -> Self {
        self.tcp_ingress_to(service, &format!("{CLUSTER}/{service}"))
    }

    /// The edge has a tcp ingress called `name` to `tenant/cluster/service`.
    pub(crate) fn tcp_ingress_to(mut self, name: &str, to: &str) -> Self {
        self.tcp_ingresses.push((name.into(), to.into()));
        self
    }

    /// The edge has an http ingress.
    pub(crate) fn http_ingress(mut self) -> Self {
        self.http_ingress = true;
        self
    }

    /// The edge has an http ingress called `name` whose requests all go to
    /// `tenant/cluster/service`.
    pub(crate) fn http_ingress_to(mut self, name: &str, to: &str) -> Self {
        self.http_ingresses.push((name.into(), to.into()));
        self
    }

    /// The client uses this transport and no other.
    pub(crate) fn transport(mut self, transport: &str) -> Self {
        self.transport = Some(transport.into());
        self
    }

    /// Both processes log what this filter says.
    pub(crate) fn log(mut self, filter: &str) -> Self {
        self.log = Some(filter.into());
        self
    }

    /// One process may have so many files and sockets open, and cannot raise that.
    pub(crate) fn open_files(mut self, side: Side, most: u32) -> Self {
        self.open_files = Some((side, most));
        self
    }

    /// More lines for `edge.toml`; tables that this builder writes are not written again.
    pub(crate) fn edge_toml(mut self, more: &str) -> Self {
        self.edge_extra += more;
        self
    }

    /// More lines for `client.toml`.
    pub(crate) fn client_toml(mut self, more: &str) -> Self {
        self.client_extra += more;
        self
    }

    /// Everything listens in the same place again after a restart.
    pub(crate) fn fixed_ports(mut self) -> Self {
        self.fixed_ports = true;
        self
    }

    /// Each process is on its own host of `network`, not on this one.
    pub(crate) fn on(mut self, network: &Network) -> Self {
        self.network = Some(network.clone());
        self
    }

    pub(super) fn edge_file(&self) -> String {
        let mut file = format!(
            "[identity]\ndir = \"state\"\n\n[listen]\ntunnel = \"{}\"\n\n[admin]\nlisten = \"unix:admin.sock\"\n",
            self.listen(self.tunnel_host())
        );
        for (name, to) in &self.tcp_ingresses {
            file += &format!(
                "\n[[ingress]]\nname = \"{name}\"\nkind = \"tcp\"\nlisten = \"{}\"\nto = \"{to}\"\nanonymous = true\n",
                self.listen(Ipv4Addr::LOCALHOST.into())
            );
        }
        if self.http_ingress {
            file += &format!(
                "\n[[ingress]]\nname = \"web\"\nkind = \"http\"\nlisten = \"{}\"\nhost = \"{HOST}\"\nanonymous = true\n",
                self.listen(Ipv4Addr::LOCALHOST.into())
            );
        }
        for (name, to) in &self.http_ingresses {
            file += &format!(
                "\n[[ingress]]\nname = \"{name}\"\nkind = \"http\"\nlisten = \"{}\"\nto = \"{to}\"\nanonymous = true\n",
                self.listen(Ipv4Addr::LOCALHOST.into())
            );
        }
        for (service, target) in &self.upstreams {
            file += &format!(
                "\n[[upstream]]\nservice = \"{service}\"\ntarget = \"{target}\"\nallow = [\"{CLUSTER}\"]\n"
            );
        }
        file + "\n" + &self.edge_extra
    }

    fn listen(&self, host: IpAddr) -> SocketAddr {
        let port = if self.fixed_ports {
            port_for_server()
        } else {
            0
        };
        SocketAddr::new(host, port)
    }

    fn tunnel_host(&self) -> IpAddr {
        let network = self.network.as_ref();
        network.map_or(Ipv4Addr::LOCALHOST.into(), |it| it.edge.address())
    }

    pub(super) fn client_file(&self, tunnel: SocketAddr) -> String {
        let transport = self.transport.as_ref();
        let transport = transport.map_or_else(String::new, |t| format!("transport = \"{t}\"\n"));
        let mut file = format!(
            "[identity]\ndir = \"state\"\n\n[edge]\naddress = \"{tunnel}\"\n{transport}\n[admin]\nlisten = \"unix:admin.sock\"\n"
        );
        for (service, target, health) in &self.exposes {
            // What is built in is not looked at, and takes no such key.
            let health = if target == "hello" { "" } else { health };
            file +=
                &format!("\n[[expose]]\nservice = \"{service}\"\ntarget = \"{target}\"\n{health}");
        }
        for (service, _) in &self.upstreams {
            file += &format!(
                "\n[[forward]]\nservice = \"{service}\"\nlisten = \"{}\"\n",
                self.listen(Ipv4Addr::LOCALHOST.into())
            );
        }
        file + "\n" + &self.client_extra
    }
}
