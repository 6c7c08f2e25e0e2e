//! An ingress on loopback, with an origin behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use relay::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::limits::CALLER_PING;
use super::super::link::{Link, LinkId};
use super::super::origin::Destination;
use super::super::{HttpIngress, HttpIngressConfig, HttpMetrics};
use super::fake::{FakeIo, FakeSession};
use crate::config::{Callers, Connections, Entry, HttpSettings};

pub(super) type TestBody = UnsyncBoxBody<Bytes, Stop>;

/// Why a test's body breaks off.
#[derive(Debug, thiserror::Error)]
#[error("the body breaks off")]
pub(super) struct Stop;

pub(super) const HOST: &str = "web--demo--acme.apps.test";

/// Waits, but not forever.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, future)
        .await
        .expect("done before the deadline")
}

/// Waits until `done` says so.
pub(super) async fn until(done: impl Fn() -> bool) {
    within(async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Lets time pass for so long that callers are asked in between whether they are there: in steps
/// that leave them real time to answer.
pub(super) async fn long_silence(time: Duration) {
    let mut passed = Duration::ZERO;
    while passed < time {
        let step = (CALLER_PING / 2).min(time - passed);
        tokio::time::pause();
        tokio::time::advance(step).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(20)).await;
        passed += step;
    }
}

/// How an ingress is configured: for everyone, by host names of the form of [`HOST`], unless
/// something else is said.
pub(super) struct Setup {
    pub(super) callers: Callers,
    pub(super) connections: Connections,
    pub(super) settings: HttpSettings,
}

/// The most connections at once.
pub(super) const MAX_CONNECTIONS: usize = 8192;

impl Default for Setup {
    fn default() -> Self {
        let pattern = "{service}--{cluster}--{tenant}.apps.test".parse().unwrap();
        Self {
            callers: Callers::Anonymous,
            connections: Connections {
                proxy_protocol_from: Vec::new(),
                max: MAX_CONNECTIONS,
                max_per_address: None,
                keepalive: None,
            },
            settings: HttpSettings::leading_to(Entry::Pattern(pattern)),
        }
    }
}

pub(super) struct Edge {
    pub(super) ingress: Arc<HttpIngress>,
    pub(super) session: FakeSession,
    /// What is found from one look to the next; the last from then on.
    pub(super) sessions: Arc<Mutex<VecDeque<FakeSession>>>,
    pub(super) address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) serving: JoinHandle<()>,
    registry: Registry,
}

impl Edge {
    /// An ingress in front of service `web` of `acme/demo`, and the origin's ends of streams.
    pub(super) async fn start(protocol: AppProtocol) -> (Self, mpsc::UnboundedReceiver<FakeIo>) {
        Self::over(protocol, Setup::default(), Handle::current()).await
    }

    /// An ingress whose sessions live on `worker`.
    pub(super) async fn over(
        protocol: AppProtocol,
        setup: Setup,
        worker: Handle,
    ) -> (Self, mpsc::UnboundedReceiver<FakeIo>) {
        let (session, streams) = FakeSession::new("web", protocol, worker);
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let sessions = Arc::new(Mutex::new(VecDeque::from([session.clone()])));
        let found = sessions.clone();
        let lookup = Box::new(move |cluster: &certs::ClusterId, tried: &[LinkId]| {
            if cluster.to_string() != "acme/demo" {
                return None;
            }
            let mut sessions = found.lock();
            loop {
                let next = sessions.pop_front().unwrap();
                let is_last = sessions.is_empty();
                if is_last {
                    sessions.push_back(next.clone());
                }
                let next = Link::Fake(next);
                match tried.contains(&next.id()) {
                    false => return Some(next),
                    true if is_last => return None,
                    true => {}
                }
            }
        });
        let Setup {
            callers,
            connections,
            settings,
        } = setup;
        let config = HttpIngressConfig {
            name: "main".to_owned(),
            callers,
            connections,
            settings,
            lookup: Arc::new(|_, _| None),
            metrics,
        };
        let ingress = HttpIngress::over_links(config, lookup);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(ingress.clone().serve(listener, stop.clone()));
        let edge = Self {
            ingress,
            session,
            sessions,
            address,
            stop,
            serving,
            registry,
        };
        (edge, streams)
    }

    /// An ingress whose origin answers by `handler`.
    pub(super) async fn with_origin<F, A>(protocol: AppProtocol, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<TestBody>> + Send + 'static,
    {
        Self::set_up(protocol, Setup::default(), handler).await
    }

    /// The same, configured otherwise.
    pub(super) async fn set_up<F, A>(protocol: AppProtocol, setup: Setup, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<TestBody>> + Send + 'static,
    {
        let (edge, streams) = Self::over(protocol, setup, Handle::current()).await;
        tokio::spawn(serve_origins(protocol, streams, handler));
        edge
    }

    pub(super) async fn connect(&self) -> TcpStream {
        within(TcpStream::connect(self.address)).await.unwrap()
    }

    /// A caller that speaks `version`.
    pub(super) async fn caller(&self, version: Version) -> CallerConn {
        let io = TokioIo::new(self.connect().await);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            let task = tokio::spawn(async move { drop(connection.await) });
            CallerConn::H2(sender, task)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            let task = tokio::spawn(async move { drop(connection.with_upgrades().await) });
            CallerConn::H1(sender, task)
        }
    }

    /// Sends raw bytes and reads whatever comes until the end.
    pub(super) async fn raw(&self, request: &str) -> std::io::Result<String> {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut socket).await
    }

    pub(super) fn destination(&self, protocol: AppProtocol) -> Destination {
        Destination {
            link: Link::Fake(self.session.clone()),
            service: "web".parse().unwrap(),
            protocol,
            traceparent: None,
        }
    }

    /// The value of a line of the metrics.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let values = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
        values.sum()
    }
}

pub(super) async fn read_to_end(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = Vec::new();
    within(socket.read_to_end(&mut answer)).await?;
    Ok(String::from_utf8(answer).unwrap())
}

/// Serves every connection at the origin.
pub(super) async fn serve_origins<F, A>(
    protocol: AppProtocol,
    mut streams: mpsc::UnboundedReceiver<FakeIo>,
    handler: F,
) where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    while let Some(stream) = streams.recv().await {
        tokio::spawn(serve_origin(protocol, stream, handler.clone()));
    }
}

/// Serves one connection at the origin.
pub(super) async fn serve_origin<F, A>(protocol: AppProtocol, stream: FakeIo, handler: F)
where
    F: Fn(Request<Incoming>) -> A + Send + Sync,
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    let service = service_fn(|request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(stream);
    match protocol {
        AppProtocol::Tcp | AppProtocol::Http1 => {
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(io, service).with_upgrades().await;
        }
        AppProtocol::H2 => {
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.enable_connect_protocol();
            let _ = server.serve_connection(io, service).await;
        }
    }
}

/// A caller's connection; dropping it hangs up.
pub(super) enum CallerConn {
    H1(http1::SendRequest<TestBody>, JoinHandle<()>),
    H2(http2::SendRequest<TestBody>, JoinHandle<()>),
}

impl CallerConn {
    pub(super) async fn send(
        &mut self,
        request: Request<TestBody>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        within(self.send_however_long(request)).await
    }

    /// The same for tests that let time pass meanwhile.
    pub(super) async fn send_however_long(
        &mut self,
        request: Request<TestBody>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::H1(sender, _) => {
                sender.ready().await?;
                sender.send_request(origin_form(request)).await
            }
            Self::H2(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(get(path)).await.unwrap();
        Answer::read(answer).await
    }
}

impl Drop for CallerConn {
    fn drop(&mut self) {
        match self {
            Self::H1(_, task) | Self::H2(_, task) => task.abort(),
        }
    }
}

/// HTTP/1.1 has the host in a header.
fn origin_form(request: Request<TestBody>) -> Request<TestBody> {
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().unwrap().as_str().parse().unwrap();
    parts.headers.insert("host", host);
    parts.uri = parts
        .uri
        .path_and_query()
        .unwrap()
        .as_str()
        .parse()
        .unwrap();
    Request::from_parts(parts, body)
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) async fn read(answer: Response<Incoming>) -> Self {
        let (parts, body) = answer.into_parts();
        let bytes = within(body.collect()).await.unwrap().to_bytes();
        Self {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(super) fn code(&self) -> &str {
        let code = self.headers.get("causeway-error");
        code.map_or("", |code| code.to_str().unwrap())
    }
}

pub(super) fn get(path: &str) -> Request<TestBody> {
    request("GET", path, empty())
}

pub(super) fn request(method: &str, path: &str, body: TestBody) -> Request<TestBody> {
    Request::builder()
        .method(method)
        .uri(format!("http://{HOST}{path}"))
        .body(body)
        .unwrap()
}

pub(super) fn empty() -> TestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(text: impl Into<Bytes>) -> TestBody {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that consists of what is sent to the channel.
pub(super) fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, Stop>>, TestBody) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    });
    (
        sender,
        BodyExt::boxed_unsync(StreamBody::new(frames.boxed())),
    )
}

pub(super) fn data(bytes: impl Into<Bytes>) -> Result<Frame<Bytes>, Stop> {
    Ok(Frame::data(bytes.into()))
}

/// The next piece of a body. HTTP/2 may end one with an empty frame.
pub(super) async fn next(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = within(body.frame()).await?;
        let piece = frame.map(|frame| frame.into_data().expect("data"));
        if !piece.as_ref().is_ok_and(Bytes::is_empty) {
            return Some(piece);
        }
    }
}

/// An origin's answer with what it saw of the request.
pub(super) async fn mirror(request: Request<Incoming>) -> Response<TestBody> {
    let text = format!(
        "{:?} {} {}\n{:?}",
        request.version(),
        request.method(),
        request.uri(),
        request.headers()
    );
    Response::new(full(text))
}

/// An origin's answer with the request's body, as it comes.
pub(super) async fn echo(request: Request<Incoming>) -> Response<TestBody> {
    Response::new(request.into_body().map_err(|_| Stop).boxed_unsync())
}
