//! Hello and HelloAck: who the peer is beyond its certificate, and what both will speak.
//!
//! Neither side sets a deadline here: whoever calls has one for the whole of TLS, Hello and policy.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::control::write_all;
use crate::proto::{
    Close, CloseCode, Control, Echo, FrameBuffer, FrameError, Hello, HelloAck, MAX_CONTROL_FRAME,
    MAX_PADDING, Opener, VersionRange,
};
use crate::transport::{
    Connection, ConnectionLost, RecvHalf, SendHalf, StreamBroken, TransportStream,
};

/// How long a refused peer may take to read why.
const REFUSAL_READ: Duration = Duration::from_millis(500);

/// How many Pings may come before Hello.
pub const MOST_PROBES: usize = 16;

/// A connection whose ends have agreed.
#[derive(Debug)]
pub struct Established {
    /// The connection.
    pub connection: Arc<dyn Connection>,
    /// What the initiator said.
    pub hello: Hello,
    /// What the responder answered.
    pub ack: HelloAck,
    pub(super) side: Opener,
    pub(super) control: ControlStream,
}

/// The control stream, between messages.
#[derive(Debug)]
pub(super) struct ControlStream {
    pub(super) send: Box<dyn SendHalf>,
    pub(super) recv: Box<dyn RecvHalf>,
    pub(super) frames: FrameBuffer,
}

/// Why two ends did not agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer closed with a reason.
    #[error("the edge refused: {}{}{}", .0.code, if .0.message.is_empty() { "" } else { ": " }, .0.message)]
    Refused(Close),
    /// The connection was lost on the way.
    #[error(transparent)]
    Lost(#[from] ConnectionLost),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(String),
    /// The peer sent a frame that is longer than it may be, or is none.
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
}

impl HandshakeError {
    /// What the connection is closed with by the end that sees the error.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Refused(_) | Self::Lost(_) => CloseCode::Shutdown,
            Self::Protocol(_) => CloseCode::Protocol,
            Self::Frame(error) => error.close_code(),
        }
    }
}

/// A connection that was dialled, before Hello.
#[derive(Debug)]
pub struct Dialled {
    connection: Arc<dyn Connection>,
    /// Set once it was probed.
    control: Option<ControlStream>,
    probes: u64,
}

impl Dialled {
    /// Nothing is said yet.
    pub fn new(connection: Arc<dyn Connection>) -> Self {
        Self {
            connection,
            control: None,
            probes: 0,
        }
    }

    /// What was dialled.
    pub fn connection(&self) -> &Arc<dyn Connection> {
        &self.connection
    }

    /// Waits for a round trip of [`MAX_PADDING`] bytes: many packets, as long as they may be. Only
    /// for a responder that is known to have [`Features::EARLY_PING`](crate::proto::Features::EARLY_PING), and at most [`MOST_PROBES`]
    /// times. Not cancel-safe: whoever gives it up gives the connection up.
    pub async fn probe(&mut self) -> Result<(), HandshakeError> {
        let connection = &self.connection;
        let control = match &mut self.control {
            Some(control) => control,
            none => none.insert(ControlStream::new(connection.open().await?)),
        };
        self.probes += 1;
        let echo = Echo {
            nonce: self.probes,
            padding: MAX_PADDING,
        };
        control
            .exchange_lost(connection, Control::Ping(echo))
            .await?;
        let answer = control.read(connection).await?;
        if answer != Control::Pong(echo) {
            return Err(unexpected("a Pong like the Ping", &answer));
        }
        Ok(())
    }

    /// Says `hello` and waits for the answer.
    pub async fn greet(self, hello: Hello) -> Result<Established, HandshakeError> {
        let Self {
            connection,
            control,
            ..
        } = self;
        let control = match control {
            Some(control) => control,
            None => ControlStream::new(connection.open().await?),
        };
        greet(connection, control, hello).await
    }
}

/// Says `hello` on a connection that nothing was said on, and waits for the answer.
pub async fn initiate(
    connection: Arc<dyn Connection>,
    hello: Hello,
) -> Result<Established, HandshakeError> {
    Dialled::new(connection).greet(hello).await
}

async fn greet(
    connection: Arc<dyn Connection>,
    mut control: ControlStream,
    hello: Hello,
) -> Result<Established, HandshakeError> {
    control
        .exchange_lost(&connection, Control::Hello(Box::new(hello.clone())))
        .await?;
    let answer = control.read(&connection).await?;
    if let Control::Close(close) = answer {
        return Err(HandshakeError::Refused(close));
    }
    let Control::HelloAck(ack) = answer else {
        return Err(unexpected("HelloAck", &answer));
    };
    if !hello.versions.contains(ack.version) {
        let message = format!("it chose version {}, which was not offered", ack.version);
        return Err(HandshakeError::Protocol(message));
    }
    Ok(Established {
        connection,
        hello,
        ack: *ack,
        side: Opener::Initiator,
        control,
    })
}

/// A Hello that waits for our answer.
#[derive(Debug)]
pub struct PendingHello {
    connection: Arc<dyn Connection>,
    hello: Hello,
    control: ControlStream,
}

/// Waits for the peer's Hello, and answers the Pings that it sends before. A peer without a version
/// in common is told so.
pub async fn respond(connection: Arc<dyn Connection>) -> Result<PendingHello, HandshakeError> {
    let mut control = ControlStream::new(connection.accept().await?);
    let mut probes = 0;
    let hello = loop {
        let message = control.read(&connection).await?;
        if let Control::Hello(hello) = message {
            break hello;
        }
        probes += 1;
        let (Control::Ping(echo), ..=MOST_PROBES) = (&message, probes) else {
            return Err(unexpected("Hello", &message));
        };
        control
            .exchange_lost(&connection, Control::Pong(*echo))
            .await?;
    };
    let pending = PendingHello {
        connection,
        hello: *hello,
        control,
    };
    if let Err(error) = VersionRange::SUPPORTED.negotiate(pending.hello.versions) {
        let message = error.to_string();
        pending
            .refuse(Close {
                code: CloseCode::Version,
                message: message.clone(),
                retry_after: None,
            })
            .await;
        return Err(HandshakeError::Protocol(message));
    }
    Ok(pending)
}

impl PendingHello {
    /// What the initiator said.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The connection that it came on.
    pub fn connection(&self) -> &Arc<dyn Connection> {
        &self.connection
    }

    /// Lets the peer in.
    pub async fn accept(mut self, ack: HelloAck) -> Result<Established, HandshakeError> {
        self.control
            .exchange_lost(&self.connection, Control::HelloAck(Box::new(ack.clone())))
            .await?;
        Ok(Established {
            connection: self.connection,
            hello: self.hello,
            ack,
            side: Opener::Responder,
            control: self.control,
        })
    }

    /// Turns the peer away, and waits a moment for it to read why.
    pub async fn refuse(mut self, close: Close) {
        let (code, message) = (close.code, close.message.clone());
        let said = async {
            self.control.write(Control::Close(close)).await?;
            self.connection.lost().await;
            Ok::<_, StreamBroken>(())
        };
        // Whoever does not listen learns the same from the transport's own close.
        let _ = tokio::time::timeout(REFUSAL_READ, said).await;
        self.connection.close(code, &message);
    }
}

impl ControlStream {
    fn new(transport: TransportStream) -> Self {
        let TransportStream { mut send, recv } = transport;
        send.prioritize();
        Self {
            send,
            recv,
            frames: FrameBuffer::new(MAX_CONTROL_FRAME),
        }
    }

    async fn write(&mut self, message: Control) -> Result<(), StreamBroken> {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        write_all(self.send.as_mut(), &mut bytes.freeze()).await
    }

    async fn exchange_lost(
        &mut self,
        connection: &Arc<dyn Connection>,
        message: Control,
    ) -> Result<(), HandshakeError> {
        match self.write(message).await {
            Ok(()) => Ok(()),
            Err(StreamBroken) => Err(connection.lost().await.into()),
        }
    }

    /// The next message, or why there is none.
    async fn read(&mut self, connection: &Arc<dyn Connection>) -> Result<Control, HandshakeError> {
        let mut chunks = VecDeque::new();
        loop {
            if let Some(frame) = self.frames.next_frame()? {
                return Control::decode(frame).map_err(|e| HandshakeError::Protocol(e.to_string()));
            }
            match poll_fn(|cx| self.recv.poll_read(cx, &mut chunks)).await {
                Ok(0) | Err(StreamBroken) => return Err(connection.lost().await.into()),
                Ok(_) => chunks.drain(..).for_each(|chunk| self.frames.push(&chunk)),
            }
        }
    }
}

fn unexpected(wanted: &str, got: &Control) -> HandshakeError {
    HandshakeError::Protocol(format!("{wanted} expected, {} received", got.label()))
}
