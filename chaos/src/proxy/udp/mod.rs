//! UDP: telling callers apart, each with a socket of its own towards the server.

mod callers;
mod datagrams;
mod flow;

use socket2::SockRef;
use tokio::net::UdpSocket;

use super::Passing;
use callers::Callers;

/// The longest datagram.
const DATAGRAM: usize = 64 * 1024;

/// What the system may keep for a socket until it is read. It gives as much of that as it may.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Receives until dropped. When there are as many callers as there may be, the one that has been
/// silent longest makes room for a new one, as in a NAT.
pub(super) async fn receive(socket: UdpSocket, passing: Passing) {
    widen(&socket);
    let mut callers = Callers::new(socket, passing);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            received = callers.shared.socket.recv_from(&mut buffer) => {
                // An error is that of an earlier datagram, such as ICMP's word that nobody listens.
                let Ok((length, caller)) = received else { continue };
                callers.handle_datagram(caller, &buffer[..length]);
            }
            Some(ended) = callers.running.join_next() => callers.handle_end(ended),
        }
    }
}

/// Bursts are longer than the system's default.
fn widen(socket: &UdpSocket) {
    // As much as there may be is enough, whatever it is.
    let _ = SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
}
