//! The line between client and edge, if it is to be one that can be made bad: a fault proxy.

use std::net::SocketAddr;

use ::chaos::control::Control;
use ::chaos::proxy::control::Handle;
use ::chaos::proxy::{Faults, Options, Protocols, Proxy};
use relay::settings::ListenAddr;
use tokio::task::JoinSet;

use crate::pair::{Directory, Failure, Step};
use crate::status::AdminAddress;

/// The unix socket within the directory by which `causeway chaos cut` finds the proxy.
pub(crate) const CONTROL_SOCKET: &str = "chaos.sock";

/// A proxy that runs until this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    listen: SocketAddr,
    control: Option<Control>,
    handle: Handle,
    running: JoinSet<()>,
}

impl Line {
    /// Listens for the client, and leads to the edge.
    pub(super) fn start(
        listen: SocketAddr,
        edge: SocketAddr,
        directory: &Directory,
    ) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(Step::Line, why);
        let to = edge.to_string();
        let to = to
            .parse()
            .expect("an address with a port is a host and a port");
        let socket = ListenAddr::parse(&format!("unix:{CONTROL_SOCKET}"), directory.path());
        let socket = socket.map_err(|error| {
            failed(error.to_string()).hint("take a directory with a shorter name: --dir")
        })?;
        let control = Control::bind(&socket, "--dir").map_err(|error| failed(error.to_string()))?;
        let options = Options::default();
        let faults = Faults::none(Protocols::Both);
        let proxy = Proxy::bind(listen, to, faults, options, "--tunnel").map_err(|error| {
            failed(error.to_string())
                .hint("--tunnel says where it listens; port 0 takes a free one")
        })?;
        let handle = Handle::of(&proxy);
        let listen = proxy.address();
        let mut running = JoinSet::new();
        running.spawn(proxy.run());
        Ok(Self {
            listen,
            control: Some(control),
            handle,
            running,
        })
    }

    /// Where the client dials.
    pub(super) fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Waits until it does not lead anywhere any more, which is a fault of its own. Cancel-safe.
    pub(super) async fn broke(&mut self) -> Failure {
        let why = match self.running.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) | None => "it has ended by itself".to_owned(),
        };
        Failure::new(Step::Line, why)
    }

    /// From now on faults can be set, and whoever does can see what they do.
    pub(super) fn controlled(&mut self, edge: &AdminAddress, client: &AdminAddress) {
        if let Some(control) = self.control.take() {
            let admins = [("edge_admin", edge), ("client_admin", client)];
            let admins = admins.map(|(key, address)| (key.to_owned(), address.to_string().into()));
            let handle = self.handle.clone().with(admins.into_iter().collect());
            self.running.spawn(control.serve(handle));
        }
    }
}
