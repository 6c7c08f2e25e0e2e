//! Real name servers, and a provider that talks to one.
#![allow(
    dead_code,
    reason = "these modules are those of the scenarios, and only a part is used here"
)]

#[path = "../../../../../../causeway/tests/scenarios/support/nameserver/mod.rs"]
pub(super) mod nameserver;
#[path = "../../../../../../causeway/tests/scenarios/support/peers.rs"]
pub(super) mod peers;
#[path = "../../../../../../causeway/tests/scenarios/support/ports.rs"]
mod ports;
#[path = "../../../../../../causeway/tests/scenarios/support/process.rs"]
mod process;
#[path = "../../../../../../causeway/tests/scenarios/support/wait.rs"]
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use hickory_proto::rr::{LowerName, Name, RData, RecordType, rdata};

use self::nameserver::{EDGE, NameServer, Zone};
use crate::{
    config::{self, Rfc2136Settings},
    dns::{
        provider::{Applied, Provider, ProviderError, Reading, rfc2136::Rfc2136},
        records::{Change, Expectation, Key, RecordSet, Snapshot},
    },
};

/// The zone of every test.
pub(super) const ZONE: &str = "apps.test";

/// Runs each of these tests with BIND and with Knot.
macro_rules! with_bind_and_knot {
    ($($test:ident),+ $(,)?) => {
        mod bind {
            $(#[tokio::test] async fn $test() { super::$test(super::Software::Bind).await; })+
        }
        mod knot {
            $(#[tokio::test] async fn $test() { super::$test(super::Software::Knot).await; })+
        }
    };
}
pub(super) use with_bind_and_knot;

/// A zone in which somebody else has records of all sorts.
pub(super) fn zone() -> Zone {
    Zone::new(ZONE)
        .record("www 300 A 192.0.2.80")
        .record("www 300 TXT \"not yours\" \"in two pieces\"")
        .record("mail 300 MX 10 mx.example.org.")
        .record("alias 300 CNAME www")
        .record("odd 300 TYPE65280 \\# 4 01020304")
}

/// How a provider is made; each part can be changed before.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) zone: LowerName,
    pub(super) settings: Rfc2136Settings,
    /// In base64.
    pub(super) secret: String,
}

impl Access {
    /// As the edges have it, to the server or to a relay at `address`.
    pub(super) fn to(server: &NameServer, address: SocketAddr) -> Self {
        let key = server.key(EDGE);
        Self {
            zone: LowerName::from_str(&format!("{}.", server.zone())).unwrap(),
            settings: Rfc2136Settings {
                server: address,
                key: LowerName::from_str(&key.name).unwrap(),
                algorithm: match key.algorithm.as_str() {
                    "hmac-sha256" => config::TsigAlgorithm::HmacSha256,
                    "hmac-sha512" => config::TsigAlgorithm::HmacSha512,
                    other => panic!("{other}"),
                },
                secret_file: PathBuf::new(),
                transfer: true,
                timeout: Duration::from_secs(20),
            },
            secret: key.secret.clone(),
        }
    }

    /// One that finds nothing that an earlier one has kept, and leaves nothing.
    pub(super) fn provider(&self) -> Rfc2136 {
        self.provider_in(tempfile::tempdir().unwrap().path())
    }

    /// One with this state directory.
    pub(super) fn provider_in(&self, state_dir: &Path) -> Rfc2136 {
        let mut settings = self.settings.clone();
        settings.secret_file = state_dir.join("tsig.secret");
        fs::write(&settings.secret_file, &self.secret).unwrap();
        Rfc2136::open(&self.zone, &settings, state_dir).unwrap()
    }
}

/// A provider that talks to the server directly.
pub(super) fn provider(server: &NameServer) -> Rfc2136 {
    Access::to(server, server.address()).provider()
}

/// A name in the zone; `@` is the zone itself.
pub(super) fn name(relative: &str) -> LowerName {
    let absolute = match relative {
        "@" => format!("{ZONE}."),
        relative => format!("{relative}.{ZONE}."),
    };
    LowerName::from_str(&absolute).unwrap()
}

pub(super) fn key(relative: &str, kind: RecordType) -> Key {
    let name = name(relative);
    Key { name, kind }
}

/// A set of records whose type follows from its first datum.
pub(super) fn set(relative: &str, ttl: u32, data: &[RData]) -> (Key, RecordSet) {
    let key = key(relative, data[0].record_type());
    let data = data.iter().cloned().collect();
    (key, RecordSet { ttl, data })
}

pub(super) fn a(address: &str) -> RData {
    RData::A(address.parse::<std::net::Ipv4Addr>().unwrap().into())
}

pub(super) fn aaaa(address: &str) -> RData {
    RData::AAAA(address.parse::<std::net::Ipv6Addr>().unwrap().into())
}

pub(super) fn txt(text: &str) -> RData {
    RData::TXT(rdata::TXT::new(vec![text.to_owned()]))
}

pub(super) fn cname(target: &str) -> RData {
    RData::CNAME(rdata::CNAME(Name::from_str(target).unwrap()))
}

pub(super) fn srv(port: u16, target: &str) -> RData {
    RData::SRV(rdata::SRV::new(0, 0, port, Name::from_str(target).unwrap()))
}

/// A change of `relative` to these sets, whatever is there.
pub(super) fn change(relative: &str, sets: &[(Key, RecordSet)]) -> Change {
    expecting(relative, &[], sets)
}

/// A change that is made only if all of this is so.
pub(super) fn expecting(
    relative: &str,
    expected: &[Expectation],
    sets: &[(Key, RecordSet)],
) -> Change {
    Change {
        name: name(relative),
        expected: expected.to_vec(),
        sets: sets
            .iter()
            .map(|(key, set)| (key.clone(), Some(set.clone())))
            .collect(),
    }
}

/// A change that takes these sets away.
pub(super) fn removal(relative: &str, expected: &[Expectation], keys: &[Key]) -> Change {
    Change {
        name: name(relative),
        expected: expected.to_vec(),
        sets: keys.iter().map(|key| (key.clone(), None)).collect(),
    }
}

/// What a name is changed to in most tests: an address and whose it is.
pub(super) fn cluster(relative: &str, address: &str) -> [(Key, RecordSet); 2] {
    [
        set(relative, 60, &[a(address)]),
        set(
            &format!("{relative}._causeway"),
            60,
            &[txt("v=1 owner=test")],
        ),
    ]
}

pub(super) async fn read(provider: &Rfc2136) -> Snapshot {
    match provider.read(&BTreeSet::new(), None).await.unwrap() {
        Reading::Zone(snapshot) => snapshot,
        Reading::Unchanged => panic!("nothing was known"),
    }
}

/// What the zone has under a name.
pub(super) fn under(snapshot: &Snapshot, relative: &str) -> BTreeMap<RecordType, RecordSet> {
    let name = name(relative);
    let sets = snapshot.records.iter().filter(|(key, _)| key.name == name);
    sets.map(|(key, set)| (key.kind, set.clone())).collect()
}

pub(super) async fn done(provider: &Rfc2136, change: &Change) {
    assert_eq!(provider.apply(change).await.unwrap(), Applied::Done);
}

pub(super) async fn overtaken(provider: &Rfc2136, change: &Change) {
    assert_eq!(provider.apply(change).await.unwrap(), Applied::Overtaken);
}

/// Why a change was not made.
pub(super) async fn failed(provider: &Rfc2136, change: &Change) -> ProviderError {
    provider.apply(change).await.unwrap_err()
}

/// Why the zone could not be read.
pub(super) async fn unread(provider: &Rfc2136) -> ProviderError {
    provider.read(&BTreeSet::new(), None).await.unwrap_err()
}
