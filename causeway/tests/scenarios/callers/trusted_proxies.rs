//! nginx in front of an http ingress: it says within each request whose it is.

use super::{CALLER, OTHER, PROXY, Told, VERSIONS, ask, free, haproxy, proxy};
use crate::support::{CLUSTER, Plane, listens, peer};

/// What an origin is told, from the caller's address to the host that was asked for.
const TOLD: &str =
    "$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host $host $http_forwarded";

/// Of a proxy that sets them all.
const ALL_FIELDS: &str = "forwarding_fields = [\"for\", \"proto\", \"host\"]";

#[test]
fn nginx_in_front_is_believed_and_nobody_else() {
    let (Some(origin), Some(_)) = (Told::start("", TOLD), peer("curl")) else {
        return;
    };
    let mut plane = Plane::builder()
        .expose("origin", &format!("http://{}", origin.address))
        .edge_toml(&ingress("x-forwarded", ALL_FIELDS))
        .edge_toml(&ingress(
            "forwarded",
            &format!("forwarding_header = \"forwarded\"\n{ALL_FIELDS}"),
        ))
        .start();
    let edges = ["x-forwarded", "forwarded"].map(|name| plane.ingress(name));
    let entries = [free(), free()];
    // What a caller says is handed on in the header that the other ingress believes.
    let says = [
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host $host;",
        "proxy_set_header Forwarded \"for=$remote_addr;proto=https;host=$host\";",
    ];
    let servers: String = (0..2)
        .map(|at| {
            format!(
                "server {{ listen {}; location / {{\n\
                 proxy_pass http://{}; proxy_bind {PROXY}; proxy_http_version 1.1;\n\
                 proxy_set_header Host inner.test;\n{} }} }}\n",
                entries[at], edges[at], says[at]
            )
        })
        .collect();
    let Some(_nginx) = proxy(&servers) else {
        return;
    };
    let claims: &[&str] = &[
        "-H",
        "host: shop.test",
        "-H",
        "x-forwarded-for: 6.6.6.6",
        "-H",
        "x-forwarded-proto: gopher",
        "-H",
        "x-forwarded-host: evil.test",
        "-H",
        "forwarded: for=6.6.6.6;proto=gopher;host=evil.test",
    ];
    for (entry, edge) in entries.into_iter().zip(edges) {
        listens("nginx", entry);
        for caller in [CALLER, OTHER] {
            let answer = ask(caller, entry, claims);
            assert_eq!(answer.outcome, "200", "{answer:?}");
            assert_eq!(
                answer.body,
                format!(
                    "{caller}, {PROXY} https shop.test inner.test \
                     for={caller};host=\"shop.test\";proto=https, for={PROXY}"
                )
            );
            for version in VERSIONS {
                let answer = ask(caller, edge, &[claims, &[version]].concat());
                assert_eq!(answer.outcome, "200", "{answer:?}");
                assert_eq!(
                    answer.body,
                    format!(
                        "{caller} http shop.test shop.test for={caller};host=\"shop.test\";proto=http"
                    )
                );
            }
        }
        // It is the caller who is let in or not, whoever the proxy is.
        assert_eq!(ask("127.0.0.9", entry, claims).outcome, "403");
        assert_eq!(ask("127.0.0.9", edge, claims).outcome, "403");
        assert_eq!(ask(PROXY, edge, &[]).outcome, "403");
    }
}

/// Proxies that say only whose a request is, and append it to whatever the caller has said.
#[test]
fn a_caller_cannot_speak_for_a_proxy_that_appends() {
    let (Some(origin), Some(_)) = (Told::start("", TOLD), peer("curl")) else {
        return;
    };
    let mut plane = Plane::builder()
        .expose("origin", &format!("http://{}", origin.address))
        .edge_toml(&ingress("x-forwarded", ""))
        .edge_toml(&ingress("forwarded", "forwarding_header = \"forwarded\""))
        .start();
    let edges = ["x-forwarded", "forwarded"].map(|name| plane.ingress(name));
    let [joined, appended, added] = [free(), free(), free()];
    let server = |entry, edge, line| {
        format!(
            "server {{ listen {entry}; location / {{\n\
             proxy_pass http://{edge}; proxy_bind {PROXY}; proxy_set_header {line}; }} }}\n"
        )
    };
    let Some(_nginx) = proxy(&format!(
        "{}{}",
        server(
            joined,
            edges[0],
            "X-Forwarded-For $proxy_add_x_forwarded_for"
        ),
        server(
            appended,
            edges[1],
            "Forwarded \"$http_forwarded, for=$remote_addr\""
        ),
    )) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    // A line of its own behind the caller's.
    let Some(_haproxy) = haproxy(
        directory.path(),
        &format!(
            "listen edge\n bind {added}\n mode http\n option forwardfor\n\
             server edge {} source {PROXY}\n",
            edges[0]
        ),
    ) else {
        return;
    };
    for (entry, name) in [(joined, "nginx"), (appended, "nginx"), (added, "haproxy")] {
        listens(name, entry);
        // Who may not call, speaks for one who may; or breaks off what the proxy says.
        for (claim, status) in [
            (format!("x-forwarded-for: {CALLER}"), "403"),
            (format!("forwarded: for={CALLER}"), "403"),
            ("x-forwarded-for: \u{e9}".to_owned(), "400"),
            (format!("forwarded: for={CALLER};proto=https;x=\""), "400"),
            ("forwarded: \u{e9}".to_owned(), "400"),
        ] {
            let heard = claim.starts_with('f') == (entry == appended);
            let expected = if heard { status } else { "403" };
            let answer = ask("127.0.0.9", entry, &["-H", &claim]);
            assert_eq!(answer.outcome, expected, "{name}: {claim}: {answer:?}");
        }
        // What the proxy does not say itself is not its word.
        let more = [
            "-H",
            "x-forwarded-proto: https",
            "-H",
            "x-forwarded-host: evil.test",
            "-H",
            "host: shop.test",
        ];
        let answer = ask(CALLER, entry, &more);
        assert_eq!(answer.outcome, "200", "{name}: {answer:?}");
        let told = format!("{CALLER}, {PROXY} http ");
        assert!(answer.body.starts_with(&told), "{name}: {answer:?}");
        assert!(!answer.body.contains("evil"), "{name}: {answer:?}");
        assert!(!answer.body.contains("https"), "{name}: {answer:?}");
    }
}

/// An ingress that believes [`PROXY`] and admits [`CALLER`] and [`OTHER`].
fn ingress(name: &str, more: &str) -> String {
    format!(
        "[[ingress]]\nname = \"{name}\"\nkind = \"http\"\nlisten = \"127.0.0.1:0\"\n\
         to = \"{CLUSTER}/origin\"\nallow = [\"{CALLER}\", \"{OTHER}\"]\n\
         trusted_proxies = \"{PROXY}\"\n{more}\n"
    )
}
