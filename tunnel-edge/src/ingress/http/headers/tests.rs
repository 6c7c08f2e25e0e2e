//! Heads as they come and as they go on.

use super::*;

#[test]
fn a_length_beside_a_transfer_encoding_is_not_believed() {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
    take_hop_by_hop(&mut headers);
    assert!(headers.contains_key(CONTENT_LENGTH));
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    take_hop_by_hop(&mut headers);
    assert!(headers.is_empty());
}
use http::Request;

fn parts(version: Version, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().version(version).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    parts(Version::HTTP_11, "/", headers).headers
}

#[test]
fn exactly_one_host_is_asked_for() {
    use Version as V;
    type Case<'a> = (
        V,
        &'a str,
        &'a [(&'a str, &'a str)],
        Result<Option<&'a str>, Failure>,
    );
    let bad = Err(Failure::BadHost);
    let cases: &[Case<'_>] = &[
        (V::HTTP_11, "/", &[("host", "a.b:80")], Ok(Some("a.b:80"))),
        (V::HTTP_11, "/", &[], bad),
        (V::HTTP_10, "/", &[], Ok(None)),
        (V::HTTP_11, "/", &[("host", "a"), ("host", "a")], bad),
        (V::HTTP_11, "/", &[("host", "")], bad),
        (V::HTTP_11, "/", &[("host", "u@a")], bad),
        (V::HTTP_11, "/", &[("host", "a b")], bad),
        (V::HTTP_11, "/", &[("host", "a/b")], bad),
        (V::HTTP_11, "http://x/", &[("host", "a")], Ok(Some("x"))),
        (V::HTTP_11, "http://x/", &[], bad),
        (V::HTTP_11, "x", &[("host", "a")], bad),
        (V::HTTP_11, "x:80", &[("host", "x:80")], bad),
        (V::HTTP_10, "x", &[], bad),
        (V::HTTP_2, "http://x/", &[], Ok(Some("x"))),
        (V::HTTP_2, "http://x/", &[("host", "X")], Ok(Some("x"))),
        (V::HTTP_2, "http://x/", &[("host", "y")], bad),
        (V::HTTP_2, "http://u@x/", &[], bad),
        (V::HTTP_2, "/", &[("host", "y")], Ok(Some("y"))),
        (V::HTTP_2, "/", &[], bad),
    ];
    for (version, uri, headers, expected) in cases {
        let found = authority(&parts(*version, uri, headers));
        let found = found.map(|host| host.map(|host| host.to_string()));
        let expected = expected.map(|host| host.map(str::to_owned));
        assert_eq!(found, expected, "{version:?} {uri} {headers:?}");
    }
}

#[test]
fn one_transfer_coding_is_undone_and_no_other() {
    for (codings, expected) in [
        (&[][..], true),
        (&["chunked"], true),
        (&["CHUNKED"], true),
        (&["chunked, chunked"], false),
        (&["chunked", "chunked"], false),
        (&["gzip, chunked"], false),
        (&["gzip", "chunked"], false),
        (&["chunked;q=1"], false),
        (&["identity"], false),
        (&[""], false),
    ] {
        let lines = codings.iter().map(|coding| ("transfer-encoding", *coding));
        let headers = map(&lines.collect::<Vec<_>>());
        assert_eq!(is_coding_undone(&headers), expected, "{codings:?}");
    }
}

#[test]
fn an_option_counts_beside_one_that_is_no_text() {
    let mut headers = map(&[("x-mine", "1"), ("x-other", "2")]);
    let options = HeaderValue::from_bytes(b"\xe9, x-mine").unwrap();
    headers.insert(CONNECTION, options);
    take_hop_by_hop(&mut headers);
    assert_eq!(headers, map(&[("x-other", "2")]));
}

#[test]
fn what_is_for_this_hop_goes_no_further() {
    let mut headers = map(&[
        ("connection", "close, X-Mine"),
        ("connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip, Trailers"),
        ("x-mine", "1"),
        ("trailer", "x-sum"),
        ("x-other", "2"),
    ]);
    let hop = take_hop_by_hop(&mut headers);
    // Without `Connection: upgrade` there is no offer.
    assert_eq!((hop.upgrade, hop.trailers), (None, true));
    assert_eq!(headers, map(&[("trailer", "x-sum"), ("x-other", "2")]));
}

#[test]
fn an_upgrade_is_offered_but_never_to_h2c() {
    for (upgrade, expected) in [
        ("websocket", Some("websocket")),
        ("h2c", None),
        ("H2C, websocket", Some("websocket")),
        ("foo/2, bar", Some("foo/2, bar")),
    ] {
        let mut headers = map(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", upgrade),
            ("http2-settings", "AAMAAABk"),
        ]);
        let found = take_hop_by_hop(&mut headers).upgrade;
        let found = found.as_ref().map(|value| value.to_str().unwrap());
        assert_eq!(found, expected);
        assert!(headers.is_empty());
    }
}

#[test]
fn an_http1_origin_gets_a_path_and_a_host() {
    let cookies = [("cookie", "a=1"), ("cookie", "b=2")];
    let mut parts = parts(Version::HTTP_2, "http://x:1/p?q", &cookies);
    let hop = HopByHop {
        upgrade: Some(HeaderValue::from_static("websocket")),
        trailers: true,
    };
    for_http1(&mut parts, "x:1", &hop, true);
    assert_eq!(
        (parts.version, parts.uri),
        (Version::HTTP_11, "/p?q".parse().unwrap())
    );
    let expected = map(&[
        ("cookie", "a=1; b=2"),
        ("host", "x:1"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("connection", "te, upgrade"),
        ("transfer-encoding", "chunked"),
    ]);
    assert_eq!(parts.headers, expected);
}

#[test]
fn an_empty_path_is_a_slash() {
    for (target, expected) in [
        ("http://x?y", "/?y"),
        ("http://x?", "/?"),
        ("http://x", "/"),
        ("http://x/?y", "/?y"),
        ("/y", "/y"),
    ] {
        let host = Authority::from_static("x");
        let mut whole = parts(Version::HTTP_11, target, &[]);
        for_http2(&mut whole, host, &HopByHop::default());
        assert_eq!(whole.uri.path_and_query().unwrap().as_str(), expected);
        let mut short = parts(Version::HTTP_11, target, &[]);
        for_http1(&mut short, "x", &HopByHop::default(), false);
        assert_eq!(short.uri.path_and_query().unwrap().as_str(), expected);
    }
}

#[test]
fn an_http2_origin_gets_an_authority() {
    let mut parts = parts(Version::HTTP_11, "*", &[("host", "x")]);
    for_http2(
        &mut parts,
        Authority::from_static("x"),
        &HopByHop::default(),
    );
    assert_eq!(parts.uri.authority().unwrap(), "x");
    assert_eq!(parts.uri.path(), "*");
    assert!(parts.headers.is_empty());
}
