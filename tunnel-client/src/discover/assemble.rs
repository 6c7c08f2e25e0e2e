//! From what is configured and what is known to questions and candidates. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use relay::settings::{Host, HostPort};
use tokio::time::Instant;

use super::Candidate;
use super::book::Book;
use super::order::in_turn;
use super::pushed::Pushed;
use super::question::{MAX_ADDRESSES, MAX_TARGETS, Question, Records, Target};
use crate::config::EdgeSettings;

/// The priority of the first address that is stated: behind those that SRV records can have.
const FIRST_ADDRESS: u32 = 1 << 16;

/// And of the first that an edge has told of.
const FIRST_TOLD: u32 = 1 << 17;

/// Everything that has to be known.
pub(super) fn questions<'a>(
    edge: &'a EdgeSettings,
    pushed: &'a Pushed,
    book: &'a Book,
    now: Instant,
) -> impl Iterator<Item = Question> + 'a {
    let services = edge.srv.iter().cloned().map(Question::Srv);
    let directly = edge
        .addresses
        .iter()
        .filter_map(host_question)
        .chain(services);
    let targets = targets(edge, book, now);
    let behind = targets
        .into_iter()
        .filter_map(|target| match target.host.parse() {
            Ok(Host::Name(name)) => Some(Question::Target(name)),
            Ok(Host::Ip(_)) | Err(_) => None,
        });
    // Where sockets go somewhere else anyway, nobody needs to know where names lead.
    let told = pushed.edges().filter_map(|at| match &at.host {
        Host::Name(name) => Some(Question::Target(name.clone())),
        Host::Ip(_) => None,
    });
    let wanted =
        |question: &Question| edge.connect_to.is_empty() || matches!(question, Question::Srv(_));
    directly.chain(behind).chain(told).filter(wanted)
}

/// Everything that is known to be an edge, nothing twice.
pub(super) fn candidates(
    edge: &EdgeSettings,
    pushed: &Pushed,
    book: &Book,
    now: Instant,
) -> Vec<Candidate> {
    let target = |target: Target| {
        let at = HostPort {
            host: target.host.parse().ok()?,
            port: target.port,
        };
        Some(Candidate {
            addresses: addresses_of(edge, book, &at, Question::Target, now),
            at,
            priority: target.priority.into(),
            weight: target.weight,
        })
    };
    let address = |(at, priority): (&HostPort, u32)| Candidate {
        at: at.clone(),
        addresses: addresses_of(edge, book, at, Question::Host, now),
        priority,
        weight: 0,
    };
    let targets = targets(edge, book, now).into_iter().filter_map(target);
    // In the order in which they are stated, and behind every target.
    let addresses = edge.addresses.iter().zip(FIRST_ADDRESS..).map(address);
    // Sockets that go elsewhere anyway are no others for another name.
    let told = pushed.edges().take(if edge.connect_to.is_empty() {
        MAX_TARGETS
    } else {
        0
    });
    let told = told.zip(FIRST_TOLD..).map(|(at, priority)| Candidate {
        at: at.clone(),
        addresses: addresses_of(edge, book, at, Question::Target, now),
        priority,
        weight: 0,
    });
    let mut seen = BTreeSet::new();
    let mut is_new = |it: &Candidate| !it.addresses.is_empty() && seen.insert(it.at.clone());
    targets
        .chain(addresses)
        .chain(told)
        .filter(|it| is_new(it))
        .collect()
}

/// What the SRV records lead to, in a stable order.
fn targets(edge: &EdgeSettings, book: &Book, now: Instant) -> Vec<Target> {
    let mut targets = Vec::new();
    for owner in &edge.srv {
        if let Some(Records::Targets(found)) = book.records(&Question::Srv(owner.clone()), now) {
            targets.extend(found.iter().cloned());
        }
    }
    targets.sort();
    targets.dedup();
    targets.truncate(MAX_TARGETS);
    targets
}

fn host_question(at: &HostPort) -> Option<Question> {
    match &at.host {
        Host::Name(name) => Some(Question::Host(name.clone())),
        Host::Ip(_) => None,
    }
}

fn addresses_of(
    edge: &EdgeSettings,
    book: &Book,
    at: &HostPort,
    question: impl Fn(String) -> Question,
    now: Instant,
) -> Vec<SocketAddr> {
    if !edge.connect_to.is_empty() {
        let instead = edge.connect_to.iter();
        return instead
            .map(|it| (it.ip, it.port.unwrap_or(at.port)).into())
            .collect();
    }
    match &at.host {
        Host::Ip(ip) => vec![(*ip, at.port).into()],
        Host::Name(name) => match book.records(&question(name.clone()), now) {
            Some(Records::Addresses(addresses)) => {
                let addresses = by_family(addresses).into_iter().take(MAX_ADDRESSES);
                addresses.map(|ip| (ip, at.port).into()).collect()
            }
            Some(Records::Targets(_)) | None => Vec::new(),
        },
    }
}

/// One of each family after the other, so that a bound leaves some of both.
fn by_family(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (v6, v4) = addresses.iter().partition(|ip| ip.is_ipv6());
    in_turn(v6, v4)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::question::Answer;
    use super::*;
    use crate::config::{ConnectTo, ResolverSettings, Suffix, Transport};

    fn edge(addresses: &[&str], srv: &[&str], connect_to: &[ConnectTo]) -> EdgeSettings {
        EdgeSettings {
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            srv: srv.iter().map(ToString::to_string).collect(),
            connect_to: connect_to.to_vec(),
            suffix: Suffix::OfNames,
            transport: Transport::Auto,
            edges: 1,
        }
    }

    /// Asks what is wanted until nothing more is, and answers as `answers` says.
    fn resolved(
        edge: &EdgeSettings,
        answers: impl Fn(&Question) -> Option<Records>,
    ) -> (Book, Instant) {
        let now = Instant::now();
        let mut book = Book::new(&ResolverSettings::default());
        loop {
            let wanted: BTreeSet<_> = questions(edge, &Pushed::default(), &book, now).collect();
            book.want(&wanted, now);
            let due = book.take_due(now);
            if due.is_empty() {
                return (book, now);
            }
            for question in due {
                let records = answers(&question).expect("it is wanted");
                let ttl = Duration::from_secs(60);
                let answer = Answer {
                    records,
                    ttl,
                    unanswered: None,
                };
                book.note(&question, Ok(answer), now, 1.0);
            }
        }
    }

    fn addresses(texts: &[&str]) -> Option<Records> {
        let addresses = texts.iter().map(|text| text.parse().unwrap());
        Some(Records::Addresses(addresses.collect()))
    }

    fn target(priority: u16, host: &str) -> Target {
        Target {
            priority,
            weight: 5,
            host: host.to_owned(),
            port: 7443,
        }
    }

    #[test]
    fn names_and_literals_keep_their_order_and_families_take_turns() {
        let edge = edge(&["edge.example.com:443", "192.0.2.9:7443"], &[], &[]);
        let (book, now) = resolved(&edge, |_| {
            addresses(&[
                "192.0.2.1",
                "192.0.2.2",
                "192.0.2.3",
                "2001:db8::1",
                "2001:db8::2",
            ])
        });
        let found = candidates(&edge, &Pushed::default(), &book, now);
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.at.to_string(), it.priority))
            .collect();
        assert_eq!(
            told,
            [
                ("edge.example.com:443".to_owned(), 65536),
                ("192.0.2.9:7443".to_owned(), 65537)
            ]
        );
        let first: Vec<_> = found[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            first,
            [
                "[2001:db8::1]:443",
                "192.0.2.1:443",
                "[2001:db8::2]:443",
                "192.0.2.2:443",
                "192.0.2.3:443"
            ]
        );
    }

    #[test]
    fn the_targets_of_srv_records_become_candidates() {
        let edge = edge(&[], &["_causeway._tcp.example.com"], &[]);
        let (book, now) = resolved(&edge, |question| match question {
            Question::Srv(_) => Some(Records::Targets(vec![
                target(10, "edge-2.example.com"),
                target(0, "edge-1.example.com"),
                target(0, "edge-1.example.com"),
            ])),
            Question::Target(name) if name == "edge-1.example.com" => addresses(&["192.0.2.1"]),
            Question::Target(_) => addresses(&["192.0.2.2"]),
            Question::Host(_) => None,
        });
        let found = candidates(&edge, &Pushed::default(), &book, now);
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.at.to_string(), it.priority, it.weight))
            .collect();
        assert_eq!(
            told,
            [
                ("edge-1.example.com:7443".to_owned(), 0, 5),
                ("edge-2.example.com:7443".to_owned(), 10, 5)
            ]
        );
    }

    #[test]
    fn what_one_answer_may_hold_is_bounded() {
        let edge = edge(&[], &["_causeway._tcp.example.com"], &[]);
        let (book, now) = resolved(&edge, |question| match question {
            Question::Srv(_) => {
                let all = (0..100).map(|nth| target(0, &format!("edge-{nth}.example.com")));
                Some(Records::Targets(all.collect()))
            }
            Question::Target(_) => {
                let all = (0..200).map(|nth| IpAddr::from([192, 0, 2, nth]));
                Some(Records::Addresses(all.collect()))
            }
            Question::Host(_) => None,
        });
        let found = candidates(&edge, &Pushed::default(), &book, now);
        assert_eq!(found.len(), MAX_TARGETS);
        assert!(found.iter().all(|it| it.addresses.len() == MAX_ADDRESSES));
    }

    #[test]
    fn sockets_that_go_elsewhere_need_no_addresses_of_names() {
        let ip: IpAddr = "10.1.2.3".parse().unwrap();
        let elsewhere = [
            ConnectTo { ip, port: None },
            ConnectTo { ip, port: Some(1) },
        ];
        let edge = edge(&["edge.example.com:7443"], &[], &elsewhere);
        let (book, now) = resolved(&edge, |_| None);
        let found = candidates(&edge, &Pushed::default(), &book, now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].at.to_string(), "edge.example.com:7443");
        let at: Vec<_> = found[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(at, ["10.1.2.3:7443", "10.1.2.3:1"]);
    }
}
