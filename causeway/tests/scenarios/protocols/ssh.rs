//! OpenSSH, and what people run over it: rsync and git.

use std::{
    fs,
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{Comparison, Report};
use crate::support::{
    DEADLINE, Origin, Pattern, Process, fails, git_repository, is_root, listens, peer,
    port_for_server, read_digest, succeeds, tree_digest,
};

/// A server of its own: keys, configuration, and whoever runs the test as its only user.
pub(crate) struct Sshd {
    directory: TempDir,
    pub(crate) address: SocketAddr,
    user: String,
    _process: Process,
}

impl Sshd {
    pub(crate) fn start() -> Option<Self> {
        let (sshd, keygen) = (peer("sshd")?, peer("ssh-keygen")?);
        peer("ssh")?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for key in ["host_key", "key"] {
            let status = Command::new(&keygen)
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(key))
                .status();
            assert!(status.unwrap().success());
        }
        fs::copy(at("key.pub"), at("authorized_keys")).unwrap();
        if is_root() {
            // Where the server confines itself; its package makes it only when the service starts.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = port_for_server();
        fs::write(
            at("sshd_config"),
            format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host_key\nPidFile none\n\
                 AuthorizedKeysFile {0}/authorized_keys\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin prohibit-password\nMaxStartups 100\n\
                 Subsystem sftp internal-sftp\n",
                directory.path().display()
            ),
        )
        .unwrap();
        let process = Process::start(
            "sshd",
            Command::new(sshd)
                .args(["-D", "-e", "-f"])
                .arg(at("sshd_config")),
            &at("sshd.log"),
        );
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        listens("sshd", address);
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        Some(Self {
            directory,
            address,
            user: String::from_utf8(user).unwrap().trim().to_owned(),
            _process: process,
        })
    }

    /// A file of this name in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What every program needs to know besides the port.
    fn options(&self) -> Vec<String> {
        let key = self.path("key");
        [
            "-F",
            "none",
            "-i",
            key.to_str().unwrap(),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
            "-o",
            "LogLevel=ERROR",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// `ssh` to where it is reached, but for the command there.
    pub(crate) fn ssh(&self, address: SocketAddr) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.options()).args([
            "-p",
            &address.port().to_string(),
            &format!("{}@{}", self.user, address.ip()),
        ]);
        command
    }

    /// `ssh` with its options, as one line for programs that start it themselves.
    fn line(&self, address: SocketAddr) -> String {
        format!("ssh {} -p {}", self.options().join(" "), address.port())
    }
}

#[test]
fn ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let payload = sshd.path("payload");
    std::io::copy(
        &mut Pattern::new(100 << 20),
        &mut fs::File::create(&payload).unwrap(),
    )
    .unwrap();
    Comparison::of("tcp", sshd.address).run(|address| {
        let mut report = Report::default();
        let run = |command: &str| succeeds(sshd.ssh(address).arg(command), Stdio::null());
        report.add("both outputs", run("echo out; echo err >&2"));
        let fail = |command: &str| fails(sshd.ssh(address).arg(command), Stdio::null());
        report.add("exit status", fail("exit 7"));
        report.add("killed", fail("kill -9 $$"));
        let from = |file: &Path| Stdio::from(fs::File::open(file).unwrap());
        // The end of the input arrives, and only then the answer is made.
        let mut digest = sshd.ssh(address);
        digest.arg("sha256sum");
        report.add("100 MiB in", succeeds(&mut digest, from(&payload)));
        let mut echo = sshd.ssh(address);
        echo.arg("cat");
        report.add(
            "100 MiB there and back",
            succeeds(&mut echo, from(&payload)),
        );
        let mut terminal = sshd.ssh(address);
        terminal.args(["-tt", "tty >/dev/null && stty -echo && echo terminal"]);
        report.add("a terminal", succeeds(&mut terminal, Stdio::null()));
        let mut sftp = Command::new("sftp");
        let got = sshd.path("got");
        sftp.args(sshd.options())
            .args(["-q", "-P", &address.port().to_string()])
            .arg(format!(
                "{}@{}:{}",
                sshd.user,
                address.ip(),
                payload.display()
            ))
            .arg(&got);
        report.add("sftp", succeeds(&mut sftp, Stdio::null()));
        report.add("sftp's file", tree_digest(&got));
        fs::remove_file(&got).unwrap();
        report
    });
}

/// Connections within the connection, `-L` and `-R`: 20 MiB there and back on each of several.
#[test]
fn ssh_forwards_ports() {
    const LENGTH: u64 = 20 << 20;
    let Some(sshd) = Sshd::start() else { return };
    let echo = Origin::echo();
    Comparison::of("tcp", sshd.address).run(|address| {
        let mut report = Report::default();
        for way in ["-L", "-R"] {
            let port = port_for_server();
            let mut forwarding = sshd.ssh(address);
            forwarding.args(["-N", "-o", "ExitOnForwardFailure=yes", way]);
            forwarding.arg(format!("127.0.0.1:{port}:{}", echo.address()));
            let _ssh = Process::start("ssh", &mut forwarding, &sshd.path("forwarding.log"));
            let forwarded = SocketAddr::from(([127, 0, 0, 1], port));
            listens("what ssh forwards", forwarded);
            let carried = thread::scope(|scope| {
                let several = [(); 3].map(|()| scope.spawn(|| echoed(forwarded, LENGTH)));
                several.map(|one| one.join().unwrap())
            });
            report.add(way, format!("{carried:?}"));
        }
        report
    });
}

/// What comes back of so many bytes, up to the end.
fn echoed(address: SocketAddr, length: u64) -> (u64, String) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            std::io::copy(&mut Pattern::new(length), &mut &stream).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        read_digest(&stream).unwrap()
    })
}

#[test]
fn rsync() {
    let (Some(sshd), Some(_)) = (Sshd::start(), peer("rsync")) else {
        return;
    };
    let source = sshd.path("source");
    fs::create_dir(&source).unwrap();
    for number in 0..1000 {
        let directory = source.join(format!("{}", number % 20));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("file {number}")), number.to_string()).unwrap();
    }
    let large = source.join("large");
    Comparison::of("tcp", sshd.address).run(|address| {
        let mut report = Report::default();
        let file = fs::File::create(&large).unwrap();
        std::io::copy(&mut Pattern::new(50 << 20), &mut &file).unwrap();
        let copy = sshd.path("copy");
        let run = || {
            let mut rsync = Command::new("rsync");
            rsync
                .args(["-a", "--delete", "-e", &sshd.line(address)])
                .arg(format!("{}/", source.display()))
                .arg(format!(
                    "{}@{}:{}/",
                    sshd.user,
                    address.ip(),
                    copy.display()
                ));
            succeeds(&mut rsync, Stdio::null())
        };
        report.add("first", run());
        report.add("copied", tree_digest(&copy));
        // Only differences travel, in both directions at once.
        file.set_len(49 << 20).unwrap();
        file.write_all_at(b"changed", 25 << 20).unwrap();
        fs::write(source.join("0/file 0"), "changed").unwrap();
        report.add("again", run());
        let (here, there) = (tree_digest(&source), tree_digest(&copy));
        report.add("changed", if here == there { &there } else { "FAIL" });
        fs::remove_dir_all(&copy).unwrap();
        fs::write(source.join("0/file 0"), "0").unwrap();
        report
    });
}

#[test]
fn git_over_ssh() {
    let (Some(sshd), Some(git)) = (Sshd::start(), peer("git")) else {
        return;
    };
    let origin = git_repository(&git, &sshd.path("origin"));
    Comparison::of("tcp", sshd.address).run(|address| {
        let mut report = Report::default();
        let clone = sshd.path("clone");
        let run = |words: &[&str]| {
            let mut command = Command::new(&git);
            command
                .env("GIT_SSH_COMMAND", sshd.line(address))
                .args(words);
            succeeds(&mut command, Stdio::null())
        };
        let url = format!(
            "ssh://{}@{}:{}{}",
            sshd.user,
            address.ip(),
            address.port(),
            origin.display()
        );
        let there = clone.to_str().unwrap();
        report.add("clone", run(&["clone", "-q", "--bare", &url, there]));
        report.add("whole", run(&["-C", there, "fsck", "--full"]));
        report.add("head", run(&["-C", there, "rev-parse", "HEAD"]));
        let push = ["-C", there, "push", "-q", &url, "HEAD:refs/heads/pushed"];
        report.add("push", run(&push));
        let remove = ["-C", there, "push", "-q", &url, ":refs/heads/pushed"];
        report.add("push again", run(&remove));
        fs::remove_dir_all(&clone).unwrap();
        report
    });
}
