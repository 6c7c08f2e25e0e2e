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

#[test]
fn a_query_says_for_how_long() {
    let read = |query| lasts(query, Kind::Cut).ok();
    assert_eq!(read(""), Some(None));
    assert_eq!(read("for=5s"), Some(Some(Duration::from_secs(5))));
    for query in ["for", "for=5", "delay=5s"] {
        assert_eq!(read(query), None, "{query}");
    }
    assert!(lasts("for=5s", Kind::Rebind).is_err());
}
