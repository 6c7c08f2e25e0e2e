//! One edge, from start to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use certs::tls::TlsError;
use certs::{CertsError, Label, Material, RevocationsError, Role};
use prometheus_client::registry::Registry as MetricsRegistry;
use relay::Workers;
use relay::admin::{Admin, Listeners, register_process_metrics};
use relay::audit::{AuditLog, AuditLogError};
use relay::descriptors::{raise_limit, warn_if_short};
use relay::driver::{SessionOptions, bounds, limits};
use relay::listen::BindError;
use relay::memory::process_budget;
use relay::metrics::RelayMetrics;
use relay::proto::Instance;
use relay::settings::{
    HostPort, ListenAddr, Loaded, Reloads, WatchError, reload_when_changed, watch,
};
use relay::transport::over_tcp;
use relay::transport::quic::{self, UnusableTls};
use tokio::sync::{Semaphore, watch as changing};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::accept::{TunnelBindError, TunnelListener, TunnelSetup};
use crate::admit::{Admission, ToldEdges};
use crate::clusters::{self, ClusterMetrics, Clusters};
use crate::config::{Config, DnsSettings};
use crate::dns::{self, Prepared, ThisEdge};
use crate::ingress::Ingresses;
use crate::ingress::http::HttpMetrics;
use crate::metrics::EdgeMetrics;
use crate::registry::Registry;
use crate::reset_key::{self, ResetKeyError};
use crate::revocation::Revocation;
use crate::status::Status;
use crate::tenant_budgets::TenantBudgets;
use crate::upstream::Upstreams;

/// How long callers may take to be reset after their streams were.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why an edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its identity cannot be used.
    #[error(transparent)]
    Identity(#[from] CertsError),
    /// Who is revoked cannot be known.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    /// Its identity is not an edge's.
    #[error(
        "{}: this certificate is for {found}; an edge needs one made by `causeway certs issue edge NAME`",
        dir.display()
    )]
    NotAnEdge {
        /// The identity directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// Its identity cannot verify clients.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// QUIC cannot use the TLS configuration.
    #[error(transparent)]
    Quic(#[from] UnusableTls),
    /// Something that the configuration names cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// Its state directory cannot be used.
    #[error(transparent)]
    State(#[from] ResetKeyError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditLogError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The tunnel's listener cannot be bound.
    #[error(transparent)]
    Tunnel(#[from] TunnelBindError),
    /// DNS names cannot be published.
    #[error("{0}")]
    Names(String),
    /// SIGHUP cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system has no more threads or sockets.
    #[error("the system has no room: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// Whether only another configuration or identity can help.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_configuration(),
            Self::Identity(_)
            | Self::Revocations(_)
            | Self::NotAnEdge { .. }
            | Self::Tls(_)
            | Self::Quic(_)
            | Self::Configuration(_) => true,
            Self::State(_)
            | Self::Bind(_)
            | Self::Tunnel(_)
            | Self::Names(_)
            | Self::Watch(_)
            | Self::System(_) => false,
        }
    }
}

/// Runs an edge until `stop`, then drains: nobody new is let in, streams may finish for as long as
/// the configuration says, the rest is reset. Changes of `file`, where the configuration came
/// from, are followed. `started_with` hears where the admin listener is, when all is bound.
///
/// # Errors
/// [`StartError`], before any client was let in.
pub async fn run(
    loaded: Loaded<Config>,
    file: PathBuf,
    started_with: impl FnOnce(Option<&ListenAddr>),
    stop: CancellationToken,
) -> Result<(), StartError> {
    let Loaded { config, sources } = loaded;
    let started = SystemTime::now();
    warn_if_short(raise_limit(), config.most_callers());
    let material = certs::load(&config.identity_dir)?;
    let name = edge_name(&config, &material)?;
    let bounds = bounds(&config.session);
    let quic = certs::tls::edge_server(&material, &[quic::ALPN])?;
    let tunnel = TunnelSetup {
        endpoint: reset_key::endpoint_config(&config.state_dir)?,
        quic: quic::server_config(quic, bounds)?,
        tls: certs::tls::edge_server(&material, over_tcp::PROTOCOLS)?,
        bounds,
    };

    let mut registry = MetricsRegistry::default();
    register_process_metrics(&mut registry, env!("CARGO_PKG_VERSION"));
    let budget = Arc::new(process_budget());
    let relay_metrics = Arc::new(RelayMetrics::register(&mut registry, budget.clone()));
    let metrics = Arc::new(EdgeMetrics::register(&mut registry));
    let http_metrics = HttpMetrics::register(&mut registry);
    let reloads = Reloads::new(Some(file.clone()), started, &mut registry);
    let (revocation, list) =
        Revocation::load(&config.identity_dir, &material, started, &mut registry)?;

    let names = Prepared::start(&config, &material.identity().trust_domain, &mut registry)?;
    let audit = config.audit.file.as_ref();
    let audit = audit.map(|file| AuditLog::open(file, &mut registry));
    let audit = audit.transpose()?;

    let (watch, list) = (watch(&sources)?, watch(&list)?);
    let listeners = Listeners::bind(&config.admin, &config.telemetry)?;
    let workers = Arc::new(Workers::start(config.workers, "worker")?);
    let sessions = Arc::new(Registry::new(config.max_sessions));
    let instance = Instance::from_bytes(rand::random());
    let upstreams = Arc::new(Upstreams::new(metrics.clone()));
    let prepared = upstreams.prepare(&config.upstreams);
    upstreams.commit(prepared.map_err(StartError::Configuration)?);
    let ingresses = Ingresses::new(
        workers.clone(),
        sessions.clone(),
        metrics.clone(),
        http_metrics,
    );
    let ingresses = Arc::new(ingresses);
    let mut tunnels = Vec::new();
    for address in &config.tunnel {
        tunnels.push(TunnelListener::bind(*address, tunnel.clone(), workers.first()).await?);
    }
    ingresses.commit(ingresses.prepare(&config.ingresses)?);

    let addresses: Vec<SocketAddr> = tunnels.iter().map(TunnelListener::address).collect();
    let names = names.zip(config.dns.as_ref()).map(|(names, settings)| {
        let port = port_of_clients(&config, &addresses);
        names.with(Arc::new(this_edge(&name, settings, port, &sessions)))
    });
    let (dns, reconciling) = names.unzip();
    let clusters = Arc::new(Clusters::new(name.to_string(), instance, dns.clone()));
    registry.register_collector(Box::new(ClusterMetrics(clusters.clone())));
    let status = Arc::new(Status {
        dns: dns.clone(),
        material,
        revocation: revocation.clone(),
        started,
        reloads: reloads.clone(),
        registry: sessions.clone(),
        ingresses: ingresses.clone(),
        upstreams: upstreams.clone(),
        tunnel: addresses.clone(),
        admin: listeners.admin_address(),
        telemetry: listeners.telemetry_address(),
        draining: AtomicBool::new(false),
    });
    tracing::info!(
        edge = %name, tunnel = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), admin = status.admin.as_ref().map(ToString::to_string),
        ingresses = config.ingresses.len(), upstreams = config.upstreams.len(), "edge started"
    );
    let told = changing::Sender::new(told_edges(&config));
    let admission = Arc::new(Admission {
        workers: workers.clone(),
        registry: sessions,
        clusters: clusters.clone(),
        upstreams: upstreams.clone(),
        metrics,
        revocation: revocation.clone(),
        edge: name.to_string(),
        instance,
        limits: limits(&config.session),
        budgets: TenantBudgets::new(budget.clone(), config.tenant_budget),
        options: SessionOptions::new(&config.session, budget, relay_metrics, audit.clone()),
        told: told.subscribe(),
        handshake_timeout: config.session.handshake_timeout,
        tasks: TaskTracker::new(),
        sessions: TaskTracker::new(),
        stop: stop.clone(),
        grace: config.session.drain,
        max_handshakes: config.max_handshakes,
    });
    // Until the very end: those who drain are judged too.
    let following = tokio::spawn(async move { revocation.follow(list).await });
    let _following = AbortOnDropHandle::new(following);
    let room = Arc::new(Semaphore::new(config.max_handshakes));
    let mut accepting = JoinSet::new();
    for tunnel in tunnels {
        let serving = tunnel.serve(admission.clone(), room.clone());
        accepting.spawn_on(serving, workers.first().runtime());
    }
    let served = CancellationToken::new();
    let expiring = clusters.clone().keep_time(served.clone());
    let expiring = workers.first().spawn(expiring);
    let mut admin =
        Admin::new(status.clone(), &workers, registry).with_api(clusters.routes(), clusters::INDEX);
    if let Some(dns) = dns {
        admin = admin.with_api(dns::routes(dns), dns::INDEX);
    }
    let mut reconciler = JoinSet::new();
    // With very many names a plan takes a moment, in which nobody else is to wait.
    let planning = reconciling
        .map(|reconciling| {
            let thread = Workers::start(1, "names")?;
            reconciler.spawn_on(reconciling.run(stop.clone()), thread.first().runtime());
            Ok::<_, StartError>(thread)
        })
        .transpose()?;
    let serving = tokio::spawn(listeners.serve(admin, served.clone()));

    started_with(status.admin.as_ref());
    let apply = async |new: Config| {
        apply(&config, &new, &ingresses, &upstreams)?;
        told.send_replace(told_edges(&new));
        Ok(())
    };
    let reloading = reload_when_changed(&file, watch, &reloads, Config::load, apply);
    let _: Option<std::convert::Infallible> = stop.run_until_cancelled(reloading).await;

    status.draining.store(true, Ordering::Relaxed);
    // Names stay as they are: clients that leave now come back to this edge or to another one.
    while let Some(ended) = reconciler.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "keeping DNS names failed");
        }
    }
    drop(planning);
    drain(&admission, &ingresses, accepting).await;
    clusters.close();
    served.cancel();
    if let Err(error) = expiring.await {
        tracing::error!(%error, "forgetting what is a day old failed");
    }
    if let Err(error) = serving.await {
        tracing::error!(%error, "serving health and status failed");
    }
    if let Some(audit) = audit
        && tokio::task::spawn_blocking(move || audit.close())
            .await
            .is_err()
    {
        tracing::error!("closing the audit log failed");
    }
    Ok(())
}

/// Lets streams finish, each session within its grace; over as soon as the last one is. Clients that
/// lose their connection meanwhile may come back to their session.
async fn drain(admission: &Admission, ingresses: &Ingresses, mut accepting: JoinSet<()>) {
    let sessions = admission.sessions.len();
    tracing::info!(sessions, "stopping: streams may finish");
    admission.sessions.close();
    let patience = admission.grace + FAREWELL;
    let sessions_end = timeout(patience, admission.sessions.wait());
    let callers_end = timeout(patience, ingresses.close());
    let (sessions, callers) = tokio::join!(sessions_end, callers_end);
    if sessions.is_err() || callers.is_err() {
        tracing::warn!("sessions or callers outlived the drain and are cut");
    }
    accepting.shutdown().await;
    admission.tasks.close();
    // Whoever is being refused is to read why.
    let _ = timeout(FAREWELL, admission.tasks.wait()).await;
}

fn this_edge(
    name: &Label,
    settings: &DnsSettings,
    port: u16,
    registry: &Arc<Registry>,
) -> ThisEdge {
    ThisEdge {
        name: name.clone(),
        target: settings.target.clone(),
        port,
        registry: registry.clone(),
    }
}

/// Where clients are to connect to: as it is advertised, or else where the tunnel listens.
fn port_of_clients(config: &Config, tunnel: &[SocketAddr]) -> u16 {
    let advertised = config.advertise.first().map(|address| address.port);
    let listening = || tunnel.first().map(SocketAddr::port);
    let port = advertised.or_else(listening);
    port.expect("an edge listens somewhere")
}

fn edge_name(config: &Config, material: &Material) -> Result<Label, StartError> {
    match &material.identity().role {
        Role::Edge(name) => Ok(name.clone()),
        Role::Client(_) | Role::Service(_) => Err(StartError::NotAnEdge {
            dir: config.identity_dir.clone(),
            found: material.identity().to_string(),
        }),
    }
}

/// What clients are told.
fn told_edges(config: &Config) -> ToldEdges {
    let listed = |addresses: &[HostPort]| addresses.iter().map(ToString::to_string).collect();
    ToldEdges {
        advertise: listed(&config.advertise),
        edges: listed(&config.edges),
    }
}

/// Takes over what can be taken over while running: all of it or nothing.
fn apply(
    started: &Config,
    new: &Config,
    ingresses: &Ingresses,
    upstreams: &Upstreams,
) -> Result<(), String> {
    let prepared_upstreams = upstreams.prepare(&new.upstreams)?;
    let prepared_ingresses = ingresses.prepare(&new.ingresses);
    ingresses.commit(prepared_ingresses.map_err(|error| error.to_string())?);
    upstreams.commit(prepared_upstreams);
    let restart = Config::restart_keys(started, new);
    if !restart.is_empty() {
        tracing::warn!(
            keys = restart.join(", "),
            "changed, but only a restart takes it over"
        );
    }
    Ok(())
}
