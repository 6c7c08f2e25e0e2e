use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn files_are_replaced_whole_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    write(&path, b"old and longer", Readers::Owner).unwrap();
    write(&path, b"new", Readers::Owner).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("taken");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("x"), b"").unwrap();
    assert!(matches!(
        write(&path, b"new", Readers::Owner),
        Err(FileError::Write { .. })
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn directories_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    create_dir(&nested).unwrap();
    create_dir(&nested).unwrap();
    assert_eq!(mode(&nested), 0o700);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    fs::write(&path, b"").unwrap();
    for loose in [0o640, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(loose)).unwrap();
        let error = read_key(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, FileError::TooOpen { .. }));
        assert!(text.contains(&format!("mode {loose:04o}")), "{text}");
        assert!(
            text.contains(&format!("chmod 600 {}", path.display())),
            "{text}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(matches!(read_key(&path), Err(FileError::NoKey { .. })));
}

#[test]
fn files_without_certificates_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    assert!(matches!(
        read_certificates(&path),
        Err(FileError::Missing { .. })
    ));
    fs::write(&path, "nothing").unwrap();
    assert!(matches!(
        read_certificates(&path),
        Err(FileError::NoCertificate { .. })
    ));
    fs::write(
        &path,
        "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(matches!(
        read_certificates(&path),
        Err(FileError::Pem { .. })
    ));
    fs::write(&path, vec![b' '; FILE_MAX as usize + 1]).unwrap();
    assert!(matches!(
        read_certificates(&path),
        Err(FileError::TooLarge { .. })
    ));
}
