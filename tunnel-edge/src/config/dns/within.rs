//! What may lie inside a zone for which the edge itself answers: nobody but the edge puts records there.

use hickory_proto::rr::LowerName;
use relay::settings::{Reading, Stated};

use super::DnsTarget;

/// Records every name that would lead nowhere.
pub(super) fn check(
    reading: &Reading<'_>,
    zone: &LowerName,
    target: &DnsTarget,
    nameservers: &[Stated<LowerName>],
) {
    let alias = match target {
        DnsTarget::Addresses(_) => None,
        DnsTarget::Name(name) => Some(name),
    };
    if let Some(target) = alias.filter(|target| zone.zone_of(target)) {
        let message = format!(
            "{target} is inside the zone {zone}, where every name leads to the target: to itself, with \
             no address at the end; list addresses, or write a name outside the zone"
        );
        reading.section("dns").problem("target", message);
    }
    for nameserver in nameservers {
        let name = &nameserver.value;
        let why = match alias {
            _ if name == zone => "is the zone itself, which has no address".to_owned(),
            Some(target) if zone.zone_of(name) => format!(
                "is inside the zone, where it would be an alias of {target}, and a name server's name must \
                 not be an alias (RFC 2181, section 10.3)"
            ),
            Some(_) | None => continue,
        };
        let message = format!(
            "{name} {why}; write a name outside the zone, or list addresses as dns.target and write a name below the zone"
        );
        reading.reject(nameserver, message);
    }
}
