//! How long the body of a request may keep its origin waiting.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Version};
use tokio::time::{Instant, Sleep, sleep};

/// What begins the content types of requests whose body is a conversation, and may rest for hours
/// between two messages: gRPC, and the streaming calls of Connect.
const CONVERSATIONS: [&[u8]; 2] = [b"application/grpc", b"application/connect+"];

/// Measures how long a body has given nothing to an origin that waits for it. While the origin
/// waits for nothing, no time passes.
#[derive(Debug)]
pub(super) struct Patience {
    /// None for conversations.
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer tells how long the origin has been waiting.
    waiting: bool,
}

impl Patience {
    /// What a request deserves: `limit`, unless it is a conversation. Conversations need HTTP/2, whose pings show that the caller is
    /// still there.
    pub(super) fn with(limit: Duration, version: Version, headers: &HeaderMap) -> Self {
        let conversation = version == Version::HTTP_2 && is_conversation(headers);
        Self {
            limit: (!conversation).then_some(limit),
            timer: None,
            waiting: false,
        }
    }

    /// The body gave something: the next wait is a new one.
    pub(super) fn renew(&mut self) {
        self.waiting = false;
    }

    /// The origin waits, and there is nothing for it. Ready once this has lasted for too long.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            timer.as_mut().reset(Instant::now() + limit);
            self.waiting = true;
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(())
    }
}

fn is_conversation(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        CONVERSATIONS.iter().any(|begin| {
            let head = value.get(..begin.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(begin))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn only_conversations_over_http2_have_all_the_time() {
        for (version, kind, limited) in [
            (Version::HTTP_2, "application/grpc", false),
            (Version::HTTP_2, "Application/gRPC+proto", false),
            (Version::HTTP_2, "application/connect+json", false),
            (Version::HTTP_2, "application/json", true),
            (Version::HTTP_2, "application", true),
            (Version::HTTP_11, "application/grpc", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            let patience = Patience::with(LIMIT, version, &headers);
            assert_eq!(patience.limit.is_some(), limited, "{version:?} {kind}");
        }
        let plain = Patience::with(LIMIT, Version::HTTP_2, &HeaderMap::new());
        assert_eq!(plain.limit, Some(LIMIT));
    }
}
