//! Much data, both ways at once, every byte in its place.

use relay::pump::{LocalEnd, Pumped, Socket, pump};
use relay::transport::TransportKind;
use tokio::net::{TcpListener, TcpStream};

use crate::connect::loopback;
use crate::ends::Pair;
use crate::{pattern, within, within_times};

each_transport![
    a_gibibyte_each_way_through_pumps_and_sockets,
    a_quarter_of_a_gibibyte_each_way_through_stream_io,
    a_stream_may_be_used_away_from_its_worker,
];

const GIBIBYTE: u64 = 1 << 30;
const QUARTER: u64 = GIBIBYTE / 4;

async fn a_gibibyte_each_way_through_pumps_and_sockets(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut pumps = Vec::new();
    let mut users = Vec::new();
    for (end, stream, local) in [
        (&pair.a, near, LocalEnd::Caller),
        (&pair.b, far, LocalEnd::Origin),
    ] {
        let (user, pumped) = tokio::join!(TcpStream::connect(address), listener.accept());
        let socket = Socket::Tcp(pumped.unwrap().0).detach().unwrap();
        pumps.push(
            end.session
                .worker()
                .spawn(async move { pump(stream, socket.attach().unwrap(), local, None).await }),
        );
        users.push(user.unwrap());
    }
    let both = users
        .into_iter()
        .zip([1, 2])
        .map(|(socket, seed)| tokio::spawn(exchange(socket, seed, GIBIBYTE)));
    for user in both.collect::<Vec<_>>() {
        within_times(4, "all bytes, both ways", user).await.unwrap();
    }
    for pumped in pumps {
        let Pumped {
            sent,
            received,
            outcome,
        } = within("the pump ends", pumped).await.unwrap();
        outcome.unwrap();
        assert_eq!((sent, received), (GIBIBYTE, GIBIBYTE));
    }
    pair.settled().await;
}

async fn a_quarter_of_a_gibibyte_each_way_through_stream_io(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let near = pair
        .a
        .session
        .worker()
        .spawn(exchange(near.into_io(), 1, QUARTER));
    let far = pair
        .b
        .session
        .worker()
        .spawn(exchange(far.into_io(), 2, QUARTER));
    within("all bytes, both ways", async { tokio::join!(near, far) })
        .await
        .0
        .unwrap();
    pair.settled().await;
    let seen = pair.a.session.snapshot();
    assert_eq!((seen.bytes_sent, seen.bytes_received), (QUARTER, QUARTER));
}

/// A stream whose user lives on another thread than its session does.
async fn a_stream_may_be_used_away_from_its_worker(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let near = tokio::spawn(exchange(near.into_io(), 1, QUARTER));
    let far = tokio::spawn(exchange(far.into_io(), 2, QUARTER));
    within("all bytes, both ways", async { tokio::join!(near, far) })
        .await
        .0
        .unwrap();
    pair.settled().await;
}

/// Sends so much of pattern `seed`, 1 or 2, and expects the other one.
async fn exchange<S>(socket: S, seed: u64, length: u64)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (mut read, mut write) = tokio::io::split(socket);
    let (written, ()) = tokio::join!(
        pattern::write(&mut write, seed, length),
        pattern::expect(&mut read, 3 - seed, length)
    );
    written.unwrap();
}
