//! A relay in front of a name server, message by message: it counts, and may meddle.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    /// It is lost, and the connection stays.
    Swallow,
    /// The connection is closed instead.
    Cut,
    /// Half of it is passed on, and then the connection is closed.
    CutInside,
}

type Judge = dyn Fn(Way, &mut Vec<u8>) -> Fate + Send + Sync;

/// A relay for TCP; nothing listens for UDP on its port. Dropping it closes it.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    judge: Mutex<Arc<Judge>>,
    updates: AtomicUsize,
    messages: AtomicUsize,
    answers: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
}

impl Relay {
    pub(super) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            judge: Mutex::new(Arc::new(|_, _| Fate::Pass)),
            updates: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            connections: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, `judge` sees every message, may change it, and decides what becomes of it.
    pub(crate) fn judge(&self, judge: impl Fn(Way, &mut Vec<u8>) -> Fate + Send + Sync + 'static) {
        *self.shared.judge.lock().unwrap() = Arc::new(judge);
    }

    /// From now on, everything passes.
    pub(crate) fn pass(&self) {
        self.judge(|_, _| Fate::Pass);
    }

    /// How many UPDATE messages came from clients so far.
    pub(crate) fn updates(&self) -> usize {
        self.shared.updates.load(Ordering::SeqCst)
    }

    /// How many messages of any kind came from clients so far.
    pub(crate) fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::SeqCst)
    }

    /// How many messages came from the server so far.
    pub(crate) fn answers(&self) -> usize {
        self.shared.answers.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Relay({} -> {})", self.address, self.shared.server)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            // It may be closed already, which is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Whether it asks for a change of a zone (RFC 2136, section 2.2).
pub(crate) fn is_update(message: &[u8]) -> bool {
    const OPCODE_UPDATE: u8 = 5;
    message
        .get(2)
        .is_some_and(|flags| flags & 0x80 == 0 && (flags >> 3) & 0xf == OPCODE_UPDATE)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        // A server that is down is seen as a connection that closes at once.
        let Ok(server) = TcpStream::connect(shared.server) else {
            continue;
        };
        let mut connections = shared.connections.lock().unwrap();
        for (way, from, to) in [
            (Way::ToServer, &client, &server),
            (Way::ToClient, &server, &client),
        ] {
            let [from, to] = [from, to].map(|stream| stream.try_clone().unwrap());
            connections.push(from.try_clone().unwrap());
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                // However it ends, both sides are told.
                let _ = pump(way, &from, &to, &shared);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

fn pump(way: Way, mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        from.read_exact(&mut message)?;
        match way {
            Way::ToServer => {
                shared.messages.fetch_add(1, Ordering::SeqCst);
                if is_update(&message) {
                    shared.updates.fetch_add(1, Ordering::SeqCst);
                }
            }
            Way::ToClient => {
                shared.answers.fetch_add(1, Ordering::SeqCst);
            }
        }
        let judge = Arc::clone(&shared.judge.lock().unwrap());
        let fate = judge(way, &mut message);
        let mut frame = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(message);
        match fate {
            Fate::Pass => to.write_all(&frame)?,
            Fate::Swallow => {}
            Fate::Cut => return Ok(()),
            Fate::CutInside => return to.write_all(&frame[..frame.len() / 2]),
        }
    }
}
