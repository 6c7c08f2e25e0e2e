//! One round trip to a service, as any caller would make it, and what came of it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// The header by which an http ingress says that an answer is its own.
const ERROR_HEADER: &str = "causeway-error";

/// For a whole answer over HTTP. Development servers compile when they are asked first.
const HTTP_PATIENCE: Duration = Duration::from_secs(10);

/// For a service to answer the end of a connection over TCP. Many never do.
const TCP_PATIENCE: Duration = Duration::from_secs(1);

/// No more of an error's text is read.
const MOST: usize = 4096;

/// What came of a round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The service answered over HTTP, whatever it said.
    Answered { status: StatusCode, took: Duration },
    /// The service answered over TCP: by bytes, or by ending the connection when we did.
    Responded { took: Duration },
    /// The connection stands, and the service says nothing until it is spoken to in its own way.
    Silent,
    /// The tunnel answered for the service: it could not be reached.
    Refused { status: StatusCode, why: String },
    /// Nothing came back.
    Failed(String),
}

/// `GET /` with a host name.
pub(super) async fn http(address: SocketAddr, host: &str) -> Outcome {
    let started = Instant::now();
    let authority = format!("{host}:{}", address.port());
    match timeout(HTTP_PATIENCE, get(address, &authority)).await {
        Err(_) => Outcome::Failed(format!("no answer within {} s", HTTP_PATIENCE.as_secs())),
        Ok(Err(error)) => Outcome::Failed(error.to_string()),
        Ok(Ok((status, headers, body))) => match headers.get(ERROR_HEADER) {
            None => Outcome::Answered {
                status,
                took: started.elapsed(),
            },
            Some(_) => Outcome::Refused {
                status,
                why: explanation(&body),
            },
        },
    }
}

/// Connects, and ends its side at once: a service that is there ends its own, or greets.
pub(super) async fn tcp(address: SocketAddr) -> Outcome {
    let started = Instant::now();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.shutdown().await?;
        stream.read(&mut [0; 1]).await
    };
    match timeout(TCP_PATIENCE, exchange).await {
        Err(_) => Outcome::Silent,
        Ok(Ok(_)) => Outcome::Responded {
            took: started.elapsed(),
        },
        Ok(Err(error)) => Outcome::Failed(if is_reset(&error) {
            "the connection was reset".to_owned()
        } else {
            error.to_string()
        }),
    }
}

/// A reset between our connecting and our ending shows as "not connected".
fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

async fn get(
    address: SocketAddr,
    authority: &str,
) -> Result<(StatusCode, HeaderMap, Bytes), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/")
        .header(HOST, authority)
        .header("accept", "*/*")
        .header(
            "user-agent",
            concat!("causeway/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        // A page may be long, or never end: that it began is the answer.
        let body = if head.headers.contains_key(ERROR_HEADER) {
            Limited::new(body, MOST).collect().await?.to_bytes()
        } else {
            Bytes::new()
        };
        Ok((head.status, head.headers, body))
    };
    // The connection moves the bytes; what it ends with, the answer says better.
    tokio::select! {
        answer = answer => answer,
        Err(error) = connection => Err(error.into()),
    }
}

/// What an http ingress writes: `causeway: the service refused the connection (connect_refused)`.
fn explanation(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("causeway: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer` once it has heard something.
    async fn serve(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        address
    }

    #[tokio::test]
    async fn any_answer_of_the_service_is_good() {
        let address = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\n").await;
        let outcome = http(address, "x.localhost").await;
        assert!(matches!(
            outcome,
            Outcome::Answered {
                status: StatusCode::NOT_FOUND,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn what_the_tunnel_answers_is_no_answer_of_the_service() {
        let address = serve(
            "HTTP/1.1 502 Bad Gateway\r\ncauseway-error: connect_refused\r\nconnection: close\r\n\r\n\
             causeway: the service refused the connection (connect_refused)\n",
        )
        .await;
        assert_eq!(
            http(address, "x.localhost").await,
            Outcome::Refused {
                status: StatusCode::BAD_GATEWAY,
                why: "the service refused the connection (connect_refused)".to_owned()
            }
        );
    }

    #[tokio::test]
    async fn a_connection_that_ends_without_an_answer_failed() {
        let address = serve("").await;
        assert!(matches!(http(address, "x").await, Outcome::Failed(_)));
    }

    #[tokio::test]
    async fn over_tcp_an_end_is_an_answer_and_a_reset_is_none() {
        let address = serve("").await;
        assert!(matches!(tcp(address).await, Outcome::Responded { .. }));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_zero_linger().unwrap();
        });
        assert_eq!(
            tcp(address).await,
            Outcome::Failed("the connection was reset".to_owned())
        );
        server.await.unwrap();
        assert!(matches!(tcp(address).await, Outcome::Failed(_)));
    }

    #[tokio::test]
    async fn over_tcp_silence_is_no_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(tcp(address).await, Outcome::Silent);
    }
}
