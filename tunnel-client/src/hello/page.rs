//! The page: one self-contained document, everything a stranger sent escaped.

use std::fmt;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, Response};

use super::request::{Header, RequestView};
use super::{Body, full};

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page for one request, under a policy that runs and loads nothing but its own parts.
pub(super) fn respond(view: &RequestView<'_>) -> Response<Body> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = Response::new(full(render(view, &nonce)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_str(&policy).expect("hex digits are valid in a header"),
    );
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn render(view: &RequestView<'_>, nonce: &str) -> String {
    let host = view.host.as_deref().unwrap_or("localhost");
    let arrival = view.arrival;
    let scheme = match view.scheme.as_deref() {
        Some("https") => "https",
        Some(_) | None => "http",
    };
    fill(TEMPLATE, |field| match field {
        "nonce" => nonce.to_owned(),
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "method" => Escaped(view.method).to_string(),
        "target" => Escaped(view.target).to_string(),
        "version" => view.version.to_owned(),
        "host" => Escaped(host).to_string(),
        "base" => format!("{scheme}://{}", Escaped(host)),
        "service" => Escaped(arrival.service.as_deref().unwrap_or("hello")).to_string(),
        "cluster" => arrival
            .cluster
            .as_deref()
            .map_or_else(String::new, |cluster| {
                format!(" in the compute plane <b>{}</b>", Escaped(cluster))
            }),
        "hops" => hops(view),
        "headers" => view.headers.iter().map(row).collect(),
        "header-count" => view.headers.len().to_string(),
        unknown => unreachable!("page.html names the field {unknown:?}, which a test rules out"),
    })
}

/// The stations of the request, from the caller to here, and what lies between them.
fn hops(view: &RequestView<'_>) -> String {
    let arrival = view.arrival;
    let caller = view
        .forwarded_for
        .as_deref()
        .or(arrival.caller_address.as_deref());
    let tunnel = match (&arrival.transport, &arrival.key_exchange) {
        (Some(transport), Some(kex)) => format!("{} · {kex}", transport.to_uppercase()),
        (Some(transport), None) => format!("{} · mutual TLS 1.3", transport.to_uppercase()),
        (None, Some(_) | None) => "mutual TLS 1.3".to_owned(),
    };
    let inside = arrival
        .stream
        .as_deref()
        .map_or_else(|| "one stream".to_owned(), |id| format!("stream {id}"));
    [
        station("caller", "You", caller.unwrap_or("your browser")),
        link("plain", view.scheme.as_deref().unwrap_or("http"), ""),
        station("edge", "Edge", edge(view).as_str()),
        link("tunnel", &tunnel, &inside),
        station(
            "client",
            "Client",
            arrival.cluster.as_deref().unwrap_or("compute plane"),
        ),
        link("plain", view.version, ""),
        station(
            "service",
            "Service",
            arrival.service.as_deref().unwrap_or("hello"),
        ),
    ]
    .concat()
}

fn edge(view: &RequestView<'_>) -> String {
    match (&view.arrival.edge, &view.arrival.caller) {
        (Some(edge), Some(caller)) => format!("{edge} · {caller}"),
        (Some(name), None) | (None, Some(name)) => name.clone(),
        (None, None) => "control plane".to_owned(),
    }
}

fn station(kind: &str, title: &str, detail: &str) -> String {
    format!(
        "<li class=\"station {kind}\"><b>{title}</b><span>{}</span></li>",
        Escaped(detail)
    )
}

fn link(kind: &str, above: &str, below: &str) -> String {
    format!(
        "<li class=\"link {kind}\"><span>{}</span><i></i><span>{}</span></li>",
        Escaped(above),
        Escaped(below)
    )
}

fn row(header: &Header) -> String {
    let class = if header.hidden {
        " class=\"hidden\""
    } else {
        ""
    };
    format!(
        "<tr><th scope=\"row\">{}</th><td{class}>{}</td></tr>",
        Escaped(&header.name),
        Escaped(&header.value)
    )
}

/// Replaces each `{{field}}` in one pass, so that a value which looks like a field stays
/// what it is.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(template.len() + STYLE.len() + SCRIPT.len() + 4096);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after
            .split_once("}}")
            .expect("every field in page.html is closed");
        page.push_str(before);
        page.push_str(&value(field));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Text for HTML, between tags or in a quoted attribute.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut clean = 0;
        for (at, byte) in self.0.bytes().enumerate() {
            let entity = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                _ => continue,
            };
            f.write_str(&self.0[clean..at])?;
            f.write_str(entity)?;
            clean = at + 1;
        }
        f.write_str(&self.0[clean..])
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::Arrival;
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            Escaped("a<b a=\"x\" b='y'>&amp;é</b>").to_string(),
            "a&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;é&lt;/b&gt;"
        );
        assert_eq!(Escaped("").to_string(), "");
    }

    #[test]
    fn nothing_of_a_hostile_request_becomes_markup() {
        let evil = "\"'><script>alert(1)</script>{{nonce}}&";
        let text = |text: &str| Some(text.to_owned());
        let arrival = Arrival {
            caller: text(evil),
            caller_address: text(evil),
            edge: text(evil),
            transport: text(evil),
            key_exchange: text(evil),
            cluster: text(evil),
            service: text(evil),
            stream: text(evil),
        };
        let request = Request::builder()
            .uri("/?q='%3E%22")
            .header("host", evil)
            .header("x-forwarded-for", evil)
            .header("x-forwarded-proto", evil)
            .header("x-evil", evil)
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\xfe<b>").unwrap())
            .header("cookie", "session=topsecret")
            .header("x-auth-token", "topsecret")
            .body(())
            .unwrap();
        let page = render(&RequestView::of(&request, &arrival), "0123nonce");
        assert!(!page.contains("<script>alert"));
        assert!(
            !page.contains("\"'>"),
            "an attribute was closed by a stranger"
        );
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;{{nonce}}&amp;"));
        assert!(page.contains("\u{fffd}\u{fffd}&lt;b&gt;"));
        assert!(!page.contains("topsecret"), "credentials are hidden");
        assert_eq!(
            page.matches("0123nonce").count(),
            2,
            "only the page's own two parts carry the nonce"
        );
        assert_eq!(page.matches("<script").count(), 1);
    }
}
