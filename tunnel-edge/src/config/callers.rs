//! Who may call an ingress.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Who may call an ingress. Every ingress says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// `anonymous = true`: anyone who can reach the listener.
    Anonymous,
    /// `allow = […]`: callers from these networks; nobody if it is empty.
    Networks(Vec<IpNet>),
}

/// An entry of `allow` that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallersError {
    /// A caller by its certificate.
    #[error(
        "\"{0}\" needs a TLS ingress, which is not built yet; allow networks, such as \"10.0.0.0/8\""
    )]
    NeedsTls(String),
    /// Not a network either.
    #[error(
        "\"{0}\" is no network; write one such as \"10.0.0.0/8\", or an address such as \"::1\""
    )]
    NotANetwork(String),
    /// Bits set behind the prefix: most likely not what was meant.
    #[error(
        "\"{stated}\" has bits set behind its prefix; write {network}, or {address} for this address alone"
    )]
    HostBits {
        /// What was written.
        stated: String,
        /// The network that it lies in.
        network: IpNet,
        /// Its address.
        address: IpAddr,
    },
}

impl Callers {
    /// Whether a caller from this address may pass. IPv4 callers of an IPv6 socket count as IPv4.
    pub fn admit(&self, caller: IpAddr) -> bool {
        match self {
            Self::Anonymous => true,
            Self::Networks(networks) => {
                let caller = caller.to_canonical();
                networks.iter().any(|network| network.contains(&caller))
            }
        }
    }
}

impl fmt::Display for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anyone"),
            Self::Networks(networks) if networks.is_empty() => f.write_str("nobody"),
            Self::Networks(networks) => {
                let shown: Vec<String> = networks.iter().map(IpNet::to_string).collect();
                f.write_str(&shown.join(", "))
            }
        }
    }
}

/// One entry of `allow`.
pub(super) struct Network(pub(super) IpNet);

impl FromStr for Network {
    type Err = CallersError;

    fn from_str(text: &str) -> Result<Self, CallersError> {
        if text.starts_with("service/") {
            return Err(CallersError::NeedsTls(text.to_owned()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| CallersError::NotANetwork(text.to_owned()))?;
        let network = as_ipv4(network);
        if network.trunc() != network {
            return Err(CallersError::HostBits {
                stated: text.to_owned(),
                network: network.trunc(),
                address: network.addr(),
            });
        }
        Ok(Self(network))
    }
}

/// Callers are held against a network by their IPv4 address if they have one, so it is written that way too.
fn as_ipv4(network: IpNet) -> IpNet {
    /// The bits in front of the address in an IPv4-mapped one (RFC 4291 §2.5.5.2).
    const MAPPED: u8 = 96;
    match (network.addr().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), length @ MAPPED..) if matches!(network, IpNet::V6(_)) => {
            IpNet::new(address.into(), length - MAPPED).unwrap_or(network)
        }
        (_, _) => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(allow: &[&str], caller: &str) -> bool {
        let networks = allow
            .iter()
            .map(|text| text.parse::<Network>().unwrap().0)
            .collect();
        Callers::Networks(networks).admit(caller.parse().unwrap())
    }

    #[test]
    fn callers_are_admitted_by_network() {
        assert!(admits(&["10.0.0.0/8"], "10.1.2.3"));
        assert!(admits(&["10.0.0.0/8"], "::ffff:10.1.2.3"));
        assert!(admits(&["::ffff:10.0.0.0/104"], "10.1.2.3"));
        assert!(!admits(&["::ffff:10.0.0.0/104"], "11.0.0.1"));
        assert!(admits(&["192.0.2.0/24", "::1"], "::1"));
        assert!(!admits(&["10.0.0.0/8"], "11.0.0.1"));
        assert!(!admits(&["::1"], "127.0.0.1"));
        assert!(!admits(&[], "127.0.0.1"));
        assert!(Callers::Anonymous.admit(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn entries_that_are_none_are_explained() {
        for (text, message) in [
            (
                "service/web",
                "\"service/web\" needs a TLS ingress, which is not built yet; allow networks, such as \"10.0.0.0/8\"",
            ),
            (
                "office",
                "\"office\" is no network; write one such as \"10.0.0.0/8\", or an address such as \"::1\"",
            ),
            (
                "10.0.0.1/8",
                "\"10.0.0.1/8\" has bits set behind its prefix; write 10.0.0.0/8, or 10.0.0.1 for this address alone",
            ),
        ] {
            assert_eq!(text.parse::<Network>().err().unwrap().to_string(), message);
        }
    }
}
