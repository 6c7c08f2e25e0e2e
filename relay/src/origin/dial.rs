//! Dialling a target.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::race::first_connected;
use super::target::{HttpsTarget, Target};
use crate::descriptors::{Purpose, is_of_reserve};
use crate::driver::Stream;
use crate::proto::{ResetCode, ServiceName};
use crate::proxy_protocol;
use crate::pump::{LocalEnd, Pumped, Socket, TlsSocket, pump, tune};
use crate::settings::{Announce, Host, HostPort, OriginSettings};
use crate::transport::BoxFuture;

/// A target with all that is needed to dial it.
#[derive(Clone, Debug)]
pub struct Origin {
    settings: OriginSettings,
    /// For `https://` targets only.
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// A dialled target.
#[derive(Debug)]
pub enum OriginSocket {
    /// TCP or a unix socket.
    Plain(Socket),
    /// TLS.
    Tls(Box<TlsSocket>),
}

/// What became of a stream that was to be connected to a target.
#[derive(Debug)]
pub enum Served {
    /// The target was reached, and bytes were moved.
    Pumped(Pumped),
    /// The target was not reached; the stream was reset.
    NotReached(DialError),
    /// The opener gave up before the target was reached.
    GivenUp,
}

/// Why a target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there.
    #[error("the target refused the connection")]
    Refused,
    /// No answer in time.
    #[error("the target did not answer within {0:?}")]
    Timeout(Duration),
    /// Its name has no address, or none that may be used.
    #[error("the target's name: {0}")]
    Name(String),
    /// It could not be reached otherwise.
    #[error("the target could not be reached: {0}")]
    Io(io::Error),
    /// TLS with it failed.
    #[error("TLS with the target failed: {0}")]
    Tls(io::Error),
    /// The built-in service is not dialled.
    #[error("the built-in service has no address")]
    BuiltIn,
}

impl Served {
    /// A short name, for the label of a metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pumped(_) => "connected",
            Self::NotReached(error) => error.reset_code().label(),
            Self::GivenUp => "given_up",
        }
    }
}

impl DialError {
    /// What the stream is reset with.
    pub fn reset_code(&self) -> ResetCode {
        match self {
            Self::Refused => ResetCode::ConnectRefused,
            Self::Timeout(_) => ResetCode::ConnectTimeout,
            Self::Name(_) | Self::Io(_) | Self::Tls(_) => ResetCode::ConnectFailed,
            Self::BuiltIn => ResetCode::Internal,
        }
    }

    /// What a failed `connect` means.
    pub(super) fn of_connect(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return Self::Refused;
        }
        Self::Io(error)
    }
}

impl Origin {
    /// `tls` makes what verifies an `https://` target; it is not called for others.
    ///
    /// # Errors
    /// Those of `tls`.
    pub fn new<E>(
        settings: OriginSettings,
        tls: impl FnOnce(&HttpsTarget) -> Result<Arc<rustls::ClientConfig>, E>,
    ) -> Result<Self, E> {
        let tls = match &settings.target {
            Target::Https(https) => Some(tls(https)?),
            Target::Tcp(_)
            | Target::Http(_)
            | Target::H2c(_)
            | Target::Unix { .. }
            | Target::Hello => None,
        };
        Ok(Self { settings, tls })
    }

    /// How it is reached.
    pub fn settings(&self) -> &OriginSettings {
        &self.settings
    }

    /// Resolves, connects, says that it is for `caller` if the target wants to know and, for
    /// `https://`, shakes hands, all within the connect timeout.
    pub async fn dial(&self, caller: Option<SocketAddr>) -> Result<OriginSocket, DialError> {
        let patience = self.settings.connect_timeout;
        match tokio::time::timeout(patience, self.dial_now(caller)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(DialError::Timeout(patience)),
        }
    }

    /// Dials for `stream`, which `caller` opened, says so to its opener, and pumps until it is over. What the opener is
    /// told of a failure is the code and `service`: the target's address is not its business.
    ///
    /// The future lives as long as the stream, so its size counts: what dialling takes is in a box
    /// that is gone by then.
    pub fn serve(
        self: Arc<Self>,
        stream: Stream,
        service: ServiceName,
        caller: Option<SocketAddr>,
    ) -> impl Future<Output = Served> + Send {
        stream.note_target(|| self.settings.target.to_string());
        let connecting = Box::pin(self.connect(stream, service, caller));
        async move {
            match connecting.await {
                Ok(pumping) => Served::Pumped(pumping.await),
                Err(served) => served,
            }
        }
    }

    async fn connect(
        self: Arc<Self>,
        stream: Stream,
        service: ServiceName,
        caller: Option<SocketAddr>,
    ) -> Result<BoxFuture<'static, Pumped>, Served> {
        let dialled = tokio::select! {
            dialled = self.dial(caller) => dialled,
            _ = stream.over() => return Err(Served::GivenUp),
        };
        match dialled {
            Ok(socket) => {
                stream.confirm_connected();
                Ok(socket.pump(stream, self.settings.idle_timeout))
            }
            Err(error) => {
                let code = error.reset_code();
                stream.reset(code, format!("{service}: {code}"));
                Err(Served::NotReached(error))
            }
        }
    }

    async fn dial_now(&self, caller: Option<SocketAddr>) -> Result<OriginSocket, DialError> {
        match &self.settings.target {
            Target::Tcp(address) | Target::Http(address) | Target::H2c(address) => {
                let socket = self.dial_tcp(address, caller).await?;
                Ok(OriginSocket::Plain(Socket::Tcp(socket)))
            }
            Target::Https(https) => self.dial_tls(https, caller).await,
            Target::Unix { path, .. } => self.dial_unix(path, caller).await,
            Target::Hello => Err(DialError::BuiltIn),
        }
    }

    async fn dial_tcp(
        &self,
        address: &HostPort,
        caller: Option<SocketAddr>,
    ) -> Result<TcpStream, DialError> {
        let addresses = resolve(address).await?;
        let mut socket = first_connected(addresses, connect)
            .await?
            .ok_or_else(|| DialError::Name("it has no address that may be used".into()))?;
        tune(&socket, self.settings.keepalive);
        let header = self.announcement(caller, socket.peer_addr().ok());
        socket.write_all(&header).await.map_err(DialError::Io)?;
        Ok(socket)
    }

    async fn dial_unix(
        &self,
        path: &PathBuf,
        caller: Option<SocketAddr>,
    ) -> Result<OriginSocket, DialError> {
        let connected = UnixStream::connect(path).await;
        let mut socket = connected.map_err(DialError::of_connect)?;
        leave_reserve(&socket).map_err(DialError::Io)?;
        let header = self.announcement(caller, None);
        socket.write_all(&header).await.map_err(DialError::Io)?;
        Ok(OriginSocket::Plain(Socket::Unix(socket)))
    }

    /// What a connection begins with, if the target wants to know whose it is.
    fn announcement(&self, caller: Option<SocketAddr>, target: Option<SocketAddr>) -> Vec<u8> {
        match self.settings.announce {
            Announce::Nothing => Vec::new(),
            Announce::ProxyV2 => proxy_protocol::announce(caller, target),
        }
    }

    async fn dial_tls(
        &self,
        https: &HttpsTarget,
        caller: Option<SocketAddr>,
    ) -> Result<OriginSocket, DialError> {
        let tls = self
            .tls
            .clone()
            .expect("an https target has a TLS configuration");
        let socket = self.dial_tcp(&https.address, caller).await?;
        let name = server_name(https.server_name.as_ref().unwrap_or(&https.address.host))?;
        let stream = TlsConnector::from(tls)
            .connect(name, socket)
            .await
            .map_err(DialError::Tls)?;
        Ok(OriginSocket::Tls(Box::new(TlsSocket::new(stream))))
    }
}

/// Connects, unless that would take one of the last descriptors.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Before it connects: sockets that are about to would take them all for a while.
    leave_reserve(&socket)?;
    socket.connect(address).await
}

/// Fails as if there were no more descriptors: the last ones are not for targets.
fn leave_reserve(socket: &impl AsFd) -> io::Result<()> {
    if is_of_reserve(socket, Purpose::Callers) {
        return Err(Errno::MFILE.into());
    }
    Ok(())
}

impl OriginSocket {
    /// Pumps between this target and `stream`; see [`pump`].
    pub fn pump(
        self,
        stream: Stream,
        idle_timeout: Option<Duration>,
    ) -> BoxFuture<'static, Pumped> {
        let end = LocalEnd::Origin;
        match self {
            Self::Plain(socket) => pump(stream, socket, end, idle_timeout),
            Self::Tls(socket) => pump(stream, *socket, end, idle_timeout),
        }
    }
}

/// A name's addresses, without those that only a literal may name.
async fn resolve(address: &HostPort) -> Result<Vec<SocketAddr>, DialError> {
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::Name(name) => name,
    };
    let found = tokio::net::lookup_host((name.as_str(), address.port))
        .await
        .map_err(|error| DialError::Name(format!("{name}: {error}")))?;
    let (local, usable): (Vec<_>, Vec<_>) = found.partition(|found| only_as_literal(found.ip()));
    if usable.is_empty() && !local.is_empty() {
        return Err(DialError::Name(format!(
            "{name} resolves to a link-local or metadata address, which only a literal may name"
        )));
    }
    Ok(usable)
}

/// Whether an address is reached only if the configuration states it, not through a name, which
/// others may control: link-local ones (RFC 3927, RFC 4291 §2.5.6), and those from which clouds
/// hand out credentials. IPv4 within IPv6 (RFC 4291 §2.5.5.2, RFC 6052 §2.1) counts as IPv4.
fn only_as_literal(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                let [.., a, b, c, d] = v6.octets();
                only_as_literal(Ipv4Addr::new(a, b, c, d).into())
            }
            segments => v6.is_unicast_link_local() || METADATA_V6.contains(&segments),
        },
    }
}

/// Alibaba Cloud, Oracle Cloud and Azure, besides the usual link-local 169.254.169.254.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

/// AWS (instances, and EKS pods) and Google Cloud.
const METADATA_V6: [[u16; 8]; 3] = [
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
];

fn server_name(host: &Host) -> Result<ServerName<'static>, DialError> {
    match host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| DialError::Name(format!("{name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_link_and_of_metadata_services_are_known() {
        for address in [
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.1.1",
            "::ffff:168.63.129.16",
            "64:ff9b::169.254.169.254",
            "64:ff9b::100.100.100.200",
        ] {
            assert!(only_as_literal(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "100.100.100.201",
            "2001:db8::1",
            "fd00::1",
            "64:ff9b::10.0.0.1",
        ] {
            assert!(!only_as_literal(address.parse().unwrap()), "{address}");
        }
    }
}
