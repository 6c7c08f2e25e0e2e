//! Addresses to dial (`edge.example.com:443`) and to listen on (`127.0.0.1:0`, `unix:/run/x.sock`).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A host to dial: a name to resolve, or an address that was stated literally.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, in lower case and without a trailing dot.
    Name(String),
    /// An address, written as such.
    Ip(IpAddr),
}

/// A host and a port to dial, such as `edge.example.com:443` or `[2001:db8::1]:7443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
}

/// Why a text is no address to dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// No host.
    #[error("\"{0}\" names no host; write it like edge.example.com:443")]
    NoHost(String),
    /// No port, where one is needed.
    #[error("\"{0}\" has no port; write it like {0}:443")]
    NoPort(String),
    /// A URL, where only an address belongs.
    #[error("\"{text}\" is a URL; write the address alone: {address}")]
    Url {
        /// What was written.
        text: String,
        /// The address in it.
        address: String,
    },
    /// A port that is not one.
    #[error("\"{text}\" has the port \"{port}\"; expected 1 to 65535")]
    BadPort {
        /// What was written.
        text: String,
        /// What stands where the port belongs.
        port: String,
    },
    /// A host that is neither a DNS name nor an address.
    #[error("\"{0}\" is neither a host name nor an IP address")]
    BadHost(String),
    /// An IPv6 address whose end cannot be told from a port.
    #[error("write the IPv6 address in brackets: [{0}]")]
    BareIpv6(String),
}

/// Where to listen: a TCP or UDP address, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenAddr {
    /// An IP address and a port; port 0 takes a free one.
    Ip(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddrError {
    /// A host name, or nothing, where an IP address belongs.
    #[error(
        "\"{0}\" is no address to listen on; write an IP address and a port such as 127.0.0.1:8080 or [::]:8080 (port 0: any free one), or unix:/path/to.sock"
    )]
    NotAnAddress(String),
    /// `unix:` with nothing behind it.
    #[error("\"unix:\" names no path; write it like unix:/run/causeway/admin.sock")]
    NoPath,
    /// Longer than a socket's address can be.
    #[error(
        "the unix socket path {path} is {length} bytes long; the system allows {MAX_UNIX_PATH}"
    )]
    PathTooLong {
        /// The path in full.
        path: String,
        /// Its length in bytes.
        length: usize,
    },
}

/// `sockaddr_un.sun_path` on Linux holds 108 bytes with its terminating zero (unix(7)).
const MAX_UNIX_PATH: usize = 107;

impl HostPort {
    /// Reads `host`, `host:port`, `1.2.3.4`, `[::1]` or `[::1]:port`; `default_port` stands in for a missing port.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostPortError> {
        let owned = || text.to_owned();
        if let Some((_, rest)) = text.split_once("://") {
            let address = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let address = address.to_owned();
            return Err(match address.as_str() {
                "" => HostPortError::NoHost(owned()),
                _ => HostPortError::Url {
                    text: owned(),
                    address,
                },
            });
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(HostPortError::BareIpv6(owned()));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, behind) = rest
                    .split_once(']')
                    .ok_or_else(|| HostPortError::BadHost(owned()))?;
                let address: Ipv6Addr = address
                    .parse()
                    .map_err(|_| HostPortError::BadHost(owned()))?;
                let port = match behind {
                    "" => None,
                    behind => Some(
                        behind
                            .strip_prefix(':')
                            .ok_or_else(|| HostPortError::BadHost(owned()))?,
                    ),
                };
                (Host::Ip(IpAddr::V6(address)), port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                if host.is_empty() {
                    return Err(HostPortError::NoHost(owned()));
                }
                (host.parse()?, port)
            }
        };
        let port = match port {
            None => default_port.ok_or_else(|| HostPortError::NoPort(owned()))?,
            Some(port) => digits(port).ok_or_else(|| HostPortError::BadPort {
                text: owned(),
                port: port.to_owned(),
            })?,
        };
        Ok(Self { host, port })
    }
}

/// A port from 1 to 65535 in plain digits (no sign, which `parse` would take).
fn digits(port: &str) -> Option<u16> {
    let plain = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|port| plain && *port != 0)
}

impl FromStr for Host {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len())
                && label.bytes().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits only is a mistyped address, never a name (RFC 1123, section 2.1).
        let last_is_number = name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || last_is_number || !name.split('.').all(label) {
            return Err(HostPortError::BadHost(text.to_owned()));
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    /// Reads a host with its port, which must be there.
    fn from_str(text: &str) -> Result<Self, HostPortError> {
        Self::parse(text, None)
    }
}

impl fmt::Display for Host {
    /// As it stands in a URL: IPv6 addresses in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl ListenAddr {
    /// Reads `127.0.0.1:8080`, `[::]:8080` or `unix:path`; a relative path is relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, ListenAddrError> {
        let Some(path) = text.strip_prefix("unix:") else {
            return text
                .parse()
                .map(Self::Ip)
                .map_err(|_| ListenAddrError::NotAnAddress(text.to_owned()));
        };
        // `unix:///run/x` says the same as `unix:/run/x`.
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.trim_matches('/').is_empty() {
            return Err(ListenAddrError::NoPath);
        }
        let path = directory.join(path);
        let length = path.as_os_str().len();
        if length > MAX_UNIX_PATH {
            let path = path.display().to_string();
            return Err(ListenAddrError::PathTooLong { path, length });
        }
        Ok(Self::Unix(path))
    }

    /// Whether only this machine can reach it: a loopback address or a unix socket.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether no two sockets can listen at both: they are the same, or one stands for the other
    /// too. A listener at `[::]` is one for IPv4 as well.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (Self::Ip(one), Self::Ip(other)) = (self, other) else {
            return self == other;
        };
        let (ours, theirs) = (one.ip().to_canonical(), other.ip().to_canonical());
        let takes_in = |wide: IpAddr, narrow: IpAddr| match wide {
            IpAddr::V6(wide) => wide.is_unspecified(),
            IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        };
        let same_ip = ours == theirs || takes_in(ours, theirs) || takes_in(theirs, ours);
        same_ip && one.port() == other.port()
    }

    /// Whether two listeners cannot both have it: port 0 is a different one each time.
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Ip(address) => address.port() != 0,
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_dial_are_read() {
        for (text, shown) in [
            ("edge.example.com", "edge.example.com:443"),
            ("Edge.Example.com.:7443", "edge.example.com:7443"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]", "[::1]:443"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
            ("localhost:80", "localhost:80"),
        ] {
            let address = HostPort::parse(text, Some(443)).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address), "{shown} is read back");
        }
    }

    #[test]
    fn listeners_that_take_in_one_another_overlap() {
        for (one, other, expected) in [
            ("[::]:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::]:1", "[::1]:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
            ("unix:/a", "unix:/a", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "0.0.0.0:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("unix:/a", "unix:/b", false),
        ] {
            let parse = |text| ListenAddr::parse(text, Path::new("/")).unwrap();
            assert_eq!(
                parse(one).overlaps(&parse(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_said() {
        for (text, message) in [
            ("", "\"\" names no host; write it like edge.example.com:443"),
            (
                ":443",
                "\":443\" names no host; write it like edge.example.com:443",
            ),
            ("edge", "\"edge\" has no port; write it like edge:443"),
            (
                "edge:0",
                "\"edge:0\" has the port \"0\"; expected 1 to 65535",
            ),
            (
                "edge:+1",
                "\"edge:+1\" has the port \"+1\"; expected 1 to 65535",
            ),
            (
                "edge:http",
                "\"edge:http\" has the port \"http\"; expected 1 to 65535",
            ),
            ("::1", "write the IPv6 address in brackets: [::1]"),
            (
                "https://edge.example.com",
                "\"https://edge.example.com\" is a URL; write the address alone: edge.example.com",
            ),
            (
                "http://edge:1/x?y",
                "\"http://edge:1/x?y\" is a URL; write the address alone: edge:1",
            ),
            (
                "http:///x",
                "\"http:///x\" names no host; write it like edge.example.com:443",
            ),
            (
                "300.1.1.1:1",
                "\"300.1.1.1\" is neither a host name nor an IP address",
            ),
            ("a b:1", "\"a b\" is neither a host name nor an IP address"),
            (
                "[::1]x:1",
                "\"[::1]x:1\" is neither a host name nor an IP address",
            ),
        ] {
            assert_eq!(
                text.parse::<HostPort>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }

    #[test]
    fn addresses_to_listen_on_are_read() {
        let parse = |text: &str| ListenAddr::parse(text, Path::new("/etc/causeway"));
        assert_eq!(parse("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(parse("[::]:7443").unwrap().to_string(), "[::]:7443");
        assert_eq!(
            parse("unix:admin.sock").unwrap().to_string(),
            "unix:/etc/causeway/admin.sock"
        );
        assert_eq!(
            parse("unix:///run/a.sock").unwrap().to_string(),
            "unix:/run/a.sock"
        );
        for text in ["unix:", "unix:/", "unix:///"] {
            assert_eq!(parse(text).unwrap_err(), ListenAddrError::NoPath);
        }
        assert!(
            parse("localhost:80")
                .unwrap_err()
                .to_string()
                .starts_with("\"localhost:80\" is no address")
        );
        assert!(
            parse(&format!("unix:/{}", "x".repeat(120)))
                .unwrap_err()
                .to_string()
                .ends_with("the system allows 107")
        );
        assert!(parse("127.0.0.1:1").unwrap().is_local());
        assert!(parse("[::ffff:127.0.0.1]:1").unwrap().is_local());
        assert!(!parse("0.0.0.0:1").unwrap().is_local());
        assert!(!parse("0.0.0.0:0").unwrap().is_fixed());
    }
}
