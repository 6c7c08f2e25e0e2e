//! Binding, in whosever way it is.

use super::*;

const ADMIN: &str = "[admin] listen";
const TELEMETRY: &str = "[telemetry] listen";

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let taken = Listener::bind(&ListenAddr::Ip("127.0.0.1:0".parse().unwrap()), ADMIN).unwrap();
    let address = taken.address();
    for key in [ADMIN, TELEMETRY] {
        assert_eq!(
            Listener::bind(&address, key).unwrap_err().to_string(),
            format!(
                "cannot listen on {address}: address in use: something else listens there; \
             stop it, or set {key}"
            )
        );
    }
    let foreign = ListenAddr::Ip("192.0.2.1:7480".parse().unwrap());
    let message = Listener::bind(&foreign, ADMIN).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot listen on 192.0.2.1:7480: Cannot assign"),
        "{message}"
    );
    assert!(
        message.ends_with("; use an address of this machine, or set [admin] listen"),
        "{message}"
    );
}

#[tokio::test]
async fn a_listener_that_leaves_is_in_nobodys_way_but_a_strangers() {
    let bind = |address: &str, leaving: &[Arc<Listener>]| {
        let address = ListenAddr::Ip(address.parse().unwrap());
        Listener::bind_beside(&address, leaving, ADMIN).map(Arc::new)
    };
    // Below what the system chooses itself, so that nobody is given it meanwhile.
    let begin = 30_000 + u16::try_from(std::process::id() % 1000).unwrap();
    let (port, mut old) = (begin..32_000)
        .find_map(|port| Some((port, bind(&format!("[::]:{port}"), &[]).ok()?)))
        .unwrap();
    for ip in ["127.0.0.1", "0.0.0.0", "[::]", "[::1]", "[::]"] {
        let address = format!("{ip}:{port}");
        let to_old = std::net::TcpStream::connect((reached(&old), port)).unwrap();
        let (_callers_end, _) = old.accept().await;
        bind(&address, &[]).unwrap_err();
        let new = bind(&address, std::slice::from_ref(&old)).unwrap();
        bind(&address, &[]).unwrap_err();
        drop(old);
        assert!(bind(&address, &[]).is_err(), "{address} is shared no more");
        let to_new = std::net::TcpStream::connect((reached(&new), port)).unwrap();
        let (_, caller) = new.accept().await;
        assert_eq!(caller, Some(to_new.local_addr().unwrap()), "{address}");
        to_old.peer_addr().expect("still connected");
        old = new;
    }
}

fn reached(listener: &Listener) -> std::net::IpAddr {
    match listener.address() {
        ListenAddr::Ip(address) if address.ip().is_unspecified() => [127, 0, 0, 1].into(),
        ListenAddr::Ip(address) => address.ip(),
        ListenAddr::Unix(path) => panic!("{path:?} has no address"),
    }
}

#[tokio::test]
async fn a_socket_file_that_another_has_replaced_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let first = Listener::bind(&ListenAddr::Unix(path.clone()), ADMIN).unwrap();
    fs::rename(&path, directory.path().join("moved.sock")).unwrap();
    let second = Listener::bind(&ListenAddr::Unix(path.clone()), ADMIN).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}
