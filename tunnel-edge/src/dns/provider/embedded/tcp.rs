//! Questions by TCP (RFC 7766).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Transport;
use super::server::Server;
use crate::address_limit::AddressLimit;

/// Connections at once, all listeners and each address; more are closed at once.
const MOST_CONNECTIONS: usize = 512;
const MOST_OF_ONE_ADDRESS: usize = 32;

/// How long a connection may take to its next whole question, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Far longer than any question is.
const LONGEST_QUESTION: usize = 4096;

/// How long accepting pauses when there is no room for a socket.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// The room for connections.
#[derive(Clone, Debug)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    of_address: AddressLimit,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            of_address: AddressLimit::new(Some(MOST_OF_ONE_ADDRESS)),
        }
    }
}

/// Answers until it is dropped, and its connections with it.
pub(super) async fn serve(listener: TcpListener, room: Room, server: Arc<Server>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "answering by TCP failed");
                }
                continue;
            }
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept questions by TCP now");
                tokio::time::sleep(NO_ROOM_PAUSE).await;
                continue;
            }
        };
        let place = room.all.clone().try_acquire_owned();
        let entered = room.of_address.enter(address.ip());
        let (Ok(place), Some(entered)) = (place, entered) else {
            continue;
        };
        let server = server.clone();
        connections.spawn(async move {
            let _guards = (place, entered);
            if let Err(error) = converse(stream, &server).await {
                tracing::debug!(%error, "a connection with questions ended");
            }
        });
    }
}

/// Answers one question after the other, until the other side has no more, or has none for too
/// long.
async fn converse(mut stream: TcpStream, server: &Server) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut message, mut out, mut framed) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let whole = timeout(PATIENCE, read_message(&mut stream, &mut message)).await;
        if !whole?? || !server.answer(&message, Transport::Tcp, &mut out) {
            return Ok(());
        }
        framed.clear();
        let length = u16::try_from(out.len()).expect("an answer fits its length");
        framed.extend(length.to_be_bytes());
        framed.extend_from_slice(&out);
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
}

/// One message after its length; false at the end.
async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<bool> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > LONGEST_QUESTION {
        return Ok(false);
    }
    message.resize(length, 0);
    stream.read_exact(message).await?;
    Ok(true)
}
