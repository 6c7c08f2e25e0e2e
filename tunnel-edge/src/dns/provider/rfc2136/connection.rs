//! One TCP connection to a name server: many questions under way at once, answers by their id
//! (RFC 7766). What is asked is not looked into here.
//!
//! hickory-net's multiplexer is not used: it keeps at most nine messages of an answer for who asked
//! and drops what comes on top, so that a transfer of a large zone would lose records unnoticed.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    task::AbortOnDropHandle,
};

/// How many questions may be under way; more wait. Enough to keep a server busy over a long way.
const IN_FLIGHT: usize = 32;

/// How many messages of one answer are kept while nobody takes them; then the server has to wait.
const KEPT: usize = 8;

/// After how long without anything to do it is closed: before the server does, so that nothing is
/// sent into a connection that is just being closed (Knot closes after 10 s, BIND after 30 s).
const IDLE: Duration = Duration::from_secs(5);

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    requests: mpsc::Sender<Request>,
    free: Arc<Semaphore>,
    next_id: AtomicU16,
    _task: AbortOnDropHandle<()>,
}

/// The right to ask one question, under this id.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: u16,
    permit: OwnedSemaphorePermit,
}

/// What comes back, message by message.
#[derive(Debug)]
pub(super) struct Answers {
    messages: mpsc::Receiver<Result<Bytes, Broken>>,
    _permit: OwnedSemaphorePermit,
}

/// How a connection ended before everything was answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("it closed the connection")]
    Closed,
    #[error("it closed the connection inside a message")]
    Cut,
    #[error("{0}")]
    Failed(String),
    #[error("it answered a question with the id {0}, which nobody asked")]
    Unasked(u16),
}

#[derive(Debug)]
struct Request {
    id: u16,
    message: Vec<u8>,
    answers: mpsc::Sender<Result<Bytes, Broken>>,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (requests, waiting) = mpsc::channel(IN_FLIGHT);
        Ok(Self {
            requests,
            free: Arc::new(Semaphore::new(IN_FLIGHT)),
            next_id: AtomicU16::new(rand::random()),
            _task: AbortOnDropHandle::new(tokio::spawn(serve(stream, waiting))),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Waits until one more question may be asked.
    pub(super) async fn turn(&self) -> Turn {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Turn {
            // With so few under way, none of them still has the id that comes round again.
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            permit: permit.expect("the semaphore is never closed"),
        }
    }

    /// Asks: `message` has the id of the turn.
    pub(super) async fn ask(&self, turn: Turn, message: Vec<u8>) -> Answers {
        let (answers, messages) = mpsc::channel(KEPT);
        let request = Request {
            id: turn.id,
            message,
            answers,
        };
        // If the connection has ended, so do the answers.
        let _ = self.requests.send(request).await;
        Answers {
            messages,
            _permit: turn.permit,
        }
    }
}

impl Answers {
    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Bytes, Broken> {
        self.messages.recv().await.unwrap_or(Err(Broken::Closed))
    }
}

/// Moves messages until the connection or whoever uses it ends.
async fn serve(stream: TcpStream, mut requests: mpsc::Receiver<Request>) {
    let framing = LengthDelimitedCodec::builder()
        .length_field_type::<u16>()
        .max_frame_length(usize::from(u16::MAX))
        .new_codec();
    let mut frames = Framed::new(stream, framing);
    let mut asked = HashMap::new();
    let broken = loop {
        asked.retain(|_, answers: &mut mpsc::Sender<_>| !answers.is_closed());
        tokio::select! {
            request = requests.recv() => {
                let Some(request) = request else { return };
                asked.insert(request.id, request.answers);
                if let Err(error) = frames.send(Bytes::from(request.message)).await {
                    break error.into();
                }
            }
            frame = frames.next() => {
                let frame = match frame {
                    Some(Ok(frame)) => frame,
                    Some(Err(error)) => break error.into(),
                    None => break Broken::Closed,
                };
                if let Err(broken) = deliver(frame, &asked).await {
                    break broken;
                }
            }
            () = tokio::time::sleep(IDLE), if asked.is_empty() => return,
        }
    };
    // Nothing that is still to come may be taken for an answer; what waits in `requests` is
    // dropped with it, which its asker sees as closed.
    drop(requests);
    for answers in asked.into_values() {
        // Who has gone need not know.
        let _ = answers.send(Err(broken.clone())).await;
    }
}

/// Hands a message to who asked for it. Waits while that one has too many.
async fn deliver(
    frame: BytesMut,
    asked: &HashMap<u16, mpsc::Sender<Result<Bytes, Broken>>>,
) -> Result<(), Broken> {
    let Some(&[high, low]) = frame.first_chunk() else {
        return Err(Broken::Cut);
    };
    let id = u16::from_be_bytes([high, low]);
    let answers = asked.get(&id).ok_or(Broken::Unasked(id))?;
    // Who asked may have given up meanwhile.
    let _ = answers.send(Ok(frame.freeze())).await;
    Ok(())
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        // The codec says `Other` for an end inside a message.
        if matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::Other) {
            Self::Cut
        } else if matches!(
            kind,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ) {
            Self::Closed
        } else {
            Self::Failed(error.to_string())
        }
    }
}
