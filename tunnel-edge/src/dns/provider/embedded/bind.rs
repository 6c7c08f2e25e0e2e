//! Binding the name server's sockets, with errors that say what to do.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use relay::listen::{BindError, bind_tcp};
use relay::transport::quic::udp_socket;

/// The configuration key that an error tells to change.
const KEY: &str = "[dns.embedded] listen";

/// How many free ports are tried for one that is free for both UDP and TCP.
const TRIES: usize = 16;

/// Sockets of one address at which nobody is answered yet.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
    pub(super) address: SocketAddr,
}

/// Why the name server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the name server cannot listen on {address} ({transport}): {error}; {hint}")]
pub(crate) struct NameServerBindError {
    address: SocketAddr,
    transport: &'static str,
    error: io::Error,
    hint: String,
}

impl NameServerBindError {
    fn new(address: SocketAddr, transport: &'static str, error: io::Error) -> Self {
        Self {
            hint: hint(address, &error),
            address,
            transport,
            error,
        }
    }
}

/// Binds all of them, or none.
pub(super) fn all(listen: &[SocketAddr]) -> Result<Vec<Pair>, NameServerBindError> {
    listen.iter().map(|address| pair(*address)).collect()
}

fn pair(address: SocketAddr) -> Result<Pair, NameServerBindError> {
    let mut tries = 1;
    loop {
        match pair_once(address) {
            Err(refused)
                if refused.error.kind() == io::ErrorKind::AddrInUse
                    && address.port() == 0
                    && tries < TRIES =>
            {
                tries += 1;
            }
            bound => return bound,
        }
    }
}

fn pair_once(stated: SocketAddr) -> Result<Pair, NameServerBindError> {
    let failed = |transport| move |error| NameServerBindError::new(stated, transport, error);
    let udp = udp_socket(stated).map_err(failed("UDP"))?;
    let address = udp.local_addr().map_err(failed("UDP"))?;
    let tcp = bind_tcp(address, &[], KEY);
    let tcp = tcp.map_err(|refused| failed("TCP")(system_error(refused)))?;
    Ok(Pair { udp, tcp, address })
}

fn system_error(refused: BindError) -> io::Error {
    match refused {
        BindError::System { error, .. } => error,
        BindError::InUse { .. } | BindError::NotASocket { .. } => io::ErrorKind::AddrInUse.into(),
    }
}

fn hint(address: SocketAddr, error: &io::Error) -> String {
    let (port, kind) = (address.port(), error.kind());
    if kind == io::ErrorKind::PermissionDenied {
        format!(
            "ports below 1024 need a capability: AmbientCapabilities=CAP_NET_BIND_SERVICE in the \
             systemd unit, or `setcap cap_net_bind_service=+ep` on the causeway binary; or send \
             port {port} to a higher one, and set {KEY}"
        )
    } else if kind == io::ErrorKind::AddrInUse && address.ip().is_unspecified() {
        format!(
            "another name server has this port on some address (systemd-resolved has port 53 of \
             127.0.0.53): name this machine's public addresses in {KEY}, or stop the other"
        )
    } else if kind == io::ErrorKind::AddrInUse {
        format!("another name server has it: stop that one, or set {KEY}")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("use an address of this machine in {KEY}")
    } else {
        format!("check {KEY}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_needs_a_right_says_which() {
        let address = "[::]:53".parse().unwrap();
        let denied = io::ErrorKind::PermissionDenied.into();
        let error = NameServerBindError::new(address, "UDP", denied).to_string();
        assert!(
            error.contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            "{error}"
        );
        assert!(error.contains("setcap cap_net_bind_service=+ep"), "{error}");
        let taken = io::ErrorKind::AddrInUse.into();
        let error = NameServerBindError::new(address, "TCP", taken).to_string();
        assert!(error.contains("systemd-resolved"), "{error}");
    }
}
