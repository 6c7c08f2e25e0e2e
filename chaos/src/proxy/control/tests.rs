use axum::http::StatusCode;

use super::*;

#[test]
fn a_query_says_for_how_long() {
    let read = |query| lasts(query, Kind::Cut).ok();
    assert_eq!(read(""), Some(None));
    assert_eq!(read("for=5s"), Some(Some(Duration::from_secs(5))));
    for query in ["for", "for=5", "delay=5s"] {
        assert_eq!(read(query), None, "{query}");
    }
    for nothing in ["for=0s", "for=0ms"] {
        let refusal = lasts(nothing, Kind::Cut).unwrap_err();
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
        assert!(refusal.why.starts_with("for: 0s is over before it begins"));
    }
    assert!(lasts("for=5s", Kind::Rebind).is_err());
}
