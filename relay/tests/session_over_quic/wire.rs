//! A wire between two ends that can be cut: datagrams vanish, and nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::ends::loopback;

/// Carries datagrams between one dialler and one listener.
pub(crate) struct Wire {
    /// Where to dial.
    pub(crate) address: SocketAddr,
    cut: Arc<AtomicBool>,
    carrier: JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(listener: SocketAddr) -> Self {
        let outside = UdpSocket::bind(loopback()).await.unwrap();
        let inside = UdpSocket::bind(loopback()).await.unwrap();
        inside.connect(listener).await.unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        Self {
            address: outside.local_addr().unwrap(),
            cut: cut.clone(),
            carrier: tokio::spawn(carry(outside, inside, cut)),
        }
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry(outside: UdpSocket, inside: UdpSocket, cut: Arc<AtomicBool>) {
    let (mut out, mut back) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut dialler = None;
    loop {
        // What a socket refuses is a lost datagram, like any other.
        tokio::select! {
            Ok((count, from)) = outside.recv_from(&mut out) => {
                dialler = Some(from);
                if !cut.load(Ordering::Relaxed) {
                    let _ = inside.send(&out[..count]).await;
                }
            }
            Ok(count) = inside.recv(&mut back) => {
                if let Some(dialler) = dialler.filter(|_| !cut.load(Ordering::Relaxed)) {
                    let _ = outside.send_to(&back[..count], dialler).await;
                }
            }
            else => {}
        }
    }
}
