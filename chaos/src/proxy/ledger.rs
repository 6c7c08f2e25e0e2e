//! Who is connected through a proxy, and how many bytes have passed each way.
//!
//! UDP has no end: a caller is among those that are open until it is forgotten, and its silence says
//! whether it may still be there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::direction::Direction;

/// The connections of a proxy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Books>);

#[derive(Debug, Default)]
struct Books {
    open: Mutex<BTreeMap<u64, Arc<Account>>>,
    connections: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
}

/// What passes on a connection, over TCP or UDP.
#[derive(Debug)]
struct Account {
    protocol: &'static str,
    caller: SocketAddr,
    server: Mutex<SocketAddr>,
    opened: Instant,
    moved: Mutex<Instant>,
    up: AtomicU64,
    down: AtomicU64,
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    ledger: Ledger,
    pub(crate) number: u64,
    account: Arc<Account>,
}

/// What has passed through a proxy since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Open TCP connections, and UDP callers that were heard of lately.
    pub open: u64,
    /// How many there ever were.
    pub connections: u64,
    /// Bytes that were passed on to the server.
    pub bytes_up: u64,
    /// Bytes that were passed on to callers.
    pub bytes_down: u64,
    /// Connections that the server did not take, and callers that there was no room for.
    pub refused: u64,
    /// Datagrams that were not passed on, by a fault or for want of room.
    pub datagrams_dropped: u64,
}

impl Ledger {
    /// The number of the next connection: the first has 1.
    pub(crate) fn next_number(&self) -> u64 {
        self.0.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A connection is open. `server` is the address from which the server sees it come.
    pub(crate) fn open(
        &self,
        number: u64,
        protocol: &'static str,
        caller: SocketAddr,
        server: SocketAddr,
    ) -> Entry {
        let now = Instant::now();
        let account = Arc::new(Account {
            protocol,
            caller,
            server: Mutex::new(server),
            opened: now,
            moved: Mutex::new(now),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        self.0.open.lock().insert(number, Arc::clone(&account));
        Entry {
            ledger: self.clone(),
            number,
            account,
        }
    }

    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, datagrams: u64) {
        self.0.dropped.fetch_add(datagrams, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            open: self.0.open.lock().len() as u64,
            connections: of(&self.0.connections),
            bytes_up: of(&self.0.up),
            bytes_down: of(&self.0.down),
            refused: of(&self.0.refused),
            datagrams_dropped: of(&self.0.dropped),
        }
    }

    /// The open connections as a document, oldest first.
    pub(crate) fn to_json(&self) -> Value {
        let open = self.0.open.lock();
        let since = |then: Instant| u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX);
        let connections = open.iter().map(|(number, account)| {
            json!({
                "number": number,
                "protocol": account.protocol,
                "caller": account.caller.to_string(),
                "server_sees": account.server.lock().to_string(),
                "age_ms": since(account.opened),
                "silent_ms": since(*account.moved.lock()),
                "bytes_up": account.up.load(Ordering::Relaxed),
                "bytes_down": account.down.load(Ordering::Relaxed),
            })
        });
        Value::Array(connections.collect())
    }
}

impl Totals {
    /// As a document.
    pub fn to_json(&self) -> Value {
        json!({
            "open": self.open,
            "connections": self.connections,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "refused": self.refused,
            "datagrams_dropped": self.datagrams_dropped,
        })
    }
}

impl Entry {
    /// So many bytes were passed on.
    pub(crate) fn passed(&self, direction: Direction, bytes: usize) {
        let (of_connection, of_all) = match direction {
            Direction::Up => (&self.account.up, &self.ledger.0.up),
            Direction::Down => (&self.account.down, &self.ledger.0.down),
        };
        *self.account.moved.lock() = Instant::now();
        of_connection.fetch_add(bytes as u64, Ordering::Relaxed);
        of_all.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The server sees it come from here now.
    pub(crate) fn rebound(&self, server: SocketAddr) {
        *self.account.server.lock() = server;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger.0.open.lock().remove(&self.number);
    }
}
