//! The plain sockets that a pump moves.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

/// How long the kernel waits between two probes of a silent connection, and how many may stay
/// unanswered: a peer that is gone is found half a minute after the first.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Small writes of interactive protocols go out at once, and a connection that was silent for
/// `keepalive` is probed. Both are improvements that a connection can do without.
pub fn tune(socket: &TcpStream, keepalive: Option<Duration>) {
    let _ = socket.set_nodelay(true);
    if let Some(silence) = keepalive {
        let probes = TcpKeepalive::new()
            .with_time(silence)
            .with_interval(PROBE_INTERVAL)
            .with_retries(PROBES);
        let _ = SockRef::from(socket).set_tcp_keepalive(&probes);
    }
}

/// A connected local socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// As a file descriptor that another worker can take over.
    pub fn detach(self) -> std::io::Result<DetachedSocket> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(DetachedSocket::Tcp),
            Self::Unix(socket) => socket.into_std().map(DetachedSocket::Unix),
        }
    }
}

/// A socket on its way from one worker to another.
#[derive(Debug)]
pub enum DetachedSocket {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A unix stream socket.
    Unix(std::os::unix::net::UnixStream),
}

impl DetachedSocket {
    /// Belongs to the calling worker from now on.
    pub fn attach(self) -> std::io::Result<Socket> {
        match self {
            Self::Tcp(socket) => TcpStream::from_std(socket).map(Socket::Tcp),
            Self::Unix(socket) => UnixStream::from_std(socket).map(Socket::Unix),
        }
    }
}
