//! Callers whose first session does not take them. The sessions are real ones, over TLS on loopback.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::{Authority, Role};
use relay::driver::handshake::{initiate, respond};
use relay::driver::{Incoming, SessionOptions, StreamHandler, bounds, limits};
use relay::metrics::RelayMetrics;
use relay::proto::{
    AppProtocol, Attempt, Features, Hello, HelloAck, Instance, SOFTWARE, ServiceInfo, VersionRange,
};
use relay::session::SharedBudget;
use relay::settings::SessionSettings;
use relay::transport::over_tcp::{PROTOCOLS, carry};
use relay::transport::quic::SERVER_NAME;
use relay::transport::{BoxFuture, Connection};
use relay::{CloseCode, ResetCode, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::{Callers, Connections, IngressKind};
use crate::ingress::OPEN_DEADLINE;
use crate::registry::{Entry, Registered};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An edge with one tcp ingress, two workers, and as many replicas of a cluster as join.
struct World {
    ingress: TcpIngress,
    address: SocketAddr,
    metrics: prometheus_client::registry::Registry,
    authority: Authority,
    stop: CancellationToken,
    clients: Workers,
    edge: Workers,
}

/// A client of the cluster.
struct Replica {
    /// The edge's end.
    session: Session,
    /// The streams that it was asked for.
    asked: watch::Receiver<usize>,
    /// The edge's end of what carries the session.
    connection: Arc<dyn Connection>,
    _client: Session,
    _registered: Registered,
}

/// What a client does with each stream.
#[derive(Clone, Copy)]
enum Answer {
    Echo,
    NotExposed,
}

impl World {
    /// Accepts on the runtime that it is called in.
    fn new() -> Self {
        Self::waiting(OPEN_DEADLINE)
    }

    /// The same, whose callers wait so long for a stream.
    fn waiting(open_deadline: Duration) -> Self {
        let to: crate::config::ServiceAddress = "acme/demo/db".parse().unwrap();
        let settings = TcpSettings {
            to,
            idle_timeout: None,
        };
        let mut metrics = prometheus_client::registry::Registry::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let ingress = TcpIngress {
            ingress: Ingress {
                name: "db".parse().unwrap(),
                listen: vec![address],
                callers: Callers::Anonymous,
                connections: Connections {
                    proxy_protocol_from: Vec::new(),
                    max: 64,
                    max_per_address: None,
                    keepalive: None,
                },
                kind: IngressKind::Tcp(settings.clone()),
            },
            settings,
            address_limit: AddressLimit::new(None),
            open_deadline,
            registry: Arc::new(Registry::new(64)),
            metrics: Arc::new(EdgeMetrics::register(&mut metrics)),
            callers: TaskTracker::new(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(ingress.clone().serve(listener, stop.clone()));
        Self {
            ingress,
            address,
            metrics,
            authority: Authority::in_memory("example.test".parse().unwrap()).unwrap(),
            stop,
            clients: Workers::start(1, "client").unwrap(),
            edge: Workers::start(2, "edge").unwrap(),
        }
    }

    /// A replica whose session lives on a worker of the edge.
    async fn join(&self, name: &str, worker: usize, answer: Answer) -> Replica {
        let cluster = self.ingress.settings.to.cluster.clone();
        let material = |role| self.authority.issue(role, DAY).unwrap().material().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();

        let tls = certs::tls::client(&material(Role::Client(cluster.clone())), &PROTOCOLS[..1]);
        let settings = SessionSettings::client();
        let (count, asked) = watch::channel(0);
        let (handler, hello) = (answering(answer, count), hello(name, &settings));
        let worker_of_client = self.clients.first().clone();
        let dialled = self.clients.first().spawn(async move {
            let socket = TcpStream::connect(address).await.unwrap();
            let name = SERVER_NAME.try_into().unwrap();
            let tls = TlsConnector::from(tls).connect(name, socket).await.unwrap();
            let connection = carry(tls.into(), bounds(&settings)).unwrap();
            let established = initiate(connection, hello).await.unwrap();
            let options = options(&settings);
            Session::start(established, options, "acme/demo", worker_of_client, handler)
        });

        let role = Role::Edge("edge-1".parse().unwrap());
        let tls = certs::tls::edge_server(&material(role), PROTOCOLS).unwrap();
        let worker = self.edge.handles()[worker].clone();
        let (listener, settings) = (listener.into_std().unwrap(), SessionSettings::edge());
        let worker_of_edge = worker.clone();
        let admitted = worker.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let tls = TlsAcceptor::from(tls).accept(socket).await.unwrap();
            let connection = carry(tls.into(), bounds(&settings)).unwrap();
            let pending = respond(connection).await.unwrap();
            let established = pending.accept(hello_ack(&settings)).await.unwrap();
            let options = options(&settings);
            let handler = answering(Answer::NotExposed, watch::Sender::default());
            let hello = established.hello.clone();
            let connection = established.connection.clone();
            let session =
                Session::start(established, options, "acme/demo", worker_of_edge, handler);
            (session, hello, connection)
        });
        let (session, hello, connection) = admitted.await.unwrap();
        let entry = Entry {
            shown: Arc::default(),
            session: session.clone(),
            replica: hello.replica,
            instance: hello.instance,
            attempt: hello.attempt,
            beside: hello.beside,
            software: hello.software,
            since: SystemTime::now(),
            left: false,
        };
        let registered = self.ingress.registry.register(cluster, entry);
        let (registered, _nobody) = registered.unwrap();
        Replica {
            session,
            asked,
            connection,
            _client: dialled.await.unwrap(),
            _registered: registered,
        }
    }

    /// A replica whose session is there and takes no more streams, which the registry does not know.
    async fn join_draining(&self, name: &str, worker: usize) -> Replica {
        let replica = self.join(name, worker, Answer::Echo).await;
        // A drain lasts as long as there is a stream.
        let held = replica.session.open(self.ingress.request(self.address));
        let held = held.await.unwrap();
        let mut asked = replica.asked.clone();
        let seen = within("a stream is seen", asked.wait_for(|streams| *streams == 1));
        seen.await.unwrap();
        let session = replica.session.clone();
        let (tell, begun) = tokio::sync::oneshot::channel();
        replica.session.worker().spawn(async move {
            let mut drain = std::pin::pin!(session.drain(DAY));
            assert!(futures_util::poll!(drain.as_mut()).is_pending());
            tell.send(()).unwrap();
            drain.await;
            drop(held);
        });
        begun.await.unwrap();
        assert!(replica.session.is_open() && !replica.session.is_peer_draining());
        replica
    }

    /// A replica whose session has lost its connection, and waits for another one.
    async fn join_detached(&self, name: &str, worker: usize) -> Replica {
        let replica = self.join(name, worker, Answer::Echo).await;
        replica.connection.close(CloseCode::Dead, "cut");
        within("the loss of the connection", replica.session.detached()).await;
        assert!(replica.session.is_open());
        replica
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// How many callers have ended so, once all have ended.
    async fn callers(self, outcome: &str) -> u64 {
        self.stop.cancel();
        self.ingress.callers.close();
        within("all callers are over", self.ingress.callers.wait()).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let series =
            format!("causeway_ingress_callers_total{{ingress=\"db\",outcome=\"{outcome}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        count.map_or(0, |count| count.parse().unwrap())
    }
}

impl Replica {
    fn asked(&self) -> usize {
        *self.asked.borrow()
    }
}

#[tokio::test]
async fn a_caller_is_handed_on_to_a_session_that_takes_it_on_whatever_worker() {
    let world = World::new();
    let draining = [
        world.join_draining("r1", 0).await,
        world.join_draining("r2", 1).await,
    ];
    let takes = world.join("r3", 1, Answer::Echo).await;
    for _ in 0..6 {
        echoes(world.call().await).await;
    }
    assert_eq!(takes.asked(), 6);
    let of_the_drain = 1;
    assert_eq!(draining.map(|replica| replica.asked()), [of_the_drain; 2]);
    assert_eq!(world.callers("complete").await, 6);
}

#[tokio::test]
async fn a_session_that_ends_while_a_caller_is_on_the_way_to_it_costs_nothing() {
    let world = World::new();
    let ends = world.join("r1", 0, Answer::Echo).await;
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let _block = ends
        .session
        .worker()
        .spawn(async move { blocked.recv().unwrap() });
    let caller = world.call().await;
    within("the caller is on the way", async {
        while world.ingress.callers.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let takes = world.join("r2", 1, Answer::Echo).await;
    ends.session.close(CloseCode::Shutdown, "");
    go_on.send(()).unwrap();
    echoes(caller).await;
    assert_eq!((ends.asked(), takes.asked()), (0, 1));
    assert_eq!(world.callers("complete").await, 1);
}

#[tokio::test]
async fn a_caller_is_reset_once_every_session_was_tried() {
    let world = World::new();
    let _draining = [
        world.join_draining("r1", 0).await,
        world.join_draining("r2", 1).await,
        world.join_draining("r3", 0).await,
    ];
    is_reset(world.call().await).await;
    assert_eq!(world.callers("not_opened").await, 1);
}

/// Every session alone would have it wait for the whole of the deadline.
#[tokio::test]
async fn a_caller_waits_for_all_sessions_together_no_longer_than_for_one() {
    let deadline = Duration::from_secs(2);
    let world = World::waiting(deadline);
    let mut detached = Vec::new();
    for (nth, name) in ["r1", "r2", "r3", "r4", "r5"].into_iter().enumerate() {
        detached.push(world.join_detached(name, nth % 2).await);
    }
    let told = is_reset(world.call().await);
    let told = tokio::time::timeout(detached.len() as u32 * deadline, told);
    told.await.expect("one deadline, not one for each");
    assert_eq!(world.callers("not_opened").await, 1);
}

#[tokio::test]
async fn what_a_client_says_of_a_stream_is_final() {
    let world = World::new();
    let replicas = [
        world.join("r1", 0, Answer::NotExposed).await,
        world.join("r2", 1, Answer::NotExposed).await,
    ];
    is_reset(world.call().await).await;
    assert_eq!(world.callers("reset").await, 1);
    assert_eq!(replicas.iter().map(Replica::asked).sum::<usize>(), 1);
}

async fn echoes(mut caller: TcpStream) {
    let echoed = async {
        caller.write_all(b"to and fro").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut back = Vec::new();
        caller.read_to_end(&mut back).await.unwrap();
        back
    };
    assert_eq!(within("an echo", echoed).await, b"to and fro");
}

async fn is_reset(mut caller: TcpStream) {
    let read = within("an end", caller.read(&mut [0])).await;
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
}

/// Waits for what must come. On a busy machine that takes a while, so it is no measure.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within a minute"))
}

fn answering(answer: Answer, asked: watch::Sender<usize>) -> StreamHandler {
    Arc::new(move |Incoming { stream, .. }| -> BoxFuture<'static, ()> {
        asked.send_modify(|streams| *streams += 1);
        Box::pin(async move {
            match answer {
                Answer::NotExposed => stream.reset(ResetCode::UnknownService, String::new()),
                Answer::Echo => {
                    stream.confirm_connected();
                    let (mut read, mut write) = tokio::io::split(stream.into_io());
                    if tokio::io::copy(&mut read, &mut write).await.is_ok() {
                        // Whoever has gone meanwhile knows it.
                        let _ = write.shutdown().await;
                    }
                }
            }
        })
    })
}

fn options(settings: &SessionSettings) -> SessionOptions {
    let budget = Arc::new(SharedBudget::new(1 << 30));
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = RelayMetrics::register(&mut registry, budget.clone());
    SessionOptions::new(settings, budget, Arc::new(metrics), None)
}

fn hello(replica: &str, settings: &SessionSettings) -> Hello {
    Hello {
        versions: VersionRange::SUPPORTED,
        features: Features::SUPPORTED,
        software: SOFTWARE.into(),
        replica: replica.parse().unwrap(),
        instance: Instance::from_bytes(rand::random()),
        attempt: Attempt(1),
        limits: limits(settings),
        services: vec![ServiceInfo {
            name: "db".parse().unwrap(),
            protocol: AppProtocol::Tcp,
            health: None,
        }],
        continues: None,
        beside: Vec::new(),
    }
}

fn hello_ack(settings: &SessionSettings) -> HelloAck {
    HelloAck {
        version: VersionRange::SUPPORTED.max,
        features: Features::SUPPORTED,
        software: SOFTWARE.into(),
        edge: "edge-1".into(),
        instance: Instance::from_bytes(rand::random()),
        session: SessionId::from_bytes(rand::random()),
        attempt: Attempt(1),
        limits: limits(settings),
        worker_hint: None,
        advertise: Vec::new(),
    }
}
