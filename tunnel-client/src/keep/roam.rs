//! Connections whose packets would come from another address by now: this machine has changed networks,
//! or its address was taken away, and nobody tells whoever waits for an answer.
//!
//! Looked at by asking the system, as it is portable and costs a few microseconds: a socket that is
//! connected to the edge's address, without a packet, has the address that the system would use; one that
//! cannot be bound to an address says that the machine has it no more. Being told of changes instead
//! (rtnetlink, and something else on each other system) would save that, for a dependency.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use relay::transport::TransportKind;
use tokio::time::sleep;

use super::Keeper;
use super::mend::Course;
use super::preference::source_towards;

/// How often it is looked at, also without streams: the next one is not to wait.
const LOOK: Duration = Duration::from_millis(500);

/// How much longer than two round trips an answer may take on a connection that may still work.
const PATIENCE: Duration = Duration::from_millis(250);

/// The same for one that goes on from another address by itself.
const PATIENCE_TO_MIGRATE: Duration = Duration::from_secs(1);

/// For how many other addresses one connection is doubted. Where there are several ways at once, the
/// system's choice may alternate for ever.
const MOST_OTHERS: usize = 4;

/// Why a connection is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roamed {
    /// The machine has the connection's address no more.
    Gone,
    /// It has, but would use another: another interface, a VPN, a preferred address. The connection may
    /// still work.
    Other,
}

/// Where the packets of a connection come from, and what is known of others.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// When the connection was made; what it is compared with, rather than with the socket's own address:
    /// a rule may have TCP come from another than what is asked for here, and that is no change.
    of_connection: Option<IpAddr>,
    is_gone: bool,
    /// From where packets came when that was said last.
    gone_for: Option<IpAddr>,
    others: Vec<IpAddr>,
}

impl Source {
    pub(super) fn new(of_connection: Option<IpAddr>) -> Self {
        Self {
            of_connection,
            ..Self::default()
        }
    }

    /// Whether the machine had the connection's address no more when that was looked at last.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Compares with where packets to the edge would come from `now`; `None` if there is no way to it.
    /// Whether the connection is to be doubted, which is said once for each reason.
    fn look(&mut self, now: Option<IpAddr>, has: impl Fn(IpAddr) -> bool) -> Option<Roamed> {
        // Without any way there is nothing to be won.
        let now = now?;
        let before = *self.of_connection.get_or_insert(now);
        if before == now {
            self.is_gone = false;
            self.gone_for = None;
            return None;
        }
        if !has(before) {
            self.is_gone = true;
            // A connection over QUIC may have gone on from there, and lose that too.
            let is_new = self.gone_for.replace(now) != Some(now);
            return is_new.then_some(Roamed::Gone);
        }
        self.is_gone = false;
        if self.others.contains(&now) || self.others.len() == MOST_OTHERS {
            return None;
        }
        self.others.push(now);
        Some(Roamed::Other)
    }
}

impl Roamed {
    fn label(self) -> &'static str {
        match self {
            Self::Gone => "address_gone",
            Self::Other => "address_changed",
        }
    }

    fn patience(self, transport: TransportKind) -> Duration {
        match (transport, self) {
            (TransportKind::Quic, _) => PATIENCE_TO_MIGRATE,
            (TransportKind::Tls | TransportKind::Yamux | TransportKind::H2, Self::Gone) => {
                Duration::ZERO
            }
            (TransportKind::Tls | TransportKind::Yamux | TransportKind::H2, Self::Other) => {
                PATIENCE
            }
        }
    }
}

/// Waits until there is a way to the edge where there is none now, or another since the address of this one
/// is gone. Where there are several at once, the system's choice may alternate, which says nothing.
pub(super) async fn another_network(edge: Option<SocketAddr>) {
    let Some(edge) = edge else {
        return std::future::pending().await;
    };
    let before = source_towards(edge);
    loop {
        sleep(LOOK).await;
        let now = source_towards(edge);
        let is_gone = |before| Some(before) != now && !is_this_machines(before);
        if now.is_some() && before.is_none_or(is_gone) {
            return;
        }
    }
}

impl Keeper {
    /// Doubts the session's connection whenever packets to its edge would come from another address than
    /// it began with. Cancel-safe.
    pub(super) async fn watch_source(&self, course: &Course) -> Infallible {
        let session = &course.session;
        loop {
            sleep(LOOK).await;
            if !session.is_connected() {
                continue;
            }
            let way = course.way();
            let now = source_towards(way.address);
            let Some(roamed) = course.source.lock().look(now, is_this_machines) else {
                continue;
            };
            let because = roamed.label();
            self.metrics.doubted(because);
            tracing::info!(
                because,
                "the connection is doubted, and asked for an answer"
            );
            session.doubt(roamed.patience(way.transport)).await;
        }
    }
}

/// Whether an interface has this address. Nothing is sent.
fn is_this_machines(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn both(_: IpAddr) -> bool {
        true
    }

    #[test]
    fn an_address_that_is_gone_is_told_once_each_time() {
        let [home, away] = ["192.0.2.1", "2001:db8::1"].map(address);
        let mut source = Source::new(Some(home));
        let only = |here: IpAddr| move |asked: IpAddr| asked == here;
        assert_eq!(source.look(Some(home), only(home)), None);
        assert_eq!(source.look(None, only(away)), None, "there is no way");
        assert_eq!(source.look(Some(away), only(away)), Some(Roamed::Gone));
        assert_eq!(source.look(Some(away), only(away)), None);
        assert_eq!(source.look(Some(home), both), None, "it is back");
        assert_eq!(source.look(Some(away), only(away)), Some(Roamed::Gone));
    }

    /// A connection over QUIC goes on from the second, and has to learn of the third as well.
    #[test]
    fn each_address_that_comes_after_one_that_is_gone_is_told() {
        let [home, away, further] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(address);
        let mut source = Source::new(Some(home));
        let only = |here: IpAddr| move |asked: IpAddr| asked == here;
        for here in [away, further] {
            assert_eq!(source.look(Some(here), only(here)), Some(Roamed::Gone));
            assert_eq!(source.look(Some(here), only(here)), None);
        }
    }

    #[test]
    fn another_address_is_told_once_however_the_choice_alternates() {
        let home = address("192.0.2.1");
        let mut source = Source::new(Some(home));
        let others = (2..=20).map(|last| address(&format!("192.0.2.{last}")));
        let mut told = 0;
        for _ in 0..3 {
            for other in others.clone() {
                told += usize::from(source.look(Some(other), both) == Some(Roamed::Other));
                assert_eq!(source.look(Some(home), both), None);
            }
        }
        assert_eq!(told, MOST_OTHERS);
        assert_eq!(
            source.look(Some(address("198.51.100.1")), |asked| asked != home),
            Some(Roamed::Gone),
            "that is no guess"
        );
    }

    #[test]
    fn where_it_was_not_known_what_is_seen_first_counts() {
        let [home, away] = ["192.0.2.1", "198.51.100.1"].map(address);
        let mut source = Source::new(None);
        assert_eq!(source.look(Some(home), both), None);
        assert_eq!(source.look(Some(away), both), Some(Roamed::Other));
    }

    #[test]
    fn the_machine_has_its_loopback_and_no_address_of_a_documentation() {
        assert!(is_this_machines(address("127.0.0.1")));
        assert!(!is_this_machines(address("192.0.2.1")));
    }
}
