//! A caller's connection, before a byte of it is served: whose it is, and how the kernel keeps it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use relay::listen::canonical;
use relay::proxy_protocol::{HeaderError, read_header};
use relay::pump::tune;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Connections;

/// How long a proxy may take to say whose connection it is: longer than a lost packet and its
/// repetition take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a connection of `peer` ready and says whose it is: `peer`'s, or whoever's a proxy says in
/// front. A connection that is not ready is reset.
///
/// # Errors
/// If a proxy does not say it, or not in time.
pub(super) async fn arrive(
    mut socket: TcpStream,
    peer: SocketAddr,
    connections: &Connections,
) -> Result<(TcpStream, SocketAddr), HeaderError> {
    let peer = canonical(peer);
    tune(&socket, connections.keepalive);
    if !is_announced(peer, connections) {
        return Ok((socket, peer));
    }
    let read = timeout(HEADER_TIMEOUT, read_header(&mut socket)).await;
    match read.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) {
        Ok(caller) => Ok((socket, caller.unwrap_or(peer))),
        Err(error) => {
            // If that fails the connection is closed as it is.
            let _ = socket.set_zero_linger();
            Err(error)
        }
    }
}

/// Whether a connection of `peer` begins with a header of the PROXY protocol.
pub(super) fn is_announced(peer: SocketAddr, connections: &Connections) -> bool {
    let address = peer.ip().to_canonical();
    let networks = &connections.proxy_protocol_from;
    networks.iter().any(|network| network.contains(&address))
}
