//! Each fault over real sockets, as callers and servers see it.

mod control;
mod tcp;
mod udp;

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

/// How long a state may take to come about before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long nothing must come for it to count as silence.
const SILENCE: Duration = Duration::from_millis(300);

/// A proxy that runs until it is dropped.
struct Bed {
    address: SocketAddr,
    faults: Faults,
    observer: Observer,
    running: JoinHandle<()>,
}

impl Bed {
    fn before(to: SocketAddr, protocols: Protocols) -> Self {
        Self::with(to, protocols, Options::default())
    }

    fn with(to: SocketAddr, protocols: Protocols, options: Options) -> Self {
        let to = to.to_string().parse().unwrap();
        let proxy =
            Proxy::bind(loopback(), to, Faults::none(protocols), options, "--listen").unwrap();
        Self {
            address: proxy.address(),
            faults: proxy.faults(),
            observer: proxy.observer(),
            running: tokio::spawn(proxy.run()),
        }
    }

    fn set(&self, text: &str) {
        self.faults.set(text.parse().unwrap()).unwrap();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Within [`DEADLINE`], or the test fails.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = timeout(DEADLINE, future).await else {
        panic!("{what}: not within {DEADLINE:?}");
    };
    value
}

async fn wait_for(what: &str, state: impl Fn() -> bool) {
    within(what, async {
        while !state() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A caller and, accepted by the server behind the proxy, its connection.
async fn pair(bed: &Bed, server: &TcpListener) -> (TcpStream, TcpStream) {
    let caller = TcpStream::connect(bed.address).await.unwrap();
    let (served, _) = within("a connection at the server", server.accept())
        .await
        .unwrap();
    (caller, served)
}

async fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next bytes, so many of them.
async fn read(from: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    within("bytes", from.read_exact(&mut bytes)).await.unwrap();
    bytes
}

/// All bytes up to the end.
async fn read_all(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    within("the end", from.read_to_end(&mut bytes)).await?;
    Ok(bytes)
}

/// Nothing comes, not even an end.
async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

/// Bytes go there and back, in no less time than this.
async fn round_trip(one: &mut TcpStream, other: &mut TcpStream) -> Duration {
    let begin = Instant::now();
    one.write_all(b"there").await.unwrap();
    assert_eq!(read(other, 5).await, b"there");
    other.write_all(b"back").await.unwrap();
    assert_eq!(read(one, 4).await, b"back");
    begin.elapsed()
}
