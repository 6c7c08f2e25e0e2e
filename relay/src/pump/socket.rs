//! The plain sockets that a pump moves.

use tokio::net::{TcpStream, UnixStream};

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
