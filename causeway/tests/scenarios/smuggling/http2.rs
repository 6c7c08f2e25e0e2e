//! The same over HTTP/2, frame by frame: what RFC 9113 calls malformed (§8.1.1), and what would be
//! read as something else once it is written as HTTP/1.1 to the origin.

use serde_json::json;

use super::frames::{
    Arrival, BROKEN, Case, Field, GET, MALFORMED, POST, SMUGGLED, bare, check, get_but, get_with,
    get_without, post, post_then,
};

#[test]
fn lengths_and_codings() {
    let length = |value, body| post(&[("content-length", value)], body);
    check(&[
        Case::arrives("no body", bare(&GET), ""),
        Case::arrives("a length as it should be", length("3", "abc"), "abc"),
        Case::arrives("no length", post(&[], "abc"), "abc"),
        Case::arrives(
            "what looks like a request is a body",
            post(&[], SMUGGLED),
            SMUGGLED,
        ),
        Case::refused("a length that is too long", length("5", "abc"), MALFORMED),
        Case::refused("a length that is too short", length("2", "abc"), MALFORMED),
        Case::refused(
            "a length without a body",
            get_with("content-length", "3"),
            MALFORMED,
        ),
        Case::refused(
            "two lengths",
            post(&[("content-length", "3"), ("content-length", "0")], "abc"),
            MALFORMED,
        ),
        Case::refused("a list of lengths", length("3, 3", "abc"), MALFORMED),
        Case::refused("a length with a sign", length("+3", "abc"), MALFORMED),
        Case::refused("an empty length", length("", "abc"), MALFORMED),
        Case::refused(
            "a length beyond all numbers",
            length("99999999999999999999999", "abc"),
            MALFORMED,
        ),
        Case::refused(
            "chunks",
            post(&[("transfer-encoding", "chunked")], "0\r\n\r\n"),
            MALFORMED,
        ),
        Case::refused(
            "chunks, and a request behind them",
            post(
                &[("transfer-encoding", "chunked"), ("content-length", "5")],
                SMUGGLED,
            ),
            MALFORMED,
        ),
        Case::refused(
            "identity",
            get_with("transfer-encoding", "identity"),
            MALFORMED,
        ),
    ]);
}

/// Alone, because what arrives may do so late.
#[test]
fn a_body_behind_a_length_of_nothing() {
    check(&[Case {
        arrival: Arrival::Perhaps(""),
        ..Case::refused("", post(&[("content-length", "0")], SMUGGLED), MALFORMED)
    }]);
}

#[test]
fn fields_of_the_connection() {
    check(&[
        Case::arrives("te: trailers", get_with("te", "trailers"), ""),
        Case::refused("te: gzip", get_with("te", "gzip"), MALFORMED),
        Case::refused("te: more", get_with("te", "trailers, gzip"), MALFORMED),
        Case::refused("connection", get_with("connection", "close"), MALFORMED),
        Case::refused(
            "connection names another",
            get_with("connection", "x-forwarded-for"),
            MALFORMED,
        ),
        Case::refused("keep-alive", get_with("keep-alive", "timeout=5"), MALFORMED),
        Case::refused(
            "proxy-connection",
            get_with("proxy-connection", "close"),
            MALFORMED,
        ),
        Case::refused("upgrade", get_with("upgrade", "websocket"), MALFORMED),
    ]);
}

#[test]
fn names_and_values() {
    check(&[
        Case::arrives(
            "a name with all that it may have",
            get_with("x-a_b.c!#$%&'*+^`|~9", "1"),
            "",
        ),
        Case::refused("upper case", get_with("X-Upper", "1"), BROKEN),
        Case::refused("no name", get_with("", "1"), BROKEN),
        Case::refused("a space in a name", get_with("x y", "1"), BROKEN),
        Case::refused(
            "a space behind a name",
            get_with("transfer-encoding ", "chunked"),
            BROKEN,
        ),
        Case::refused("a colon in a name", get_with("x:y", "1"), BROKEN),
        Case::refused(
            "a line in a name",
            get_with("x: 1\r\nsmuggled", "1"),
            BROKEN,
        ),
        Case::refused("a newline in a name", get_with("x\ny", "1"), BROKEN),
        Case::refused("a NUL in a name", get_with("x\0y", "1"), BROKEN),
        Case::refused("a tab in a name", get_with("x\ty", "1"), BROKEN),
        Case::refused("no ASCII in a name", get_with("x\u{fc}", "1"), BROKEN),
        Case::refused(
            "a line in a value",
            get_with("x", "1\r\nsmuggled: 1"),
            BROKEN,
        ),
        Case::refused(
            "a request in a value",
            get_with("x", &format!("1\r\n\r\n{SMUGGLED}")),
            BROKEN,
        ),
        Case::refused(
            "a newline in a value",
            get_with("x", "1\nsmuggled: 1"),
            BROKEN,
        ),
        Case::refused(
            "a carriage return in a value",
            get_with("x", "1\rsmuggled: 1"),
            BROKEN,
        ),
        Case::refused("a NUL in a value", get_with("x", "1\0"), BROKEN),
    ]);
}

#[test]
fn pseudo_header_fields() {
    let connect = |fields: &[Field<'_>]| bare(&[&[(":method", "CONNECT")], fields].concat());
    check(&[
        Case::refused("a space in the path", get_but(":path", "/a b"), MALFORMED),
        Case::refused(
            "a line in the path",
            get_but(":path", "/ HTTP/1.1\r\nsmuggled: 1"),
            MALFORMED,
        ),
        Case::refused("a NUL in the path", get_but(":path", "/\0"), MALFORMED),
        Case::refused("an empty path", get_but(":path", ""), MALFORMED),
        Case::refused(
            "a path without a slash",
            get_but(":path", "smuggled"),
            MALFORMED,
        ),
        Case::refused(
            "another authority in the path",
            get_but(":path", "http://evil/"),
            MALFORMED,
        ),
        Case::refused("no path", get_without(":path", &[]), MALFORMED),
        Case::refused("two paths", get_with(":path", "/smuggled"), MALFORMED),
        Case::refused("no method", get_without(":method", &[]), MALFORMED),
        Case::refused("an empty method", get_but(":method", ""), BROKEN),
        Case::refused(
            "a space in the method",
            get_but(":method", "GET /smuggled"),
            BROKEN,
        ),
        Case::refused(
            "a line in the method",
            get_but(":method", "GET / HTTP/1.1\r\nx:"),
            BROKEN,
        ),
        Case::refused("two methods", get_with(":method", "POST"), MALFORMED),
        Case::refused("no scheme", get_without(":scheme", &[]), MALFORMED),
        // The edge goes by its own scheme, whatever is said.
        Case::arrives("an empty scheme", get_but(":scheme", ""), ""),
        Case::refused(
            "a URI as the scheme",
            get_but(":scheme", "http://evil/?"),
            MALFORMED,
        ),
        Case::refused(
            "a line in the scheme",
            get_but(":scheme", "http\r\nsmuggled: 1"),
            MALFORMED,
        ),
        Case::arrives("a scheme of others", get_but(":scheme", "ftp"), ""),
        Case::refused(
            "a pseudo-header field that there is not",
            get_with(":smuggled", "1"),
            BROKEN,
        ),
        Case::refused("one of answers", get_with(":status", "200"), MALFORMED),
        Case::refused(
            "one behind others",
            get_without(":path", &[("x", "1"), GET[3]]),
            MALFORMED,
        ),
        Case::refused(
            "a protocol without CONNECT",
            get_with(":protocol", "websocket"),
            MALFORMED,
        ),
        Case::refused(
            "a tunnel to anywhere",
            connect(&[(":authority", "evil:80")]),
            "501",
        ),
        Case::refused("a tunnel with a path", connect(&GET[1..]), MALFORMED),
    ]);
}

#[test]
fn hosts() {
    check(&[
        Case::arrives("the same host", get_with("host", "origin.test"), ""),
        Case::arrives(
            "only a host",
            get_without(":authority", &[("host", "origin.test")]),
            "",
        ),
        Case::refused("neither", get_without(":authority", &[]), "400"),
        Case::refused("another host", get_with("host", "evil"), "400"),
        Case::refused("two authorities", get_with(":authority", "evil"), MALFORMED),
        Case::refused(
            "two hosts",
            get_without(":authority", &[("host", "origin.test"), ("host", "evil")]),
            "400",
        ),
        Case::refused("an empty authority", get_but(":authority", ""), MALFORMED),
        Case::refused("a user", get_but(":authority", "user@origin.test"), "400"),
        Case::refused(
            "a path",
            get_but(":authority", "origin.test/evil"),
            MALFORMED,
        ),
        Case::refused(
            "a line",
            get_but(":authority", "origin.test\r\nsmuggled: 1"),
            MALFORMED,
        ),
        Case::refused(
            "two in one",
            get_but(":authority", "origin.test, evil"),
            MALFORMED,
        ),
    ]);
}

#[test]
fn trailers() {
    check(&[
        Case::arrives("as they should be", post_then(&[("x-sum", "1")]), "abc"),
        Case::arrives(
            "who the caller is",
            post_then(&[("x-forwarded-for", "6.6.6.6")]),
            "abc",
        ),
        Case::arrives(
            "the same otherwise",
            post_then(&[("forwarded", "for=6.6.6.6")]),
            "abc",
        ),
        // h2 takes no notice of it, where RFC 9113 §8.1 would have the request refused.
        Case::arrives("a path", post_then(&[(":path", "/smuggled")]), "abc"),
        Case::refused(
            "chunks",
            post_then(&[("transfer-encoding", "chunked")]),
            MALFORMED,
        ),
        Case::refused(
            "a line",
            post_then(&[("x-sum", "1\r\nsmuggled: 1")]),
            BROKEN,
        ),
        Case::refused(
            "not at the end",
            json!([
                ["HEADERS", 1, ["END_HEADERS"], POST],
                ["DATA", 1, [], "abc"],
                ["HEADERS", 1, ["END_HEADERS"], [("x-sum", "1")]],
                ["DATA", 1, ["END_STREAM"], SMUGGLED],
            ]),
            MALFORMED,
        ),
    ]);
}

#[test]
fn frames() {
    let more_fields: Vec<_> = (0..20)
        .map(|n| (format!("x-{n}"), "v".repeat(5000)))
        .collect();
    let mut too_much = json!(GET);
    too_much
        .as_array_mut()
        .unwrap()
        .extend(more_fields.iter().map(|field| json!(field)));
    check(&[
        Case::arrives(
            "in two frames",
            json!([["split", 1, ["END_STREAM"], GET]]),
            "",
        ),
        Case::refused(
            "without an end",
            json!([
                ["HEADERS", 1, ["END_STREAM"], GET],
                ["HEADERS", 3, ["END_HEADERS", "END_STREAM"], GET],
            ]),
            BROKEN,
        ),
        Case::refused(
            "a body before the end of the fields",
            json!([
                ["HEADERS", 1, [], POST],
                ["DATA", 1, ["END_STREAM"], SMUGGLED]
            ]),
            BROKEN,
        ),
        Case::refused(
            "continued on another stream",
            json!([
                ["HEADERS", 1, ["END_STREAM"], GET],
                ["CONTINUATION", 3, ["END_HEADERS"], [("x", "1")]],
            ]),
            BROKEN,
        ),
        Case::refused(
            "continued from nothing",
            json!([["CONTINUATION", 1, ["END_HEADERS"], GET]]),
            BROKEN,
        ),
        Case::refused(
            "continued without an end",
            json!([
                ["HEADERS", 1, ["END_STREAM"], GET],
                [100_000, "CONTINUATION", 1, [], [("x", "1")]],
            ]),
            "GOAWAY ENHANCE_YOUR_CALM",
        ),
        Case::refused(
            "continued with nothing",
            json!([
                ["HEADERS", 1, ["END_STREAM"], GET],
                [100_000, "CONTINUATION", 1, [], ""],
            ]),
            "GOAWAY ENHANCE_YOUR_CALM",
        ),
        Case::refused(
            "more fields than fit",
            json!([["split", 1, ["END_STREAM"], too_much]]),
            "431",
        ),
        Case::refused(
            "no field of that number",
            json!([["HEADERS", 1, ["END_HEADERS", "END_STREAM"], "\u{80}"]]),
            BROKEN,
        ),
        Case::refused(
            "a body of nothing",
            json!([["DATA", 1, ["END_STREAM"], SMUGGLED]]),
            BROKEN,
        ),
        Case::refused(
            "a stream of the other side",
            json!([["HEADERS", 2, ["END_HEADERS", "END_STREAM"], GET]]),
            BROKEN,
        ),
    ]);
}

/// Fields that only the edge may set, in every spelling that an origin could take for them.
#[test]
fn nobody_says_for_the_edge_who_the_caller_is() {
    let claims = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7"),
        ("x-forwarded-host", "6.6.6.6"),
        ("x-forwarded-proto", "6.6.6.6"),
        ("x-forwarded-port", "6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("causeway-caller", "6.6.6.6"),
    ];
    let cases = claims.map(|(name, value)| Case::arrives(name, get_with(name, value), ""));
    check(&cases);
}
