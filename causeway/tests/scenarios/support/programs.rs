//! What programs of others print, and what they are given to work on.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    ops::RangeInclusive,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    traffic::read_digest,
    wait::{eventually, wait_for},
};

/// How long a program may take. Less than what a test may, so that the one that hangs is named.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until a server listens.
#[track_caller]
pub(crate) fn listens(name: &str, address: SocketAddr) {
    wait_for(name, || TcpStream::connect(address).ok().map(drop));
}

/// Runs a program to its end. One that hangs is killed, with all that it started, and fails the
/// test with its name and what it had printed.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: Stdio) -> Output {
    run_into(command, input, Stdio::piped())
}

/// The same with the standard output going elsewhere.
#[track_caller]
pub(crate) fn run_into(command: &mut Command, input: Stdio, output: Stdio) -> Output {
    match run_within(PATIENCE, command, input, output) {
        Ok(output) => output,
        Err(hung) => panic!("{hung}"),
    }
}

/// The same within a time of the test's choice, and without failing the test: what hung, if it did.
pub(crate) fn run_within(
    patience: Duration,
    command: &mut Command,
    input: Stdio,
    output: Stdio,
) -> Result<Output, String> {
    let mut child = command
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    // A pipe that the command would keep open could never end.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let out = Printed::by(child.stdout.take());
    let errors = Printed::by(child.stderr.take());
    let status = eventually(patience, || {
        let status = child.try_wait().unwrap()?;
        (out.ended() && errors.ended()).then_some(status)
    });
    if status.is_none() {
        kill_group(&mut child);
    }
    let [stdout, stderr] = [out, errors].map(Printed::so_far);
    match status {
        Some(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        None => Err(format!(
            "{command:?} has not ended within {patience:?}; it printed:\n{}\n{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        )),
    }
}

/// What comes out of a pipe, read by a thread, so that it is there even if the pipe never ends.
struct Printed {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Printed {
    fn by(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let reader = pipe.map(|mut pipe| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut piece = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut piece) {
                    bytes.lock().unwrap().extend_from_slice(&piece[..count]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn ended(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn so_far(self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// Kills the leader of a process group and everybody in it.
fn kill_group(leader: &mut Child) {
    let kill = format!("kill -s KILL -- -{}", leader.id());
    // Nobody may be left by now, which is as good.
    let _ = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
    leader.wait().unwrap();
}

/// What a program printed that should succeed: whole if it is short, else its digest.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command, input: Stdio) -> String {
    let output = run(command, input);
    let verdict = if output.status.success() { "" } else { "FAIL " };
    format!("{verdict}{}", shown(&output))
}

/// The same of a program that should fail.
#[track_caller]
pub(crate) fn fails(command: &mut Command, input: Stdio) -> String {
    let output = run(command, input);
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
    let status = Command::new(git)
        .args(["init", "-q", "--bare", "-b", "main"])
        .arg(directory)
        .status();
    assert!(status.unwrap().success());
    git_commits(git, directory, 1..=300);
    directory.to_path_buf()
}

/// Puts commits of these numbers, 96 KiB each, on top of the repository's others.
pub(crate) fn git_commits(git: &Path, repository: &Path, numbers: RangeInclusive<u64>) {
    let mut import = Command::new(git)
        .arg("-C")
        .arg(repository)
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = import.stdin.take().unwrap();
    let mut noise = *numbers.start();
    let mut parent = if noise == 1 {
        ""
    } else {
        "from refs/heads/main^0\n"
    };
    for commit in numbers {
        let text = format!("commit {commit}");
        write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.com> {commit} +0000\ndata {}\n{text}\n{}",
            text.len(),
            std::mem::take(&mut parent)
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
}

#[test]
fn a_program_that_hangs_is_named_and_killed_with_what_it_started() {
    let mut hanging = Command::new("sh");
    hanging.args(["-c", "echo before; sleep 1000 & echo child $! >&2; wait"]);
    let patience = Duration::from_secs(3);
    let hung = run_within(patience, &mut hanging, Stdio::null(), Stdio::piped()).unwrap_err();
    assert!(
        hung.contains("\"sh\" \"-c\"") && hung.contains("\nbefore\n"),
        "{hung}"
    );
    let child = hung.lines().find_map(|line| line.strip_prefix("child "));
    let child = format!("/proc/{}/stat", child.unwrap());
    wait_for("the end of the program's child", || {
        let stat = fs::read_to_string(&child).unwrap_or_default();
        // Whoever adopts it may take a while to notice that it has ended.
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });

    // Ended itself, but somebody still holds what it printed to.
    let mut leaving = Command::new("sh");
    leaving.args(["-c", "sleep 1000 & echo left"]);
    let hung = run_within(patience, &mut leaving, Stdio::null(), Stdio::piped()).unwrap_err();
    assert!(hung.contains("\nleft\n"), "{hung}");
}

#[test]
fn a_program_that_ends_gives_all_that_it_printed() {
    let mut printing = Command::new("sh");
    printing.args(["-c", "cat; echo error >&2; exit 3"]);
    let (input, mut feeding) = std::io::pipe().unwrap();
    let feeder = thread::spawn(move || feeding.write_all(&[b'x'; 1 << 20]).unwrap());
    let output = run(&mut printing, input.into());
    feeder.join().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout == [b'x'; 1 << 20] && output.stderr == b"error\n");
}
