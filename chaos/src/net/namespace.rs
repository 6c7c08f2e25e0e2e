//! Hosts: network namespaces, and programs within them.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr},
    ops::Deref,
    os::fd::{AsFd, AsRawFd},
    process::{self, Child, Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

/// Why a network cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel lets only root make one.
    #[error("network namespaces need root")]
    NeedsRoot,
    /// The system did not do it.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not do it.
    #[error("{command} failed: {said}")]
    Program {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
}

impl Error {
    pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}

/// A namespace with an address of either family, which all that it sends comes from.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    /// A host that reaches nobody but itself yet.
    pub fn create(v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Self, Error> {
        let namespace = Namespace::create()?;
        // On the loopback interface, they are there whatever wires come and go.
        namespace.ip(&format!(
            "link set lo up\naddress add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n"
        ))?;
        Ok(Self { namespace, v4, v6 })
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

/// A network namespace. It has no name and no process of its own: the kernel takes it away with
/// the last that refers to it, however a process ends.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A namespace in which nothing is up.
    pub fn create() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NeedsRoot);
        }
        let holder = Holder::start().map_err(Error::system("unshare a network namespace"))?;
        let file = holder
            .namespace()
            .map_err(Error::system("open a network namespace"))?;
        Ok(Self { file })
    }

    /// Makes this thread part of the namespace: its sockets are, and all that it starts.
    pub fn enter(&self) -> Result<(), Error> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(io::Error::from)
            .map_err(Error::system("enter a network namespace"))
    }

    /// Does something within the namespace: sockets that it opens stay there.
    ///
    /// # Panics
    ///
    /// As `work` does, and if the kernel does not let this process in.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            if let Err(error) = self.enter() {
                panic!("{error}");
            }
            work()
        };
        let done = thread::scope(|scope| scope.spawn(there).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program within the namespace to its end; gives what it printed.
    pub fn run(&self, command: &mut Command, input: &str) -> Result<String, Error> {
        let line = format!("{command:?}");
        let failed = || Error::system(format!("run {line}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.within(|| command.spawn()).map_err(failed())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).map_err(failed())?;
        }
        let output = child.wait_with_output().map_err(failed())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Program {
                command: line,
                said: format!("{} {said}", output.status),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Has `ip` of iproute2 do what each of these lines says.
    pub fn ip(&self, lines: &str) -> Result<(), Error> {
        self.run(Command::new("ip").args(["-batch", "-"]), lines)
            .map(drop)
    }

    /// A name by which other programs find it while it lives, such as another namespace's `ip`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }
}

/// A process in a new namespace, until others refer to that.
struct Holder {
    child: Child,
}

impl Holder {
    fn start() -> io::Result<Self> {
        let child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut holder = Self { child };
        // What comes back has been through the namespace, so there is one.
        let mut byte = [0];
        if let Some(stdin) = &mut holder.child.stdin {
            stdin.write_all(b".")?;
        }
        if let Some(stdout) = &mut holder.child.stdout {
            stdout.read_exact(&mut byte)?;
        }
        Ok(holder)
    }

    fn namespace(&self) -> io::Result<File> {
        File::open(format!("/proc/{}/ns/net", self.child.id()))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends with its input, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
