//! Questions by UDP.

use std::io::{self, IoSliceMut};
use std::net::UdpSocket as StdSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::answer::{Transport, UDP_PAYLOAD};
use super::server::Server;

/// What the kernel may hand over as one: datagrams of one sender, joined.
const MOST_BYTES_JOINED: usize = 64 << 10;

/// How long receiving pauses after the system could not.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that answers from the address at which it was asked, on a machine with several too.
#[derive(Debug)]
pub(super) struct UdpListener {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl UdpListener {
    /// Call it within the runtime that will serve.
    pub(super) fn new(socket: StdSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
        })
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self, server: Arc<Server>) {
        let mut room = vec![0; BATCH_SIZE * MOST_BYTES_JOINED];
        let mut out = Vec::with_capacity(usize::from(UDP_PAYLOAD));
        loop {
            let received = self.receive(&mut room, &server, &mut out).await;
            match received {
                // Under a flood there is always more, and others want their turn.
                Ok(()) => tokio::task::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot receive questions by UDP now");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Answers what has come, at most [`BATCH_SIZE`] times what one sender sent.
    async fn receive(&self, room: &mut [u8], server: &Server, out: &mut Vec<u8>) -> io::Result<()> {
        self.socket.readable().await?;
        let mut slices = room.chunks_mut(MOST_BYTES_JOINED).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().expect("room for a whole batch"));
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let receive = || {
            let socket = (&self.socket).into();
            self.state.recv(socket, &mut slices, &mut metas)
        };
        let count = self.socket.try_io(Interest::READABLE, receive)?;
        for (meta, bytes) in metas[..count].iter().zip(&slices) {
            for message in bytes[..meta.len].chunks(meta.stride.max(1)) {
                if server.answer(message, Transport::Udp, out) {
                    self.send(out, meta);
                }
            }
        }
        Ok(())
    }

    /// An answer for which there is no room is lost, as the network may lose it: who asked asks
    /// again.
    fn send(&self, contents: &[u8], asked: &RecvMeta) {
        if asked.addr.port() == 0 {
            return;
        }
        let transmit = Transmit {
            destination: asked.addr,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: asked.dst_ip,
        };
        if let Err(error) = self.state.try_send((&self.socket).into(), &transmit) {
            tracing::debug!(%error, "an answer by UDP was not sent");
        }
    }
}
