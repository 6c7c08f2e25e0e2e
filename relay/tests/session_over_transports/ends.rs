//! Two processes' worth of ends on loopback: one that listens, any number that dial.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use relay::driver::handshake::{Established, HandshakeError, initiate, respond};
use relay::driver::{HandleStreams, SessionOptions};
use relay::metrics::RelayMetrics;
use relay::proto::{
    AppProtocol, Attempt, Caller, Features, Hello, HelloAck, Instance, Limits, SOFTWARE,
    ServiceInfo, SessionId, VersionRange,
};
use relay::session::{LivenessConfig, SharedBudget};
use relay::transport::{BoxFuture, Connection, SessionBounds, TransportKind};
use relay::{
    CloseCode, Incoming, OpenRequest, ServiceName, Session, Stream, WorkerHandle, Workers,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::connect::{Arriving, Certificate, Dialler, Listener};
use crate::within;

/// What an end may hold, when it gives up, and over what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) transport: TransportKind,
    pub(crate) base: u32,
    pub(crate) max_streams: u32,
    pub(crate) window: u64,
    pub(crate) growth: u64,
    pub(crate) liveness: LivenessConfig,
}

impl Setup {
    /// The defaults of the architecture.
    pub(crate) fn over(transport: TransportKind) -> Self {
        Self {
            transport,
            base: 16 << 10,
            max_streams: 16_384,
            window: 4 << 20,
            growth: 64 << 20,
            liveness: LivenessConfig::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            stream_base: self.base,
            max_streams: self.max_streams,
            grace: Duration::from_secs(1),
        }
    }

    pub(crate) fn bounds(&self) -> SessionBounds {
        SessionBounds {
            streams: 2 * u64::from(self.max_streams),
            stream_window: self.window,
            all_windows: u64::from(self.base) * u64::from(self.max_streams) + self.growth,
            patience: self.liveness.idle_dead.max(self.liveness.dead),
        }
    }
}

/// One end of a session, and the streams that its peer opened for any service but `echo`.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) budget: Arc<SharedBudget>,
}

impl End {
    pub(crate) async fn open(&self, service: &str) -> Stream {
        within("a stream opens", self.session.open(request(service)))
            .await
            .unwrap()
    }

    pub(crate) async fn next(&mut self) -> Incoming {
        within("the peer's stream arrives", self.incoming.recv())
            .await
            .expect("the session is there")
    }

    pub(crate) fn live(&self) -> usize {
        self.session.snapshot().streams
    }
}

pub(crate) fn request(service: &str) -> OpenRequest {
    OpenRequest {
        service: service.parse().unwrap(),
        caller: Caller {
            principal: "ingress/test".into(),
            address: Some("192.0.2.7:1234".parse().unwrap()),
        },
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

pub(crate) fn hello(limits: Limits) -> Hello {
    Hello {
        versions: VersionRange::SUPPORTED,
        features: Features::SUPPORTED,
        software: SOFTWARE.into(),
        replica: "r1".parse().unwrap(),
        instance: Instance::from_bytes([1; 16]),
        attempt: Attempt(1),
        limits,
        services: vec![ServiceInfo {
            name: "echo".parse().unwrap(),
            protocol: AppProtocol::Tcp,
            health: None,
        }],
        continues: None,
        beside: Vec::new(),
    }
}

pub(crate) fn hello_ack(limits: Limits) -> HelloAck {
    HelloAck {
        version: VersionRange::SUPPORTED.max,
        features: Features::SUPPORTED,
        software: SOFTWARE.into(),
        edge: "test".into(),
        instance: Instance::from_bytes([2; 16]),
        session: SessionId::from_bytes(rand::random()),
        attempt: Attempt(1),
        limits,
        worker_hint: None,
        advertise: Vec::new(),
    }
}

/// The end that listens, with as many sessions as come.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Certificate,
    pub(crate) setup: Setup,
    pub(crate) sessions: mpsc::Receiver<End>,
    /// What its dialled connections are, in the order in which they came.
    pub(crate) connections: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
    /// Last, so that the handles above are gone when the threads stop.
    _workers: Workers,
}

impl House {
    pub(crate) async fn listen(setup: Setup) -> Self {
        let workers = Workers::start(1, "listener").unwrap();
        let certificate = Certificate::new();
        let worker = workers.first().clone();
        let (tell, sessions) = mpsc::channel(64);
        let connections = Arc::default();
        let guests = Guests {
            known: Arc::default(),
            connections: Arc::clone(&connections),
            tell,
        };
        let bound = workers.first().spawn(async move {
            let listener = Listener::bind(&certificate, &setup).await;
            let address = listener.address();
            tokio::spawn(async move {
                while let Some(arriving) = listener.accept().await {
                    tokio::spawn(admit(arriving, setup, worker.clone(), guests.clone()));
                }
            });
            (address, certificate)
        });
        let (address, certificate) = bound.await.unwrap();
        Self {
            address,
            certificate,
            setup,
            sessions,
            connections,
            _workers: workers,
        }
    }

    /// The next peer that was let in.
    pub(crate) async fn admitted(&mut self) -> End {
        within("a session begins", self.sessions.recv())
            .await
            .expect("the listener is there")
    }

    /// A well-behaved peer of this house, and the house's end of its session.
    pub(crate) async fn visit(&mut self) -> (Guest, End) {
        let setup = Setup::over(self.setup.transport);
        let guest = Guest::dial(self.address, &self.certificate, setup).await;
        let end = self.admitted().await;
        (guest, end)
    }
}

/// Does with a stranger what an edge does.
async fn admit(arriving: Arriving, setup: Setup, worker: WorkerHandle, guests: Guests) {
    let Some(connection) = arriving.connected().await else {
        return;
    };
    guests.connections.lock().push(connection.clone());
    let pending = match respond(connection.clone()).await {
        Ok(pending) => pending,
        Err(error) => return connection.close(error.close_code(), &error.to_string()),
    };
    let mut ack = hello_ack(setup.limits());
    ack.attempt = pending.hello().attempt;
    if let Some(continues) = &pending.hello().continues {
        let known = guests.known.lock().get(&continues.session).cloned();
        let proved = |it: &Session| it.is_continued_by(connection.as_ref(), pending.hello());
        let Some(session) = known.filter(proved) else {
            return connection.close(CloseCode::Refused, "refused");
        };
        ack.session = session.id();
        if let Ok(established) = pending.accept(ack).await
            && let Err(error) = session.resume(established)
        {
            connection.close(CloseCode::Unknown, &error.to_string());
        }
        return;
    }
    if let Ok(established) = pending.accept(ack).await {
        let end = start(established, &setup, worker);
        let session = end.session.clone();
        guests.known.lock().insert(session.id(), session);
        // The test may have seen enough already.
        let _ = guests.tell.send(end).await;
    }
}

/// Who has come to a house.
#[derive(Clone)]
struct Guests {
    known: Arc<Mutex<HashMap<SessionId, Session>>>,
    connections: Arc<Mutex<Vec<Arc<dyn Connection>>>>,
    tell: mpsc::Sender<End>,
}

/// An end that dialled, on a worker of its own.
pub(crate) struct Guest {
    pub(crate) end: End,
    address: SocketAddr,
    dialler: Dialler,
    setup: Setup,
    _workers: Workers,
}

impl Guest {
    pub(crate) async fn dial(address: SocketAddr, certificate: &Certificate, setup: Setup) -> Self {
        Self::try_dial(address, certificate, setup).await.unwrap()
    }

    pub(crate) async fn try_dial(
        address: SocketAddr,
        certificate: &Certificate,
        setup: Setup,
    ) -> Result<Self, HandshakeError> {
        let workers = Workers::start(1, "dialler").unwrap();
        let worker = workers.first().clone();
        let dialler = certificate.dialler(&setup);
        let dialling = dialler.clone();
        let dialled = workers.first().spawn(async move {
            let connection = dialling.dial(address).await;
            let established = initiate(connection, hello(setup.limits())).await?;
            Ok::<_, HandshakeError>(start(established, &setup, worker))
        });
        let end = within("an answer to Hello", dialled).await.unwrap()?;
        Ok(Self {
            end,
            address,
            dialler,
            setup,
            _workers: workers,
        })
    }

    /// Has another connection carry the session, by this attempt.
    pub(crate) async fn resume(&self, attempt: u64) {
        self.resume_saying(attempt, |_| {}).await.unwrap();
    }

    /// The same, with another Hello than is right. Says why it was refused.
    pub(crate) async fn resume_saying(
        &self,
        attempt: u64,
        change: impl FnOnce(&mut Hello) + Send + 'static,
    ) -> Result<(), String> {
        let (dialler, session) = (self.dialler.clone(), self.end.session.clone());
        let (address, limits) = (self.address, self.setup.limits());
        let resuming = self._workers.first().spawn(async move {
            let connection = dialler.dial(address).await;
            let attempt = Attempt(attempt);
            let continues = session.continuing(connection.as_ref(), attempt).unwrap();
            let mut hello = Hello {
                attempt,
                continues,
                ..hello(limits)
            };
            change(&mut hello);
            let established = initiate(connection, hello)
                .await
                .map_err(|error| error.to_string())?;
            session
                .resume(established)
                .map_err(|error| error.to_string())
        });
        within("another connection", resuming).await.unwrap()
    }
}

/// An initiator and a responder of one session, alone in the world.
pub(crate) struct Pair {
    pub(crate) a: End,
    pub(crate) b: End,
    _a_workers: Workers,
    pub(crate) b_house: House,
}

impl Pair {
    pub(crate) async fn new(transport: TransportKind) -> Self {
        Self::with(Setup::over(transport), Setup::over(transport)).await
    }

    pub(crate) async fn with(a: Setup, b: Setup) -> Self {
        let mut house = House::listen(b).await;
        let guest = Guest::dial(house.address, &house.certificate, a).await;
        let b = house.admitted().await;
        Self::of(guest, house, b)
    }

    pub(crate) fn of(guest: Guest, house: House, b: End) -> Self {
        Self {
            a: guest.end,
            b,
            _a_workers: guest._workers,
            b_house: house,
        }
    }

    /// A stream that `a` opened, at both ends.
    pub(crate) async fn stream(&mut self) -> (Stream, Stream) {
        let near = self.a.open("test").await;
        let far = self.b.next().await.stream;
        assert_eq!(near.id(), far.id());
        (near, far)
    }

    /// Every stream is over and forgotten, on both ends.
    pub(crate) async fn settled(&self) {
        let both = [&self.a, &self.b];
        crate::eventually("all streams retire", || {
            both.iter().all(|end| end.live() == 0)
        })
        .await;
        let no_slots = |end: &&End| format!("{:?}", end.session).contains("slots: {}");
        crate::eventually("nobody holds a stream", || both.iter().all(no_slots)).await;
        assert_eq!(both.map(|end| end.budget.used()), [0, 0]);
    }
}

fn start(established: Established, setup: &Setup, worker: WorkerHandle) -> End {
    let budget = Arc::new(SharedBudget::new(1 << 30));
    let metrics = RelayMetrics::register(
        &mut prometheus_client::registry::Registry::default(),
        budget.clone(),
    );
    let options = SessionOptions {
        audit: None,
        stream_window: setup.window,
        growth_budget: setup.growth,
        shared_budget: budget.clone(),
        liveness: setup.liveness,
        metrics: Arc::new(metrics),
    };
    let (tell, incoming) = mpsc::channel(1 << 15);
    let handler = Tell(tell);
    End {
        session: Session::start(established, options, "acme/demo", worker, Arc::new(handler)),
        incoming,
        budget,
    }
}

/// Answers `echo` itself, and hands on every other stream. Those for `fleeting` end with their
/// connection.
struct Tell(mpsc::Sender<Incoming>);

impl HandleStreams for Tell {
    fn serve(&self, incoming: Incoming) -> BoxFuture<'static, ()> {
        let tell = self.0.clone();
        Box::pin(async move {
            if incoming.open.service.as_str() == "echo" {
                return echo(incoming.stream).await;
            }
            // Who does not look at its streams drops them.
            let _ = tell.send(incoming).await;
        })
    }

    fn resumes(&self, service: &ServiceName) -> bool {
        service.as_str() != "fleeting"
    }
}

/// Gives back what comes, until it ends. A reset on the way is the caller's to notice.
async fn echo(stream: Stream) {
    stream.confirm_connected();
    let (mut read, mut write) = tokio::io::split(stream.into_io());
    if tokio::io::copy(&mut read, &mut write).await.is_ok() {
        let _ = write.shutdown().await;
    }
}
