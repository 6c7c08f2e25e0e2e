//! Ports that stay a test's own while nobody listens on them.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range from which the system chooses, so that it gives none of them away.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// The locks on the ports that this process was given. Its end releases them.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of which no other test is told until this process ends, and on which nobody listens on
/// 127.0.0.1, over TCP or UDP: for what cannot choose its own, and for what is to be found in the
/// same place after a restart.
pub(crate) fn port_for_server() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(16) % u32::from(COUNT);
    let begin = u16::try_from(begin).expect("it is less than COUNT");
    for _ in 0..COUNT {
        let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + offset;
        if let Some(lock) = lock(port)
            && is_free(port)
        {
            TAKEN.lock().unwrap().push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// [`port_for_server`] on the loopback interface.
pub(crate) fn address_for_server() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port_for_server()).into()
}

/// Holds `port` against the tests of other processes, and of other threads.
fn lock(port: u16) -> Option<File> {
    let directory = env::temp_dir().join("causeway-test-ports");
    fs::create_dir_all(&directory).unwrap();
    let file = File::create(directory.join(port.to_string())).unwrap();
    file.try_lock().ok()?;
    Some(file)
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
