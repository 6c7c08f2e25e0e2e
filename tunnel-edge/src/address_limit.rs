//! How many connections one address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// How many connections each address has; addresses without any are not in it.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Counts the connections of each address.
#[derive(Clone, Debug)]
pub(crate) struct AddressLimit {
    /// None if there is no limit, and nothing is counted.
    max: Option<usize>,
    counts: Counts,
}

/// One connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct AddressGuard(Option<(IpAddr, Counts)>);

impl AddressLimit {
    pub(crate) fn new(max: Option<usize>) -> Self {
        Self {
            max,
            counts: Arc::default(),
        }
    }

    /// Counts one more connection of this address; `None` if it has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<AddressGuard> {
        let Some(max) = self.max else {
            return Some(AddressGuard(None));
        };
        let owner = owner(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(owner).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(AddressGuard(Some((owner, self.counts.clone()))))
    }
}

impl Drop for AddressGuard {
    fn drop(&mut self) {
        let Some((owner, counts)) = self.0.take() else {
            return;
        };
        let mut counts = counts.lock();
        if let Some(count) = counts.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&owner);
            }
        }
    }
}

/// Who has an address: of IPv6 the /64, which is what one site is given at least (RFC 6177).
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        ip @ IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_and_no_more() {
        let limit = AddressLimit::new(Some(2));
        let first = limit.enter(ip("192.0.2.1"));
        let second = limit.enter(ip("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(limit.enter(ip("192.0.2.1")).is_none());
        assert!(limit.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(limit.enter(ip("192.0.2.1")).is_some());
        drop(second);
        assert!(limit.counts.lock().is_empty());
    }

    #[test]
    fn a_site_counts_as_one() {
        let limit = AddressLimit::new(Some(1));
        let _one = limit.enter(ip("2001:db8::1")).unwrap();
        assert!(limit.enter(ip("2001:db8::2")).is_none());
        assert!(limit.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limit = AddressLimit::new(None);
        let _one = limit.enter(ip("192.0.2.1")).unwrap();
        assert!(limit.counts.lock().is_empty());
    }
}
