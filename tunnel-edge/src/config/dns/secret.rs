//! The secret of a TSIG key, as name servers' tools write it: base64 (RFC 4648, section 4).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Rfc2136Settings, TsigAlgorithm};

/// A secret that can be signed with.
pub(crate) struct Secret {
    pub(crate) bytes: Vec<u8>,
    /// What makes it weaker than it could be.
    pub(crate) weaknesses: Vec<String>,
}

/// Why a file has no secret.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSecret {
    /// There is no such file.
    #[error("{} does not exist here", .0.display())]
    Missing(PathBuf),
    /// The file is not what it should be.
    #[error(
        "{}: {why}; write there what tsig-keygen or keymgr gives as `secret`, alone and in base64",
        file.display()
    )]
    Wrong {
        /// The file.
        file: PathBuf,
        /// What it is instead.
        why: String,
    },
}

/// Longer than any secret.
const MOST_BYTES: u64 = 65_536;

impl Rfc2136Settings {
    /// What makes the key's secret weaker than it could be, once it was read.
    ///
    /// # Errors
    /// The file has no secret.
    pub fn weaknesses_of_secret(&self) -> Result<Vec<String>, UnusableSecret> {
        Ok(self.read_secret()?.weaknesses)
    }

    pub(crate) fn read_secret(&self) -> Result<Secret, UnusableSecret> {
        let file = &self.secret_file;
        let wrong = |why: String| UnusableSecret::Wrong {
            file: file.clone(),
            why,
        };
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::NotFound {
                UnusableSecret::Missing(file.clone())
            } else {
                wrong(error.to_string())
            }
        };
        let opened = File::open(file).map_err(failed)?;
        let mode = opened.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        let mut text = String::new();
        let read = opened.take(MOST_BYTES).read_to_string(&mut text);
        read.map_err(failed)?;
        if text.trim().is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        let bytes = decode(&text).ok_or_else(|| wrong("it is not base64".to_owned()))?;
        let named = file.display();
        let mut weaknesses = Vec::new();
        let (digest, algorithm) = match self.algorithm {
            TsigAlgorithm::HmacSha256 => (32, "hmac-sha256"),
            TsigAlgorithm::HmacSha512 => (64, "hmac-sha512"),
        };
        if bytes.len() < digest {
            weaknesses.push(format!(
                "the secret in {named} has {} bytes: with {algorithm}, fewer than {digest} are easier to guess \
                 (RFC 2104, section 3)",
                bytes.len()
            ));
        }
        if mode & 0o077 != 0 {
            weaknesses.push(format!(
                "{named} has the mode {mode:04o}: others than its owner may have access; make it 0600"
            ));
        }
        Ok(Secret { bytes, weaknesses })
    }
}

/// The bytes that `text` stands for; white space around them does not count. `None` if it is not
/// base64, or nothing.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if digits.is_empty() || padding > 2 || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        bits = bits << 6 | value(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over must say nothing.
    (bits == 0).then_some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[test]
    fn secrets_are_the_vectors_of_rfc_4648() {
        for (text, bytes) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            (" Zm9vYmE=\n", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn a_file_that_has_no_secret_is_named_and_what_it_has_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path());
        let unusable = || settings.read_secret().map(|_| ()).unwrap_err();
        assert!(matches!(unusable(), UnusableSecret::Missing(_)));
        for (text, why) in [
            ("key \"causeway\" { … }", "it is not base64"),
            (" \n", "it is empty"),
        ] {
            fs::write(&settings.secret_file, text).unwrap();
            let said = unusable().to_string();
            assert!(said.contains("tsig.secret"), "{said}");
            assert!(said.contains(why) && !said.contains('…'), "{said}");
        }
        fs::write(&settings.secret_file, "Zm9v\n").unwrap();
        assert_eq!(settings.read_secret().unwrap().bytes, b"foo");
    }

    #[test]
    fn a_secret_that_is_short_or_open_is_weak() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path());
        let whole = "dGhlIHNlY3JldCBvZiBhbGwgdGhlIGVkZ2VzLCAzMiBi";
        let mut weaknesses = |secret: &str, mode: u32, algorithm| {
            fs::write(&settings.secret_file, secret).unwrap();
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&settings.secret_file, mode).unwrap();
            settings.algorithm = algorithm;
            settings.weaknesses_of_secret().unwrap()
        };
        assert_eq!(weaknesses(whole, 0o600, TsigAlgorithm::HmacSha256), [""; 0]);
        assert_eq!(weaknesses(whole, 0o400, TsigAlgorithm::HmacSha256), [""; 0]);
        for (secret, mode, algorithm, said) in [
            (
                whole,
                0o600,
                TsigAlgorithm::HmacSha512,
                "with hmac-sha512, fewer than 64",
            ),
            ("Zm9v", 0o600, TsigAlgorithm::HmacSha256, "has 3 bytes"),
            (whole, 0o640, TsigAlgorithm::HmacSha256, "mode 0640"),
            (whole, 0o604, TsigAlgorithm::HmacSha256, "mode 0604"),
        ] {
            let found = weaknesses(secret, mode, algorithm);
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
    }

    fn settings(directory: &Path) -> Rfc2136Settings {
        Rfc2136Settings {
            server: ([192, 0, 2, 53], 53).into(),
            key: "causeway.".parse().unwrap(),
            algorithm: TsigAlgorithm::HmacSha256,
            secret_file: directory.join("tsig.secret"),
            transfer: true,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn what_is_no_base64_is_no_secret() {
        for text in [
            "", "=", "Zg", "Zg=", "Z===", "Zh==", "Zm9", "Zm 9", "Zm9v=", "Zm-_", "ä===",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
