//! `[dns]`: which zone is kept true, what is published there, how, and how carefully.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::{LowerName, Name};
use relay::settings::{Host, ListenAddr, Reading, Section, Stated};

use super::ip_address;

mod secret;
mod within;

pub use secret::UnusableSecret;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Below which all names are.
    pub zone: LowerName,
    /// Who is said to own our records; `None` is the trust domain of the edge's identity.
    pub owner: Option<String>,
    /// How callers and clients reach this edge.
    pub target: DnsTarget,
    /// Whether `*.{zone}` is published too, as http ingresses that route by host name need it.
    pub wildcard: bool,
    /// How long resolvers keep the clusters' records, in seconds. Default 60.
    pub ttl: u32,
    /// The same for those of the edges. Default 300.
    pub edge_ttl: u32,
    /// How long resolvers remember that there is no such name, in seconds, where the zone is ours
    /// (embedded, zonefile). Default 30.
    pub negative_ttl: u32,
    /// From one look at the whole zone to the next, give or take a tenth. Default 60 s.
    pub resync: Duration,
    /// How long changes are gathered before they are published. Default 2 s.
    pub debounce: Duration,
    /// For how long a record must not have been wanted before it is removed; never less than twice
    /// its time to live. Default 60 s.
    pub remove_after: Duration,
    /// For how long nothing is removed after a start. Default 120 s.
    pub settle: Duration,
    /// How many names one round may remove; a tenth of ours, if that is more. Default 50.
    pub max_removals: usize,
    /// Where it is published.
    pub provider: DnsProvider,
}

/// What the names lead to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsTarget {
    /// A and AAAA records; never empty.
    Addresses(BTreeSet<IpAddr>),
    /// A CNAME record.
    Name(LowerName),
}

/// Where records are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsProvider {
    /// This edge answers for the zone itself.
    Embedded(EmbeddedSettings),
    /// A name server that takes dynamic updates.
    Rfc2136(Rfc2136Settings),
    /// A file for a name server that reads zones from files.
    Zonefile(ZonefileSettings),
}

/// `[dns.embedded]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// Where it answers, over UDP and TCP; never empty. Default `[::]:53`.
    pub listen: Vec<SocketAddr>,
    /// What the parent zone delegates to; never empty. Those inside the zone have the addresses of
    /// `target`.
    pub nameservers: Vec<LowerName>,
    /// The mailbox of whoever is responsible, as the SOA record writes it (RFC 1035, section 8).
    pub contact: LowerName,
}

/// `[dns.rfc2136]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rfc2136Settings {
    /// The primary server of the zone.
    pub server: SocketAddr,
    /// The name of the TSIG key.
    pub key: LowerName,
    /// What messages are signed with. Default hmac-sha256.
    pub algorithm: TsigAlgorithm,
    /// The file with the key's secret, base64.
    pub secret_file: PathBuf,
    /// Whether the zone is transferred (AXFR) to know what is in it. Default true.
    pub transfer: bool,
    /// How long the server may take for an answer. Default 5 s.
    pub timeout: Duration,
}

/// How messages to a name server are signed (RFC 8945, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha512`
    HmacSha512,
}

/// `[dns.zonefile]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonefileSettings {
    /// The file that is written.
    pub path: PathBuf,
    /// The name servers of the zone, if the file is to be the whole of it; empty if it is to be
    /// included into a zone file.
    pub nameservers: Vec<LowerName>,
    /// The mailbox of whoever is responsible for the zone, if the file is to be the whole of it.
    pub contact: LowerName,
}

/// A name of DNS has at most 253 characters (RFC 1035, section 2.3.4), a label 63: the rest is for
/// the record of its ownership.
const LONGEST_ZONE: usize = 175;

pub(super) const KEYS: &[&str] = &[
    "zone",
    "provider",
    "owner",
    "target",
    "wildcard",
    "ttl",
    "edge_ttl",
    "negative_ttl",
    "resync",
    "debounce",
    "remove_after",
    "settle",
    "max_removals",
];
pub(super) const EMBEDDED_KEYS: &[&str] = &["listen", "nameservers", "contact"];
pub(super) const RFC2136_KEYS: &[&str] = &[
    "server",
    "key",
    "algorithm",
    "secret_file",
    "transfer",
    "timeout",
];
pub(super) const ZONEFILE_KEYS: &[&str] = &["path", "nameservers", "contact"];

/// Where the embedded server answers if nothing is stated.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 53);

/// The port of name servers.
const DNS_PORT: u16 = 53;

const DAY: Duration = Duration::from_secs(86_400);
/// So short that tests need not wait, and no shorter: each round is a question to a server.
const SHORTEST: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Rfc2136,
    Zonefile,
}

/// Reads `[dns]` and its tables, which stand together or not at all. Also answers what they listen on.
pub(super) fn read(reading: &Reading<'_>) -> (Option<DnsSettings>, Vec<Stated<SocketAddr>>) {
    let section = reading.section("dns");
    if !section.is_stated() {
        return (None, Vec::new());
    }
    section.require(
        "zone",
        "name the zone to keep, e.g. zone = \"apps.example.com\"",
    );
    let zone = section.read_with("zone", |text, _| zone_name(text));
    let owner = section.read_with("owner", |text, _| owner(text));
    let target = target(&section);
    let wildcard = section.flag("wildcard").unwrap_or(true);
    let ttl = time_to_live(&section, "ttl", 60);
    let edge_ttl = time_to_live(&section, "edge_ttl", 300);
    let negative_ttl = time_to_live(&section, "negative_ttl", 30);
    let seconds = Duration::from_secs;
    let resync = section.duration("resync", seconds(60), SHORTEST..=DAY);
    let debounce = section.duration("debounce", seconds(2), SHORTEST..=seconds(600));
    let remove_after = section.duration("remove_after", seconds(60), SHORTEST..=DAY * 7);
    let settle = section.duration("settle", seconds(120), SHORTEST..=DAY);
    let max_removals = section.count("max_removals", 50, 1..=1_000_000);

    let kinds = [
        ("embedded", Kind::Embedded),
        ("rfc2136", Kind::Rfc2136),
        ("zonefile", Kind::Zonefile),
    ];
    let kind = section.choice("provider", &kinds);
    let kind = kind.or_else(|| (!section.has("provider")).then_some(Kind::Embedded));
    if !section.has("provider") && !reading.section("dns.embedded").is_stated() {
        let without_effect = |other: &str| {
            format!(
                "missing, so that [dns.{other}] has no effect; write provider = \"{other}\" below [dns]"
            )
        };
        if reading.section("dns.rfc2136").is_stated() {
            section.problem("provider", without_effect("rfc2136"));
        } else if reading.section("dns.zonefile").is_stated() {
            section.problem("provider", without_effect("zonefile"));
        }
    }
    // A provider that is configured and not chosen is read too: what is wrong with it is better
    // known before it is needed.
    let (embedded, listeners) = embedded(
        reading,
        zone.as_ref(),
        target.as_ref(),
        matches!(kind, Some(Kind::Embedded)),
    );
    let rfc2136 = rfc2136(
        &reading.section("dns.rfc2136"),
        matches!(kind, Some(Kind::Rfc2136)),
    );
    let zonefile = zonefile(
        &reading.section("dns.zonefile"),
        zone.as_ref(),
        matches!(kind, Some(Kind::Zonefile)),
    );
    let (provider, listeners) = match kind {
        Some(Kind::Embedded) => (embedded.map(DnsProvider::Embedded), listeners),
        Some(Kind::Rfc2136) => (rfc2136.map(DnsProvider::Rfc2136), Vec::new()),
        Some(Kind::Zonefile) => (zonefile.map(DnsProvider::Zonefile), Vec::new()),
        None => (None, Vec::new()),
    };
    let settings = || {
        Some(DnsSettings {
            zone: zone?,
            owner,
            target: target?,
            wildcard,
            ttl,
            edge_ttl,
            negative_ttl,
            resync,
            debounce,
            remove_after,
            settle,
            max_removals: usize::try_from(max_removals).ok()?,
            provider: provider?,
        })
    };
    (settings(), listeners)
}

fn target(section: &Section<'_>) -> Option<DnsTarget> {
    let hint = "say how callers and clients reach this edge, e.g. target = [\"203.0.113.7\", \"2001:db8::7\"], or one name";
    let stated = section.some_with("target", hint, |text, _| match text.parse::<Host>() {
        Ok(Host::Ip(address)) => reachable(address).map(Host::Ip),
        Ok(name @ Host::Name(_)) => Ok(name),
        Err(error) => Err(error.to_string()),
    });
    section.unique(&stated, "publishes");
    let mut addresses = BTreeSet::new();
    for one in &stated {
        match &one.value {
            Host::Ip(address) => {
                addresses.insert(*address);
            }
            Host::Name(only) if stated.len() == 1 => {
                return name(only).ok().map(DnsTarget::Name);
            }
            Host::Name(_) => {
                let because = "a name cannot stand beside others (RFC 1034, section 3.6.2); list addresses, or write one name alone";
                section.problem("target", because);
                return None;
            }
        }
    }
    (!addresses.is_empty()).then_some(DnsTarget::Addresses(addresses))
}

fn reachable(address: IpAddr) -> Result<IpAddr, String> {
    let mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || broadcast || mapped {
        return Err(format!(
            "{address} is no address that anybody can connect to"
        ));
    }
    Ok(address)
}

fn embedded(
    reading: &Reading<'_>,
    zone: Option<&LowerName>,
    target: Option<&DnsTarget>,
    chosen: bool,
) -> (Option<EmbeddedSettings>, Vec<Stated<SocketAddr>>) {
    let section = &reading.section("dns.embedded");
    if !chosen && !section.is_stated() {
        return (None, Vec::new());
    }
    let listen = if section.has("listen") {
        let hint = "write an IP address and a port, or leave the key out to answer on [::]:53";
        section.some_with("listen", hint, ip_address)
    } else {
        vec![section.stated("listen", DEFAULT_LISTEN)]
    };
    let hint = "name what the parent zone delegates to, e.g. nameservers = \"ns1.example.com\" below [dns.embedded]";
    let nameservers = section.some_with("nameservers", hint, |text, _| name(text));
    section.unique(&nameservers, "delegates to");
    if let (true, Some(zone), Some(target)) = (chosen, zone, target) {
        within::check(reading, zone, target, &nameservers);
    }
    let contact = contact(section, zone);
    let settings = || {
        Some(EmbeddedSettings {
            listen: listen.iter().map(|stated| stated.value).collect(),
            nameservers: nameservers.into_iter().map(|stated| stated.value).collect(),
            contact: contact?,
        })
    };
    (settings(), listen)
}

fn contact(section: &Section<'_>, zone: Option<&LowerName>) -> Option<LowerName> {
    let stated = section.read_with("contact", |text, _| mailbox(text));
    stated.or_else(|| {
        let hostmaster = Name::from_ascii("hostmaster").ok()?;
        let zone = Name::from(zone?.clone());
        hostmaster.append_domain(&zone).ok().map(LowerName::from)
    })
}

fn rfc2136(section: &Section<'_>, chosen: bool) -> Option<Rfc2136Settings> {
    if !chosen && !section.is_stated() {
        return None;
    }
    section.require(
        "server",
        "name the zone's primary server, e.g. server = \"192.0.2.53:53\" below [dns.rfc2136]",
    );
    let server = section.read_with("server", |text, _| server(text));
    section.require("key", "name the TSIG key, e.g. key = \"causeway\"");
    let key = section.read_with("key", |text, _| name(text));
    let algorithms = [
        ("hmac-sha256", TsigAlgorithm::HmacSha256),
        ("hmac-sha512", TsigAlgorithm::HmacSha512),
    ];
    let algorithm = section.choice("algorithm", &algorithms);
    section.require(
        "secret_file",
        "name the file with the key's secret in base64, e.g. secret_file = \"tsig.secret\"",
    );
    let secret_file = section.path("secret_file");
    let transfer = section.flag("transfer").unwrap_or(true);
    let timeout = section.duration(
        "timeout",
        Duration::from_secs(5),
        SHORTEST..=Duration::from_secs(60),
    );
    Some(Rfc2136Settings {
        server: server?,
        key: key?,
        algorithm: algorithm.unwrap_or(TsigAlgorithm::HmacSha256),
        secret_file: secret_file?,
        transfer,
        timeout,
    })
}

fn zonefile(
    section: &Section<'_>,
    zone: Option<&LowerName>,
    chosen: bool,
) -> Option<ZonefileSettings> {
    if !chosen && !section.is_stated() {
        return None;
    }
    section.require(
        "path",
        "name the file to write, e.g. path = \"apps.example.com.zone\" below [dns.zonefile]",
    );
    let path = section.path("path");
    let nameservers = if section.has("nameservers") {
        let hint =
            "name what the parent zone delegates to, or leave the key out for a file to include";
        section.some_with("nameservers", hint, |text, _| name(text))
    } else {
        Vec::new()
    };
    section.unique(&nameservers, "delegates to");
    let contact = contact(section, zone);
    Some(ZonefileSettings {
        path: path?,
        nameservers: nameservers.into_iter().map(|stated| stated.value).collect(),
        contact: contact?,
    })
}

/// A time to live is written in whole seconds (RFC 2181, section 8).
fn time_to_live(section: &Section<'_>, key: &'static str, default: u32) -> u32 {
    let least = Duration::ZERO;
    let value = section.duration(key, Duration::from_secs(default.into()), least..=DAY);
    if value.subsec_nanos() != 0 {
        section.problem(key, "DNS counts in whole seconds; write it like \"60s\"");
    }
    u32::try_from(value.as_secs()).unwrap_or(default)
}

/// A name, with or without the dot at its end.
fn zone_name(text: &str) -> Result<LowerName, String> {
    let zone = name(text)?;
    match text.len() {
        0..=LONGEST_ZONE => Ok(zone),
        length => Err(format!(
            "a name of {length} characters leaves no room for the names below it; a zone's may have {LONGEST_ZONE}"
        )),
    }
}

fn name(text: &str) -> Result<LowerName, String> {
    let refused = || format!("\"{text}\" is no DNS name; write one such as apps.example.com");
    match text.parse::<Host>() {
        Ok(Host::Name(name)) => {
            let name = Name::from_ascii(format!("{name}.")).map_err(|_| refused())?;
            Ok(LowerName::from(name))
        }
        Ok(Host::Ip(_)) | Err(_) => Err(refused()),
    }
}

/// `hostmaster@example.com`, or the same as DNS writes it: `hostmaster.example.com`.
fn mailbox(text: &str) -> Result<LowerName, String> {
    let Some((local, domain)) = text.split_once('@') else {
        return name(text);
    };
    let local = Name::from_labels([local.as_bytes()])
        .ok()
        .filter(|_| !local.is_empty());
    let domain = name(domain).map(Name::from)?;
    local
        .and_then(|local| local.append_domain(&domain).ok())
        .map(LowerName::from)
        .ok_or_else(|| {
            format!("\"{text}\" is no mailbox; write one such as hostmaster@example.com")
        })
}

/// What stands in ownership records, whose words are separated by spaces.
fn owner(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:/".contains(&b);
    if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" names no owner; write 1 to 128 of a-z, A-Z, 0-9 and -._:/"
        ))
    }
}

/// An address, on port 53 unless it says another: names would have to be asked of somebody first.
fn server(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    let address = address.map(|address| SocketAddr::new(address, DNS_PORT));
    match address.ok().or_else(|| text.parse().ok()) {
        Some(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(address),
        Some(_) | None => Err(format!(
            "\"{text}\" is no server; write its IP address, such as 192.0.2.53 or [2001:db8::53]:53"
        )),
    }
}

/// What it listens on, among everything else that listens over TCP.
pub(super) fn listeners(
    stated: Vec<Stated<SocketAddr>>,
) -> impl Iterator<Item = Stated<ListenAddr>> {
    stated.into_iter().map(|stated| stated.map(ListenAddr::Ip))
}

#[cfg(test)]
mod tests;
