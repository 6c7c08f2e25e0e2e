//! In which order candidates are tried. Pure: chance comes in.

use std::net::SocketAddr;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::Candidate;

/// Lower priorities first; among equal ones by chance, as their weights say (RFC 2782, "Usage rules").
pub(crate) fn in_order<'a>(candidates: &'a [Candidate], rng: &mut impl Rng) -> Vec<&'a Candidate> {
    let mut left: Vec<&Candidate> = candidates.iter().collect();
    // Those of weight 0 stand first among their equals, and so have a very small chance.
    left.sort_by_key(|candidate| (candidate.priority, candidate.weight));
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let priority = first.priority;
        let equals = left.iter().take_while(|it| it.priority == priority);
        let weights: u64 = equals.clone().map(|it| u64::from(it.weight)).sum();
        let position = if weights == 0 {
            // Nothing says who should come first, so each does as often as the others.
            rng.random_range(0..equals.count())
        } else {
            let chosen = rng.random_range(0..=weights);
            let mut running = 0;
            let found = equals.clone().position(|it| {
                running += u64::from(it.weight);
                running >= chosen
            });
            found.expect("the last one's sum is that of all")
        };
        ordered.push(left.remove(position));
    }
    ordered
}

/// A candidate's addresses by chance, so that the clients of a name spread over them; IPv6 and IPv4 in
/// turn (RFC 8305 §4).
pub(crate) fn addresses_in_order(candidate: &Candidate, rng: &mut impl Rng) -> Vec<SocketAddr> {
    let (mut v6, mut v4): (Vec<_>, Vec<_>) =
        candidate.addresses.iter().partition(|it| it.is_ipv6());
    v6.shuffle(rng);
    v4.shuffle(rng);
    in_turn(v6, v4)
}

/// The first of each, then the second of each, and so on.
pub(super) fn in_turn<T>(first: Vec<T>, second: Vec<T>) -> Vec<T> {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn candidate(name: &str, priority: u32, weight: u16) -> Candidate {
        Candidate {
            at: format!("{name}:443").parse().unwrap(),
            addresses: vec!["192.0.2.1:443".parse().unwrap()],
            priority,
            weight,
        }
    }

    fn names(ordered: &[&Candidate]) -> Vec<String> {
        ordered.iter().map(|it| it.at.host.to_string()).collect()
    }

    #[test]
    fn addresses_of_a_name_are_spread_and_families_take_turns() {
        let mut many = candidate("many", 0, 0);
        let texts = [
            "192.0.2.1:1",
            "192.0.2.2:1",
            "192.0.2.3:1",
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
        ];
        many.addresses = texts.map(|it| it.parse().unwrap()).into();
        let mut rng = StdRng::seed_from_u64(4);
        let mut first = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let ordered = addresses_in_order(&many, &mut rng);
            let families: Vec<_> = ordered.iter().map(SocketAddr::is_ipv6).collect();
            assert_eq!(families, [true, false, true, false, false]);
            first.insert(ordered[0]);
        }
        assert_eq!(first.len(), 2, "either comes first");
    }

    #[test]
    fn a_lower_priority_always_comes_first() {
        let all = [
            candidate("c", 20, 60000),
            candidate("a", 0, 0),
            candidate("b", 10, 1),
        ];
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            assert_eq!(names(&in_order(&all, &mut rng)), ["a", "b", "c"]);
        }
    }

    #[test]
    fn among_equals_the_weights_say_how_often_each_comes_first() {
        let all = [
            candidate("one", 0, 1),
            candidate("three", 0, 3),
            candidate("none", 0, 0),
        ];
        let mut rng = StdRng::seed_from_u64(2);
        let mut first = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            let ordered = names(&in_order(&all, &mut rng));
            assert_eq!(ordered.len(), 3, "each is there once: {ordered:?}");
            *first.entry(ordered[0].clone()).or_insert(0) += 1;
        }
        // The draw is from 0 to 4, and 0 falls to the one without weight.
        assert!((1800..2200).contains(&first["none"]), "{first:?}");
        assert!((1800..2200).contains(&first["one"]), "{first:?}");
        assert!((5700..6300).contains(&first["three"]), "{first:?}");
    }

    #[test]
    fn without_weights_each_comes_first_as_often() {
        let all: Vec<_> = (0..5).map(|n| candidate(&format!("e{n}"), 7, 0)).collect();
        let mut rng = StdRng::seed_from_u64(3);
        let mut first = std::collections::BTreeMap::new();
        for _ in 0..5_000 {
            let mut ordered = names(&in_order(&all, &mut rng));
            *first.entry(ordered[0].clone()).or_insert(0) += 1;
            ordered.sort();
            assert_eq!(ordered, ["e0", "e1", "e2", "e3", "e4"]);
        }
        assert!(
            first.values().all(|times| (850..1150).contains(times)),
            "{first:?}"
        );
    }
}
