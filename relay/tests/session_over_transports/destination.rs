//! A destination that stops reading: what is acknowledged of a stream is what the destination's socket
//! took, to the byte, however much more has arrived at this end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use relay::proto::{Control, Echo};
use relay::pump::{ChunkQueue, Local, LocalEnd, Socket, pump};
use relay::session::Chunk;
use relay::transport::TransportKind;
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::pattern;
use crate::raw::{Raw, RawStream, Scene};
use crate::within;

each_transport![nothing_is_acknowledged_that_the_destination_did_not_take];

/// What the destination reads before it stops: enough for windows to grow.
const READ: usize = 1 << 20;

/// What is asked of the kernel for each buffer between this end and the destination.
const BUFFER: usize = 8 << 10;

/// The socket towards the destination. It counts what the kernel takes, and lets the destination have
/// all of that even if the pump ends too soon.
struct Counting {
    socket: Socket,
    taken: Arc<AtomicU64>,
}

impl Local for Counting {
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Chunk>> {
        self.socket.poll_read(cx, limit)
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        arrived: &mut ChunkQueue,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.socket.poll_write(cx, arrived))?;
        self.taken.fetch_add(count as u64, Ordering::SeqCst);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }

    fn broken(&self) -> impl Future<Output = io::Error> + Send {
        self.socket.broken()
    }

    fn reset_on_close(&self, _: bool) {}
}

/// A sender that uses up every grant.
struct Flood {
    stream: RawStream,
    bytes: Vec<u8>,
    sent: usize,
    consumed: u64,
    limit: usize,
}

impl Flood {
    async fn send_all_that_is_granted(&mut self) {
        let granted = &self.bytes[self.sent..self.limit];
        let sending = self.stream.send.write_all(granted);
        within("what is granted is taken", sending).await.unwrap();
        self.sent = self.limit;
    }

    /// Hears what the house has to say by now, and that it never acknowledges more than `taken`.
    async fn hear(&mut self, raw: &mut Raw, taken: &AtomicU64) {
        let asked = Echo::short(rand::random());
        raw.say(Control::Ping(asked)).await;
        let stream = self.stream.id;
        let is_wanted = |message: &Control| {
            let acknowledges = matches!(message, Control::Ack(ack) if ack.stream == stream);
            acknowledges || *message == Control::Pong(asked)
        };
        while let Control::Ack(ack) = raw.expect(is_wanted).await {
            let taken = taken.load(Ordering::SeqCst);
            let consumed = ack.consumed;
            assert!(consumed <= taken, "{consumed} acknowledged, {taken} taken");
            (self.consumed, self.limit) = (consumed, ack.limit as usize);
        }
    }
}

async fn nothing_is_acknowledged_that_the_destination_did_not_take(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let (socket, mut destination) = sockets().await;
    let taken = Arc::new(AtomicU64::new(0));
    let stream = scene.raw.open(0).await;
    let far = scene.end.next().await.stream;
    let local = Counting {
        socket: Socket::Tcp(socket),
        taken: taken.clone(),
    };
    let pumping = tokio::spawn(pump(far, local, LocalEnd::Origin, None));
    let mut flood = Flood {
        stream,
        bytes: pattern::bytes(9, 0, READ + (16 << 20)),
        sent: 0,
        consumed: 0,
        limit: scene.house.setup.base as usize,
    };
    let reading = tokio::spawn(async move {
        let mut read = vec![0; READ];
        destination.read_exact(&mut read).await.unwrap();
        (destination, read)
    });

    let stalled = async {
        loop {
            flood.send_all_that_is_granted().await;
            flood.hear(&mut scene.raw, &taken).await;
            let taken = taken.load(Ordering::SeqCst);
            let is_told = flood.consumed == taken && flood.sent == flood.limit;
            if reading.is_finished() && is_told {
                break;
            }
        }
    };
    within(
        "the destination to be full, and the sender to know it",
        stalled,
    )
    .await;
    let acknowledged = flood.consumed as usize;
    assert!(flood.sent > acknowledged, "the destination has taken all");

    // Cut here, the destination has what was acknowledged, and nothing else.
    pumping.abort();
    assert!(pumping.await.unwrap_err().is_cancelled());
    let (mut destination, mut read) = reading.await.unwrap();
    let rest = within("the end", destination.read_to_end(&mut read)).await;
    assert_eq!(READ + rest.unwrap(), acknowledged);
    assert!(read == flood.bytes[..acknowledged], "other bytes");
    scene.goes_on().await;
}

/// Both ends of a connection with little room between them: ours and the destination's.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // What is accepted has the listener's, and the peer hears of no more.
    SockRef::from(&listener)
        .set_recv_buffer_size(BUFFER)
        .unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, accepted) = tokio::join!(ours, listener.accept());
    let (ours, (theirs, _)) = (ours.unwrap(), accepted.unwrap());
    SockRef::from(&ours).set_send_buffer_size(BUFFER).unwrap();
    (ours, theirs)
}
