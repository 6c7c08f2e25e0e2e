//! Connecting to a target that has several addresses.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::JoinSet;

use super::dial::DialError;

/// How long an address may leave us without an answer before the next is tried as well
/// (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many connects wait for an answer at once; at this many, the next waits for a failure.
const AT_ONCE: usize = 8;

/// Tries `addresses` in their order, the next one at once after a failure or when those before
/// have not answered for a while. The first to connect wins, and the others are given up. Fails
/// with the last failure when all have failed; `None` if there are no addresses.
///
/// Cancel-safe: dropping it gives up all that it has begun.
pub(super) async fn first_connected<S, C>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<Option<S>, DialError>
where
    S: Send + 'static,
    C: Future<Output = io::Result<S>> + Send + 'static,
{
    let mut untried = addresses.into_iter();
    let mut tried = JoinSet::new();
    let mut failure = None;
    loop {
        if tried.len() < AT_ONCE
            && let Some(address) = untried.next()
        {
            tried.spawn(connect(address));
        }
        let may_go_on = tried.len() < AT_ONCE && !untried.as_slice().is_empty();
        tokio::select! {
            answer = tried.join_next() => match answer {
                Some(Ok(Ok(socket))) => return Ok(Some(socket)),
                Some(Ok(Err(error))) => failure = Some(DialError::of_connect(error)),
                Some(Err(panicked)) => resume_unwind(panicked.into_panic()),
                None => return failure.map_or(Ok(None), Err),
            },
            () = tokio::time::sleep(HEAD_START), if may_go_on => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// What an address does, by its port; the others connect after so many milliseconds.
    const SILENT: u16 = 1;
    const REFUSES: u16 = 2;
    const UNREACHABLE: u16 = 3;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let address = |port: &u16| SocketAddr::from(([192, 0, 2, 1], *port));
        ports.iter().map(address).collect()
    }

    async fn answer(address: SocketAddr) -> io::Result<u16> {
        match address.port() {
            SILENT => pending().await,
            REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
            UNREACHABLE => Err(io::ErrorKind::HostUnreachable.into()),
            open => {
                sleep(Duration::from_millis(open.into())).await;
                Ok(open)
            }
        }
    }

    /// Who wins or what the failure is, and after how many milliseconds.
    async fn race(ports: &[u16]) -> (Result<Option<u16>, DialError>, u128) {
        let begun = Instant::now();
        let winner = first_connected(addresses(ports), answer).await;
        (winner, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_delays_the_next_by_its_head_start() {
        let (winner, took) = race(&[SILENT, SILENT, 10]).await;
        assert_eq!((winner.unwrap(), took), (Some(10), 510));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_at_once() {
        let (winner, took) = race(&[REFUSES, UNREACHABLE, 10]).await;
        assert_eq!((winner.unwrap(), took), (Some(10), 10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_connect_wins() {
        assert_eq!(race(&[900, 20, 30]).await.0.unwrap(), Some(20));
        // The order counts as long as the first answers in time.
        assert_eq!(race(&[200, 20]).await.0.unwrap(), Some(200));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told_when_all_have_failed() {
        let (failure, took) = race(&[UNREACHABLE, REFUSES]).await;
        assert!(matches!(failure, Err(DialError::Refused)), "{failure:?}");
        assert_eq!(took, 0);
        let (failure, _) = race(&[REFUSES, UNREACHABLE]).await;
        assert!(matches!(failure, Err(DialError::Io(_))), "{failure:?}");
        assert_eq!(race(&[]).await.0.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_tried_at_once_and_all_are_given_up() {
        let running = Arc::new(AtomicUsize::new(0));
        let begun = AtomicUsize::new(0);
        struct Running(Arc<AtomicUsize>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let connect = |_| {
            running.fetch_add(1, Ordering::Relaxed);
            begun.fetch_add(1, Ordering::Relaxed);
            let guard = Running(running.clone());
            async move {
                let _guard = guard;
                pending::<io::Result<()>>().await
            }
        };
        let race = first_connected(addresses(&[SILENT; 100]), connect);
        let patience = tokio::time::timeout(Duration::from_secs(60), race);
        assert!(patience.await.is_err());
        // What is aborted is dropped when the runtime comes to it.
        sleep(Duration::from_millis(1)).await;
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE);
        assert_eq!(running.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_blackholed_address_does_not_hide_a_good_one() {
        // A listener that accepts nothing: once its queue is full, the kernel drops what comes.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(silent)).await
        {
            queued.push(connected.unwrap());
        }
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = good.local_addr().unwrap();
        let socket = first_connected(vec![silent, address], TcpStream::connect).await;
        assert_eq!(socket.unwrap().unwrap().peer_addr().unwrap(), address);
    }
}
