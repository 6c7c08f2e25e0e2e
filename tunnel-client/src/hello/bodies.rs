//! The endpoints that are about bytes: `/echo`, `/hash`, `/bytes` and `/status`.

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

use super::{Body, BoxError, empty, text};

/// The most that `/bytes` answers with.
const MOST: u64 = 8 << 30;

/// One frame of `/bytes`; a multiple of eight.
const CHUNK: u64 = 64 * 1024;

/// The body back as it comes, trailers included. It is labelled as bytes whatever it was
/// sent as, so that nobody can make a browser run what they posted here.
pub(super) fn echo(request: Request<Incoming>) -> Response<Body> {
    octets(request.into_body().map_err(BoxError::from).boxed_unsync())
}

/// The SHA-256 of the body, once it has ended, as `sha256sum` prints it.
pub(super) async fn hash(request: Request<Incoming>) -> Response<Body> {
    let mut body = request.into_body();
    let mut context = digest::Context::new(&digest::SHA256);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => context.update(frame.data_ref().map_or(&[], |data| data)),
            Err(error) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    &format!("the body broke off: {error}"),
                );
            }
        }
    }
    let hex: String = context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    text(StatusCode::OK, &format!("{hex}  -"))
}

/// As many bytes as the query asks for.
pub(super) fn pattern(query: Option<&str>) -> Response<Body> {
    let wish = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("n="))
        .unwrap_or("1MiB");
    match parse_size(wish) {
        Some(length) if length <= MOST => octets(Pattern { next: 0, length }.boxed_unsync()),
        Some(_) => text(StatusCode::BAD_REQUEST, "too much: n is at most 8GiB"),
        None => text(
            StatusCode::BAD_REQUEST,
            "n is a number of bytes, plain or with a unit: 1000, 64KiB, 10MiB, 1GiB",
        ),
    }
}

/// An empty or one-line answer with the status asked for.
pub(super) fn status(code: &str) -> Response<Body> {
    match code
        .parse::<u16>()
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
    {
        Some(
            status
            @ (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED),
        ) => {
            let mut response = Response::new(empty());
            *response.status_mut() = status;
            response
        }
        Some(status) if (200..600).contains(&status.as_u16()) => text(status, &status.to_string()),
        Some(_) | None => text(
            StatusCode::BAD_REQUEST,
            "a final status is a number from 200 to 599",
        ),
    }
}

fn octets(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// `length` bytes of which each eight say how many eights came before them, so that a byte
/// lost, repeated or moved shows wherever it happens.
#[derive(Debug)]
struct Pattern {
    next: u64,
    length: u64,
}

impl hyper::body::Body for Pattern {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let size = CHUNK.min(self.length - self.next);
        if size == 0 {
            return Poll::Ready(None);
        }
        let first = self.next / 8;
        let words = size.div_ceil(8);
        let mut chunk = BytesMut::with_capacity(CHUNK as usize);
        for word in first..first + words {
            chunk.put_u64(word);
        }
        chunk.truncate(size as usize);
        self.next += size;
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.length
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length - self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("64KiB", Some(65536)),
            ("10mib", Some(10 << 20)),
            ("1GiB", Some(1 << 30)),
            ("99999999999999999999", None),
            ("99999999999999999GiB", None),
            ("", None),
            ("-1", None),
            ("1.5GiB", None),
            ("1GB", None),
            ("one", None),
        ] {
            assert_eq!(parse_size(text), size, "{text:?}");
        }
    }
}
