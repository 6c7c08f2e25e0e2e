//! What is believed of whom, and what is announced.

use http::HeaderValue;

use super::*;

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn trusting(networks: &[&str], header: ForwardingHeader) -> TrustedProxies {
    TrustedProxies {
        networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
        header,
        ..TrustedProxies::default()
    }
}

const ALL: [ForwardingField; 3] = [
    ForwardingField::For,
    ForwardingField::Proto,
    ForwardingField::Host,
];

/// What a request of `10.0.0.1` is announced with, if that is believed.
fn announced(headers: &HeaderMap, trusted: &TrustedProxies) -> Result<String, Failure> {
    let seen = Provenance::of("10.0.0.1".parse().unwrap(), headers, trusted)?;
    let mut headers = headers.clone();
    seen.announce(&mut headers, Some(&Authority::from_static("here")), None);
    Ok(headers["forwarded"].to_str().unwrap().to_owned())
}

#[test]
fn nobody_else_says_who_the_caller_is() {
    let mut headers = map(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-groups", "wheel"),
        ("x-real-ip", "6.6.6.6"),
        ("x-forwarded", "for=6.6.6.6"),
        ("forwarded-for", "6.6.6.6"),
        ("x-client-ip", "6.6.6.6"),
        ("x_client_ip", "6.6.6.6"),
        ("x-cluster-client-ip", "6.6.6.6"),
        ("true-client-ip", "6.6.6.6"),
        ("cf-connecting-ip", "6.6.6.6"),
        ("fastly-client-ip", "6.6.6.6"),
        // Not even read: this is a stranger's.
        ("forwarded", "for=6.6.6.6;x=\""),
        ("causeway-caller", "me"),
        ("x-forward", "kept"),
        ("client-ip-count", "kept"),
    ]);
    let host = Authority::from_static("a.b:80");
    let peer = "::ffff:192.0.2.1".parse().unwrap();
    let seen = Provenance::of(peer, &headers, &TrustedProxies::default()).unwrap();
    assert_eq!(seen.caller().to_string(), "192.0.2.1");
    seen.announce(&mut headers, Some(&host), None);
    let expected = map(&[
        ("x-forward", "kept"),
        ("client-ip-count", "kept"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.b:80"),
        ("forwarded", "for=192.0.2.1;host=\"a.b:80\";proto=http"),
    ]);
    assert_eq!(headers, expected);

    let peer = "2001:db8::1".parse().unwrap();
    let seen = Provenance::of(peer, &headers, &TrustedProxies::default()).unwrap();
    seen.announce(&mut headers, None, Some("/api"));
    assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=http");
    assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
    assert_eq!(headers["x-forwarded-prefix"], "/api");
    assert!(!headers.contains_key("x-forwarded-host"));
}

const NOT_IN_FORWARDED: [ForwardingField; 3] = [
    ForwardingField::Port,
    ForwardingField::Prefix,
    ForwardingField::User,
];

#[test]
fn port_prefix_and_user_pass_if_a_trusted_proxy_sets_them() {
    let told = map(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/outer/"),
        ("x-forwarded-prefix", "/, /inner"),
        ("x-forwarded-user", "ann"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-groups", "dev"),
        ("x-forwarded-groups", "ops"),
        ("x-forwarded-email", "ann@example.com"),
        ("x-forwarded-preferred-username", "ann"),
        ("x-forwarded-server", "front"),
    ]);
    let passed = |peer: &str, fields: &[ForwardingField]| {
        let mut trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::XForwarded);
        trusted.fields = fields.to_vec();
        let seen = Provenance::of(peer.parse().unwrap(), &told, &trusted).unwrap();
        let mut headers = told.clone();
        seen.announce(&mut headers, None, Some("/api"));
        for known in ["for", "proto", "host"] {
            headers.remove(format!("x-forwarded-{known}"));
        }
        headers.remove("forwarded");
        headers
    };
    let nothing = map(&[("x-forwarded-prefix", "/api")]);
    assert_eq!(passed("10.0.0.1", &ALL), nothing);
    assert_eq!(
        passed("192.0.2.1", &NOT_IN_FORWARDED),
        nothing,
        "a stranger's"
    );
    let all = map(&[
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/outer/inner/api"),
        ("x-forwarded-user", "ann"),
        ("x-forwarded-groups", "dev"),
        ("x-forwarded-groups", "ops"),
        ("x-forwarded-email", "ann@example.com"),
        ("x-forwarded-preferred-username", "ann"),
    ]);
    assert_eq!(passed("10.0.0.1", &NOT_IN_FORWARDED), all);
}

#[test]
fn a_port_or_prefix_that_is_none_is_not_believed() {
    for (name, value) in [
        ("x-forwarded-port", "https"),
        ("x-forwarded-port", "65536"),
        ("x-forwarded-port", "0"),
        ("x-forwarded-port", "+1"),
        ("x-forwarded-port", "443,"),
        ("x-forwarded-prefix", "api"),
        ("x-forwarded-prefix", "//evil.example"),
        ("x-forwarded-prefix", "/a?b"),
        ("x-forwarded-prefix", "/a#b"),
        ("x-forwarded-prefix", "http://evil.example/"),
    ] {
        let mut trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::XForwarded);
        trusted.fields = NOT_IN_FORWARDED.to_vec();
        let told = map(&[(name, value)]);
        let seen = Provenance::of("10.0.0.1".parse().unwrap(), &told, &trusted);
        assert_eq!(seen, Err(Failure::BadForwardingHeader), "{name}: {value}");
    }
}

#[test]
fn the_caller_is_the_last_one_whom_no_proxy_is_trusted_to_be() {
    let trusted = trusting(&["10.0.0.0/8", "fd00::/8"], ForwardingHeader::XForwarded);
    for (peer, told, hops) in [
        ("10.0.0.1", "192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1, 10.0.0.1"),
        (
            "10.0.0.1",
            "192.0.2.1, 10.0.0.2",
            "192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            "6.6.6.6,192.0.2.1:99 , 10.0.0.2",
            "192.0.2.1, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            "10.0.0.3, 10.0.0.2",
            "10.0.0.3, 10.0.0.2, 10.0.0.1",
        ),
        (
            "10.0.0.1",
            "192.0.2.1, unknown, 10.0.0.2",
            "unknown, 10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", "6.6.6.6, _x", "_x, 10.0.0.1"),
        ("10.0.0.1", "nonsense, 192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1, 10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1, fd00::1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("192.0.2.9", "10.0.0.1", "192.0.2.9"),
    ] {
        let mut headers = map(&[("x-forwarded-for", told), ("forwarded", "for=7.7.7.7")]);
        let seen = Provenance::of(peer.parse().unwrap(), &headers, &trusted).unwrap();
        seen.announce(&mut headers, None, None);
        assert_eq!(headers["x-forwarded-for"], hops, "{peer} {told}");
        assert_eq!(
            headers["forwarded"]
                .to_str()
                .unwrap()
                .matches("for=")
                .count(),
            hops.split(',').count()
        );
    }
}

#[test]
fn several_lines_are_one_list() {
    let trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::XForwarded);
    let headers = map(&[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "192.0.2.1"),
    ]);
    let told = announced(&headers, &trusted).unwrap();
    assert_eq!(told, "for=192.0.2.1;host=\"here\";proto=http, for=10.0.0.1");
}

#[test]
fn what_cannot_be_read_is_nobodys() {
    type Lines<'a> = &'a [(&'static str, &'a [u8])];
    let x_forwarded: &[Lines<'_>] = &[
        &[("x-forwarded-for", b"nonsense")],
        &[("x-forwarded-for", b"")],
        &[("x-forwarded-for", b"10.0.0.5, ")],
        &[("x-forwarded-for", b"\xe9")],
        &[("x-forwarded-for", b"\xe9, 192.0.2.1")],
        &[
            ("x-forwarded-for", b"10.0.0.5"),
            ("x-forwarded-for", b"\xe9, 192.0.2.1"),
        ],
        &[("x-forwarded-for", b"192.0.2.1, nonsense, 10.0.0.2")],
        &[
            ("x-forwarded-for", b"192.0.2.1"),
            ("x-forwarded-proto", b"gopher"),
        ],
        &[
            ("x-forwarded-for", b"192.0.2.1"),
            ("x-forwarded-host", b"a@b"),
        ],
    ];
    let forwarded: &[Lines<'_>] = &[
        &[("forwarded", b"for=10.0.0.5;proto=https;x=\", for=192.0.2.1")],
        &[
            ("forwarded", b"for=10.0.0.5"),
            ("forwarded", b"\xe9, for=192.0.2.1"),
        ],
        &[("forwarded", b"for=10.0.0.5, for=nonsense")],
        &[("forwarded", b"for=10.0.0.5, proto=https")],
        &[("forwarded", b"for=192.0.2.1;proto=gopher")],
        &[("forwarded", b"for=192.0.2.1;host=\"a b\"")],
    ];
    for (header, bad) in [
        (ForwardingHeader::XForwarded, x_forwarded),
        (ForwardingHeader::Forwarded, forwarded),
    ] {
        let mut trusted = trusting(&["10.0.0.0/8"], header);
        trusted.fields = ALL.to_vec();
        for lines in bad {
            let mut headers = HeaderMap::new();
            for (name, value) in *lines {
                headers.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
            let found = announced(&headers, &trusted);
            assert_eq!(found, Err(Failure::BadForwardingHeader), "{headers:?}");
        }
    }
}

#[test]
fn a_caller_that_is_hidden_is_in_no_network() {
    let everywhere = Callers::Networks(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
    let trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::Forwarded);
    for (told, admitted) in [
        ("for=192.0.2.1", true),
        ("for=unknown", false),
        ("for=192.0.2.1, for=_x", false),
        ("for=unknown, for=192.0.2.1", true),
    ] {
        let headers = map(&[("forwarded", told)]);
        let seen = Provenance::of("10.0.0.1".parse().unwrap(), &headers, &trusted).unwrap();
        assert_eq!(seen.admitted_by(&everywhere), admitted, "{told}");
        assert!(seen.admitted_by(&Callers::Anonymous));
    }
    let hidden = map(&[("forwarded", "for=_x")]);
    let told = announced(&hidden, &trusted).unwrap();
    assert_eq!(told, "for=_x;host=\"here\";proto=http, for=10.0.0.1");
}

#[test]
fn a_proxy_is_believed_in_what_it_is_said_to_set() {
    let claims = map(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "wss"),
        ("x-forwarded-host", "a"),
        ("forwarded", "for=192.0.2.1;proto=https;host=a"),
    ]);
    use ForwardingField as F;
    for (fields, expected) in [
        (
            &[F::For][..],
            "for=192.0.2.1;host=\"here\";proto=http, for=10.0.0.1",
        ),
        (&[F::Proto], "for=10.0.0.1;host=\"here\";proto=https"),
        (&[F::Host], "for=10.0.0.1;host=\"a\";proto=http"),
        (
            &[F::For, F::Proto],
            "for=192.0.2.1;host=\"here\";proto=https, for=10.0.0.1",
        ),
        (&ALL, "for=192.0.2.1;host=\"a\";proto=https, for=10.0.0.1"),
    ] {
        for header in [ForwardingHeader::XForwarded, ForwardingHeader::Forwarded] {
            let mut trusted = trusting(&["10.0.0.0/8"], header);
            trusted.fields = fields.to_vec();
            assert_eq!(announced(&claims, &trusted).unwrap(), expected);
        }
    }
    assert_eq!(TrustedProxies::default().fields, [F::For]);
    // Nobody is who is not said to be anyone.
    let trusted = trusting(&["10.0.0.0/8"], ForwardingHeader::XForwarded);
    let told = announced(&HeaderMap::new(), &trusted).unwrap();
    assert_eq!(told, "for=10.0.0.1;host=\"here\";proto=http");
}

#[test]
fn a_trusted_proxy_says_what_was_asked_of_it() {
    let claims = map(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "shop.example.com"),
        (
            "forwarded",
            "for=\"[2001:db8::1]:80\";proto=https;host=\"a,b;c\", For=192.0.2.2 ; Proto=http; host=\"other.example.com\"",
        ),
    ]);
    for (networks, header, expected) in [
        (
            &["10.0.0.0/8"][..],
            ForwardingHeader::XForwarded,
            "for=192.0.2.1;host=\"shop.example.com\";proto=https, for=10.0.0.1",
        ),
        (
            &["10.0.0.0/8"],
            ForwardingHeader::Forwarded,
            "for=192.0.2.2;host=\"other.example.com\";proto=http, for=10.0.0.1",
        ),
        (
            &["10.0.0.0/8", "192.0.2.2/32"],
            ForwardingHeader::Forwarded,
            "for=\"[2001:db8::1]\";host=\"a,b;c\";proto=https, for=192.0.2.2, for=10.0.0.1",
        ),
    ] {
        let mut trusted = trusting(networks, header);
        trusted.fields = ALL.to_vec();
        assert_eq!(announced(&claims, &trusted).unwrap(), expected);
    }
}
