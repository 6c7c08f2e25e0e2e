//! Where a process can be asked, and how a configuration file says it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use relay::settings::{
    AdminSettings, Document, HostPort, HostPortError, ListenAddr, Problems, load_in_part,
};
use tunnel_client::config as client;
use tunnel_edge::config as edge;

use crate::check::kind_of;
use crate::config::Kind;

/// The admin listener of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminAddress {
    Tcp(HostPort),
    Unix(PathBuf),
}

/// Why a text is no admin address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the admin listener speaks plain http; write http://127.0.0.1:7480 or unix:/path")]
    NotHttp,
    #[error("an admin address has no path; leave out \"{0}\"")]
    Path(String),
    #[error("\"unix:\" names no path; write it like unix:/run/causeway/admin.sock")]
    NoPath,
    #[error(transparent)]
    Host(#[from] HostPortError),
}

/// Where a configuration file says that its process can be asked.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) address: AdminAddress,
    /// What is wrong with the rest of the file, which does not matter to that.
    pub(super) mistakes: Option<Problems>,
}

/// Why a configuration file does not say where its process can be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    Wrong(#[from] Problems),
    #[error(
        "{file}: neither an edge's nor a client's configuration as it stands: \
             `causeway check {file}` says why; --admin URL asks a process without it"
    )]
    Invalid { file: String },
    #[error("{file}: [admin] listen is \"off\", so its process cannot be asked")]
    Off { file: String },
    #[error(
        "{file}: [admin] listen takes any free port; \
             name the one that the process logged with --admin http://{ip}:PORT"
    )]
    AnyPort { file: String, ip: IpAddr },
}

impl FromStr for AdminAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(AddressError::NoPath),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(AddressError::NotHttp),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some((_, path)) = rest.split_once('/') {
            return Err(AddressError::Path(format!("/{path}")));
        }
        Ok(Self::Tcp(HostPort::parse(rest, None)?))
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin address that an edge's or a client's configuration file states. Mistakes elsewhere in
/// the file do not keep it back: the process may well run with what stood there before.
pub(super) fn of_config(file: &Path) -> Result<Configured, ConfigError> {
    let (admin, mistakes) = match kind_of(&Document::read_in_part(file)?) {
        Some(kind) => read_as(kind, file)?,
        // A file with nothing but an identity is an edge's, unless variables make it a client's.
        None => {
            let edge = read_as(Kind::Edge, file)?;
            let client = read_as(Kind::Client, file)?;
            match (edge, client) {
                (edge @ (_, None), _) => edge,
                (_, client @ (_, None)) => client,
                (edge @ (Admin::Stated(_), Some(_)), _) => edge,
                ((Admin::Default(_), Some(_)), _) => {
                    return Err(ConfigError::Invalid {
                        file: file.display().to_string(),
                    });
                }
            }
        }
    };
    let (Admin::Stated(settings) | Admin::Default(settings)) = admin;
    Ok(Configured {
        address: of_settings(file, settings)?,
        mistakes,
    })
}

/// `[admin]` of a file.
enum Admin {
    Stated(AdminSettings),
    Default(AdminSettings),
}

/// `[admin]` of a file that configures this kind of process, and what is wrong with the rest.
fn read_as(kind: Kind, file: &Path) -> Result<(Admin, Option<Problems>), Problems> {
    let (schema, default) = match kind {
        Kind::Edge => (&edge::SCHEMA, edge::DEFAULT_ADMIN),
        Kind::Client => (&client::SCHEMA, client::DEFAULT_ADMIN),
    };
    let document = load_in_part(file, schema)?;
    let admin = match AdminSettings::of_document(&document, schema)? {
        Some(stated) => Admin::Stated(stated),
        None => Admin::Default(AdminSettings {
            listen: Some(ListenAddr::Ip(default)),
        }),
    };
    let mistakes = match kind {
        Kind::Edge => edge::Config::from_document(&document).err(),
        Kind::Client => client::Config::from_document(&document).err(),
    };
    Ok((admin, mistakes))
}

fn of_settings(file: &Path, admin: AdminSettings) -> Result<AdminAddress, ConfigError> {
    let file = file.display().to_string();
    match admin.listen {
        None => Err(ConfigError::Off { file }),
        Some(ListenAddr::Unix(path)) => Ok(AdminAddress::Unix(path)),
        Some(ListenAddr::Ip(address)) => {
            let ip = reachable(address.ip());
            if address.port() == 0 {
                return Err(ConfigError::AnyPort { file, ip });
            }
            let text = SocketAddr::new(ip, address.port()).to_string();
            Ok(AdminAddress::Tcp(
                text.parse()
                    .expect("an address with a port is a host and a port"),
            ))
        }
    }
}

/// An address that can be dialled where "any" is listened on.
pub(crate) fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:7480", "http://127.0.0.1:7480"),
            ("http://127.0.0.1:7480/", "http://127.0.0.1:7480"),
            ("127.0.0.1:7480", "http://127.0.0.1:7480"),
            ("[::1]:7480", "http://[::1]:7480"),
            ("localhost:1", "http://localhost:1"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(text.parse::<AdminAddress>().unwrap().to_string(), shown);
        }
        for (text, message) in [
            (
                "https://127.0.0.1:7480",
                "the admin listener speaks plain http; write http://127.0.0.1:7480 or unix:/path",
            ),
            (
                "http://127.0.0.1:7480/metrics",
                "an admin address has no path; leave out \"/metrics\"",
            ),
            (
                "unix:",
                "\"unix:\" names no path; write it like unix:/run/causeway/admin.sock",
            ),
            (
                "127.0.0.1",
                "\"127.0.0.1\" has no port; write it like 127.0.0.1:443",
            ),
        ] {
            assert_eq!(
                text.parse::<AdminAddress>().unwrap_err().to_string(),
                message
            );
        }
    }

    #[test]
    fn settings_say_where_or_why_not() {
        let of = |listen: Option<&str>| {
            let listen = listen.map(|text| ListenAddr::parse(text, Path::new("/etc")).unwrap());
            of_settings(Path::new("edge.toml"), AdminSettings { listen })
                .map_or_else(|error| error.to_string(), |address| address.to_string())
        };
        assert_eq!(of(Some("127.0.0.1:7480")), "http://127.0.0.1:7480");
        assert_eq!(of(Some("unix:a.sock")), "unix:/etc/a.sock");
        assert_eq!(
            of(None),
            "edge.toml: [admin] listen is \"off\", so its process cannot be asked"
        );
        assert!(of(Some("127.0.0.1:0")).ends_with("with --admin http://127.0.0.1:PORT"));
    }

    #[test]
    fn mistakes_elsewhere_keep_nothing_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("causeway.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            of_config(&file)
                .map(|found| {
                    let mistakes = found.mistakes.map_or(0, |mistakes| mistakes.len());
                    (found.address.to_string(), mistakes)
                })
                .map_err(|error| error.to_string().replace(&file.display().to_string(), "F"))
        };
        for (text, address, mistakes) in [
            ("[identity]\ndir = \"x\"", "http://127.0.0.1:7480", 0),
            ("[listen]\ntunel = 1", "http://127.0.0.1:7480", 2),
            ("[[expose]]", "http://127.0.0.1:7490", 4),
            ("[admin]\nlisten = \"127.0.0.1:1\"", "http://127.0.0.1:1", 1),
            (
                "include = \"no.toml\"\n[identity]\ndir = \"x\"\n[admin]\nlisten = \"[::1]:1\"",
                "http://[::1]:1",
                1,
            ),
        ] {
            assert_eq!(of(text), Ok((address.to_owned(), mistakes)), "{text}");
        }
        for (text, message) in [
            ("[listen", "F:1:"),
            (
                "[listen]\n[admin]\nlisen = \"127.0.0.1:1\"",
                "F:3:1: admin.lisen: unknown key",
            ),
            (
                "[listen]\n[admin]\nlisten = \"here\"",
                "F:3:10: admin.listen: \"here\" is no",
            ),
            (
                "[listen]\n[admin]\nlisten = \"0.0.0.0:1\"",
                "F:3:10: admin.listen: 0.0.0.0:1 can",
            ),
            ("workers = 0", "F: neither an edge's nor a client's"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
