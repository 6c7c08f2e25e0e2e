//! Sessions over real connections on loopback, each scenario over each transport: two of our own
//! ends facing each other, and peers that speak the protocol by hand in order to break it.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

/// Makes each scenario a test over each transport, whose name is in that of the test.
macro_rules! each_transport {
    [$($scenario:ident),+ $(,)?] => {
        mod quic {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(relay::transport::TransportKind::Quic).await;
            })+
        }
        mod tls {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(relay::transport::TransportKind::Tls).await;
            })+
        }
        mod h2 {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(relay::transport::TransportKind::H2).await;
            })+
        }
        mod yamux {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(relay::transport::TransportKind::Yamux).await;
            })+
        }
    };
}

mod bad_control;
mod bad_hello;
mod bad_streams;
mod bulk;
mod connect;
mod credit;
mod destination;
mod ending;
mod ends;
mod halves;
mod liveness;
mod many;
mod opening;
mod pattern;
mod raw;
mod resets;
mod resume;
mod turns;
mod wire;

use std::future::Future;
use std::time::Duration;

/// Longer than anything here takes, shorter than a person's patience.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a state that nothing announces is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What `future` yields, which must be before the deadline.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    within_times(1, what, future).await
}

/// The same, of a thing that takes so many times longer than most.
async fn within_times<T>(times: u32, what: &str, future: impl Future<Output = T>) -> T {
    let deadline = DEADLINE * times;
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {deadline:?}: {what}"),
    }
}

/// Waits until `state` holds, which must be before the deadline.
async fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    let look = async {
        while !state() {
            tokio::time::sleep(LOOK).await;
        }
    };
    within(what, look).await;
}
