//! BIND 9: its configuration and how it is started.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, process::Command};

use super::zone::{Key, Zone};

/// `named` in the foreground, with everything that it writes in `directory`.
pub(super) fn command(
    program: &Path,
    directory: &Path,
    address: SocketAddr,
    zone: &Zone,
) -> Command {
    let config = directory.join("named.conf");
    fs::write(&config, configuration(directory, address, zone)).unwrap();
    let mut command = Command::new(program);
    command.arg("-g").args(["-n", "2"]).arg("-c").arg(config);
    command
}

fn configuration(directory: &Path, address: SocketAddr, zone: &Zone) -> String {
    let statements = zone.statements.clone();
    format!(
        "controls {{ }};\n\
         options {{\n\
           directory \"{directory}\"; pid-file none; session-keyfile \"{directory}/session.key\";\n\
           listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }};\n\
           recursion no; dnssec-validation no; notify no;\n\
         }};\n\
         {statements}",
        directory = directory.display(),
        port = address.port(),
        ip = address.ip(),
        statements = statements.unwrap_or_else(|| of_zone(zone)),
    )
}

/// The keys, and what each may do with the zone.
fn of_zone(zone: &Zone) -> String {
    let mut text = String::new();
    for key in zone.keys() {
        let (name, algorithm, secret) = (&key.name, &key.algorithm, &key.secret);
        let _ = writeln!(
            text,
            "key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};"
        );
    }
    let granted = |may: fn(&Key) -> bool, line: fn(&str) -> String| -> String {
        let keys = zone.keys().iter().filter(|&key| may(key));
        keys.map(|key| line(&key.name)).collect()
    };
    let transfers = granted(|key| key.transfers, |name| format!("key \"{name}\"; "));
    let updates = granted(
        |key| key.updates,
        |name| format!("grant \"{name}\" zonesub ANY; "),
    );
    let _ = write!(
        text,
        "zone \"{name}\" {{\n\
           type primary; file \"{file}\";\n\
           allow-transfer {{ {transfers}}};\n\
           update-policy {{ {updates}}};\n\
         }};\n",
        name = zone.name(),
        file = zone.file_name(),
    );
    text
}
