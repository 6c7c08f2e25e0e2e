//! `[[route]]`: requests of one listener that go to several services by host and path.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use crate::support::{CLUSTER, Plane, address_for_server, listens, nginx, peer, run};

/// What a service tells of a request, its own name first.
const TOLD: &str = "$host $request_uri $http_x_forwarded_host $http_x_forwarded_prefix";

#[test]
fn hosts_and_paths_lead_to_services_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let [users, files, pages] = [(); 3].map(|()| address_for_server());
    let server = |name: &str, address: SocketAddr| {
        format!(
            "server {{ listen {address}; merge_slashes off; default_type text/plain;\n\
             return 200 \"{name}: {TOLD}\"; }}\n"
        )
    };
    let config = server("users", users) + &server("files", files) + &server("pages", pages);
    let (Some(_nginx), Some(curl)) = (nginx(directory.path(), &config), peer("curl")) else {
        return;
    };
    for address in [users, files, pages] {
        listens("nginx", address);
    }
    let route = |service: &str, more: &str| {
        format!("[[route]]\ningress = \"web\"\nto = \"{CLUSTER}/{service}\"\n{more}\n")
    };
    let mut plane = Plane::builder()
        .expose("users", &format!("http://{users}"))
        .expose("files", &format!("http://{files}"))
        .expose("pages", &format!("http://{pages}"))
        .edge_toml(
            "[[ingress]]\nname = \"web\"\nkind = \"http\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n",
        )
        .edge_toml(&route("users", "path = \"/api/users\"\nstrip_prefix = true"))
        .edge_toml(&route(
            "files",
            "path = \"/files\"\nset_host = \"files.internal:81\"",
        ))
        .edge_toml(&route(
            "files",
            "host = \"shop.test\"\npath = \"/api/users/files\"\nstrip_prefix = true\nset_host = \"both.internal\"",
        ))
        .edge_toml(&route("pages", "host = \"*.pages.test\""))
        .edge_toml(&route("pages", "host = \"shop.test\"\npath = \"/pages\""))
        .start();
    let web = plane.ingress("web");
    for (host, path, expected) in [
        (
            "any.test",
            "/api/users",
            "200 users: any.test / any.test /api/users",
        ),
        (
            "any.test",
            "/api/users/7?a=b/..",
            "200 users: any.test /7?a=b/.. any.test /api/users",
        ),
        (
            "any.test",
            "/%61pi/users/%C3%BC",
            "200 users: any.test /%C3%BC any.test /%61pi/users",
        ),
        (
            "any.test",
            "/files/a%20b",
            "200 files: files.internal /files/a%20b any.test ",
        ),
        // The host that is stated counts before the one that is not, and the longer path first.
        (
            "shop.test",
            "/api/users/files/x",
            "200 files: both.internal /x shop.test /api/users/files",
        ),
        (
            "any.test",
            "/api/users/files/x",
            "200 users: any.test /files/x any.test /api/users",
        ),
        (
            "SHOP.test",
            "/pages/",
            "200 pages: shop.test /pages/ SHOP.test ",
        ),
        (
            "a.pages.test",
            "/api/users",
            "200 pages: a.pages.test /api/users a.pages.test ",
        ),
        (
            "a.b.pages.test:81",
            "/",
            "200 pages: a.b.pages.test / a.b.pages.test:81 ",
        ),
        // Segments are whole, and their case counts.
        ("shop.test", "/pagesx", "404 unknown_path"),
        ("shop.test", "/Pages", "404 unknown_path"),
        ("pages.test", "/", "404 unknown_path"),
        // What could be read as another path.
        ("any.test", "/files/../api/users", "400 bad_path"),
        ("any.test", "/files/%2e%2e/api/users", "400 bad_path"),
        ("any.test", "/files%2f..%2fapi", "400 bad_path"),
        ("any.test", "//api/users", "400 bad_path"),
        ("any.test", "/api\\users", "400 bad_path"),
    ] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let output = run(
                Command::new(&curl)
                    .args(["-sS", "--max-time", "20", "--path-as-is", version])
                    .args(["-w", "\n%{http_code}", "-D", "-", "-H"])
                    .arg(format!("host: {host}"))
                    .arg(format!("http://{web}{path}")),
                Stdio::null(),
            );
            let said = String::from_utf8_lossy(&output.stdout);
            let got = outcome(&said);
            assert_eq!(got, expected, "{host} {path} {version}: {said}");
        }
    }
}

/// The status, and either what the service told or the edge's code.
fn outcome(said: &str) -> String {
    let (head, rest) = said.split_once("\r\n\r\n").unwrap_or_default();
    let (body, status) = rest.rsplit_once('\n').unwrap_or_default();
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let code = fields.find(|(name, _)| name.eq_ignore_ascii_case("causeway-error"));
    format!("{status} {}", code.map_or(body, |(_, code)| code))
}
