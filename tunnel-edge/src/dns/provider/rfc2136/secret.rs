//! The secret of a TSIG key, as name servers' tools write it: base64 (RFC 4648, section 4).

use std::{fs, path::Path};

use crate::dns::provider::{ProviderError, Reason};

/// The secret in a file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, ProviderError> {
    let unusable = |why: &str| ProviderError {
        reason: Reason::File,
        message: format!(
            "the secret of the TSIG key in {}: {why}; write there what tsig-keygen or keymgr gives \
             as `secret`, alone and in base64",
            file.display()
        ),
    };
    let text = fs::read_to_string(file).map_err(|error| unusable(&error.to_string()))?;
    decode(&text).ok_or_else(|| unusable("it is not base64"))
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
    fn a_file_that_has_no_secret_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tsig.secret");
        let missing = read(&file).unwrap_err();
        fs::write(&file, "key \"causeway\" { … }").unwrap();
        let wrong = read(&file).unwrap_err();
        for error in [missing, wrong] {
            assert_eq!(error.reason, Reason::File);
            assert!(error.message.contains("tsig.secret"), "{error}");
            assert!(!error.message.contains('…'), "{error}");
        }
        fs::write(&file, "Zm9v\n").unwrap();
        assert_eq!(read(&file).unwrap(), b"foo");
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
