//! Knot: its configuration and how it is started.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, process::Command};

use super::zone::{Key, Zone};

/// `knotd` in the foreground, with everything that it writes in `directory`.
pub(super) fn command(
    program: &Path,
    directory: &Path,
    address: SocketAddr,
    zone: &Zone,
) -> Command {
    // It does not make it itself.
    fs::create_dir_all(directory.join("database")).unwrap();
    let config = directory.join("knot.conf");
    fs::write(&config, configuration(directory, address, zone)).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    command
}

fn configuration(directory: &Path, address: SocketAddr, zone: &Zone) -> String {
    let statements = zone.statements.clone();
    // The file stays as the test wrote it; what is changed is kept in the journal.
    format!(
        "server:\n  rundir: {directory}\n  listen: {ip}@{port}\n\
         \x20 udp-workers: 1\n  tcp-workers: 2\n  background-workers: 1\n\
         log:\n  - target: stderr\n    any: info\n\
         database:\n  storage: {directory}/database\n  journal-db-max-size: 200M\n\
         template:\n  - id: default\n    storage: {directory}\n\
         \x20   zonefile-sync: -1\n    serial-policy: increment\n\
         {statements}",
        directory = directory.display(),
        ip = address.ip(),
        port = address.port(),
        statements = statements.unwrap_or_else(|| of_zone(zone)),
    )
}

/// The keys, and what each may do with the zone.
fn of_zone(zone: &Zone) -> String {
    let mut text = "key:\n".to_owned();
    for key in zone.keys() {
        let (name, algorithm, secret) = (&key.name, &key.algorithm, &key.secret);
        let _ = writeln!(
            text,
            "  - id: {name}\n    algorithm: {algorithm}\n    secret: {secret}"
        );
    }
    text += "acl:\n";
    for key in zone.keys() {
        let (name, actions) = (&key.name, actions(key));
        let _ = writeln!(
            text,
            "  - id: {name}\n    key: {name}\n    action: [{actions}]"
        );
    }
    let names: Vec<_> = zone.keys().iter().map(|key| key.name.as_str()).collect();
    let _ = write!(
        text,
        "zone:\n  - domain: {}\n    file: {}\n    acl: [{}]\n",
        zone.name(),
        zone.file_name(),
        names.join(", "),
    );
    text
}

/// Knot asks for `query` as well as soon as a query is signed.
fn actions(key: &Key) -> String {
    let mut actions = vec!["query"];
    actions.extend(key.transfers.then_some("transfer"));
    actions.extend(key.updates.then_some("update"));
    actions.join(", ")
}
