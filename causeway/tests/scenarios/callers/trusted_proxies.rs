//! nginx in front of an http ingress: it says within each request whose it is.

use super::{CALLER, OTHER, PROXY, Told, VERSIONS, ask, free, proxy};
use crate::support::{CLUSTER, Plane, listens, peer};

/// What an origin is told, from the caller's address to the host that was asked for.
const TOLD: &str =
    "$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host $host $http_forwarded";

#[test]
fn nginx_in_front_is_believed_and_nobody_else() {
    let (Some(origin), Some(_)) = (Told::start("", TOLD), peer("curl")) else {
        return;
    };
    let ingress = |name: &str, more: &str| {
        format!(
            "[[ingress]]\nname = \"{name}\"\nkind = \"http\"\nlisten = \"127.0.0.1:0\"\n\
             to = \"{CLUSTER}/origin\"\nallow = [\"{CALLER}\", \"{OTHER}\"]\n\
             trusted_proxies = \"{PROXY}\"\n{more}\n"
        )
    };
    let mut plane = Plane::builder()
        .expose("origin", &format!("http://{}", origin.address))
        .edge_toml(&ingress("x-forwarded", ""))
        .edge_toml(&ingress("forwarded", "forwarding_header = \"forwarded\""))
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
