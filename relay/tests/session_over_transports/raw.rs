//! A peer that speaks the protocol by hand, so that it can break it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use relay::ResetCode;
use relay::proto::{
    Caller, CloseCode, Control, Echo, FrameBuffer, Generation, Hello, HelloAck, MAX_CONTROL_FRAME,
    MAX_HEADER_FRAME, Open, Opener, StreamAnswer, StreamHeader, StreamId,
};
use relay::transport::{
    Connection, ConnectionLost, RecvHalf, SendHalf, StreamBroken, TransportKind,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ends::{End, Guest, House, Setup, hello};
use crate::within;

/// A connection to a house, with a control stream of our own making.
pub(crate) struct Raw {
    pub(crate) connection: Arc<dyn Connection>,
    pub(crate) control: RawSend,
    recv: RawRecv,
    frames: FrameBuffer,
}

/// A transport stream of a raw peer.
pub(crate) struct RawStream {
    pub(crate) id: StreamId,
    pub(crate) send: RawSend,
    pub(crate) recv: RawRecv,
}

pub(crate) struct RawSend(pub(crate) Box<dyn SendHalf>);

pub(crate) struct RawRecv(Box<dyn RecvHalf>);

/// A house, a raw peer that it has let in, its end of that session, and beside them a
/// well-behaved session that must not notice anything.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) raw: Raw,
    pub(crate) end: End,
    pub(crate) bystander: Guest,
    _bystander_end: End,
}

impl Scene {
    pub(crate) async fn new(transport: TransportKind) -> Self {
        Self::with(Setup::over(transport)).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let mut house = House::listen(setup).await;
        let (bystander, _bystander_end) = house.visit().await;
        let mut raw = Raw::connect(&house).await;
        let hello = raw_hello(setup.transport);
        raw.say(Control::Hello(Box::new(hello))).await;
        raw.hello_ack().await;
        Self {
            end: house.admitted().await,
            house,
            raw,
            bystander,
            _bystander_end,
        }
    }

    /// The raw peer is thrown out with `code`, and nobody else is.
    pub(crate) async fn thrown_out(mut self, code: CloseCode) {
        assert_eq!(self.raw.closed().await, code);
        let closed = within("the session is over", self.end.session.closed()).await;
        assert_eq!(closed.close.code, code, "{closed}");
        within("its tasks end", self.end.session.finished()).await;
        assert_eq!(self.end.budget.used(), 0);
        self.serves_others().await;
    }

    /// The session of the raw peer goes on: its pings are answered.
    pub(crate) async fn goes_on(mut self) {
        self.raw.round_trip().await;
        assert!(self.end.session.is_open());
        self.serves_others().await;
    }

    /// The bystander, and a newcomer.
    async fn serves_others(&mut self) {
        echoes(&self.bystander).await;
        let (newcomer, _end) = self.house.visit().await;
        echoes(&newcomer).await;
    }
}

/// A house that a stranger has not been let into yet, with a bystander.
pub(crate) async fn before_hello(transport: TransportKind) -> (House, Guest, End, Raw) {
    let mut house = House::listen(Setup::over(transport)).await;
    let (bystander, end) = house.visit().await;
    let raw = Raw::connect(&house).await;
    (house, bystander, end, raw)
}

pub(crate) async fn echoes(guest: &Guest) {
    let mut io = guest.end.open("echo").await.into_io();
    io.write_all(b"still here").await.unwrap();
    io.shutdown().await.unwrap();
    let mut back = String::new();
    within("an echo", io.read_to_string(&mut back))
        .await
        .unwrap();
    assert_eq!(back, "still here");
}

pub(crate) fn raw_hello(transport: TransportKind) -> Hello {
    hello(Setup::over(transport).limits())
}

pub(crate) fn encoded(message: &Control) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

pub(crate) fn header(id: StreamId) -> Bytes {
    let mut out = BytesMut::new();
    StreamHeader::Open(Open {
        stream: id,
        service: "raw".parse().unwrap(),
        caller: Caller {
            principal: "ingress/raw".into(),
            address: None,
        },
        traceparent: None,
        resumable: false,
        generation: Generation(0),
    })
    .encode(&mut out);
    out.freeze()
}

/// The `index`-th stream of the raw peer, which is the initiator.
pub(crate) fn own(index: u64) -> StreamId {
    StreamId::new(Opener::Initiator, index)
}

/// The `index`-th stream of the house.
pub(crate) fn theirs(index: u64) -> StreamId {
    StreamId::new(Opener::Responder, index)
}

impl Raw {
    /// Connected, with a control stream that carries nothing yet.
    pub(crate) async fn connect(house: &House) -> Self {
        let setup = Setup::over(house.setup.transport);
        let dialling = house.certificate.dialler(&setup).dial(house.address);
        let connection = within("a connection", dialling).await;
        let control = connection.open().await.unwrap();
        Self {
            connection,
            control: RawSend(control.send),
            recv: RawRecv(control.recv),
            frames: FrameBuffer::new(MAX_CONTROL_FRAME),
        }
    }

    pub(crate) async fn say(&mut self, message: Control) {
        self.say_bytes(&encoded(&message)).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        // Who is being thrown out cannot always finish its sentence.
        let _ = within("the control stream takes it", self.control.write_all(bytes)).await;
    }

    /// The next message of the house.
    pub(crate) async fn next(&mut self) -> Control {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Control::decode(frame).unwrap();
            }
            let arrived = within("a control message", self.recv.read()).await;
            self.frames.push(&arrived.expect("no end"));
        }
    }

    /// The first message that is `wanted`. Pings of the house are answered on the way.
    pub(crate) async fn expect(&mut self, wanted: impl Fn(&Control) -> bool) -> Control {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
            if let Control::Ping(echo) = message {
                self.say(Control::Pong(echo)).await;
            }
        }
    }

    pub(crate) async fn hello_ack(&mut self) -> HelloAck {
        let answer = self.next().await;
        let Control::HelloAck(ack) = answer else {
            panic!("{} instead of an answer to Hello", answer.label());
        };
        *ack
    }

    /// A ping and its pong: all that was said before has been handled.
    pub(crate) async fn round_trip(&mut self) {
        let asked: u64 = rand::random();
        self.say(Control::Ping(Echo::short(asked))).await;
        self.expect(|message| *message == Control::Pong(Echo::short(asked)))
            .await;
    }

    /// Waits for the word that `id` is over at the house.
    pub(crate) async fn told_over(&mut self, id: StreamId) {
        self.expect(
            |message| matches!(message, Control::Ack(ack) if ack.stream == id && ack.ended),
        )
        .await;
    }

    /// Refuses what the house says from now on.
    pub(crate) fn stop_listening(&mut self) {
        self.recv.0.stop(ResetCode::Cancelled);
    }

    /// A transport stream that begins with `first`.
    pub(crate) async fn begin(&self, id: StreamId, first: &[u8]) -> RawStream {
        let (mut send, recv) = self.open_bi().await.unwrap();
        send.write_all(first).await.unwrap();
        RawStream { id, send, recv }
    }

    /// A transport stream that carries nothing yet.
    pub(crate) async fn open_bi(&self) -> Result<(RawSend, RawRecv), ConnectionLost> {
        let stream = self.connection.open().await?;
        Ok((RawSend(stream.send), RawRecv(stream.recv)))
    }

    /// The next transport stream of the house.
    pub(crate) async fn accept_bi(&self) -> Result<(RawSend, RawRecv), ConnectionLost> {
        let stream = self.connection.accept().await?;
        Ok((RawSend(stream.send), RawRecv(stream.recv)))
    }

    /// A proper stream, by the book.
    pub(crate) async fn open(&self, index: u64) -> RawStream {
        self.begin(own(index), &header(own(index))).await
    }

    /// What the house closes the connection with. Says nothing itself.
    pub(crate) async fn closed(&self) -> CloseCode {
        let lost = within("the connection is closed", self.connection.lost()).await;
        let ConnectionLost::ByPeer { code, .. } = lost else {
            panic!("{lost}");
        };
        code
    }
}

impl RawStream {
    /// The acceptor's answer, which comes first.
    pub(crate) async fn answer(&mut self) -> StreamAnswer {
        let mut frames = FrameBuffer::new(MAX_HEADER_FRAME);
        loop {
            if let Some(frame) = frames.next_frame().unwrap() {
                assert!(frames.into_rest().is_empty(), "nothing was written yet");
                return StreamAnswer::decode(frame).unwrap();
            }
            let arrived = within("the answer", self.recv.read()).await;
            frames.push(&arrived.expect("no end"));
        }
    }
}

impl RawSend {
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), StreamBroken> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            poll_fn(|cx| self.0.poll_write(cx, &mut bytes)).await?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) {
        self.0.finish();
    }

    pub(crate) fn reset(&mut self) {
        self.0.reset(ResetCode::Cancelled);
    }
}

impl Drop for RawSend {
    /// What was written still arrives.
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl RawRecv {
    /// What has arrived; `None` at the end, of whatever kind.
    async fn read(&mut self) -> Option<Bytes> {
        let mut chunks = VecDeque::new();
        let read = poll_fn(|cx| self.0.poll_read(cx, &mut chunks)).await;
        let chunks: Vec<_> = chunks.into();
        matches!(read, Ok(1..)).then(|| chunks.concat().into())
    }
}
