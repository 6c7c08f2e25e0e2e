//! Certificates as an operator gets them: by the binary's own commands.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The binary under test, without what the machine's environment would change in it.
pub(crate) fn causeway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    for (name, _) in std::env::vars() {
        if name.starts_with("CAUSEWAY_") && name != "CAUSEWAY_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// An authority in a directory of its own.
#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// A new authority in `directory`.
    pub(crate) fn create(directory: &Path) -> Self {
        run(causeway().args(["certs", "init", "--dir"]).arg(directory));
        Self {
            directory: directory.to_path_buf(),
        }
    }

    /// Issues what `words` say (`edge NAME`, `client TENANT/CLUSTER`, …) into `directory`.
    pub(crate) fn issue(&self, words: &[&str], directory: &Path) {
        run(causeway()
            .args(["certs", "issue"])
            .args(words)
            .arg("--authority")
            .arg(&self.directory)
            .arg("--out")
            .arg(directory));
    }

    /// Revokes the identity in `directory`, and puts the new list beside that in `state`.
    pub(crate) fn revoke(&self, directory: &Path, state: &Path) {
        run(causeway()
            .args(["certs", "revoke"])
            .arg(directory)
            .arg("--authority")
            .arg(&self.directory));
        self.publish(state);
    }

    /// Puts the list of who is revoked beside the identity in `state`, as an operator is told to.
    pub(crate) fn publish(&self, state: &Path) {
        let new = state.join("crl.pem.new");
        fs::copy(self.directory.join("crl.pem"), &new).unwrap();
        fs::rename(new, state.join("crl.pem")).unwrap();
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
