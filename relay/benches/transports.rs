//! What the transports can do on this machine, side by side: `cargo bench -p relay`.
//!
//! Two ends in one process, each on a worker of its own, over loopback. Only ratios within one run
//! mean something. An argument picks the measurements whose names contain it.
#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made ends with why"
)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::Endpoint;
use relay::transport::over_tcp::carry;
use relay::transport::quic::{self, QuicConnection};
use relay::transport::{
    Connection, RecvHalf, SendHalf, SessionBounds, StreamBroken, TransportKind, TransportStream,
};
use relay::{CloseCode, ResetCode, WorkerHandle, Workers};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BOUNDS: SessionBounds = SessionBounds {
    streams: 32_768,
    stream_window: 4 << 20,
    all_windows: 512 << 20,
    patience: Duration::from_secs(50),
};

/// How long each measurement runs.
const LONG: Duration = Duration::from_secs(3);

/// How many streams are opened at a time.
const OPENS: usize = 64;

/// What a stream's first byte says of what is to be done with it.
const SINK: u8 = 0;
const ECHO: u8 = 1;

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| wanted.as_ref().is_none_or(|part| name.contains(part));
    if wanted("bare TLS") {
        println!("{:34} {}", "bare TLS, read 128 KiB at once", bare());
    }
    for kind in [
        TransportKind::Tls,
        TransportKind::Yamux,
        TransportKind::H2,
        TransportKind::Quic,
    ] {
        for (name, bulk, measure) in MEASUREMENTS {
            let name = format!("{kind} {name}");
            if wanted(&name) {
                println!("{name:34} {}", in_pair(kind, *bulk, *measure));
            }
        }
    }
}

type Measure = fn(Arc<Bench>) -> relay::transport::BoxFuture<'static, String>;

/// What is measured, beside how many bulk streams.
const MEASUREMENTS: &[(&str, usize, Measure)] = &[
    ("1 stream", 1, |bench| Box::pin(throughput(bench))),
    ("8 streams", 8, |bench| Box::pin(throughput(bench))),
    ("opens", 0, |bench| Box::pin(opens(bench))),
    ("ping", 0, |bench| Box::pin(pings(bench))),
    ("ping + 1 bulk", 1, |bench| Box::pin(pings(bench))),
    ("ping + 4 bulk", 4, |bench| Box::pin(pings(bench))),
    ("ping + 8 bulk", 8, |bench| Box::pin(pings(bench))),
];

/// A connection, and what its other end has read of its bulk.
struct Bench {
    connection: Arc<dyn Connection>,
    read: Arc<AtomicU64>,
}

fn in_pair(kind: TransportKind, bulk: usize, measure: Measure) -> String {
    let workers = Workers::start(2, "bench").unwrap();
    let [near, far] = workers.handles() else {
        unreachable!("two were started")
    };
    let driver = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    driver.block_on(async {
        let (connection, other) = connected(kind, near, far).await;
        let read = Arc::new(AtomicU64::new(0));
        far.spawn(serve(other, read.clone()));
        let bench = Arc::new(Bench { connection, read });
        for _ in 0..bulk {
            let stream = bench.connection.open().await.unwrap();
            near.spawn(flood(stream));
        }
        let measured = near.spawn(measure(bench.clone())).await.unwrap();
        bench.connection.close(CloseCode::Shutdown, "");
        measured
    })
}

/// What TLS alone can do here, with the same buffers under it: nothing shares it, nothing is framed.
fn bare() -> String {
    let workers = Workers::start(2, "bench").unwrap();
    let [near, far] = workers.handles() else {
        unreachable!("two were started")
    };
    let driver = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    driver.block_on(async {
        let (server, client) = configs(b"bare");
        let (tell, told) = tokio::sync::oneshot::channel();
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        far.spawn(async move {
            let listener = TcpListener::bind(loopback()).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let socket = listener.accept().await.unwrap().0;
            let socket = BufReader::with_capacity(128 << 10, socket);
            let acceptor = TlsAcceptor::from(Arc::new(server));
            let mut stream = acceptor.accept(socket).await.unwrap();
            let mut block = vec![0; 64 << 10];
            while let Ok(read @ 1..) = stream.read(&mut block).await {
                counted.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        let address = told.await.unwrap();
        near.spawn(async move {
            let socket = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from(quic::SERVER_NAME).unwrap();
            let connector = TlsConnector::from(Arc::new(client));
            let mut stream = connector.connect(name, socket).await.unwrap();
            stream.get_mut().1.set_buffer_limit(Some(256 << 10));
            let block = vec![SINK; 256 << 10];
            while stream.write_all(&block).await.is_ok() {}
        });
        rate(&count).await
    })
}

// ---- what is measured ----

async fn throughput(bench: Arc<Bench>) -> String {
    rate(&bench.read).await
}

/// How fast `count` grows, in bytes, and what that costs the process.
async fn rate(count: &AtomicU64) -> String {
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let before = count.load(Ordering::Relaxed);
    tokio::time::sleep(LONG).await;
    let bytes = (count.load(Ordering::Relaxed) - before) as f64;
    let rate = bytes * 8.0 / begun.elapsed().as_secs_f64() / 1e9;
    let cpu = (cpu_seconds() - cpu) / (bytes / 1e9);
    format!("{rate:7.1} Gbit/s   cpu {cpu:.2} s/GB")
}

async fn opens(bench: Arc<Bench>) -> String {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..OPENS {
        let bench = bench.clone();
        tasks.spawn(async move {
            let mut count = 0_u64;
            while begun.elapsed() < LONG {
                let mut stream = bench.connection.open().await.unwrap();
                write_all(&mut stream.send, Bytes::from_static(&[ECHO, 7]))
                    .await
                    .unwrap();
                stream.send.finish();
                let mut chunks = VecDeque::new();
                while read(&mut stream.recv, &mut chunks).await.unwrap() > 0 {}
                assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 1);
                count += 1;
            }
            count
        });
    }
    let count: u64 = tasks.join_all().await.iter().sum();
    format!("{:7.0} /s", count as f64 / begun.elapsed().as_secs_f64())
}

async fn pings(bench: Arc<Bench>) -> String {
    let mut stream = bench.connection.open().await.unwrap();
    write_all(&mut stream.send, Bytes::from_static(&[ECHO]))
        .await
        .unwrap();
    let (begun, before) = (Instant::now(), bench.read.load(Ordering::Relaxed));
    let (mut took, mut chunks) = (Vec::new(), VecDeque::new());
    while begun.elapsed() < LONG {
        let asked = Instant::now();
        write_all(&mut stream.send, Bytes::from_static(&[7]))
            .await
            .unwrap();
        assert_eq!(read(&mut stream.recv, &mut chunks).await, Ok(1));
        chunks.clear();
        took.push(asked.elapsed().as_micros());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let bytes = (bench.read.load(Ordering::Relaxed) - before) as f64;
    let rate = bytes * 8.0 / begun.elapsed().as_secs_f64() / 1e9;
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 1000];
    let (half, most) = (at(500), at(990));
    format!("p50 {half} p99 {most} us   beside {rate:.1} Gbit/s")
}

/// Of the whole process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    (ticks(12).unwrap_or(0.0) + ticks(13).unwrap_or(0.0)) / 100.0
}

// ---- what both ends do ----

async fn flood(mut stream: TransportStream) {
    let block = Bytes::from(vec![SINK; 64 << 10]);
    while write_all(&mut stream.send, block.clone()).await.is_ok() {}
}

/// Does with each stream what its first byte says.
async fn serve(connection: Arc<dyn Connection>, counted: Arc<AtomicU64>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Ok(stream) => drop(streams.spawn(one_stream(stream, counted.clone()))),
                Err(_) => return,
            },
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn one_stream(mut stream: TransportStream, counted: Arc<AtomicU64>) {
    let mut chunks = VecDeque::new();
    let mut echoes = None;
    while let Ok(1..) = read(&mut stream.recv, &mut chunks).await {
        for mut chunk in chunks.drain(..) {
            let echo = *echoes.get_or_insert_with(|| chunk.split_to(1)[0] == ECHO);
            if !echo {
                counted.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            } else if write_all(&mut stream.send, chunk).await.is_err() {
                return stream.send.reset(ResetCode::Cancelled);
            }
        }
    }
    stream.send.finish();
}

async fn write_all(half: &mut Box<dyn SendHalf>, mut bytes: Bytes) -> Result<(), StreamBroken> {
    while !bytes.is_empty() {
        poll_fn(|cx| half.poll_write(cx, &mut bytes)).await?;
    }
    Ok(())
}

async fn read(
    half: &mut Box<dyn RecvHalf>,
    chunks: &mut VecDeque<Bytes>,
) -> Result<usize, StreamBroken> {
    poll_fn(|cx| half.poll_read(cx, chunks)).await
}

// ---- connections ----

async fn connected(
    kind: TransportKind,
    near: &WorkerHandle,
    far: &WorkerHandle,
) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let (server, client) = configs(kind.alpn());
    let (tell, told) = tokio::sync::oneshot::channel();
    let accepting = far.spawn(async move {
        match kind {
            TransportKind::Quic => {
                let config = quic::server_config(Arc::new(server), BOUNDS).unwrap();
                let endpoint = endpoint(Some(config));
                tell.send(endpoint.local_addr().unwrap()).unwrap();
                let connection = endpoint.accept().await.unwrap().await.unwrap();
                Arc::new(QuicConnection::new(connection)) as Arc<dyn Connection>
            }
            TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => {
                let listener = TcpListener::bind(loopback()).await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let socket = listener.accept().await.unwrap().0;
                let stream = TlsAcceptor::from(Arc::new(server))
                    .accept(socket)
                    .await
                    .unwrap();
                carry(TlsStream::Server(stream), BOUNDS).unwrap()
            }
        }
    });
    let address = told.await.unwrap();
    let dialling = near.spawn(async move {
        match kind {
            TransportKind::Quic => {
                let config = quic::client_config(Arc::new(client), BOUNDS, None, None).unwrap();
                let endpoint = endpoint(None);
                let connecting = endpoint.connect_with(config, address, quic::SERVER_NAME);
                let connection = connecting.unwrap().await.unwrap();
                Arc::new(QuicConnection::new(connection)) as Arc<dyn Connection>
            }
            TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => {
                let socket = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from(quic::SERVER_NAME).unwrap();
                let connector = TlsConnector::from(Arc::new(client));
                let stream = connector.connect(name, socket).await.unwrap();
                carry(TlsStream::Client(stream), BOUNDS).unwrap()
            }
        }
    });
    (dialling.await.unwrap(), accepting.await.unwrap())
}

fn endpoint(config: Option<quinn::ServerConfig>) -> Endpoint {
    let socket = quic::udp_socket(loopback()).unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new(quinn::EndpointConfig::default(), config, socket, runtime).unwrap()
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn configs(alpn: &[u8]) -> (rustls::ServerConfig, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed([quic::SERVER_NAME.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut provider = default_provider();
    // As between client and edge, where both have AES.
    provider.cipher_suites =
        vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(provider);
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    server.alpn_protocols = vec![alpn.to_vec()];
    client.alpn_protocols = vec![alpn.to_vec()];
    (server, client)
}
