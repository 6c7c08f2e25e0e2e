//! What a service's streams are connected to, as its URL states it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::proto::AppProtocol;
use crate::settings::{Host, HostPort, HostPortError};

/// Where a service is. Its scheme fixes what is spoken to it.
///
/// Written `tcp://host:port`, `http://host[:80]`, `h2c://host[:80]`, `https://host[:443]`, `unix:///path` or `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Bytes over TCP.
    Tcp(HostPort),
    /// HTTP/1.1 over TCP.
    Http(HostPort),
    /// HTTP/2 with prior knowledge over TCP.
    H2c(HostPort),
    /// HTTP over TLS; this end verifies the target's certificate.
    Https(HttpsTarget),
    /// A unix socket.
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// What it speaks: bytes, unless something else is stated.
        protocol: AppProtocol,
    },
    /// The service that is built into clients.
    Hello,
}

/// An `https://` target and how it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpsTarget {
    /// What is dialled.
    pub address: HostPort,
    /// Whether HTTP/2 is spoken instead of HTTP/1.1.
    pub h2: bool,
    /// A PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must have, if it is not the address's host.
    pub server_name: Option<Host>,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No scheme at all.
    #[error(
        "\"{0}\" has no scheme; write one of tcp://, http://, h2c://, https://, unix:// in front, such as http://127.0.0.1:3000"
    )]
    NoScheme(String),
    /// A scheme that is not one of ours.
    #[error("unknown scheme \"{0}\"; expected one of tcp, http, h2c, https, unix")]
    UnknownScheme(String),
    /// Not exactly `://` behind the scheme, or another scheme behind it.
    #[error("\"{text}\" is no target; write {meant}")]
    Misspelt {
        /// What was written.
        text: String,
        /// What was probably meant.
        meant: String,
    },
    /// A path, a query or a fragment behind the address.
    #[error(
        "\"{text}\" has \"{rest}\" behind the address; a target has no path, requests keep their own: write {scheme}://{address}"
    )]
    Path {
        /// What was written.
        text: String,
        /// The scheme.
        scheme: String,
        /// The address alone.
        address: String,
        /// What stands behind it.
        rest: String,
    },
    /// A user name or password.
    #[error("a target has no user name or password; write {0} without what stands before the @")]
    UserInfo(&'static str),
    /// An address that is not one.
    #[error(transparent)]
    Address(#[from] HostPortError),
    /// `unix://` with nothing behind it.
    #[error("\"unix://\" names no path; write it like unix:///run/app.sock")]
    NoPath,
}

/// The schemes that an address follows.
const SCHEMES: [&str; 4] = ["tcp", "http", "h2c", "https"];

/// The word for the built-in service.
const HELLO: &str = "hello";

impl Target {
    /// What is spoken to it.
    pub fn protocol(&self) -> AppProtocol {
        match self {
            Self::Tcp(_) => AppProtocol::Tcp,
            Self::Http(_) | Self::Hello => AppProtocol::Http1,
            Self::H2c(_) => AppProtocol::H2,
            Self::Https(https) if https.h2 => AppProtocol::H2,
            Self::Https(_) => AppProtocol::Http1,
            Self::Unix { protocol, .. } => *protocol,
        }
    }

    /// Its scheme with `://`, or the word for the built-in service.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp://",
            Self::Http(_) => "http://",
            Self::H2c(_) => "h2c://",
            Self::Https(_) => "https://",
            Self::Unix { .. } => "unix://",
            Self::Hello => HELLO,
        }
    }

    /// The same, with a relative socket path taken as relative to `directory`.
    pub(crate) fn relative_to(self, directory: &Path) -> Self {
        match self {
            Self::Unix { path, protocol } => Self::Unix {
                path: directory.join(path),
                protocol,
            },
            Self::Tcp(_) | Self::Http(_) | Self::H2c(_) | Self::Https(_) | Self::Hello => self,
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text == HELLO {
            return Ok(Self::Hello);
        }
        if let Some(meant) = meant_by(text) {
            let text = text.to_owned();
            return Err(TargetError::Misspelt { text, meant });
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            // As listeners are written: unix:/run/app.sock.
            None => match text.strip_prefix("unix:") {
                Some(path) => ("unix", path),
                None => return Err(TargetError::NoScheme(text.to_owned())),
            },
        };
        match scheme {
            "tcp" => Ok(Self::Tcp(address(text, scheme, rest, None)?)),
            "http" => Ok(Self::Http(address(text, scheme, rest, Some(80))?)),
            "h2c" => Ok(Self::H2c(address(text, scheme, rest, Some(80))?)),
            "https" => Ok(Self::Https(HttpsTarget {
                address: address(text, scheme, rest, Some(443))?,
                h2: false,
                ca: None,
                server_name: None,
            })),
            "unix" if rest.trim_matches('/').is_empty() => Err(TargetError::NoPath),
            "unix" => Ok(Self::Unix {
                path: PathBuf::from(rest),
                protocol: AppProtocol::Tcp,
            }),
            unknown => Err(TargetError::UnknownScheme(unknown.to_owned())),
        }
    }
}

/// What a text probably means whose scheme is known, but not followed by exactly `://` and an
/// address: `http:/a`, `http//a`, `http:///a`, `tcp://http://a`.
fn meant_by(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_at(text.find([':', '/'])?);
    if !SCHEMES.contains(&scheme) {
        return None;
    }
    let address = rest.trim_start_matches([':', '/']);
    let is_url = SCHEMES.iter().any(|scheme| {
        let behind = address.strip_prefix(scheme);
        behind.is_some_and(|behind| behind.starts_with("://"))
    });
    if is_url {
        return Some(address.to_owned());
    }
    let is_right = rest.strip_prefix("://") == Some(address);
    // A host that is called like a scheme, with its port, or nothing to make a target of.
    (!is_right && !is_port(address)).then(|| format!("{scheme}://{address}"))
}

/// Whether it may be a port: digits, or nothing.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn address(
    text: &str,
    scheme: &str,
    rest: &str,
    default_port: Option<u16>,
) -> Result<HostPort, TargetError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (address, behind) = rest.split_at(end);
    if address.contains('@') {
        return Err(TargetError::UserInfo("the address"));
    }
    // A lone slash is how browsers write "no path".
    if !matches!(behind, "" | "/") {
        return Err(TargetError::Path {
            text: text.to_owned(),
            scheme: scheme.to_owned(),
            address: address.to_owned(),
            rest: behind.to_owned(),
        });
    }
    Ok(HostPort::parse(address, default_port)?)
}

impl fmt::Display for Target {
    /// As it is written; ports that are the scheme's own are shown too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Http(address) | Self::H2c(address) => {
                write!(f, "{}{address}", self.scheme())
            }
            Self::Https(https) => write!(f, "{}{}", self.scheme(), https.address),
            Self::Unix { path, .. } => write!(f, "{}{}", self.scheme(), path.display()),
            Self::Hello => f.write_str(HELLO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_shown() {
        for (text, shown, protocol) in [
            (
                "tcp://db.internal:5432",
                "tcp://db.internal:5432",
                AppProtocol::Tcp,
            ),
            (
                "http://127.0.0.1",
                "http://127.0.0.1:80",
                AppProtocol::Http1,
            ),
            (
                "http://127.0.0.1:3000/",
                "http://127.0.0.1:3000",
                AppProtocol::Http1,
            ),
            ("h2c://[::1]:9000", "h2c://[::1]:9000", AppProtocol::H2),
            ("http://tcp:80", "http://tcp:80", AppProtocol::Http1),
            ("tcp://http:80", "tcp://http:80", AppProtocol::Tcp),
            ("http://tcp", "http://tcp:80", AppProtocol::Http1),
            (
                "https://api.example.com",
                "https://api.example.com:443",
                AppProtocol::Http1,
            ),
            (
                "unix:///run/app.sock",
                "unix:///run/app.sock",
                AppProtocol::Tcp,
            ),
            (
                "unix:/run/app.sock",
                "unix:///run/app.sock",
                AppProtocol::Tcp,
            ),
            ("hello", "hello", AppProtocol::Http1),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.protocol(), protocol, "{text}");
            assert_eq!(shown.parse(), Ok(target), "{shown} is read back");
        }
    }

    #[test]
    fn what_is_no_target_is_said() {
        for (text, message) in [
            (
                "127.0.0.1:80",
                "\"127.0.0.1:80\" has no scheme; write one of tcp://, http://, h2c://, https://, unix:// in front, such as http://127.0.0.1:3000",
            ),
            (
                "htp://a:1",
                "unknown scheme \"htp\"; expected one of tcp, http, h2c, https, unix",
            ),
            ("tcp://db", "\"db\" has no port; write it like db:443"),
            ("http:/a", "\"http:/a\" is no target; write http://a"),
            ("http//a:1", "\"http//a:1\" is no target; write http://a:1"),
            ("http:a", "\"http:a\" is no target; write http://a"),
            ("http:://a", "\"http:://a\" is no target; write http://a"),
            ("http:///a", "\"http:///a\" is no target; write http://a"),
            (
                "tcp://http://a:1",
                "\"tcp://http://a:1\" is no target; write http://a:1",
            ),
            (
                "http:80",
                "\"http:80\" has no scheme; write one of tcp://, http://, h2c://, https://, unix:// in front, such as http://127.0.0.1:3000",
            ),
            (
                "http://a/b?c",
                "\"http://a/b?c\" has \"/b?c\" behind the address; a target has no path, requests keep their own: write http://a",
            ),
            (
                "http://me@a",
                "a target has no user name or password; write the address without what stands before the @",
            ),
            (
                "unix://",
                "\"unix://\" names no path; write it like unix:///run/app.sock",
            ),
            (
                "http://",
                "\"\" names no host; write it like edge.example.com:443",
            ),
        ] {
            assert_eq!(
                text.parse::<Target>().unwrap_err().to_string(),
                message,
                "{text}"
            );
        }
    }
}
