//! Origins: what a client exposes, or an edge offers as an upstream. Plain sockets, one thread
//! for each connection, so that they do exactly what the test says and nothing else.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::{
    traffic::{Pattern, read_digest},
    wait::DEADLINE,
};

/// A TCP server on a free port, of the loopback interface unless another address is said. It stays until the process ends.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    arrivals: Mutex<mpsc::Receiver<TcpStream>>,
}

impl Origin {
    /// Runs `serve` on a thread of its own for each connection.
    pub(crate) fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::serving(Ipv4Addr::LOCALHOST.into(), serve)
    }

    fn serving(ip: IpAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let serve = Arc::new(serve);
        Self::accepting(ip, move |stream, _| {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        })
    }

    /// Hands every connection to the test, by [`Self::accept`].
    pub(crate) fn by_hand() -> Self {
        Self::accepting(Ipv4Addr::LOCALHOST.into(), |stream, arrivals| {
            // Nobody receives once the test is over.
            let _ = arrivals.send(stream);
        })
    }

    /// Sends back what it reads, and ends when its peer has ended.
    pub(crate) fn echo() -> Self {
        Self::echo_on(Ipv4Addr::LOCALHOST.into())
    }

    /// The same on another address of this thread's host.
    pub(crate) fn echo_on(ip: IpAddr) -> Self {
        Self::serving(ip, |mut stream| {
            let mut back = stream.try_clone().unwrap();
            // A caller that goes away ends an echo, one way or the other.
            let _ = io::copy(&mut stream, &mut back);
            let _ = back.shutdown(Shutdown::Write);
        })
    }

    /// Reads to the end, and only then answers: `COUNT SHA256\n`.
    pub(crate) fn digest() -> Self {
        Self::new(|mut stream| {
            if let Ok((count, digest)) = read_digest(&stream) {
                let _ = stream.write_all(format!("{count} {digest}\n").as_bytes());
            }
        })
    }

    /// Sends `length` bytes of [`Pattern`], ends, and then waits for its peer's end.
    pub(crate) fn source(length: u64) -> Self {
        Self::new(move |mut stream| {
            if io::copy(&mut Pattern::new(length), &mut stream).is_ok() {
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read(&mut [0]);
            }
        })
    }

    /// An HTTP/1.1 server that answers one request for each connection: `serve` gets the head
    /// and the connection, at the first byte of the body.
    pub(crate) fn http(serve: impl Fn(&str, TcpStream) + Send + Sync + 'static) -> Self {
        Self::new(move |stream| {
            if let Some(head) = read_head(&stream) {
                serve(&head, stream);
            }
        })
    }

    fn accepting(
        ip: IpAddr,
        handle: impl Fn(TcpStream, &mpsc::Sender<TcpStream>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (sender, arrivals) = mpsc::channel();
        let counter = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                handle(stream.unwrap(), &sender);
            }
        });
        Self {
            address,
            accepted,
            arrivals: Mutex::new(arrivals),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Itself as a target of kind `tcp`.
    pub(crate) fn tcp(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Itself as a target of kind `http`.
    pub(crate) fn http_target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next connection, of an origin made by [`Self::by_hand`].
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        let arrivals = self.arrivals.lock().unwrap();
        match arrivals.recv_timeout(DEADLINE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream
            }
            Err(error) => panic!("no connection reached the origin: {error}"),
        }
    }
}

/// An address that refuses connections for as long as the socket is held.
pub(crate) fn refusing_address() -> (SocketAddr, Socket) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&loopback.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (address, socket)
}

/// An address that neither accepts nor refuses, for as long as what comes with it is held: its
/// queue of connections is full, so the kernel drops every further attempt.
pub(crate) fn unanswering_address() -> (SocketAddr, (Socket, Vec<TcpStream>)) {
    let (address, socket) = refusing_address();
    socket.listen(0).unwrap();
    let queue = vec![TcpStream::connect(address).unwrap()];
    (address, (socket, queue))
}

/// Reads the head of an HTTP/1.1 request and not one byte more.
fn read_head(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => return None,
        }
    }
    // Small writes leave at once, so that what was sent before a cut has been sent.
    SockRef::from(stream).set_tcp_nodelay(true).unwrap();
    String::from_utf8(head).ok()
}

#[test]
fn the_addresses_do_what_they_are_named_for() {
    let (refusing, _held) = refusing_address();
    let error = TcpStream::connect_timeout(&refusing, DEADLINE).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let (unanswering, _held) = unanswering_address();
    for _ in 0..3 {
        let patience = std::time::Duration::from_millis(300);
        let error = TcpStream::connect_timeout(&unanswering, patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
