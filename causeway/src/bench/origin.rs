//! The two parts that are no tunnel, each a process of its own: the origin that all paths lead to,
//! and the one plain hop that tunnels are compared with.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many callers the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// How much is moved at once where there is much to move.
const CHUNK: usize = 256 * 1024;

/// How much at first: most connections of a bench move a byte. And how much of what is sent back: there are many such
/// connections, and they keep it.
const FIRST_CHUNK: usize = 4 * 1024;

/// What a process beside the tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Where all paths end.
    Origin,
    /// Copies bytes between its callers and one address, and does nothing else.
    Hop(SocketAddr),
}

/// What the origin does on a connection, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// Sends back what comes.
    Echo,
    /// Takes what comes until the end, then says how many bytes that were, in 8 bytes (big-endian).
    Drain,
    /// Sends until the caller ends its side.
    Source,
}

impl Part {
    /// Is this part until whoever started this process is gone, which closes its standard input.
    pub(super) fn be(self) -> anyhow::Result<ExitCode> {
        let address = self.start().context("cannot listen")?;
        writeln!(io::stdout(), "{address}").context("nobody wants to know where this listens")?;
        io::copy(&mut io::stdin(), &mut io::sink())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Listens at a free port, on a thread for each core: whoever is idle takes the next caller.
    pub(super) fn start(self) -> io::Result<SocketAddr> {
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
        };
        let first = runtime()?;
        let listener = {
            let _entered = first.enter();
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
            socket.listen(BACKLOG)?.into_std()?
        };
        let address = listener.local_addr()?;
        for _ in 0..thread::available_parallelism()?.get() {
            let (listener, runtime) = (listener.try_clone()?, runtime()?);
            thread::Builder::new().spawn(move || runtime.block_on(self.accept(listener)))?;
        }
        Ok(address)
    }

    async fn accept(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("this runtime has I/O");
        loop {
            match listener.accept().await {
                Ok((caller, _)) => drop(tokio::spawn(self.serve(caller))),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Callers wait from now on, which the measurement that made them reports.
                Err(_) => return,
            }
        }
    }

    /// Whatever fails, the caller sees its connection end.
    async fn serve(self, mut caller: TcpStream) {
        let _ = caller.set_nodelay(true);
        let _ = match self {
            Self::Origin => answer(&mut caller).await,
            Self::Hop(to) => pass(&mut caller, to).await,
        };
    }

    /// As [`Part::from_str`] reads it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Origin => "origin".to_owned(),
            Self::Hop(to) => format!("hop:{to}"),
        }
    }
}

impl FromStr for Part {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "origin" => Ok(Self::Origin),
            Some(("hop", to)) => match to.parse() {
                Ok(to) => Ok(Self::Hop(to)),
                Err(_) => Err("write hop:127.0.0.1:9000"),
            },
            None | Some(_) => Err("write origin or hop:ADDRESS"),
        }
    }
}

impl Service {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Echo => b'e',
            Self::Drain => b'd',
            Self::Source => b's',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Echo, Self::Drain, Self::Source];
        all.into_iter().find(|service| service.byte() == byte)
    }
}

async fn answer(caller: &mut TcpStream) -> io::Result<()> {
    let service = Service::of(caller.read_u8().await?);
    let (mut from, mut to) = caller.split();
    match service {
        Some(Service::Echo) => copy(&mut from, &mut to, FIRST_CHUNK).await,
        Some(Service::Drain) => {
            let count = drain(&mut from).await?;
            to.write_u64(count).await?;
            to.shutdown().await
        }
        Some(Service::Source) => {
            tokio::select! {
                ended = drain(&mut from) => ended.map(drop),
                failed = send_without_end(&mut to) => failed,
            }?;
            to.shutdown().await
        }
        None => Ok(()),
    }
}

async fn drain(from: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut count = 0;
    loop {
        match from.read(&mut chunk).await? {
            0 => return Ok(count),
            read => count += read as u64,
        }
    }
}

async fn send_without_end(to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let chunk = vec![0x5a; CHUNK];
    loop {
        to.write_all(&chunk).await?;
    }
}

async fn pass(caller: &mut TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut origin = TcpStream::connect(to).await?;
    origin.set_nodelay(true)?;
    let (mut from_caller, mut to_caller) = caller.split();
    let (mut from_origin, mut to_origin) = origin.split();
    tokio::try_join!(
        copy(&mut from_caller, &mut to_origin, CHUNK),
        copy(&mut from_origin, &mut to_caller, CHUNK),
    )?;
    Ok(())
}

/// Copies to the end, and passes the end on. `most` is moved at once where there is much to move.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: usize,
) -> io::Result<()> {
    let mut chunk = vec![0; FIRST_CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        if read == chunk.len() {
            chunk.resize(most, 0);
        }
    }
}
