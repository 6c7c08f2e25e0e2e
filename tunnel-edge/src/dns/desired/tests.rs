//! Views, and the names that they ask for.

use super::*;

fn naming() -> Naming {
    Naming {
        zone: lower("apps.example.com."),
        wildcard: true,
        nameservers: BTreeSet::new(),
        ttl: 60,
        edge_ttl: 300,
    }
}

fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

fn edge(target: &str, standing: Standing) -> EdgeView {
    let addresses: Result<BTreeSet<IpAddr>, _> = target.split(' ').map(str::parse).collect();
    EdgeView {
        target: match addresses {
            Ok(addresses) => DnsTarget::Addresses(addresses),
            Err(_) => DnsTarget::Name(lower(target)),
        },
        port: 7443,
        standing,
    }
}

fn view(edges: &[(&str, &str, Standing)], clusters: &[(&str, &[&str])]) -> View {
    View {
        edges: edges
            .iter()
            .map(|(name, target, standing)| (name.parse().unwrap(), edge(target, *standing)))
            .collect(),
        clusters: clusters
            .iter()
            .map(|(cluster, edges)| {
                let edges = edges.iter().map(|edge| edge.parse().unwrap()).collect();
                (cluster.parse().unwrap(), edges)
            })
            .collect(),
    }
}

/// As in a zone's file, a line for each record; those that may go at once behind a minus.
fn shown(desired: &Desired) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, wanted) in &desired.names {
        let (ttl, purpose) = (wanted.ttl, &wanted.purpose);
        for data in &wanted.records {
            let kind = data.record_type();
            lines.push(format!("{name} {ttl} {kind} {data} ({purpose})"));
        }
        for data in &wanted.leaving {
            lines.push(format!("- {name} {data}"));
        }
    }
    lines.sort();
    lines
}

use Standing::{Leaving, Serving};

#[test]
fn nothing_asks_for_nothing() {
    assert_eq!(desired(&View::default(), &naming()), Desired::default());
    let no_edge = view(&[], &[("acme/prod-1", &["edge-1"])]);
    assert_eq!(desired(&no_edge, &naming()), Desired::default());
}

#[test]
fn name_servers_in_the_zone_lead_to_the_edges_and_an_edge_may_be_one() {
    let names = [
        "ns1.apps.example.com.",
        "a.b.apps.example.com.",
        "edge-1.apps.example.com.",
    ];
    let naming = Naming {
        nameservers: names.map(lower).into(),
        wildcard: false,
        ..naming()
    };
    let view = view(&[("edge-1", "192.0.2.1 2001:db8::1", Serving)], &[]);
    assert_eq!(
        shown(&desired(&view, &naming)),
        [
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 edge-1.apps.example.com. (discovery)",
            "a.b.apps.example.com. 300 A 192.0.2.1 (nameserver)",
            "a.b.apps.example.com. 300 AAAA 2001:db8::1 (nameserver)",
            "edge-1.apps.example.com. 300 A 192.0.2.1 (edge/edge-1)",
            "edge-1.apps.example.com. 300 AAAA 2001:db8::1 (edge/edge-1)",
            "ns1.apps.example.com. 300 A 192.0.2.1 (nameserver)",
            "ns1.apps.example.com. 300 AAAA 2001:db8::1 (nameserver)",
        ]
    );
}

#[test]
fn every_cluster_leads_to_the_edges_that_reach_it() {
    let view = view(
        &[
            ("edge-1", "192.0.2.1 2001:db8::1", Serving),
            ("edge-2", "192.0.2.2", Serving),
        ],
        &[
            ("acme/prod-1", &["edge-1"]),
            ("beta/x", &["edge-1", "edge-2", "edge-9"]),
        ],
    );
    assert_eq!(
        shown(&desired(&view, &naming())),
        [
            "*.apps.example.com. 60 A 192.0.2.1 (ingress)",
            "*.apps.example.com. 60 A 192.0.2.2 (ingress)",
            "*.apps.example.com. 60 AAAA 2001:db8::1 (ingress)",
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 edge-1.apps.example.com. (discovery)",
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 edge-2.apps.example.com. (discovery)",
            "edge-1.apps.example.com. 300 A 192.0.2.1 (edge/edge-1)",
            "edge-1.apps.example.com. 300 AAAA 2001:db8::1 (edge/edge-1)",
            "edge-2.apps.example.com. 300 A 192.0.2.2 (edge/edge-2)",
            "prod-1--acme.apps.example.com. 60 A 192.0.2.1 (cluster/acme/prod-1)",
            "prod-1--acme.apps.example.com. 60 AAAA 2001:db8::1 (cluster/acme/prod-1)",
            "x--beta.apps.example.com. 60 A 192.0.2.1 (cluster/beta/x)",
            "x--beta.apps.example.com. 60 A 192.0.2.2 (cluster/beta/x)",
            "x--beta.apps.example.com. 60 AAAA 2001:db8::1 (cluster/beta/x)",
        ]
    );
}

#[test]
fn an_edge_that_leaves_is_led_to_only_where_there_is_no_other() {
    let naming = Naming {
        wildcard: false,
        ..naming()
    };
    let view = view(
        &[
            ("edge-1", "192.0.2.1", Leaving),
            ("edge-2", "192.0.2.2", Serving),
        ],
        &[("a/both", &["edge-1", "edge-2"]), ("a/one", &["edge-1"])],
    );
    assert_eq!(
        shown(&desired(&view, &naming)),
        [
            "- _causeway._tcp.apps.example.com. 0 1 7443 edge-1.apps.example.com.",
            "- both--a.apps.example.com. 192.0.2.1",
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 edge-2.apps.example.com. (discovery)",
            "both--a.apps.example.com. 60 A 192.0.2.2 (cluster/a/both)",
            "edge-1.apps.example.com. 300 A 192.0.2.1 (edge/edge-1)",
            "edge-2.apps.example.com. 300 A 192.0.2.2 (edge/edge-2)",
            "one--a.apps.example.com. 60 A 192.0.2.1 (cluster/a/one)",
        ]
    );
}

#[test]
fn a_target_that_is_a_name_becomes_an_alias_and_clients_are_led_past_it() {
    let view = view(
        &[("edge-1", "lb.example.net.", Serving)],
        &[("acme/prod-1", &["edge-1"])],
    );
    assert_eq!(
        shown(&desired(&view, &naming())),
        [
            "*.apps.example.com. 60 CNAME lb.example.net. (ingress)",
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 lb.example.net. (discovery)",
            "edge-1.apps.example.com. 300 CNAME lb.example.net. (edge/edge-1)",
            "prod-1--acme.apps.example.com. 60 CNAME lb.example.net. (cluster/acme/prod-1)",
        ]
    );
}

#[test]
fn addresses_count_more_than_aliases_of_which_there_can_be_one() {
    let naming = Naming {
        wildcard: false,
        ..naming()
    };
    let view = view(
        &[
            ("e1", "b.example.net.", Serving),
            ("e2", "a.example.net.", Serving),
            ("e3", "192.0.2.3", Serving),
        ],
        &[("a/aliases", &["e1", "e2"]), ("a/mixed", &["e1", "e3"])],
    );
    let desired = desired(&view, &naming);
    let of = |name: &str| {
        let records = &desired.names[&lower(name)].records;
        let records: Vec<_> = records.iter().map(ToString::to_string).collect();
        records.join(" ")
    };
    assert_eq!(of("aliases--a.apps.example.com."), "a.example.net.");
    assert_eq!(of("mixed--a.apps.example.com."), "192.0.2.3");
}

#[test]
fn what_does_not_fit_is_said_and_the_rest_is_published() {
    let (cluster, tenant) = ("c".repeat(31), "t".repeat(31));
    let long = format!("{tenant}/{cluster}");
    let view = view(
        &[("edge-1", "192.0.2.1", Serving)],
        &[(&long, &["edge-1"]), ("acme/prod-1", &["edge-1"])],
    );
    let all = desired(&view, &naming());
    assert_eq!(all.names.len(), 4);
    let [(purpose, unfit)] = &all.unfit.iter().collect::<Vec<_>>()[..] else {
        panic!("one does not fit: {:?}", all.unfit);
    };
    assert_eq!(purpose.to_string(), format!("cluster/{long}"));
    assert_eq!(unfit.name, format!("{cluster}--{tenant}.apps.example.com."));
    assert!(unfit.message.contains("64 characters"), "{}", unfit.message);

    // 245 characters: room for a short label, and not for one with that of the subtree.
    let zone = lower(&format!("{0}.{0}.{0}.{0}.", "z".repeat(60)));
    let naming = Naming { zone, ..naming() };
    let all = desired(&view, &naming);
    assert!(all.names.is_empty());
    assert_eq!(all.unfit.len(), 4);
    for unfit in all.unfit.values() {
        assert!(unfit.message.contains("253 characters") || unfit.message.contains("64"));
    }
}

#[test]
fn a_name_does_not_lead_to_itself() {
    let view = view(
        &[("edge-1", "edge-1.apps.example.com.", Serving)],
        &[("acme/prod-1", &["edge-1"])],
    );
    let desired = desired(&view, &naming());
    assert_eq!(desired.names.len(), 3);
    let unfit: Vec<_> = desired.unfit.values().collect();
    assert_eq!(unfit[0].name, "edge-1.apps.example.com.");
    assert!(unfit[0].message.contains("lead to itself"));
}
