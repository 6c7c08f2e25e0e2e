//! Peers with a good certificate that do not speak as a client does.

use std::time::{Duration, Instant};

use quinn::{Connection, ConnectionError};
use relay::driver::handshake::MOST_PROBES;
use relay::proto::CloseCode;

use super::Bystander;
use crate::support::{
    CLUSTER, Side,
    stranger::{Stranger, shown},
};

/// How long an edge waits for a peer's Hello.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn an_oversized_message() {
    // A frame of 64 KiB and one byte, by its length alone: 0x10001 as a varint.
    closes_with(&[0x81, 0x80, 0x04], CloseCode::TooLarge);
}

#[test]
fn garbage() {
    closes_with(&[0x05, 0xff, 0xff, 0xff, 0xff, 0xff], CloseCode::Protocol);
}

#[test]
fn an_endless_length() {
    closes_with(&[0xff; 16], CloseCode::Protocol);
}

#[test]
fn a_message_before_hello() {
    // Pong { nonce: 1 } as a Control: field 4, two bytes, field 1 = 1.
    closes_with(&[0x04, 0x22, 0x02, 0x08, 0x01], CloseCode::Protocol);
}

#[test]
fn more_pings_before_hello_than_a_probe_takes() {
    // Ping { nonce: 1 } as a Control: field 3.
    let ping = [0x04, 0x1a, 0x02, 0x08, 0x01];
    closes_with(&ping.repeat(MOST_PROBES + 1), CloseCode::Protocol);
}

#[test]
fn a_silent_peer() {
    let mut bystander = Bystander::new(|builder| builder);
    let (stranger, connection) = stranger(&mut bystander);
    let began = Instant::now();
    let code = close_code(&stranger, &connection);
    assert_eq!(code, CloseCode::HandshakeTimeout);
    let after = began.elapsed();
    assert!(
        after > HANDSHAKE_TIMEOUT / 2 && after < 2 * HANDSHAKE_TIMEOUT,
        "closed after {after:?}"
    );
    bystander.is_undisturbed();
}

/// Says `bytes` on the control stream: the edge closes with `code`, and says so in its log.
#[track_caller]
fn closes_with(bytes: &[u8], code: CloseCode) {
    let mut bystander = Bystander::new(|builder| builder);
    let (stranger, connection) = stranger(&mut bystander);
    let _control = stranger.say(&connection, bytes);
    assert_eq!(close_code(&stranger, &connection), code);
    bystander.is_undisturbed();
}

/// A peer with a certificate of the authority, for a cluster of its own.
#[track_caller]
fn stranger(bystander: &mut Bystander) -> (Stranger, Connection) {
    let plane = &mut bystander.plane;
    let directory = plane.path(Side::Client).join("stranger");
    plane
        .authority()
        .issue(&["client", "other/cluster"], &directory);
    assert_ne!(CLUSTER, "other/cluster");
    let stranger = Stranger::dialing(&directory, Some(shown(&directory)));
    let connection = stranger.connect(plane.tunnel()).unwrap();
    (stranger, connection)
}

#[track_caller]
fn close_code(stranger: &Stranger, connection: &Connection) -> CloseCode {
    match stranger.closed(connection) {
        Some(ConnectionError::ApplicationClosed(close)) => {
            let number = u32::try_from(close.error_code.into_inner()).unwrap();
            CloseCode::from_number(number)
        }
        other => panic!("not closed by the edge: {other:?}"),
    }
}
