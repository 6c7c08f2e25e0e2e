//! UDP: telling callers apart, each with a socket of its own towards the server.

mod datagrams;
mod flow;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Passing;
use flow::Flow;

/// The longest datagram.
const DATAGRAM: usize = 64 * 1024;

/// How many datagrams of one caller may wait to be looked at; further ones are lost.
const WAITING: usize = 256;

/// What the system may keep for a socket until it is read. It gives as much of that as it may.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Receives until dropped. Callers beyond as many as there may be are not heard.
pub(super) async fn receive(socket: UdpSocket, passing: Passing) {
    widen(&socket);
    let socket = Arc::new(socket);
    let mut buffer = vec![0; DATAGRAM];
    let mut flows = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is that of an earlier datagram, such as ICMP's word that nobody listens.
                let Ok((length, caller)) = received else { continue };
                let datagram = Bytes::copy_from_slice(&buffer[..length]);
                if !flows.contains_key(&caller) {
                    if flows.len() >= passing.options.max_connections {
                        passing.ledger.refused();
                        continue;
                    }
                    let (sender, coming) = mpsc::channel(WAITING);
                    flows.insert(caller, sender);
                    let number = passing.ledger.next_number();
                    running.spawn(serve(passing.clone(), number, caller, Arc::clone(&socket), coming));
                }
                if let Some(flow) = flows.get(&caller)
                    && flow.try_send(datagram).is_err()
                {
                    passing.ledger.dropped(1);
                }
            }
            Some(ended) = running.join_next() => match ended {
                Ok(caller) => drop(flows.remove(&caller)),
                Err(error) => tracing::error!(%error, "a caller's task panicked"),
            },
        }
    }
}

async fn serve(
    passing: Passing,
    number: u64,
    caller: SocketAddr,
    callers: Arc<UdpSocket>,
    coming: mpsc::Receiver<Bytes>,
) -> SocketAddr {
    match Flow::new(passing.clone(), number, caller, callers).await {
        Ok(flow) => flow.run(coming).await,
        Err(error) => {
            tracing::warn!(to = %passing.to, %error, "cannot send to the server, so a caller's datagrams are lost");
            passing.ledger.refused();
        }
    }
    caller
}

/// Bursts are longer than the system's default.
fn widen(socket: &UdpSocket) {
    // As much as there may be is enough, whatever it is.
    let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
}
