//! nginx and curl: what HTTP's semantics carry, in three versions of HTTP on the caller's side and
//! two on the origin's.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{Comparison, Report};
use crate::support::{
    Pattern, Process, address_for_server, listens, nginx, peer, read_digest, run,
};

/// What is for one hop only (RFC 9110 §7.6.1), or another at each time of asking.
const NOT_COMPARED: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "date"];

/// Cases that a version of HTTP does not have, or that are a race without the tunnel too.
const LEFT_OUT: [(&str, &str); 9] = [
    // No chunks, and nobody asks to go on (RFC 9112 §6.1, RFC 9110 §10.1.1).
    ("--http1.0", "upload in chunks"),
    ("--http1.0", "uploaded in chunks"),
    ("--http1.0", "deleted again"),
    ("--http1.0", "asked to go on"),
    ("--http1.0", "deleted at last"),
    ("--http1.0", "too large"),
    // nginx compresses nothing for HTTP/1.0, which is not what the edge speaks to it (RFC 9110 §2.5).
    ("--http1.0", "compressed"),
    // nginx resets the stream before curl has read its answer, also without the tunnel.
    ("--http2-prior-knowledge", "too large"),
    // nginx answers without waiting for the form, and curl may fail if it has not sent it by then.
    ("--http2-prior-knowledge", "a form"),
];

/// A server with files of its own; `address` speaks HTTP/1.1, `h2c` HTTP/2.
pub(super) struct Site {
    directory: TempDir,
    curl: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) h2c: SocketAddr,
    _process: Process,
}

impl Site {
    pub(super) fn start() -> Option<Self> {
        let curl = peer("curl")?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("www/put")).unwrap();
        for (name, length) in [("small", 1000), ("large", 20 << 20)] {
            let mut file = fs::File::create(at("www").join(name)).unwrap();
            std::io::copy(&mut Pattern::new(length), &mut file).unwrap();
        }
        let text = "compress me, please. ".repeat(10_000);
        fs::write(at("www/text.txt"), text).unwrap();
        let [address, h2c] = [(); 2].map(|()| address_for_server());
        let config = configuration(directory.path(), address, h2c);
        let process = nginx(directory.path(), &config)?;
        listens("nginx", address);
        listens("nginx", h2c);
        Some(Self {
            directory,
            curl,
            address,
            h2c,
            _process: process,
        })
    }

    /// What a caller sees: the status, the fields in order within a name, and the body.
    fn ask(&self, address: SocketAddr, version: &str, path: &str, more: &[&str]) -> String {
        let at = |name: &str| self.directory.path().join(name);
        let _ = fs::remove_file(at("got"));
        let output = run(
            Command::new(&self.curl)
                .args(["-sS", "--path-as-is", "--max-time", "20", version])
                .args(["-H", "host: site.test"])
                .arg("-D")
                .arg(at("head"))
                .arg("-o")
                .arg(at("got"))
                .args(more)
                .arg(format!("http://{address}{path}")),
            Stdio::null(),
        );
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return format!("FAIL {} {}", output.status, error.trim());
        }
        let heads = fs::read_to_string(at("head")).unwrap();
        // The last one: a 100 comes before it.
        let head = heads.trim_end().rsplit("\r\n\r\n").next().unwrap();
        let status = head.split(' ').nth(1).unwrap_or_default();
        let mut fields: Vec<(String, &str)> = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()))
            // Of a file that was just uploaded these tell the time.
            .filter(|(name, _)| {
                !(path.starts_with("/put") && ["etag", "last-modified"].contains(&name.as_str()))
            })
            .collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        // curl gives out the head as if it were the body where there is none.
        let body = (!more.contains(&"--head"))
            .then(|| fs::File::open(at("got")).ok())
            .flatten()
            .map(|file| read_digest(file).unwrap());
        format!("{} {fields:?} {body:?}", status.trim())
    }

    /// Every case, as a caller that speaks `version`.
    fn cases(&self, address: SocketAddr, version: &str, report: &mut Report) {
        let upload = self.directory.path().join("www/large");
        let upload = upload.to_str().unwrap();
        let cookies = format!("cookie: {}", "name=value; ".repeat(500));
        let large = format!("x-test: {}", "v".repeat(8000));
        let long = format!("/echo?{}", "q".repeat(4000));
        let cases: &[(&str, &str, &[&str])] = &[
            ("whole", "/large", &[]),
            ("head", "/large", &["--head"]),
            ("range", "/large", &["-r", "100-199"]),
            ("the end of it", "/large", &["-r", "-100"]),
            ("no such range", "/small", &["-r", "5000-6000"]),
            (
                "not modified",
                "/small",
                &["-H", "if-modified-since: Fri, 01 Jan 2100 00:00:00 GMT"],
            ),
            ("precondition", "/small", &["-H", "if-match: \"other\""]),
            ("compressed", "/text.txt", &["-H", "accept-encoding: gzip"]),
            ("not compressed", "/text.txt", &[]),
            ("missing", "/missing", &[]),
            ("moved", "/moved", &[]),
            ("nothing", "/nothing", &[]),
            ("options", "/small", &["-X", "OPTIONS"]),
            ("another method", "/echo", &["-X", "PROPFIND"]),
            ("percent", "/echo/a%20b%2Fc%C3%BC?x=%26&y", &[]),
            ("double slashes", "/echo//a//b", &[]),
            ("dots", "/echo/./a/../b", &[]),
            ("an empty query", "/echo?", &[]),
            ("long", &long, &[]),
            ("a large field", "/echo", &["-H", &large]),
            ("many cookies", "/echo", &["-H", &cookies]),
            ("an empty field", "/echo", &["-H", "x-test;"]),
            ("a form", "/echo", &["-d", "a=b"]),
            ("upload", "/put/file", &["-T", upload]),
            ("uploaded", "/put/file", &[]),
            ("deleted", "/put/file", &["-X", "DELETE"]),
            (
                "upload in chunks",
                "/put/file",
                &["-T", upload, "-H", "transfer-encoding: chunked"],
            ),
            ("uploaded in chunks", "/put/file", &[]),
            ("deleted again", "/put/file", &["-X", "DELETE"]),
            (
                "asked to go on",
                "/put/file",
                &["-T", upload, "-H", "expect: 100-continue"],
            ),
            ("deleted at last", "/put/file", &["-X", "DELETE"]),
            (
                "too large",
                "/little/file",
                &["-T", upload, "-H", "expect: 100-continue"],
            ),
        ];
        for (name, path, more) in cases {
            if !LEFT_OUT.contains(&(version, name)) {
                let outcome = self.ask(address, version, path, more);
                report.add(format!("{version} {name}"), outcome);
            }
        }
    }
}

#[test]
fn nginx_over_http1() {
    let Some(site) = Site::start() else { return };
    Comparison::of("http", site.address).run(|address| {
        let mut report = Report::default();
        for version in ["--http1.0", "--http1.1"] {
            site.cases(address, version, &mut report);
        }
        report
    });
}

#[test]
fn nginx_over_http2() {
    let Some(site) = Site::start() else { return };
    Comparison::of("h2c", site.h2c).run(|address| {
        let mut report = Report::default();
        site.cases(address, "--http2-prior-knowledge", &mut report);
        report
    });
}

fn configuration(directory: &Path, address: SocketAddr, h2c: SocketAddr) -> String {
    format!(
        "gzip_types text/plain; large_client_header_buffers 8 32k; merge_slashes off;\n\
         client_max_body_size 100m; types {{ text/plain txt; }}\n\
         server {{\n\
           listen {address}; listen {h2c} http2; root {}/www;\n\
           location /moved {{ absolute_redirect off; return 301 /large?a=b; }}\n\
           location /nothing {{ add_header Set-Cookie a=1; add_header Set-Cookie b=2; return 204; }}\n\
           location /echo {{ return 200 \"$request_method|$request_uri|$http_x_test|$http_cookie|$host\"; }}\n\
           location /text.txt {{ gzip on; }}\n\
           location /put {{ dav_methods PUT DELETE; }}\n\
           location /little {{ dav_methods PUT; client_max_body_size 1k; }}\n\
         }}",
        directory.display()
    )
}
