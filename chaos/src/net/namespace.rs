//! Hosts: network namespaces, and programs within them.

use std::{
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr},
    ops::Deref,
    os::fd::{AsFd, AsRawFd},
    process::{self, Child, Command, Stdio},
    sync::Arc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    error::Error,
    keeper::{Keeper, echoed},
};

/// A host of a [`Topology`](super::Topology): a namespace with an address of either family, which all
/// that it sends comes from.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: Namespace,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Host {
    /// A host that reaches nobody but itself yet.
    pub(super) fn create(
        name: &str,
        (v4, v6): (Ipv4Addr, Ipv6Addr),
        keeper: Arc<Keeper>,
    ) -> Result<Self, Error> {
        let namespace = Namespace::create(keeper)?;
        // On the loopback interface, they are there whatever wires come and go.
        namespace.ip(&format!(
            "link set lo up\naddress add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n"
        ))?;
        let name = name.to_owned();
        Ok(Self {
            name,
            namespace,
            v4,
            v6,
        })
    }

    /// Its name in the topology.
    pub fn name(&self) -> &str {
        &self.name
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
/// the last that refers to it, however a process ends. What is started in it by [`spawn`](Self::spawn)
/// and [`run`](Self::run) ends with the topology, and with this process.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    keeper: Arc<Keeper>,
}

impl Namespace {
    /// A namespace in which nothing is up.
    fn create(keeper: Arc<Keeper>) -> Result<Self, Error> {
        let holder = Holder::start().map_err(Error::system("unshare a network namespace"))?;
        let file = holder
            .namespace()
            .map_err(Error::system("open a network namespace"))?;
        Ok(Self { file, keeper })
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

    /// Starts a program within the namespace. Whoever does has to wait for its end, as of any
    /// process; the end of the topology kills it, but waits for who has not waited.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.within(|| {
            self.keeper.adopt()?;
            command.spawn()
        })
    }

    /// Runs a program within the namespace to its end; gives what it printed.
    pub fn run(&self, command: &mut Command, input: &str) -> Result<String, Error> {
        let line = format!("{command:?}");
        let failed = || Error::system(format!("run {line}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(command).map_err(failed())?;
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // Beside what it prints, so that neither waits for the other. One that reads no further
            // says why itself.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            child.wait_with_output()
        });
        let output = output.map_err(failed())?;
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
        echoed(&mut holder.child)?;
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
