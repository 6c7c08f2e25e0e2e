//! One client, from start to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::{CertsError, ClusterId, Material, RevocationsError, Role};
use prometheus_client::registry::Registry;
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
    ListenAddr, Loaded, Reloads, WatchError, reload_when_changed, watch, watch_changes,
};
use relay::transport::quic;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::dial::{Dialer, QuicDialer, TcpDialer};
use crate::discover::Discovery;
use crate::expose::Exposes;
use crate::forward::{Forwards, MAX_CALLERS};
use crate::health::HealthMetrics;
use crate::keep::{Claims, Keeper, Retired};
use crate::link::Link;
use crate::metrics::ClientMetrics;
use crate::replica::{Replica, ReplicaError};
use crate::revocation::Revocation;
use crate::status::Status;

/// How long callers may take to be reset after their streams were.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a client cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its identity cannot be used.
    #[error(transparent)]
    Identity(#[from] CertsError),
    /// Who is revoked cannot be known.
    #[error(transparent)]
    Revocations(#[from] RevocationsError),
    /// Its identity is not a client's.
    #[error(
        "{}: this certificate is for {found}; a client needs one made by `causeway certs issue client TENANT/CLUSTER`",
        dir.display()
    )]
    NotAClient {
        /// The identity directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
    },
    /// Something that the configuration names cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// Its state directory cannot be used.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The audit log cannot be opened.
    #[error(transparent)]
    Audit(#[from] AuditLogError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// SIGHUP cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A thread cannot be started.
    #[error("cannot start worker threads: {0}")]
    Threads(std::io::Error),
    /// What keeps the session has failed, which is a defect of this program.
    #[error("keeping the session failed: {0}")]
    Keeping(tokio::task::JoinError),
}

impl StartError {
    /// Whether only another configuration or identity can help.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_configuration(),
            Self::Identity(_)
            | Self::Revocations(_)
            | Self::NotAClient { .. }
            | Self::Configuration(_) => true,
            Self::Replica(_)
            | Self::Bind(_)
            | Self::Watch(_)
            | Self::Threads(_)
            | Self::Keeping(_) => false,
        }
    }
}

/// Runs a client until `stop`, then drains: local listeners close, streams may finish for as long
/// as the configuration says, the rest is reset. `file` is where the configuration came from, if
/// it came from a file; then its changes are followed. `started_with` hears where the admin
/// listener is, when all is bound.
///
/// # Errors
/// [`StartError`], before anything was dialled, but for [`StartError::Keeping`].
pub async fn run(
    loaded: Loaded<Config>,
    file: Option<PathBuf>,
    started_with: impl FnOnce(Option<&ListenAddr>),
    stop: CancellationToken,
) -> Result<(), StartError> {
    let Loaded { config, sources } = loaded;
    let started = SystemTime::now();
    warn_if_short(raise_limit(), most_sockets(&config));
    let material = certs::load(&config.identity_dir)?;
    let cluster = cluster(&config, &material)?;
    let replica = Replica::acquire(&config.state_dir)?;

    let mut registry = Registry::default();
    register_process_metrics(&mut registry, env!("CARGO_PKG_VERSION"));
    let budget = Arc::new(process_budget());
    let relay_metrics = Arc::new(RelayMetrics::register(&mut registry, budget.clone()));
    let metrics = Arc::new(ClientMetrics::register(&mut registry));
    let reloads = Reloads::new(file.clone(), started, &mut registry);
    let (revocation, list) =
        Revocation::load(&config.identity_dir, &material, started, &mut registry)?;

    let audit = config.audit.file.as_ref();
    let audit = audit.map(|file| AuditLog::open(file, &mut registry));
    let audit = audit.transpose()?;

    let list = match &file {
        Some(_) => watch(&list)?,
        None => watch_changes(&list),
    };
    let watch = file.as_ref().map(|_| watch(&sources)).transpose()?;
    let listeners = Listeners::bind(&config.admin, &config.telemetry)?;
    let workers = Workers::start(config.workers, "worker").map_err(StartError::Threads)?;
    let edges = usize::from(config.edge.edges);
    let link = Link::new(edges);
    let retired = Arc::new(Retired::default());
    let exposes = Arc::new(Exposes::new(workers.first(), metrics.clone()));
    registry.register_collector(Box::new(HealthMetrics(exposes.clone())));
    let forwards = Forwards::new(workers.first().clone(), link.clone(), metrics.clone());
    let forwards = Arc::new(forwards);
    let prepared = exposes.prepare(&config.exposes);
    exposes.commit(prepared.map_err(StartError::Configuration)?);
    forwards.commit(forwards.prepare(&config.forwards).await?);

    let (discovery, discoverer) = Discovery::new(&config.edge, &config.resolver, metrics.clone());
    let status = Arc::new(Status {
        material: material.clone(),
        revocation: revocation.clone(),
        started,
        reloads: reloads.clone(),
        link: link.clone(),
        discovery: discovery.clone(),
        retired: retired.clone(),
        exposes: exposes.clone(),
        forwards: forwards.clone(),
        admin: listeners.admin_address(),
        telemetry: listeners.telemetry_address(),
    });
    tracing::info!(
        %cluster, replica = %replica.id, admin = status.admin.as_ref().map(ToString::to_string),
        exposes = config.exposes.len(), forwards = config.forwards.len(), "client started"
    );
    let keeper = Keeper {
        slot: 0,
        discovery,
        dialer: Dialer {
            quic: QuicDialer {
                tls: certs::tls::client(&material, &[quic::ALPN]),
                bounds: bounds(&config.session),
                expected_rtt: None,
            },
            tcp: TcpDialer {
                tls: certs::tls::client(&material, &[]),
                bounds: bounds(&config.session),
            },
            revocation: revocation.clone(),
            timeout: config.session.handshake_timeout,
        },
        transports: config.edge.transport.kinds().to_vec(),
        backoff: config.backoff.clone(),
        replica: replica.id.clone(),
        instance: Instance::from_bytes(rand::random()),
        limits: limits(&config.session),
        options: SessionOptions::new(&config.session, budget, relay_metrics, audit.clone()),
        cluster: cluster.to_string(),
        worker: workers.first().clone(),
        exposes: exposes.clone(),
        metrics,
        link,
        retired,
        claims: Claims::new(),
        attempts: Arc::default(),
    };
    let following = tokio::spawn(async move { revocation.follow(list).await });
    let _following = AbortOnDropHandle::new(following);
    let grace = config.session.drain;
    let (served, keep) = (CancellationToken::new(), stop.clone());
    started_with(status.admin.as_ref());
    let serving =
        tokio::spawn(listeners.serve(Admin::new(status, &workers, registry), served.clone()));
    let mut keeping = workers.first().spawn(async move {
        tokio::select! {
            () = keeper.run(edges, keep, grace) => {}
            never = discoverer.run() => match never {},
        }
    });

    let reloading = async {
        let (Some(file), Some(watch)) = (&file, watch) else {
            return std::future::pending().await;
        };
        let apply = async |new: Config| apply(&config, &new, &exposes, &forwards).await;
        match reload_when_changed(file, watch, &reloads, Config::load, apply).await {}
    };
    let failed = tokio::select! {
        // A stop ends what keeps the session too.
        biased;
        _ = stop.run_until_cancelled(reloading) => None,
        // Nobody would dial any more: whoever supervises the process had better start another.
        kept = &mut keeping => Some(kept),
    };

    tracing::info!("stopping: streams may finish");
    let closing = async {
        let _ = tokio::time::timeout(grace + FAREWELL, forwards.close()).await;
    };
    let kept = async {
        match failed {
            Some(kept) => kept,
            None => keeping.await,
        }
    };
    let (kept, ()) = tokio::join!(kept, closing);
    served.cancel();
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
    kept.map_err(StartError::Keeping)
}

/// How many sockets callers here and in the control plane may make it hold.
fn most_sockets(config: &Config) -> u64 {
    let callers = if config.forwards.is_empty() {
        0
    } else {
        MAX_CALLERS
    };
    let targets = if config.exposes.is_empty() {
        0
    } else {
        config.session.max_streams
    };
    targets.saturating_add(u64::try_from(callers).unwrap_or(u64::MAX))
}

fn cluster(config: &Config, material: &Material) -> Result<ClusterId, StartError> {
    match &material.identity().role {
        Role::Client(cluster) => Ok(cluster.clone()),
        Role::Edge(_) | Role::Service(_) => Err(StartError::NotAClient {
            dir: config.identity_dir.clone(),
            found: material.identity().to_string(),
        }),
    }
}

/// Takes over what can be taken over while running: all of it or nothing.
async fn apply(
    started: &Config,
    new: &Config,
    exposes: &Exposes,
    forwards: &Forwards,
) -> Result<(), String> {
    let prepared_exposes = exposes.prepare(&new.exposes)?;
    let prepared_forwards = forwards.prepare(&new.forwards).await;
    forwards.commit(prepared_forwards.map_err(|error| error.to_string())?);
    exposes.commit(prepared_exposes);
    let restart = Config::restart_keys(started, new);
    if !restart.is_empty() {
        tracing::warn!(
            keys = restart.join(", "),
            "changed, but only a restart takes it over"
        );
    }
    Ok(())
}
