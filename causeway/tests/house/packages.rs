//! Rules about packages, read from `cargo metadata` (what the manifests say) and `cargo tree`
//! (what is really built: metadata also lists optional packages that no feature turns on).

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use crate::{none, root};

/// Which members each member may use, tests and build scripts included.
const MAY_USE: &[(&str, &[&str])] = &[
    ("certs", &[]),
    ("relay", &[]),
    ("tunnel-client", &["certs", "relay"]),
    ("tunnel-edge", &["certs", "relay"]),
    ("chaos", &["certs", "relay", "tunnel-client", "tunnel-edge"]),
    (
        "causeway",
        &["certs", "chaos", "relay", "tunnel-client", "tunnel-edge"],
    ),
];

/// What may never be built into any of our binaries or tests.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one provider of cryptography"),
    ("openssl", "rustls is the one implementation of TLS"),
    ("openssl-sys", "rustls is the one implementation of TLS"),
    ("native-tls", "rustls is the one implementation of TLS"),
    ("rustls-pemfile", "unmaintained; rustls-pki-types reads PEM"),
    ("backoff", "unmaintained (RUSTSEC-2025-0012); use backon"),
];

/// The lowest version that has what we rely on; a package that is not in the tree is skipped.
const FLOORS: &[(&str, [u64; 3])] = &[
    ("backon", [1, 6, 0]),
    ("h2", [0, 4, 20]),
    ("hickory-net", [0, 26, 3]),
    ("hickory-resolver", [0, 26, 3]),
    ("hickory-server", [0, 26, 3]),
    ("quinn", [0, 11, 12]),
    ("quinn-proto", [0, 11, 19]),
    ("rcgen", [0, 14, 10]),
    ("rustls", [0, 23, 46]),
    ("tokio", [1, 54, 0]),
    ("tracing", [0, 1, 44]),
    ("tracing-subscriber", [0, 3, 20]),
    ("yamux", [0, 14, 1]),
];

/// Packages that we do not name in a manifest and that must still be there only once, because
/// their types meet ours or because two of them would be two implementations of a protocol.
const ONCE: &[&str] = &["h2", "quinn-proto", "rustls-webpki", "tracing-core"];

/// What we build for.
const TARGETS: &[&str] = &[
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
];

/// The members of the workspace, by name, which is also their directory.
pub(crate) fn members() -> impl Iterator<Item = String> {
    manifests()
        .iter()
        .map(|manifest| text(&manifest["name"]).to_owned())
}

/// The external packages that any member's manifest names.
pub(crate) fn direct_dependencies() -> BTreeSet<String> {
    let members: BTreeSet<_> = members().collect();
    manifests()
        .iter()
        .flat_map(dependencies)
        .filter(|name| !members.contains(name))
        .collect()
}

#[test]
fn crates_depend_only_in_the_allowed_directions() {
    let members: BTreeSet<_> = members().collect();
    let mut faults = Vec::new();
    for manifest in manifests() {
        let name = text(&manifest["name"]);
        let Some((_, allowed)) = MAY_USE.iter().find(|(member, _)| *member == name) else {
            faults.push(format!("{name}: say in MAY_USE what it may depend on"));
            continue;
        };
        for used in dependencies(manifest) {
            if members.contains(&used) && !allowed.contains(&used.as_str()) {
                faults.push(format!("{name} depends on {used}"));
            }
        }
    }
    none("a crate depends on one that it must not know", &faults);
}

#[test]
fn nothing_banned_is_built() {
    let mut faults = Vec::new();
    for target in TARGETS {
        let built = built(&["--target", target]);
        for (name, reason) in BANNED {
            if let Some(versions) = built.get(*name) {
                faults.push(format!("{name} {versions:?} for {target}: {reason}"));
            }
        }
    }
    none(
        "banned packages are in the tree (`cargo tree -i NAME` shows who brings them)",
        &faults,
    );
}

#[test]
fn what_we_name_is_there_once() {
    let built = built(&["--target", "all"]);
    let faults: Vec<_> = direct_dependencies()
        .into_iter()
        .chain(ONCE.iter().map(|name| (*name).to_owned()))
        .filter_map(|name| {
            let versions = built.get(&name)?;
            (versions.len() > 1).then(|| format!("{name} {versions:?}"))
        })
        .collect();
    none("several versions of one package are built", &faults);
}

#[test]
fn no_version_is_under_its_floor() {
    let built = built(&["--target", "all"]);
    let mut faults = Vec::new();
    for (name, floor) in FLOORS {
        for version in built.get(*name).into_iter().flatten() {
            if parse(version) < *floor {
                faults.push(format!("{name} {version} is older than {floor:?}"));
            }
        }
    }
    none("packages are older than what we rely on", &faults);
}

#[test]
fn every_package_comes_from_crates_io() {
    let all = cargo(&["metadata", "--format-version=1", "--locked"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let faults: Vec<_> = list(&all["packages"])
        .iter()
        .filter(|package| {
            package["source"].as_str().is_some_and(|source| {
                source != "registry+https://github.com/rust-lang/crates.io-index"
            })
        })
        .map(|package| format!("{} from {}", package["name"], package["source"]))
        .collect();
    none("packages come from somewhere other than crates.io", &faults);
}

/// What `cargo metadata` says of each member.
fn manifests() -> &'static [Value] {
    static MANIFESTS: OnceLock<Vec<Value>> = OnceLock::new();
    MANIFESTS.get_or_init(|| {
        let metadata = cargo(&["metadata", "--format-version=1", "--locked", "--no-deps"]);
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        list(&metadata["packages"]).to_vec()
    })
}

fn dependencies(manifest: &Value) -> Vec<String> {
    list(&manifest["dependencies"])
        .iter()
        .map(|dependency| text(&dependency["name"]).to_owned())
        .collect()
}

/// The versions of each package that a build of the whole workspace, tests included, uses.
fn built(which: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut arguments = vec!["tree", "--workspace", "--locked", "--prefix=none"];
    arguments.extend(["--edges=normal,build,dev", "--format={p}"]);
    arguments.extend(which);
    let mut built: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in cargo(&arguments).lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            let version = version.trim_start_matches('v').to_owned();
            built.entry(name.to_owned()).or_default().insert(version);
        }
    }
    assert!(built.contains_key("tokio"), "cargo tree lists the packages");
    built
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// `1.2.3-alpha+x` as `[1, 2, 3]`.
fn parse(version: &str) -> [u64; 3] {
    let core = version.split(['-', '+']).next().unwrap();
    let mut numbers = core.split('.').map(|number| number.parse().unwrap());
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata gives a list here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata gives a string here")
}
