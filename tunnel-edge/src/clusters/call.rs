//! `causeway.cluster.v1.ClusterService`, by gRPC over HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use certs::{ClusterId, Label};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use relay::grpc::{self, Code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Clusters;
use super::api::{DEFAULT_LIMIT, MAX_LIMIT};
use super::known::{Filter, State};
use super::message::{
    ClusterState, GetClusterRequest, GetClusterResponse, ListClustersRequest, ListClustersResponse,
    WatchClustersRequest, cluster,
};
use super::watch::Watch;

/// How many watches there may be at once.
const MAX_WATCHES: usize = 64;

/// The most that a request may be, in bytes.
const MAX_REQUEST: usize = 4096;

/// How a call ends that does not end well.
#[derive(Debug)]
pub(super) struct Failed {
    code: Code,
    message: String,
}

impl Failed {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

#[derive(Clone, Debug)]
struct Service {
    clusters: Arc<Clusters>,
    watches: Arc<Semaphore>,
}

pub(super) fn routes(clusters: Arc<Clusters>) -> Router {
    let service = Service {
        clusters,
        watches: Arc::new(Semaphore::new(MAX_WATCHES)),
    };
    let path = |method: &str| format!("/causeway.cluster.v1.ClusterService/{method}");
    Router::new()
        .route(&path("ListClusters"), post(list))
        .route(&path("GetCluster"), post(get))
        .route(&path("WatchClusters"), post(watch))
        .route(&path("{method}"), any(unknown))
        .with_state(service)
}

async fn list(Shared(service): Shared<Service>, request: Request) -> Response {
    answer(request, |asked: ListClustersRequest| {
        let clusters = &service.clusters;
        let filter = Filter {
            tenant: tenant(&asked.tenant)?,
            state: match asked.state() {
                ClusterState::Unspecified => None,
                ClusterState::Connected => Some(State::Connected),
                ClusterState::Disconnected => Some(State::Disconnected),
            },
        };
        let after = match asked.after.as_str() {
            "" => None,
            text => Some(
                text.parse::<ClusterId>()
                    .map_err(|error| invalid("after", error))?,
            ),
        };
        let limit = match usize::try_from(asked.limit) {
            Ok(0) => DEFAULT_LIMIT,
            Ok(limit) if limit <= MAX_LIMIT => limit,
            Ok(_) | Err(_) => return Err(invalid("limit", format!("at most {MAX_LIMIT}"))),
        };
        let (page, more, version) = {
            let known = clusters.known.lock();
            let (page, more) = known.page(&filter, after.as_ref(), limit);
            (page, more, known.version())
        };
        let next = page.last().filter(|_| more);
        Ok(ListClustersResponse {
            next: next.map_or_else(String::new, |found| found.id.to_string()),
            instance: clusters.instance.clone(),
            version,
            clusters: page.iter().map(|found| cluster(clusters, found)).collect(),
        })
    })
    .await
}

async fn get(Shared(service): Shared<Service>, request: Request) -> Response {
    answer(request, |asked: GetClusterRequest| {
        let clusters = &service.clusters;
        let found = clusters
            .find(&asked.tenant, &asked.cluster)
            .map_err(|unknown| {
                let names: Vec<_> = unknown.known.iter().map(ToString::to_string).collect();
                let known = match names.is_empty() {
                    true => String::new(),
                    false => format!("; known are {}", names.join(", ")),
                };
                Failed::new(Code::NOT_FOUND, unknown.message + &known)
            })?;
        Ok(GetClusterResponse {
            cluster: Some(cluster(clusters, &found)),
        })
    })
    .await
}

async fn watch(Shared(service): Shared<Service>, request: Request) -> Response {
    let begun = async {
        let asked: WatchClustersRequest = read(request).await?;
        let place = service.watches.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_WATCHES} watches are as many as there may be");
            Failed::new(Code::RESOURCE_EXHAUSTED, message)
        })?;
        let filter = Filter {
            tenant: tenant(&asked.tenant)?,
            state: None,
        };
        let clusters = service.clusters.clone();
        let watch = Watch::new(clusters, filter, &asked.instance, asked.version);
        Ok((watch, place))
    };
    match begun.await {
        Ok((watch, place)) => stream(watch, place),
        Err(failed) => refuse(&failed),
    }
}

async fn unknown() -> Response {
    let message = "the methods are ListClusters, GetCluster and WatchClusters";
    refuse(&Failed::new(Code::UNIMPLEMENTED, message))
}

/// One message for another.
async fn answer<Q, A>(request: Request, call: impl FnOnce(Q) -> Result<A, Failed>) -> Response
where
    Q: Message + Default,
    A: Message,
{
    match read(request).await.and_then(call) {
        Ok(answer) => {
            let frames = [Frame::data(grpc::frame(&answer)), Frame::trailers(ok())];
            let frames = frames.map(Ok::<_, Infallible>);
            respond(Body::new(StreamBody::new(futures_util::stream::iter(
                frames,
            ))))
        }
        Err(failed) => refuse(&failed),
    }
}

/// Messages for as long as the watch lasts and is read; then why it ended.
fn stream(watch: Watch, place: OwnedSemaphorePermit) -> Response {
    let frames = futures_util::stream::unfold(Some((watch, place)), async |watching| {
        let (mut watch, place) = watching?;
        let (frame, watching) = match watch.next().await {
            Ok(message) => (Frame::data(grpc::frame(&message)), Some((watch, place))),
            Err(failed) => (Frame::trailers(fields(&failed)), None),
        };
        Some((Ok::<_, Infallible>(frame), watching))
    });
    respond(Body::new(StreamBody::new(frames)))
}

async fn read<Q: Message + Default>(request: Request) -> Result<Q, Failed> {
    let is_grpc = request.version() == Version::HTTP_2
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(grpc::CONTENT_TYPE.as_bytes()));
    if !is_grpc {
        let message = "this is for gRPC over HTTP/2; /api/clusters answers the same in JSON";
        return Err(Failed::new(Code::UNIMPLEMENTED, message));
    }
    let body: Bytes = to_bytes(request.into_body(), MAX_REQUEST)
        .await
        .map_err(|error| invalid("request", error))?;
    grpc::message(body).map_err(|error| match error {
        grpc::BadMessage::Compressed => Failed::new(Code::UNIMPLEMENTED, error.to_string()),
        grpc::BadMessage::Length(_) | grpc::BadMessage::Protobuf(_) => invalid("request", error),
    })
}

fn tenant(text: &str) -> Result<Option<Label>, Failed> {
    match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(tenant) => Ok(Some(tenant)),
            Err(error) => Err(invalid("tenant", error)),
        },
    }
}

fn invalid(field: &str, problem: impl ToString) -> Failed {
    Failed::new(
        Code::INVALID_ARGUMENT,
        format!("{field}: {}", problem.to_string()),
    )
}

fn respond(body: Body) -> Response {
    let kind = HeaderValue::from_static(grpc::CONTENT_TYPE);
    (StatusCode::OK, [(CONTENT_TYPE, kind)], body).into_response()
}

/// A failure without a message before it: its status is in the head.
fn refuse(failed: &Failed) -> Response {
    let mut response = respond(Body::empty());
    response.headers_mut().extend(fields(failed));
    response
}

fn ok() -> HeaderMap {
    fields(&Failed::new(Code::OK, ""))
}

fn fields(Failed { code, message }: &Failed) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", code.0.into());
    if !message.is_empty()
        && let Ok(message) = HeaderValue::from_str(&grpc::percent_encoded(message))
    {
        fields.insert("grpc-message", message);
    }
    fields
}
