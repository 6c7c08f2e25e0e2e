//! One check of a target: dial it as for a stream, and ask what is to be asked.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use relay::AppProtocol;
use relay::grpc::{self, Code};
use relay::origin::{DialError, Origin, OriginSocket, Target};
use relay::proto::HealthReason;
use relay::pump::Socket;
use relay::settings::format_duration;
use tokio::io::{AsyncRead, AsyncWrite};

use super::judge::Failure;
use crate::config::{CheckKind, CheckSettings};

/// Who asks.
const AGENT: &str = concat!("causeway-health/", env!("CARGO_PKG_VERSION"));

/// The most that is read of an answer's head, and of a gRPC answer, in bytes.
const MAX_ANSWER: u32 = 16 * 1024;

/// The whole of `grpc.health.v1` that is needed; its numbers are those of the gRPC project's
/// health.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
const SERVING: i32 = 1;

/// Looks once. The connection is for nobody's caller, so a target that wants to know is told that
/// it is for nobody in particular.
pub(super) async fn probe(origin: &Origin, settings: &CheckSettings) -> Result<(), Failure> {
    let looked = tokio::time::timeout(settings.timeout, look(origin, &settings.kind)).await;
    looked.unwrap_or_else(|_| Err(too_late(settings.timeout)))
}

async fn look(origin: &Origin, kind: &CheckKind) -> Result<(), Failure> {
    let socket = origin.dial(None).await.map_err(not_reached)?;
    let target = &origin.settings().target;
    match socket {
        OriginSocket::Plain(Socket::Tcp(io)) => ask(io, target, kind).await,
        OriginSocket::Plain(Socket::Unix(io)) => ask(io, target, kind).await,
        OriginSocket::Tls(tls) => ask(tls.into_inner(), target, kind).await,
    }
}

async fn ask<IO>(io: IO, target: &Target, kind: &CheckKind) -> Result<(), Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http(path) => judge_http(match target.protocol() {
            AppProtocol::Tcp | AppProtocol::Http1 => get_http1(io, target, path).await?,
            AppProtocol::H2 => get_http2(io, target, path).await?,
        }),
        CheckKind::Grpc(service) => judge_grpc(check_grpc(io, target, service).await?),
    }
}

fn judge_http(status: StatusCode) -> Result<(), Failure> {
    if status.is_success() || status.is_redirection() {
        return Ok(());
    }
    Err(Failure {
        reason: HealthReason::HttpStatus,
        detail: status.as_str().to_owned(),
        said: format!("answered {status}"),
    })
}

/// `GET path`, over HTTP/1.1. What follows the answer's head is not waited for.
async fn get_http1<IO>(io: IO, target: &Target, path: &PathAndQuery) -> Result<StatusCode, Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_ANSWER as usize)
        .handshake(TokioIo::new(io))
        .await
        .map_err(bad_answer)?;
    let request = Request::get(path.as_str())
        .header(HOST, authority(target).as_str())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(bad_answer)?;
    let mut answered = pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = answered.as_mut() => answer,
        // Over as soon as the answer is in; it may already be.
        _ = connection => answered.await,
    };
    Ok(answer.map_err(bad_answer)?.status())
}

/// The same, over HTTP/2 by prior knowledge or as TLS has agreed.
async fn get_http2<IO>(io: IO, target: &Target, path: &PathAndQuery) -> Result<StatusCode, Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Request::new(());
    *request.uri_mut() = uri(target, path.clone());
    request.headers_mut().extend(agent());
    let exchange = async |mut sender: h2::client::SendRequest<Bytes>| {
        let (answer, _) = sender.send_request(request, true)?;
        Ok(answer.await?.status())
    };
    over_http2(io, exchange).await
}

/// What a gRPC server said.
struct Called {
    http: StatusCode,
    /// From the trailers, or from the head if there was no body.
    status: Option<Code>,
    body: Bytes,
}

async fn check_grpc<IO>(io: IO, target: &Target, service: &str) -> Result<Called, Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(target, PathAndQuery::from_static(CHECK));
    request.headers_mut().extend(agent());
    for (name, value) in [("content-type", grpc::CONTENT_TYPE), ("te", "trailers")] {
        let value = http::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let message = grpc::frame(&HealthCheckRequest {
        service: service.to_owned(),
    });
    let exchange = async |mut sender: h2::client::SendRequest<Bytes>| {
        let (answer, mut body) = sender.send_request(request, false)?;
        body.send_data(message, true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut received = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            received.extend_from_slice(&chunk);
            if received.len() > MAX_ANSWER as usize {
                return Err(h2::Reason::ENHANCE_YOUR_CALM.into());
            }
        }
        let trailers = body.trailers().await?;
        Ok(Called {
            http: head.status,
            status: trailers.as_ref().and_then(status).or(status(&head.headers)),
            body: received.freeze(),
        })
    };
    over_http2(io, exchange).await
}

fn judge_grpc(called: Called) -> Result<(), Failure> {
    if called.http != StatusCode::OK {
        return judge_http(called.http).and(Err(bad_answer("no gRPC: its HTTP status is not 200")));
    }
    match called.status {
        Some(Code::OK) => {}
        Some(code) => {
            return Err(Failure {
                reason: HealthReason::GrpcStatus,
                detail: code.label(),
                said: format!("gRPC status {}", code.label()),
            });
        }
        None => return Err(bad_answer("no gRPC: it has no grpc-status")),
    }
    let answer: HealthCheckResponse = grpc::message(called.body).map_err(bad_answer)?;
    let word = match answer.status {
        SERVING => return Ok(()),
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => other.to_string(),
    };
    Err(Failure {
        reason: HealthReason::NotServing,
        said: format!("says {word}"),
        detail: word,
    })
}

fn status(fields: &HeaderMap) -> Option<Code> {
    let value = fields.get("grpc-status")?.to_str().ok()?;
    value.parse().ok().map(Code)
}

/// One exchange over a connection of its own, which is driven meanwhile.
async fn over_http2<IO, T>(
    io: IO,
    exchange: impl AsyncFnOnce(h2::client::SendRequest<Bytes>) -> Result<T, h2::Error>,
) -> Result<T, Failure>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MAX_ANSWER)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(bad_answer)?;
    let mut exchanged = pin!(exchange(sender));
    let outcome = tokio::select! {
        biased;
        outcome = exchanged.as_mut() => outcome,
        _ = connection => exchanged.await,
    };
    outcome.map_err(bad_answer)
}

fn uri(target: &Target, path: PathAndQuery) -> Uri {
    let scheme = match target {
        Target::Https(_) => Scheme::HTTPS,
        Target::Tcp(_) | Target::Http(_) | Target::H2c(_) | Target::Unix { .. } | Target::Hello => {
            Scheme::HTTP
        }
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority(target));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
}

/// What the target is called in a request.
fn authority(target: &Target) -> Authority {
    let text = match target {
        Target::Tcp(address) | Target::Http(address) | Target::H2c(address) => address.to_string(),
        Target::Https(https) => https.address.to_string(),
        Target::Unix { .. } | Target::Hello => "localhost".to_owned(),
    };
    let localhost = Authority::from_static("localhost");
    text.parse().unwrap_or(localhost)
}

fn agent() -> HeaderMap {
    let agent = http::HeaderValue::from_static(AGENT);
    HeaderMap::from_iter([(USER_AGENT, agent)])
}

fn not_reached(error: DialError) -> Failure {
    let reason = match &error {
        DialError::Refused => HealthReason::Refused,
        DialError::Timeout(_) => HealthReason::Timeout,
        DialError::Name(_) => HealthReason::Name,
        DialError::Io(_) | DialError::BuiltIn => HealthReason::Unreachable,
        DialError::Tls(_) => HealthReason::Tls,
    };
    Failure {
        reason,
        detail: String::new(),
        said: error.to_string(),
    }
}

fn bad_answer(error: impl ToString) -> Failure {
    Failure {
        reason: HealthReason::BadAnswer,
        detail: String::new(),
        said: error.to_string(),
    }
}

fn too_late(patience: Duration) -> Failure {
    Failure {
        reason: HealthReason::Timeout,
        detail: String::new(),
        said: format!("no answer within {}", format_duration(patience)),
    }
}
