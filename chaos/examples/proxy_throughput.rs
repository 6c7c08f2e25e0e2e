//! What the fault proxy costs without a fault: plain TCP over loopback, directly and through it.
//! `cargo run --release --package chaos --example proxy_throughput [--seconds N]`.
//!
//! The proxy has a thread of its own, as in `causeway chaos proxy`; callers and server share the
//! machine with it, so only ratios within one run mean something.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use chaos::proxy::{Faults, Options, Protocols, Proxy};

/// How often each is measured, in turn.
const ROUNDS: usize = 5;

/// How many bytes are written and read at once.
const CHUNK: usize = 128 * 1024;

/// What a connection's first byte asks of the server.
const SEND: u8 = b's';
const ECHO: u8 = b'e';

/// How many bytes go there and back for one latency.
const PINGS: usize = 2_000;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Done<()> {
    let duration = duration()?;
    let server = serve()?;
    let proxy = proxy(server)?;
    println!("median of {ROUNDS}, {duration:?} each");
    println!("{:<28} {:>10} {:>10} {:>7}", "", "direct", "proxy", "ratio");
    for callers in [1, 8] {
        let [direct, through] = medians([server, proxy], |to| throughput(to, callers, duration))?;
        let name = format!("{callers} connection(s), Gbit/s");
        println!(
            "{name:<28} {direct:>10.2} {through:>10.2} {:>7.2}",
            through / direct
        );
    }
    let [direct, through] = medians([server, proxy], ping)?;
    println!(
        "{:<28} {direct:>10.1} {through:>10.1} {:>7.2}",
        "one byte, there and back, µs",
        through / direct
    );
    Ok(())
}

fn duration() -> Done<Duration> {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (None, _) => Ok(Duration::from_secs(2)),
        (Some("--seconds"), Some(seconds)) => Ok(Duration::from_secs(seconds.parse()?)),
        (Some(_), _) => Err("there is only --seconds N".into()),
    }
}

/// The medians of both addresses, which are measured in turn.
fn medians(of: [SocketAddr; 2], measure: impl Fn(SocketAddr) -> Done<f64>) -> Done<[f64; 2]> {
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (address, found) in of.into_iter().zip(&mut rounds) {
            found.push(measure(address)?);
        }
    }
    Ok(rounds.map(|mut found| {
        found.sort_by(f64::total_cmp);
        found[ROUNDS / 2]
    }))
}

/// At how many Gbit/s so many callers together get bytes.
fn throughput(from: SocketAddr, callers: usize, duration: Duration) -> Done<f64> {
    let callers: Vec<_> = (0..callers)
        .map(|_| thread::spawn(move || download(from, duration)))
        .collect();
    let mut sum = 0.0;
    for caller in callers {
        sum += caller.join().map_err(|_| "a caller panicked")??;
    }
    Ok(sum)
}

fn download(from: SocketAddr, duration: Duration) -> Done<f64> {
    let mut stream = TcpStream::connect(from)?;
    stream.write_all(&[SEND])?;
    let mut buffer = vec![0; CHUNK];
    stream.read_exact(&mut buffer[..1])?;
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < duration {
        bytes += match stream.read(&mut buffer)? {
            0 => return Err("the server has ended".into()),
            count => count,
        };
    }
    Ok(bytes as f64 * 8.0 / 1e9 / began.elapsed().as_secs_f64())
}

/// How many µs one byte takes there and back, half of the times.
fn ping(to: SocketAddr) -> Done<f64> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[ECHO])?;
    let mut took = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let began = Instant::now();
        stream.write_all(&[0])?;
        stream.read_exact(&mut [0])?;
        took.push(began.elapsed().as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[PINGS / 2])
}

/// A server with a thread for each connection, which lives as long as the process.
fn serve() -> Done<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It ends when its caller goes.
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut what = [0];
    stream.read_exact(&mut what)?;
    if what == [SEND] {
        let bytes = vec![7; CHUNK];
        loop {
            stream.write_all(&bytes)?;
        }
    }
    loop {
        stream.read_exact(&mut what)?;
        stream.write_all(&what)?;
    }
}

/// A proxy without faults in front of it, which lives as long as the process.
fn proxy(to: SocketAddr) -> Done<SocketAddr> {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || -> Done<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listen = (Ipv4Addr::LOCALHOST, 0).into();
            let faults = Faults::none(Protocols::Tcp);
            let to = to.to_string().parse()?;
            let proxy = Proxy::bind(listen, to, faults, Options::default(), "listen")?;
            tell.send(proxy.address())?;
            proxy.run().await;
            Ok(())
        })
    });
    Ok(told.recv()?)
}
