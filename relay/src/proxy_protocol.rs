//! The PROXY protocol, versions 1 and 2: a connection begins with a header that says whose it is.
//!
//! Source: haproxy.org, "The PROXY protocol Versions 1 & 2" (2020/03/05), §2.1 and §2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::listen::canonical;

/// The most bytes of a header of version 2 behind its fixed part. Addresses take 36 at most; the
/// rest is for the fields that load balancers add, which are skipped.
const MAX_V2: usize = 2048;

/// The fixed part of a header of version 2: signature, command, family and length.
const FIXED_V2: usize = 16;

/// The longest line of version 1, with its line end (§2.1).
const MAX_V1: usize = 107;

/// What a line of version 1 begins with.
const BEGIN_V1: &[u8] = b"PROXY ";

/// What a header of version 2 begins with (§2.2).
const BEGIN_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Why there is no header that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection begins with something else.
    #[error(
        "no header of the PROXY protocol; have the proxy send one, or take its address out of proxy_protocol_from"
    )]
    Absent,
    /// A header that is malformed, or longer than is sensible.
    #[error("a malformed header of the PROXY protocol: {0}")]
    Malformed(String),
    /// The connection broke first.
    #[error("the connection ended within the header of the PROXY protocol: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header and nothing behind it. `None` if it names no address: the proxy speaks for
/// itself then (health checks), or its caller had none.
///
/// # Errors
/// [`HeaderError`] if there is no header of either version. What was read is lost.
pub async fn read_header(
    socket: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut header = vec![0; BEGIN_V1.len()];
    socket.read_exact(&mut header).await?;
    if header == BEGIN_V1 {
        read_v1(socket, header).await
    } else if BEGIN_V2.starts_with(&header) {
        read_v2(socket, header).await
    } else {
        Err(HeaderError::Absent)
    }
}

async fn read_v1(
    socket: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, HeaderError> {
    // Byte by byte: what is behind the line end is the caller's.
    while !header.ends_with(b"\n") {
        if header.len() == MAX_V1 {
            return Err(HeaderError::Malformed("a line that does not end".into()));
        }
        header.push(socket.read_u8().await?);
    }
    source(&header)
}

async fn read_v2(
    socket: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, HeaderError> {
    let begun = header.len();
    header.resize(FIXED_V2, 0);
    socket.read_exact(&mut header[begun..]).await?;
    if !header.starts_with(BEGIN_V2) {
        return Err(HeaderError::Absent);
    }
    let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > MAX_V2 {
        let why = format!("{length} bytes, where {MAX_V2} are enough");
        return Err(HeaderError::Malformed(why));
    }
    header.resize(FIXED_V2 + length, 0);
    socket.read_exact(&mut header[FIXED_V2..]).await?;
    source(&header)
}

/// Whom a whole header names.
fn source(header: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let fields = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (parsed, _) = ProxyHeader::parse(header, fields)
        .map_err(|_| HeaderError::Malformed(header.escape_ascii().to_string()))?;
    Ok(parsed
        .proxied_address()
        .map(|proxied| canonical(proxied.source)))
}

/// A header of version 2 for a connection of `caller` to `target`; one that names nobody (LOCAL)
/// if the caller has no address. A target without one, or of the other family, is shown as well as
/// the format allows: as no address, or as IPv4 within IPv6.
#[must_use]
pub fn announce(caller: Option<SocketAddr>, target: Option<SocketAddr>) -> Vec<u8> {
    let header = caller
        .map(canonical)
        .map_or_else(ProxyHeader::with_local, |caller| {
            let target = target.map_or_else(|| nowhere(caller), canonical);
            ProxyHeader::with_address(if caller.is_ipv4() == target.is_ipv4() {
                ProxiedAddress::stream(caller, target)
            } else {
                ProxiedAddress::stream(within_ipv6(caller), within_ipv6(target))
            })
        });
    let mut built = Vec::with_capacity(64);
    header
        .encode_v2(&mut built)
        .expect("two addresses of one family are short enough for a header");
    built
}

fn nowhere(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn within_ipv6(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip, address.port()).into()
}

#[cfg(test)]
mod tests {
    use proxy_header::Tlv;

    use super::*;

    async fn read(bytes: &[u8]) -> (Result<Option<SocketAddr>, HeaderError>, Vec<u8>) {
        let mut rest = bytes;
        let found = read_header(&mut rest).await;
        (found, rest.to_vec())
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn headers_of_both_versions_say_who_calls_and_nothing_else_is_taken() {
        let v2 = |caller, target| announce(Some(address(caller)), Some(address(target)));
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 80\r\n".to_vec(),
                Some("192.0.2.1:4000"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 4000 80\r\n".to_vec(),
                Some("[2001:db8::1]:4000"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), None),
            (v2("192.0.2.1:4000", "10.0.0.1:80"), Some("192.0.2.1:4000")),
            (v2("192.0.2.1:4000", "[::1]:80"), Some("192.0.2.1:4000")),
            (
                v2("[2001:db8::1]:1", "10.0.0.1:80"),
                Some("[2001:db8::1]:1"),
            ),
            (
                announce(Some(address("192.0.2.1:4000")), None),
                Some("192.0.2.1:4000"),
            ),
            (
                announce(Some(address("[::ffff:192.0.2.1]:1")), None),
                Some("192.0.2.1:1"),
            ),
            (announce(None, Some(address("10.0.0.1:80"))), None),
        ] {
            let (found, rest) = read(&[header.as_slice(), b"GET /"].concat()).await;
            assert_eq!(found.unwrap(), expected.map(address), "{header:?}");
            assert_eq!(rest, b"GET /");
        }
    }

    #[tokio::test]
    async fn fields_behind_the_addresses_are_skipped() {
        let caller = address("192.0.2.1:4000");
        let addresses = ProxiedAddress::stream(caller, address("10.0.0.1:80"));
        let mut header = Vec::new();
        let fields = [Tlv::Authority("example.com".into()), Tlv::Noop(1000)];
        ProxyHeader::with_tlvs(Some(addresses), fields)
            .encode_v2(&mut header)
            .unwrap();
        let (found, rest) = read(&[&header[..], b"x"].concat()).await;
        assert_eq!((found.unwrap(), rest), (Some(caller), b"x".to_vec()));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut long = announce(None, None);
        long[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let mut version = announce(None, None);
        version[12] = 0x31;
        let mut short = announce(Some(address("192.0.2.1:4000")), None);
        short[15] = 4;
        for (bytes, expected) in [
            (
                b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                "no header of the PROXY protocol; have the proxy send one, or take its address out of proxy_protocol_from",
            ),
            (
                b"\r\n\r\n\0\rQUIT\n\r\n\r\n\r\n".to_vec(),
                "no header of the PROXY protocol; have the proxy send one, or take its address out of proxy_protocol_from",
            ),
            (
                b"PROX".to_vec(),
                "the connection ended within the header of the PROXY protocol: early eof",
            ),
            (
                b"PROXY TCP4 192.0.2.1 ".to_vec(),
                "the connection ended within the header of the PROXY protocol: unexpected end of file",
            ),
            (
                b"PROXY TCP4 192.0.2.300 10.0.0.1 4000 80\r\n".to_vec(),
                "a malformed header of the PROXY protocol: PROXY TCP4 192.0.2.300 10.0.0.1 4000 80\\r\\n",
            ),
            (
                [&b"PROXY "[..], &[b'a'; 200]].concat(),
                "a malformed header of the PROXY protocol: a line that does not end",
            ),
            (
                long,
                "a malformed header of the PROXY protocol: 65535 bytes, where 2048 are enough",
            ),
            (
                version,
                "a malformed header of the PROXY protocol: \\r\\n\\r\\n\\x00\\r\\nQUIT\\n1\\x00\\x00\\x00",
            ),
            (
                short,
                "a malformed header of the PROXY protocol: \\r\\n\\r\\n\\x00\\r\\nQUIT\\n!\\x11\\x00\\x04\\xc0\\x00\\x02\\x01",
            ),
        ] {
            let found = read(&bytes).await.0;
            assert_eq!(found.unwrap_err().to_string(), expected);
        }
    }
}
