use axum::routing::get;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;

#[test]
fn only_this_machine_is_a_host() {
    let local = |host: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        is_local(&headers)
    };
    for host in ["127.0.0.1:1", "[::1]:1", "localhost", "LOCALHOST:80"] {
        assert!(local(host), "{host}");
    }
    for host in ["", "evil.example", "localhost.evil.example", "a@localhost"] {
        assert!(!local(host), "{host}");
    }
    assert!(!is_local(&HeaderMap::new()));
}

#[tokio::test]
async fn a_panic_of_a_connection_is_not_lost() {
    async fn breaks() -> &'static str {
        panic!("on purpose");
    }
    let address = "127.0.0.1:0".parse().unwrap();
    let control = Control::bind(&ListenAddr::Ip(address), "--control").unwrap();
    let ListenAddr::Ip(address) = control.address() else {
        panic!("it is bound to an address");
    };
    let serving = tokio::spawn(control.answer(Router::new().route("/", get(breaks))));
    let mut caller = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    caller.write_all(request).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
    assert!(ended.expect("it goes on").unwrap_err().is_panic());
}
