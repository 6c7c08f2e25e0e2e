//! Hosts by name, wires between them, and programs in them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    process::Command,
    sync::Arc,
    thread,
};

use parking_lot::Mutex;

use super::{
    error::Error,
    keeper::Keeper,
    namespace::Host,
    program::Program,
    wire::{Settings, Wire},
    wires::Wires,
};

/// As many addresses as there are in 192.0.2.0/24, without its first and its last.
const MOST_HOSTS: u8 = 254;

/// A network of its own: hosts, wires between any two of them, and programs. Dropping it ends all of
/// that, also when a test panics; and when this process is killed, the kernel does.
///
/// Hosts have the addresses of documentation, in the order in which they are made: 192.0.2.1 and
/// 2001:db8::1, and so on (RFC 5737, RFC 3849). A host reaches those to which a wire leads, and nobody
/// else: none passes on packets of others.
#[derive(Debug)]
pub struct Topology {
    keeper: Arc<Keeper>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    wires: Wires,
    programs: Mutex<Vec<Arc<Program>>>,
}

impl Topology {
    /// One without hosts.
    ///
    /// # Errors
    /// Without root, or if the system refuses.
    pub fn create() -> Result<Self, Error> {
        Ok(Self {
            keeper: Arc::new(Keeper::start()?),
            hosts: Mutex::default(),
            wires: Wires::default(),
            programs: Mutex::default(),
        })
    }

    /// One more host, that reaches nobody but itself yet. Its name is a label of DNS in small letters.
    ///
    /// # Errors
    /// If the name is none or taken, there are 254 already, or the system refuses.
    pub fn add_host(&self, name: &str) -> Result<Arc<Host>, Error> {
        let mut hosts = self.hosts.lock();
        if !is_label(name) {
            return Err(Error::Name(name.to_owned()));
        }
        if hosts.contains_key(name) {
            return Err(Error::Taken(name.to_owned()));
        }
        let last = u8::try_from(hosts.len() + 1).ok();
        let last = last.filter(|last| *last <= MOST_HOSTS);
        let last = last.ok_or(Error::Full(MOST_HOSTS))?;
        let addresses = (
            Ipv4Addr::new(192, 0, 2, last),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()),
        );
        let host = Arc::new(Host::create(name, addresses, Arc::clone(&self.keeper))?);
        hosts.insert(name.to_owned(), Arc::clone(&host));
        Ok(host)
    }

    /// The host of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn host(&self, name: &str) -> Result<Arc<Host>, Error> {
        let hosts = self.hosts.lock();
        hosts.get(name).cloned().ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            known: hosts
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// Lays a wire from who dials to whom they dial, called `CLIENT:SERVER`. Its way up is from the
    /// client to the server. It takes the place of an earlier one between the same two, whose
    /// interfaces go once nobody holds it.
    ///
    /// # Errors
    /// If there is no such host, or the system refuses.
    pub fn lay_wire(
        &self,
        client: &str,
        server: &str,
        settings: Settings,
    ) -> Result<Arc<Wire>, Error> {
        let (near, far) = (self.host(client)?, self.host(server)?);
        let name = format!("{client}:{server}");
        let wire = Arc::new(Wire::lay(&name, &near, &far, settings)?);
        self.wires.insert(&name, Arc::clone(&wire));
        Ok(wire)
    }

    /// Takes the wire between these two away, as far as nobody else holds it.
    pub fn take_wire(&self, client: &str, server: &str) {
        self.wires.remove(&format!("{client}:{server}"));
    }

    /// All its wires, by name; those too that are laid later.
    pub fn wires(&self) -> Wires {
        self.wires.clone()
    }

    /// Starts a program in a host. What it prints is kept in memory, and the end of it is shown when the test
    /// fails; its standard input is empty.
    ///
    /// # Errors
    /// If there is no such host, or the program cannot be started.
    pub fn start(
        &self,
        host: &str,
        name: &str,
        command: &mut Command,
    ) -> Result<Arc<Program>, Error> {
        let host = self.host(host)?;
        let program = Arc::new(Program::start(&host, name, command)?);
        self.programs.lock().push(Arc::clone(&program));
        Ok(program)
    }

    /// The addresses of all hosts as lines of a zone's master file (RFC 1035, section 5), relative to the
    /// zone: `edge-1 30 A 192.0.2.1`.
    pub fn records(&self) -> String {
        let mut records = String::new();
        for (name, host) in self.hosts.lock().iter() {
            let _ = writeln!(records, "{name} 30 A {}", host.v4());
            let _ = writeln!(records, "{name} 30 AAAA {}", host.v6());
        }
        records
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        self.keeper.end();
        for program in self.programs.get_mut().iter() {
            program.settle();
            if thread::panicking() {
                program.print_end();
            }
        }
        // Others may hold this list, and would keep the wires.
        self.wires.clear();
    }
}

/// RFC 1123, section 2.1, in small letters.
fn is_label(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let ends = |edge: char| name.starts_with(edge) || name.ends_with(edge);
    (1..=63).contains(&name.len()) && name.bytes().all(is_inner) && !ends('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_that_dns_knows() {
        for name in ["a", "edge-1", "4g", &"x".repeat(63)] {
            assert!(is_label(name), "{name}");
        }
        for name in ["", "-a", "a-", "a.b", "a:b", "a/b", "A", &"x".repeat(64)] {
            assert!(!is_label(name), "{name}");
        }
    }
}
