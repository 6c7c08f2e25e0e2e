//! What programs of others print, and what they are given to work on.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{traffic::read_digest, wait::wait_for};

/// Waits until a server listens.
#[track_caller]
pub(crate) fn listens(name: &str, address: SocketAddr) {
    wait_for(name, || TcpStream::connect(address).ok().map(drop));
}

/// What a program printed that should succeed: whole if it is short, else its digest.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command, input: Stdio) -> String {
    let output = command.stdin(input).output().unwrap();
    let verdict = if output.status.success() { "" } else { "FAIL " };
    format!("{verdict}{}", shown(&output))
}

/// The same of a program that should fail.
#[track_caller]
pub(crate) fn fails(command: &mut Command, input: Stdio) -> String {
    let output = command.stdin(input).output().unwrap();
    let verdict = if output.status.success() { "FAIL " } else { "" };
    format!("{verdict}{}", shown(&output))
}

fn shown(output: &Output) -> String {
    let shown = |bytes: &[u8]| {
        if bytes.len() < 300 {
            return String::from_utf8_lossy(bytes).trim_end().to_owned();
        }
        let (count, digest) = read_digest(bytes).unwrap();
        format!("{count} bytes {digest}")
    };
    let (out, errors) = (shown(&output.stdout), shown(&output.stderr));
    format!("{}, {out:?}, {errors:?}", output.status)
}

/// The names and contents of a file, or of all below a directory.
pub(crate) fn tree_digest(path: &Path) -> String {
    let mut lines = String::new();
    let mut waiting = vec![path.to_path_buf()];
    while let Some(next) = waiting.pop() {
        if next.is_dir() {
            let entries = fs::read_dir(&next).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
            waiting.sort();
        } else {
            let (count, digest) = read_digest(fs::File::open(&next).unwrap()).unwrap();
            let name = next.strip_prefix(path).unwrap().display();
            let _ = writeln!(lines, "{name} {count} {digest}");
        }
    }
    let (_, digest) = read_digest(lines.as_bytes()).unwrap();
    format!("{} files {digest}", lines.lines().count())
}

/// A bare repository of 300 commits and some 30 MiB that do not compress.
pub(crate) fn git_repository(git: &Path, directory: &Path) -> PathBuf {
    let run = |words: &[&str]| {
        let mut command = Command::new(git);
        command.args(words).stdin(Stdio::piped());
        command.spawn().unwrap()
    };
    let path = directory.to_str().unwrap();
    let status = run(&["init", "-q", "--bare", "-b", "main", path]).wait();
    assert!(status.unwrap().success());
    let mut import = run(&["-C", path, "fast-import", "--quiet"]);
    let mut stream = import.stdin.take().unwrap();
    let mut noise = 1_u64;
    for commit in 1..=300 {
        let text = format!("commit {commit}");
        write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.com> {commit} +0000\ndata {}\n{text}\n",
            text.len()
        )
        .unwrap();
        let content: Vec<u8> = std::iter::repeat_with(|| {
            // An xorshift: nothing that zlib could shorten.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()
        })
        .take(12 << 10)
        .flatten()
        .collect();
        let file = commit % 50;
        write!(stream, "M 644 inline file{file}\ndata {}\n", content.len()).unwrap();
        stream.write_all(&content).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    drop(stream);
    assert!(import.wait().unwrap().success());
    directory.to_path_buf()
}
