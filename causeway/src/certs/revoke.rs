//! `causeway certs revoke`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use certs::files::read_certificates;
use certs::material::{CERTIFICATE_FILE, REVOCATIONS_FILE};
use certs::{Authority, Reason, Serial};
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// What to revoke: the directory of an identity, or a PEM file that begins with its certificate.
    #[arg(value_name = "PATH", required_unless_present = "serial")]
    paths: Vec<PathBuf>,
    /// What to revoke, by its serial number, where the certificate is not at hand.
    #[arg(long, value_name = "HEX")]
    serial: Vec<Serial>,
    /// Why, e.g. key-compromise or superseded. It is written on the list and changes nothing else.
    #[arg(long)]
    reason: Option<Reason>,
    /// The directory of the authority.
    #[arg(long, default_value = "ca")]
    authority: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// All of it or nothing.
pub(super) fn run(
    args: RevokeArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> anyhow::Result<()> {
    let authority = Authority::load(&args.authority)?;
    let of_files = args.paths.iter().map(|path| serial_in(&authority, path));
    let mut serials = of_files.collect::<anyhow::Result<Vec<_>>>()?;
    serials.extend(args.serial);
    let added = authority.revoke(&args.authority, &serials, args.reason)?;
    for serial in &serials {
        match added.contains(serial) {
            true => writeln!(progress, "revoked: {serial}")?,
            false => writeln!(progress, "revoked already, and left as it was: {serial}")?,
        }
    }
    let list = args.authority.join(REVOCATIONS_FILE);
    writeln!(
        progress,
        "copy {} beside ca.pem of every edge and every client; they notice, and end the sessions of \
         whoever is on it",
        list.display()
    )?;
    super::show(&list, args.json, out)
}

fn serial_in(authority: &Authority, path: &Path) -> anyhow::Result<Serial> {
    let file = match path.is_dir() {
        true => path.join(CERTIFICATE_FILE),
        false => path.to_owned(),
    };
    let certificate = read_certificates(&file)?.remove(0);
    let serial = authority.serial_of(&certificate);
    serial.with_context(|| format!("cannot revoke {}", file.display()))
}
