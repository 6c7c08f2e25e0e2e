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
    }
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
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("causeway-caller", "me"),
        ("x-forward", "kept"),
    ]);
    let host = Authority::from_static("a.b:80");
    let peer = "::ffff:192.0.2.1".parse().unwrap();
    let seen = Provenance::of(peer, &headers, &TrustedProxies::default());
    assert_eq!(seen.caller(), "192.0.2.1".parse::<IpAddr>().unwrap());
    seen.announce(&mut headers, Some(&host), None);
    let expected = map(&[
        ("x-forward", "kept"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.b:80"),
        ("forwarded", "for=192.0.2.1;host=\"a.b:80\";proto=http"),
    ]);
    assert_eq!(headers, expected);

    let peer = "2001:db8::1".parse().unwrap();
    let seen = Provenance::of(peer, &headers, &TrustedProxies::default());
    seen.announce(&mut headers, None, Some("/api"));
    assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=http");
    assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
    assert_eq!(headers["x-forwarded-prefix"], "/api");
    assert!(!headers.contains_key("x-forwarded-host"));
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
            "10.0.0.2, 10.0.0.1",
        ),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1, 10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1, fd00::1"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1, 10.0.0.1"),
        ("192.0.2.9", "10.0.0.1", "192.0.2.9"),
    ] {
        let mut headers = map(&[("x-forwarded-for", told), ("forwarded", "for=7.7.7.7")]);
        let seen = Provenance::of(peer.parse().unwrap(), &headers, &trusted);
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
    let seen = Provenance::of("10.0.0.1".parse().unwrap(), &headers, &trusted);
    assert_eq!(seen.caller(), "192.0.2.1".parse::<IpAddr>().unwrap());
}

#[test]
fn a_trusted_proxy_says_what_was_asked_of_it() {
    let claims = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http, HTTPS"),
        ("x-forwarded-host", "shop.example.com"),
        (
            "forwarded",
            "for=\"[2001:db8::1]:80\";proto=https;host=\"a,b;c\", For=192.0.2.2 ; Proto=http; host=\"other.example.com\"",
        ),
    ];
    let here = Authority::from_static("here");
    for (header, expected) in [
        (
            ForwardingHeader::XForwarded,
            "for=192.0.2.1;host=\"shop.example.com\";proto=https, for=10.0.0.1",
        ),
        (
            ForwardingHeader::Forwarded,
            "for=192.0.2.2;host=\"other.example.com\";proto=http, for=10.0.0.1",
        ),
    ] {
        let mut headers = map(&claims);
        let trusted = trusting(&["10.0.0.0/8"], header);
        let seen = Provenance::of("10.0.0.1".parse().unwrap(), &headers, &trusted);
        seen.announce(&mut headers, Some(&here), None);
        assert_eq!(headers["forwarded"], expected);
    }
    let trusted = trusting(&["10.0.0.0/8", "192.0.2.2/32"], ForwardingHeader::Forwarded);
    let mut headers = map(&claims);
    let seen = Provenance::of("10.0.0.1".parse().unwrap(), &headers, &trusted);
    seen.announce(&mut headers, Some(&here), None);
    assert_eq!(
        headers["forwarded"],
        "for=\"[2001:db8::1]\";host=\"a,b;c\";proto=https, for=192.0.2.2, for=10.0.0.1"
    );
}
