//! Asking one process.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use relay::settings::Host;

use super::address::AdminAddress;

/// For each question. `/readyz` and `/api/status` answer from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that is read of an answer.
const LARGEST_ANSWER: usize = 64 << 20;

/// What a process said of itself.
#[derive(Debug)]
pub(crate) struct Report {
    pub(super) address: AdminAddress,
    /// `/api/status`.
    pub(crate) status: Map<String, Value>,
    /// Whether `/readyz` said yes.
    pub(crate) ready: bool,
    /// Why not, if it said no.
    pub(crate) not_ready: Vec<String>,
}

/// Why a process could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no causeway listens at {address} ({error})")]
    Unreachable {
        address: AdminAddress,
        error: io::Error,
    },
    #[error(
        "{address} takes connections but does not answer within {} s: its process hangs or is stopped",
        patience.as_secs()
    )]
    Silent {
        address: AdminAddress,
        patience: Duration,
    },
    #[error("{address} broke off: {error}")]
    Broken {
        address: AdminAddress,
        error: Box<dyn Error + Send + Sync>,
    },
    #[error("what answers at {address} is not a causeway's admin listener: {what}")]
    Foreign { address: AdminAddress, what: String },
}

impl FetchError {
    /// Whether there simply is no process.
    pub(crate) fn is_nobody_there(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Silent { .. } | Self::Broken { .. } | Self::Foreign { .. } => false,
        }
    }
}

impl Report {
    /// The status, with what only this side knows: `admin`, and `ready` and `reasons` as
    /// `/readyz` had them.
    pub(super) fn to_json(&self) -> Value {
        let mut json = self.status.clone();
        json.insert("admin".to_owned(), self.address.to_string().into());
        json.insert("ready".to_owned(), self.ready.into());
        json.insert("reasons".to_owned(), self.not_ready.clone().into());
        Value::Object(json)
    }
}

/// Asks for `/api/status` and `/readyz`.
pub(crate) async fn fetch(address: &AdminAddress) -> Result<Report, FetchError> {
    let status = get(address, "/api/status").await?;
    let status = match status {
        (StatusCode::OK, body) => parse(address, &body)?,
        (code, body) => return Err(foreign(address, "/api/status", code, &body)),
    };
    let (ready, not_ready) = match get(address, "/readyz").await? {
        (StatusCode::OK, _) => (true, Vec::new()),
        (StatusCode::SERVICE_UNAVAILABLE, body) => {
            let reasons = String::from_utf8_lossy(&body);
            (false, reasons.lines().map(str::to_owned).collect())
        }
        (code, body) => return Err(foreign(address, "/readyz", code, &body)),
    };
    Ok(Report {
        address: address.clone(),
        status,
        not_ready,
        ready,
    })
}

fn parse(address: &AdminAddress, body: &[u8]) -> Result<Map<String, Value>, FetchError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(status)) if status.contains_key("role") => Ok(status),
        Ok(_) | Err(_) => Err(FetchError::Foreign {
            address: address.clone(),
            what: "its /api/status is no status".to_owned(),
        }),
    }
}

/// Who answers so is none of ours.
pub(crate) fn foreign(
    address: &AdminAddress,
    path: &str,
    code: StatusCode,
    body: &[u8],
) -> FetchError {
    let text = String::from_utf8_lossy(body);
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    let line = super::table::printable(&line);
    FetchError::Foreign {
        address: address.clone(),
        what: format!("{path} is {code}: {line}"),
    }
}

async fn get(address: &AdminAddress, path: &str) -> Result<(StatusCode, Bytes), FetchError> {
    ask(address, Method::GET, path, PATIENCE).await
}

/// Asks one thing, and waits for the whole answer for as long as `patience`.
pub(crate) async fn ask(
    address: &AdminAddress,
    method: Method,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let answered = tokio::time::timeout(patience, answer_to(address, method, path)).await;
    answered.unwrap_or_else(|_| {
        Err(FetchError::Silent {
            address: address.clone(),
            patience,
        })
    })
}

async fn answer_to(
    address: &AdminAddress,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), FetchError> {
    let unreachable = |error| FetchError::Unreachable {
        address: address.clone(),
        error,
    };
    let answer = match address {
        AdminAddress::Tcp(tcp) => {
            let connected = match &tcp.host {
                Host::Ip(ip) => TcpStream::connect((*ip, tcp.port)).await,
                Host::Name(name) => TcpStream::connect((name.as_str(), tcp.port)).await,
            };
            let connected = connected.map_err(unreachable)?;
            exchange(connected, &tcp.to_string(), method, path).await
        }
        AdminAddress::Unix(socket) => {
            let connected = UnixStream::connect(socket).await;
            let connected = connected.map_err(unreachable)?;
            exchange(connected, "localhost", method, path).await
        }
    };
    answer.map_err(|error| FetchError::Broken {
        address: address.clone(),
        error,
    })
}

async fn exchange<IO>(
    io: IO,
    host: &str,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .body(Empty::<Bytes>::new())?;
    // Takes the sender with it: the connection ends when it is dropped.
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await?;
        Ok((status, body.to_bytes()))
    };
    // The connection moves the bytes; what it ends with, the answer says better.
    let (_, answer) = tokio::join!(connection, answer);
    answer
}
