//! The UDP socket beneath.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// The size that is asked for each buffer of a UDP socket, in bytes.
const UDP_BUFFER: usize = 4 << 20;

/// A UDP socket with buffers that hold what arrives while the worker is busy elsewhere: with the
/// system's default of some 200 KiB, a bulk transfer loses packets on a perfect path.
pub fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // The kernel grants less if its own limit is lower; then it works with less.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
