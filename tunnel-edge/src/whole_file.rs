//! Files that are whole at every moment, whenever the process or the machine stops.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// New contents that are on disk beside the file.
#[derive(Debug)]
#[must_use]
pub(crate) struct Unfinished<'p> {
    path: &'p Path,
    beside: PathBuf,
}

/// Replaces a file, or makes it. Once this returns, the new contents outlive a loss of power; until
/// then whoever reads finds the old ones. There must be no other writer.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    prepare(path, contents, mode)?.put()
}

/// Writes what is to replace a file, which stays as it is.
pub(crate) fn prepare<'p>(
    path: &'p Path,
    contents: &[u8],
    mode: u32,
) -> io::Result<Unfinished<'p>> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&beside)?;
    // What an earlier process left there may have another.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(Unfinished { path, beside })
}

impl Unfinished<'_> {
    /// Puts it into the place of the file.
    pub(crate) fn put(self) -> io::Result<()> {
        fs::rename(&self.beside, self.path)?;
        let directory = self.path.parent();
        let directory = directory.filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// Where the writer that is killed writes to.
    const PATH: &str = "CAUSEWAY_TEST_WHOLE_FILE";
    /// What it writes in turn.
    const CONTENTS: [(u8, usize); 2] = [(b'a', 3_000_000), (b'b', 2_000_000)];

    fn is_whole(contents: &[u8]) -> bool {
        CONTENTS.iter().any(|&(byte, length)| {
            contents.len() == length && contents.iter().all(|found| *found == byte)
        })
    }

    fn write_for_ever(path: &Path) {
        for (byte, length) in CONTENTS.into_iter().cycle() {
            replace(path, &vec![byte; length], 0o644).unwrap();
        }
    }

    #[test]
    fn a_writer_that_is_killed_leaves_a_whole_file() {
        if let Some(path) = std::env::var_os(PATH) {
            // This is the writer.
            write_for_ever(Path::new(&path));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone");
        let mut writing = 0;
        for round in 0..20 {
            let before = fs::metadata(&path).and_then(|file| file.modified()).ok();
            let mut writer = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "whole_file::tests::a_writer_that_is_killed_leaves_a_whole_file",
                ])
                .env(PATH, &path)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let deadline = Instant::now() + Duration::from_secs(30);
            let written = || fs::metadata(&path).and_then(|file| file.modified()).ok() != before;
            while !written() {
                assert!(Instant::now() < deadline, "nothing is written");
                std::thread::yield_now();
            }
            // Each round at another moment of the next writing.
            std::thread::sleep(Duration::from_micros(400 * round));
            writer.kill().unwrap();
            writer.wait().unwrap();
            assert!(is_whole(&fs::read(&path).unwrap()), "round {round}");
            writing += usize::from(directory.path().join("zone.new").exists());
        }
        assert!(writing > 0, "no writer was killed while it wrote");
    }

    #[test]
    fn what_was_there_is_replaced_as_the_mode_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone");
        replace(&path, b"long before", 0o644).unwrap();
        replace(&path, b"after", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!directory.path().join("zone.new").exists());
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone");
        replace(&path, b"before", 0o644).unwrap();
        fs::create_dir(directory.path().join("zone.new")).unwrap();
        replace(&path, b"after", 0o644).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"before");
    }
}
