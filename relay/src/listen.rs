//! Local listeners, TCP and unix: binding with errors that say what to do, and accepting through
//! whatever goes wrong.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::descriptors::{Purpose, leave_reserve};
use crate::pump::Socket as LocalSocket;
use crate::settings::ListenAddr;

/// The mode of a unix socket: who may connect is who may write.
const OWNER_ONLY: u32 = 0o600;

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 1024;

/// How long accepting pauses when the process or the system has no room for a socket.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// A bound listener that nobody is served at yet.
#[derive(Debug)]
pub struct Listener(Bound);

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// Why a listener could not be bound. Each message names the address and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has it.
    #[error(
        "cannot listen on {address}: address in use: something else listens there; stop it, or set {key}"
    )]
    InUse {
        /// Where.
        address: ListenAddr,
        /// The configuration key to change.
        key: &'static str,
    },
    /// The path of a unix socket is taken by something that is none.
    #[error(
        "cannot listen on {address}: there is a file that is not a socket; move it away, or set {key}"
    )]
    NotASocket {
        /// Where.
        address: ListenAddr,
        /// The configuration key to change.
        key: &'static str,
    },
    /// The system refused.
    #[error("cannot listen on {address}: {error}; {hint}, or set {key}")]
    System {
        /// Where.
        address: ListenAddr,
        /// What the system said.
        error: io::Error,
        /// What may help.
        hint: &'static str,
        /// The configuration key to change.
        key: &'static str,
    },
}

impl BindError {
    /// What the system says of a TCP listener that is bound already.
    pub fn of_listener(address: SocketAddr, error: io::Error, key: &'static str) -> Self {
        describe(Failure::Io(error), ListenAddr::Ip(address), key)
    }
}

impl Listener {
    /// Binds without accepting yet. Call it within the runtime that will serve. `key` is the
    /// configuration key that an error tells to change.
    ///
    /// A unix socket gets mode 0600 before anyone can connect. A socket file that a killed
    /// process left behind is replaced; one at which somebody answers is
    /// [`BindError::InUse`].
    ///
    /// # Errors
    /// [`BindError`] if the address is taken, is not this machine's, or may not be used.
    pub fn bind(address: &ListenAddr, key: &'static str) -> Result<Self, BindError> {
        Self::bind_beside(address, &[], key)
    }

    /// The same, also where listeners of ours are in the way that will close, as [`bind_tcp`] does.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub fn bind_beside(
        address: &ListenAddr,
        leaving: &[Arc<Self>],
        key: &'static str,
    ) -> Result<Self, BindError> {
        let leaving: Vec<_> = leaving.iter().filter_map(|old| old.tcp()).collect();
        let bound = match address {
            ListenAddr::Ip(ip) => listening(*ip, &leaving).and_then(served_here),
            ListenAddr::Unix(path) => bind_unix(path),
        };
        bound
            .map(Self)
            .map_err(|error| describe(error, address.clone(), key))
    }

    fn tcp(&self) -> Option<SockRef<'_>> {
        match &self.0 {
            Bound::Tcp(listener, _) => Some(SockRef::from(listener)),
            Bound::Unix(..) => None,
        }
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> ListenAddr {
        match &self.0 {
            Bound::Tcp(_, address) => ListenAddr::Ip(*address),
            Bound::Unix(_, file) => ListenAddr::Unix(file.path.clone()),
        }
    }

    /// The next one who calls, once there is room for more besides: the last descriptors are not
    /// for callers. Cancelled while it waits for room, it drops who has called.
    pub async fn accept_caller(&self) -> (LocalSocket, Option<SocketAddr>) {
        let (socket, address) = self.accept().await;
        match &socket {
            LocalSocket::Tcp(socket) => leave_reserve(socket, Purpose::Callers).await,
            LocalSocket::Unix(socket) => leave_reserve(socket, Purpose::Callers).await,
        }
        (socket, address)
    }

    /// The next caller, and its address if it has one. Survives aborted connections, and waits
    /// when there is no room for one more socket. Cancel-safe.
    pub async fn accept(&self) -> (LocalSocket, Option<SocketAddr>) {
        loop {
            let accepted = match &self.0 {
                Bound::Tcp(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, address)| (LocalSocket::Tcp(stream), Some(canonical(address)))),
                Bound::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| (LocalSocket::Unix(stream), None)),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, listener = %self.address(), "cannot accept now");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }
}

/// An address as its owner knows it: an IPv4 caller of a socket for both families has its IPv4
/// address (RFC 4291 §2.5.5.2).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The file of a unix socket; removed when dropped, if it is still this one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours {
            // If that fails it is stale, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

enum Failure {
    Io(io::Error),
    NotASocket,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Binds a TCP listener that belongs to no event loop yet, so that several can share it.
///
/// Listeners that are `leaving` are not in its way, though they accept until they are closed: so
/// 0.0.0.0 takes over from 127.0.0.1 with no moment at which nobody listens, and if it cannot, the
/// old one was never away.
///
/// # Errors
/// As [`Listener::bind`].
pub fn bind_tcp(
    address: SocketAddr,
    leaving: &[&std::net::TcpListener],
    key: &'static str,
) -> Result<std::net::TcpListener, BindError> {
    let leaving: Vec<_> = leaving.iter().map(|old| SockRef::from(*old)).collect();
    listening(address, &leaving).map_err(|error| describe(error, ListenAddr::Ip(address), key))
}

fn listening(
    address: SocketAddr,
    leaving: &[SockRef<'_>],
) -> Result<std::net::TcpListener, Failure> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    let new = SockRef::from(&socket);
    let sharing = Sharing::begin(leaving.iter().chain([&new]).collect())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    drop(sharing);
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sockets that may listen where the others do. Only both asking for it is enough (socket(7)), so
/// that strangers stay out; and only until it is dropped, so that nobody joins later.
struct Sharing<'s>(Vec<&'s SockRef<'s>>);

impl<'s> Sharing<'s> {
    fn begin(sockets: Vec<&'s SockRef<'s>>) -> io::Result<Self> {
        let sharing = Self(sockets);
        // A socket alone has nobody to share with.
        if sharing.0.len() > 1 {
            for socket in &sharing.0 {
                socket.set_reuse_port(true)?;
            }
        }
        Ok(sharing)
    }
}

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        for socket in &self.0 {
            // It was set before, on the same socket.
            let _ = socket.set_reuse_port(false);
        }
    }
}

fn served_here(listener: std::net::TcpListener) -> Result<Bound, Failure> {
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    Ok(Bound::Tcp(listener, address))
}

fn bind_unix(path: &Path) -> Result<Bound, Failure> {
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    // Nobody can connect before listen(), so there is no moment at which it is open to all.
    fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Bound::Unix(UnixListener::from_std(socket.into())?, file))
}

/// Removes a socket file at which nobody answers.
fn clear(path: &Path) -> Result<(), Failure> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        return Err(Failure::NotASocket);
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Non-blocking, so that a full backlog is an answer too.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error.into()),
        Ok(()) | Err(_) => Err(io::Error::from(io::ErrorKind::AddrInUse).into()),
    }
}

fn describe(failure: Failure, address: ListenAddr, key: &'static str) -> BindError {
    match failure {
        Failure::NotASocket => BindError::NotASocket { address, key },
        Failure::Io(error) if error.kind() == io::ErrorKind::AddrInUse => {
            BindError::InUse { address, key }
        }
        Failure::Io(error) => BindError::System {
            hint: hint(&error),
            address,
            error,
            key,
        },
    }
}

fn hint(error: &io::Error) -> &'static str {
    const HINTS: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::PermissionDenied,
            "give it the right to use that port or directory",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "use an address of this machine",
        ),
        (io::ErrorKind::NotFound, "create the directory"),
    ];
    let known = HINTS.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or("check the address", |(_, hint)| hint)
}

#[cfg(test)]
mod tests;
