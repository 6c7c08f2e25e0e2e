//! A tunnel as it is deployed: an edge and a client from their files, everything at its default but
//! the transport.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use tunnel_client::config::Transport;

use crate::config::Kind;
use crate::pair::{
    CLUSTER, Directory, Failure, Pair, Progress, Step, TENANT, Way, ask, bound, exposed, joined,
    start, tunnel_address,
};

/// For everything, from the first file to the client having joined.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the origin is exposed as, with streams that resume and with streams that do not.
const RESUMABLE: &str = "origin";
const FLEETING: &str = "fleeting";

/// A running tunnel to the origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunnel {
    /// Where callers connect to.
    pub(super) ingress: SocketAddr,
    /// Where they do for a stream that does not resume.
    pub(super) fleeting: SocketAddr,
    /// Edge and client.
    pub(super) pids: [u32; 2],
}

/// Starts both processes into `pair` and waits until they have joined.
pub(super) async fn bring_up(
    directory: &Directory,
    transport: Transport,
    origin: SocketAddr,
    pair: &mut Pair,
    progress: &Progress,
) -> Result<Tunnel, Failure> {
    let deadline = Instant::now() + PATIENCE;
    directory.write(Kind::Edge, &edge())?;
    let edge = pair.edge.insert(start(Kind::Edge, directory)?);
    let edge_admin = bound(edge, deadline).await?;
    let address = tunnel_address(&ask(&edge_admin, Step::Edge).await?)
        .ok_or_else(|| Failure::new(Step::Edge, "it does not say where it takes clients"))?;

    directory.write(Kind::Client, &client(address, transport, origin))?;
    let client = pair.client.insert(start(Kind::Client, directory)?);
    let client_admin = bound(client, deadline).await?;
    joined(&edge_admin, &client_admin, deadline, progress)
        .await
        .map_err(|keeps| Failure::new(Step::Join, keeps).logged(&directory.log(Kind::Client)))?;

    let edge_status = ask(&edge_admin, Step::Join).await?;
    let client_status = ask(&client_admin, Step::Join).await?;
    let ways = exposed(&edge_status, &client_status);
    let ingress = |name| {
        let service = ways.iter().find(|service| service.name.as_str() == name);
        match service?.way {
            Way::Tcp(address) => Some(address),
            Way::Http { .. } | Way::Nowhere => None,
        }
    };
    let tunnel = || {
        Some(Tunnel {
            ingress: ingress(RESUMABLE)?,
            fleeting: ingress(FLEETING)?,
            pids: [pair.edge.as_ref()?.pid()?, pair.client.as_ref()?.pid()?],
        })
    };
    tunnel().ok_or_else(|| Failure::new(Step::Edge, "it does not say where it takes callers"))
}

/// `edge.toml`.
fn edge() -> String {
    format!(
        r#"[identity]
dir = "edge"

[listen]
tunnel = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"

[session]
drain = "1s"

[[ingress]]
kind = "tcp"
listen = "127.0.0.1:0"
to = "{TENANT}/{CLUSTER}/{RESUMABLE}"
anonymous = true

[[ingress]]
kind = "tcp"
listen = "127.0.0.1:0"
to = "{TENANT}/{CLUSTER}/{FLEETING}"
anonymous = true
"#
    )
}

/// `client.toml`, for an edge at `address`.
fn client(address: SocketAddr, transport: Transport, origin: SocketAddr) -> String {
    format!(
        r#"[identity]
dir = "client"

[edge]
address = "{address}"
transport = "{}"

[admin]
listen = "127.0.0.1:0"

[session]
drain = "1s"

[[expose]]
service = "{RESUMABLE}"
target = "tcp://{origin}"
health = "off"

[[expose]]
service = "{FLEETING}"
target = "tcp://{origin}"
health = "off"
resume = false
"#,
        transport.name()
    )
}
