//! The trace that a request belongs to (W3C Trace Context).
//!
//! The edge records no spans of its own yet: a trace that a caller has begun is passed on as it is,
//! and a request without one begins one, so that whatever answers can be found by the same id.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest that is passed on: version 00 has 55 characters, later ones may have more.
const MAX_LEN: usize = 255;

/// The request's trace: the one that it names, or a new one. What is malformed is replaced, and
/// `tracestate` goes with it (§3.2.2.4 and §3.3 of the Recommendation).
pub(super) fn keep_or_begin(headers: &mut HeaderMap) -> String {
    if let Some(stated) = stated(headers) {
        return stated;
    }
    headers.remove(&TRACESTATE);
    let begun = begin();
    let value = HeaderValue::from_str(&begun).expect("hexadecimal digits make a field");
    headers.insert(TRACEPARENT, value);
    begun
}

/// What the request says, if it is well-formed (§3.2.2).
fn stated(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let value = value.to_str().ok().filter(|value| value.len() <= MAX_LEN)?;
    let mut parts = value.splitn(5, '-');
    let mut hex = |length: usize| {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(digits))
    };
    let version = hex(2).filter(|version| *version != "ff")?;
    let named = |id: &&str| id.bytes().any(|digit| digit != b'0');
    hex(32).filter(named)?;
    hex(16).filter(named)?;
    hex(2)?;
    // Only later versions may say more.
    (version != "00" || parts.next().is_none()).then(|| value.to_owned())
}

/// A new trace, of which nothing was recorded: the sampled flag is not set (§3.2.2.5).
fn begin() -> String {
    // Zero is no id.
    let trace = rand::random::<u128>().max(1);
    let parent = rand::random::<u64>().max(1);
    format!("00-{trace:032x}-{parent:016x}-00")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(traceparents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in traceparents {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        headers
    }

    #[test]
    fn a_trace_is_kept() {
        let later = GOOD.replacen("00", "01", 1) + "-more";
        for value in [GOOD, later.as_str()] {
            let mut headers = headers(&[value]);
            assert_eq!(keep_or_begin(&mut headers), value);
            assert_eq!(headers[TRACEPARENT], value);
            assert_eq!(headers[TRACESTATE], "vendor=1");
        }
    }

    #[test]
    fn one_is_begun_where_there_is_none() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_parent = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let upper = GOOD.to_uppercase();
        let more = format!("{GOOD}-x");
        let cases: [&[&str]; 9] = [
            &[],
            &[""],
            &["00"],
            &[&GOOD[1..]],
            &[&more],
            &[&upper],
            &[zero_trace],
            &[zero_parent],
            &[GOOD, GOOD],
        ];
        for case in cases {
            let mut headers = headers(case);
            let begun = keep_or_begin(&mut headers);
            assert!(!case.contains(&begun.as_str()), "{case:?}");
            assert_eq!(
                stated(&headers).as_deref(),
                Some(begun.as_str()),
                "{case:?}"
            );
            assert!(!headers.contains_key(TRACESTATE), "{case:?}");
        }
    }
}
