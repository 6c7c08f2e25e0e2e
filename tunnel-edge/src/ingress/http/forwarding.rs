//! Reading what proxies write of their callers (RFC 7239, `X-Forwarded-*`).
//!
//! Whoever is let in depends on it, and a proxy may append to what a stranger has sent. So a field
//! is read by its bytes and as a whole: if any of it breaks the grammar, nothing of it is believed,
//! since a reader that skips what it does not understand may take the stranger's word for the
//! proxy's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

/// A field of a proxy that cannot be read, or not in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The elements of a comma-separated field over all its lines; none if there is no such field.
///
/// Elements may be empty (RFC 9110 §5.6.1), but not the last: it is the proxy's own, and without it
/// a stranger's would be the last.
pub(super) fn list<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Vec<&'h str>, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(name) {
        // Refuses all but visible ASCII, spaces and tabs.
        let line = line.to_str().map_err(|_| Malformed)?;
        elements.extend(line.split(',').map(|element| element.trim_matches(SPACE)));
    }
    without_empty(elements, |element| element.is_empty())
}

/// The elements of `Forwarded` over all its lines (RFC 7239 §4); none if there is no such field.
/// Empty ones are treated as by [`list`].
pub(super) fn forwarded(headers: &HeaderMap) -> Result<Vec<Element>, Malformed> {
    let mut elements = Vec::new();
    for line in headers.get_all(FORWARDED) {
        let mut line = Line(line.as_bytes());
        loop {
            elements.push(line.element()?);
            if line.0.is_empty() {
                break;
            }
            line.expect(b',')?;
        }
    }
    without_empty(elements, |element| element.0.is_empty())
}

fn without_empty<T>(
    mut elements: Vec<T>,
    is_empty: impl Fn(&T) -> bool,
) -> Result<Vec<T>, Malformed> {
    if elements.last().is_some_and(&is_empty) {
        return Err(Malformed);
    }
    elements.retain(|element| !is_empty(element));
    Ok(elements)
}

/// What one proxy says in `Forwarded`: values by the names of their parameters, in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element(Vec<(String, String)>);

impl Element {
    /// The value of the parameter of this name, which is in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

const SPACE: [char; 2] = [' ', '\t'];

/// The rest of a line of `Forwarded`.
struct Line<'h>(&'h [u8]);

impl Line<'_> {
    /// Up to a comma or the end, or to what should be one of them.
    fn element(&mut self) -> Result<Element, Malformed> {
        let mut element = Element::default();
        loop {
            self.skip_space();
            let name = self.take_while(is_token).to_ascii_lowercase();
            if !name.is_empty() {
                self.expect(b'=')?;
                let value = if self.0.first() == Some(&b'"') {
                    self.quoted()?
                } else {
                    // Colons and brackets should be quoted, but many proxies write addresses and
                    // ports as they are, and there is only one way to read them.
                    self.take_while(|b| is_token(b) || b":[]".contains(&b))
                };
                if value.is_empty() || element.get(&name).is_some() {
                    return Err(Malformed);
                }
                element.0.push((name, value));
                self.skip_space();
            }
            if self.0.first() != Some(&b';') {
                return Ok(element);
            }
            self.expect(b';')?;
        }
    }

    /// RFC 9110 §5.6.4, without bytes beyond ASCII.
    fn quoted(&mut self) -> Result<String, Malformed> {
        let is_text = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
        let mut value = String::new();
        self.expect(b'"')?;
        loop {
            match self.byte()? {
                b'"' => return Ok(value),
                b'\\' => {
                    let escaped = self.byte()?;
                    value.push(
                        is_text(escaped)
                            .then_some(escaped.into())
                            .ok_or(Malformed)?,
                    );
                }
                text if is_text(text) => value.push(text.into()),
                _ => return Err(Malformed),
            }
        }
    }

    fn skip_space(&mut self) {
        self.take_while(|b| b" \t".contains(&b));
    }

    /// `wanted` holds for ASCII only.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let end = self.0.iter().position(|b| !wanted(*b));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken.iter().copied().map(char::from).collect()
    }

    fn expect(&mut self, expected: u8) -> Result<(), Malformed> {
        let found = self.byte()?;
        (found == expected).then_some(()).ok_or(Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }
}

/// RFC 9110 §5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Who has sent something, as a proxy names it (RFC 7239 §6). Ports are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    At(IpAddr),
    /// `unknown`, or a name that the proxy has made up, such as `_gazonk`.
    Hidden(String),
}

impl Node {
    /// An address, perhaps with a port, and IPv6 in brackets; or no address on purpose. Some
    /// proxies leave the brackets out.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::At(address.to_canonical()));
        }
        if let Some(text) = text.strip_prefix('[') {
            let (address, port) = text.split_once(']').ok_or(Malformed)?;
            let address: Ipv6Addr = address.parse().map_err(|_| Malformed)?;
            let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            return is_whole
                .then_some(Self::At(IpAddr::from(address).to_canonical()))
                .ok_or(Malformed);
        }
        let name = match text.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return Err(Malformed),
            None => text,
        };
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            Ok(Self::At(address.into()))
        } else if name.eq_ignore_ascii_case("unknown") || is_made_up(name) {
            Ok(Self::Hidden(name.to_owned()))
        } else {
            Err(Malformed)
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::At(address) => Some(*address),
            Self::Hidden(_) => None,
        }
    }
}

/// As in `X-Forwarded-For`, without brackets.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Hidden(name) => f.write_str(name),
        }
    }
}

fn is_port(text: &str) -> bool {
    is_made_up(text)
        || (text.bytes().all(|b| b.is_ascii_digit()) && text.len() <= 5 && !text.is_empty())
}

/// RFC 7239 §6.3.
fn is_made_up(text: &str) -> bool {
    text.strip_prefix('_').is_some_and(|name| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const LIST: HeaderName = HeaderName::from_static("x-forwarded-for");

    fn lines(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        map
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        type Case<'a> = (&'a [&'a [u8]], Result<Vec<&'a str>, Malformed>);
        let cases: &[Case<'_>] = &[
            (&[], Ok(vec![])),
            (&[b"a"], Ok(vec!["a"])),
            (&[b"a,b ,\tc"], Ok(vec!["a", "b", "c"])),
            (&[b",a, ,b", b"", b"c"], Ok(vec!["a", "b", "c"])),
            (&[b"a b"], Ok(vec!["a b"])),
            (&[b""], Err(Malformed)),
            (&[b"a,"], Err(Malformed)),
            (&[b"a", b" "], Err(Malformed)),
            (&[b"\xe9"], Err(Malformed)),
            (&[b"\xe9, b"], Err(Malformed)),
            (&[b"a", b"\xe9, b"], Err(Malformed)),
            (&[b"a\xc2\xa0, b"], Err(Malformed)),
        ];
        for (told, expected) in cases {
            assert_eq!(list(&lines(&LIST, told), &LIST), *expected, "{told:?}");
        }
    }

    #[test]
    fn forwarded_is_read_whole_or_not_at_all() {
        type Case<'a> = (&'a [&'a [u8]], &'a [&'a [(&'a str, &'a str)]]);
        let good: &[Case<'_>] = &[
            (&[], &[]),
            (&[b"for=a"], &[&[("for", "a")]]),
            (
                &[b"For=a ; PROTO=b;, for=\"[::1]:80\"\t", b"by=_x"],
                &[
                    &[("for", "a"), ("proto", "b")],
                    &[("for", "[::1]:80")],
                    &[("by", "_x")],
                ],
            ),
            (&[b", ;,for=a"], &[&[("for", "a")]]),
            (&[b"", b"for=a"], &[&[("for", "a")]]),
            (
                &[b"for=[::1]:80;host=a.b:8080"],
                &[&[("for", "[::1]:80"), ("host", "a.b:8080")]],
            ),
            (
                &[br#"a="b,c;d=\"e\" \\ f", for=g"#],
                &[&[("a", "b,c;d=\"e\" \\ f")], &[("for", "g")]],
            ),
        ];
        for (told, expected) in good {
            let found = forwarded(&lines(&FORWARDED, told)).unwrap();
            let found: Vec<Vec<(&str, &str)>> = found
                .iter()
                .map(|element| {
                    let pairs = element.0.iter();
                    pairs.map(|(a, b)| (a.as_str(), b.as_str())).collect()
                })
                .collect();
            assert_eq!(found, *expected, "{told:?}");
        }
        let bad: &[&[&[u8]]] = &[
            &[b""],
            &[b"for=a,"],
            &[b"for=a, ;"],
            &[b"for=a", b""],
            // What follows is the proxy's, within the caller's quotes.
            &[b"for=a;x=\", for=b"],
            &[b"for=a;x=\"\\\", for=\"b\""],
            &[b"for=a;x=\", for=\"[::1]\";proto=https"],
            &[b"for=a;x=\"", b"for=b"],
            &[b"for=\"a\"b"],
            &[b"for=\"a\" b"],
            &[b"for=a b"],
            &[b"for=a\"b\""],
            &[b"for"],
            &[b"for="],
            &[b"for=\"\""],
            &[b"for =a"],
            &[b"for= a"],
            &[b"=a"],
            &[b"for=a;for=b"],
            &[b"for=a;x=1;FOR=b"],
            &[b"for=a/b"],
            &[b"for=a=b"],
            &[b"for=\xe9"],
            &[b"\xe9, for=a"],
            &[b"for=\"\xe9\""],
            &[b"for=\"\\\xe9\""],
            &[b"for=a", b"\xe9"],
        ];
        for told in bad {
            let found = forwarded(&lines(&FORWARDED, told));
            assert_eq!(found, Err(Malformed), "{told:?}");
        }
    }

    #[test]
    fn a_node_has_an_address_or_hides_it() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:_port", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            let address = expected.parse().unwrap();
            assert_eq!(Node::parse(text), Ok(Node::At(address)), "{text}");
        }
        for (text, name) in [
            ("unknown", "unknown"),
            ("Unknown:80", "Unknown"),
            ("_a.B-1", "_a.B-1"),
            ("_a:_b", "_a"),
        ] {
            let hidden = Node::Hidden(name.to_owned());
            assert_eq!(Node::parse(text), Ok(hidden), "{text}");
        }
        for text in [
            "",
            "_",
            "_a/b",
            "nonsense",
            "192.0.2.1:",
            "192.0.2.1:123456",
            "192.0.2.1:80:80",
            "192.0.2.256",
            "192.0.2.01",
            "[192.0.2.1]",
            "[2001:db8::1",
            "[2001:db8::1]80",
            "[2001:db8::1]:",
            "[fe80::1%1]",
            "\"192.0.2.1\"",
            "192.0.2.1 10.0.0.1",
        ] {
            assert_eq!(Node::parse(text), Err(Malformed), "{text}");
        }
    }
}
