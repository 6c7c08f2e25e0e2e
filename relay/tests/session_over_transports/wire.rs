//! A wire between two ends that can be cut: what is on it vanishes, and nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay::transport::TransportKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connect::loopback;

/// Carries what one dialler and one listener say to each other.
pub(crate) struct Wire {
    /// Where to dial.
    pub(crate) address: SocketAddr,
    cut: watch::Sender<bool>,
    /// To the listener, in bytes.
    carried: Arc<AtomicU64>,
    carrier: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(transport: TransportKind, listener: SocketAddr) -> Self {
        let (cut, seen) = watch::channel(false);
        let carried = Arc::new(AtomicU64::new(0));
        let count = carried.clone();
        let (address, carrier) = match transport {
            TransportKind::Quic => {
                let outside = UdpSocket::bind(loopback()).await.unwrap();
                let inside = UdpSocket::bind(loopback()).await.unwrap();
                inside.connect(listener).await.unwrap();
                let address = outside.local_addr().unwrap();
                (
                    address,
                    tokio::spawn(datagrams(outside, inside, seen, count)),
                )
            }
            TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => {
                let outside = TcpListener::bind(loopback()).await.unwrap();
                let address = outside.local_addr().unwrap();
                (address, tokio::spawn(bytes(outside, listener, seen, count)))
            }
        };
        Self {
            address,
            cut,
            carried,
            carrier,
        }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// How many bytes were given to the listener.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn datagrams(
    outside: UdpSocket,
    inside: UdpSocket,
    cut: watch::Receiver<bool>,
    carried: Arc<AtomicU64>,
) {
    let (mut out, mut back) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut dialler = None;
    loop {
        // What a socket refuses is a lost datagram, like any other.
        tokio::select! {
            Ok((count, from)) = outside.recv_from(&mut out) => {
                dialler = Some(from);
                if !*cut.borrow() {
                    let _ = inside.send(&out[..count]).await;
                    carried.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
            Ok(count) = inside.recv(&mut back) => {
                if let Some(dialler) = dialler.filter(|_| !*cut.borrow()) {
                    let _ = outside.send_to(&back[..count], dialler).await;
                }
            }
            else => {}
        }
    }
}

/// Once it is cut, both ends still have a socket that takes what fits into the kernel.
async fn bytes(
    outside: TcpListener,
    listener: SocketAddr,
    mut cut: watch::Receiver<bool>,
    carried: Arc<AtomicU64>,
) {
    let (mut outside, _) = outside.accept().await.unwrap();
    let mut inside = TcpStream::connect(listener).await.unwrap();
    for socket in [&outside, &inside] {
        socket.set_nodelay(true).unwrap();
    }
    {
        let (mut out_rx, mut out_tx) = outside.split();
        let (mut in_rx, mut in_tx) = inside.split();
        let back = AtomicU64::new(0);
        let both = async {
            tokio::join!(
                one_way(&mut out_rx, &mut in_tx, &carried),
                one_way(&mut in_rx, &mut out_tx, &back)
            )
        };
        tokio::select! {
            _ = both => return,
            _ = cut.wait_for(|cut| *cut) => {}
        }
    }
    std::future::pending::<()>().await;
}

async fn one_way(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    carried: &AtomicU64,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        carried.fetch_add(count as u64, Ordering::Relaxed);
    }
    let _ = to.shutdown().await;
}
