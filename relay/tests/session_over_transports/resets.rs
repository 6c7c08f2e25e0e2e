//! Resets: each code arrives as itself, a dropped stream is cancelled, and what a socket breaks
//! with is what the other socket sees.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use relay::pump::{LocalEnd, PumpError, Socket, pump};
use relay::transport::TransportKind;
use relay::{Reset, ResetBy, ResetCode, Stream};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::connect::loopback;
use crate::ends::Pair;
use crate::within;

each_transport![
    every_code_arrives_as_itself_both_ways,
    a_dropped_stream_is_cancelled,
    an_open_that_is_given_up_leaves_nothing,
    a_socket_that_breaks_is_a_broken_socket_at_the_other_end,
    a_stream_reset_by_its_handler_breaks_the_callers_socket,
    a_reset_after_the_clean_end_is_still_told_while_the_stream_lives,
    a_reset_is_told_even_when_there_is_no_credit_to_read_the_socket,
    a_pump_that_is_dropped_resets_both_its_sides,
];

fn reset_in(error: &std::io::Error) -> &Reset {
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("a reset says why")
}

async fn every_code_arrives_as_itself_both_ways(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for code in ResetCode::ALL.iter().copied() {
        for by_opener in [true, false] {
            let (near, far) = pair.stream().await;
            let (resetting, other) = if by_opener { (near, far) } else { (far, near) };
            resetting.reset(code, "because");
            let told = within("the reset", other.over()).await.unwrap_err();
            assert_eq!(
                told,
                Reset {
                    code,
                    message: "because".into(),
                    by: ResetBy::Peer
                }
            );
            let mut io = other.into_io();
            let error = io.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(reset_in(&error), &told);
            let error = io.write_all(b"x").await.unwrap_err();
            assert_eq!(reset_in(&error), &told);
        }
    }
    pair.settled().await;
}

async fn a_dropped_stream_is_cancelled(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for drop_opener in [true, false] {
        let (near, far) = pair.stream().await;
        let (dropped, other) = if drop_opener {
            (near, far)
        } else {
            (far, near)
        };
        drop(dropped);
        let told = within("the reset", other.over()).await.unwrap_err();
        assert_eq!((told.code, told.by), (ResetCode::Cancelled, ResetBy::Peer));
    }
    // With one direction ended, and data that nobody read, it is still not complete.
    let (near, far) = pair.stream().await;
    let (mut near, _near_receiver) = near.split();
    let (mut far, far_receiver) = far.split();
    within("credit", std::future::poll_fn(|cx| near.poll_ready(cx)))
        .await
        .unwrap();
    near.send(Bytes::from_static(b"never read").into());
    within("a flush", std::future::poll_fn(|cx| near.poll_flush(cx)))
        .await
        .unwrap();
    near.finish();
    far.finish();
    drop((far, far_receiver));
    let over = std::future::poll_fn(|cx| near.poll_over(cx));
    let told = within("the reset", over).await.unwrap_err();
    assert_eq!((told.code, told.by), (ResetCode::Cancelled, ResetBy::Peer));
    drop((near, _near_receiver));
    pair.settled().await;
}

async fn an_open_that_is_given_up_leaves_nothing(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for _ in 0..100 {
        let open = pair.a.session.open(crate::ends::request("test"));
        // Polled once: the id is taken, perhaps the header is out.
        let _ = tokio::time::timeout(Duration::ZERO, open).await;
    }
    while let Ok(incoming) = pair.b.incoming.try_recv() {
        drop(incoming);
    }
    pair.b.incoming.close();
    pair.settled().await;
}

/// A TCP caller, the pump of its end, the pump of the other, and a TCP origin.
struct Piped {
    caller: TcpStream,
    origin: TcpStream,
    caller_pump: tokio::task::JoinHandle<relay::pump::Pumped>,
    origin_pump: tokio::task::JoinHandle<relay::pump::Pumped>,
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

fn pump_on(
    end: &crate::ends::End,
    stream: Stream,
    socket: TcpStream,
    local: LocalEnd,
) -> tokio::task::JoinHandle<relay::pump::Pumped> {
    let socket = Socket::Tcp(socket).detach().unwrap();
    end.session
        .worker()
        .spawn(async move { pump(stream, socket.attach().unwrap(), local, None).await })
}

async fn piped(pair: &mut Pair) -> Piped {
    let (near, far) = pair.stream().await;
    let (caller, caller_end) = connected().await;
    let (origin, origin_end) = connected().await;
    Piped {
        caller,
        origin,
        caller_pump: pump_on(&pair.a, near, caller_end, LocalEnd::Caller),
        origin_pump: pump_on(&pair.b, far, origin_end, LocalEnd::Origin),
    }
}

fn break_off(socket: TcpStream) {
    SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

async fn expect_reset(socket: &mut TcpStream) {
    let mut sink = Vec::new();
    let error = within("a reset", socket.read_to_end(&mut sink))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

async fn a_socket_that_breaks_is_a_broken_socket_at_the_other_end(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for (caller_breaks, code) in [
        (true, ResetCode::CallerReset),
        (false, ResetCode::OriginReset),
    ] {
        let piped = piped(&mut pair).await;
        let (breaking, mut other) = if caller_breaks {
            (piped.caller, piped.origin)
        } else {
            (piped.origin, piped.caller)
        };
        break_off(breaking);
        expect_reset(&mut other).await;
        let (caller, origin) = within("both pumps end", async {
            tokio::join!(piped.caller_pump, piped.origin_pump)
        })
        .await;
        let (breaking, told) = if caller_breaks {
            (caller, origin)
        } else {
            (origin, caller)
        };
        let local = breaking.unwrap().outcome.unwrap_err();
        assert!(matches!(local, PumpError::Local(_)), "{local}");
        match told.unwrap().outcome.unwrap_err() {
            PumpError::Stream(reset) => {
                assert_eq!((reset.code, reset.by), (code, ResetBy::Peer));
            }
            error @ (PumpError::Local(_) | PumpError::Idle(_)) => panic!("{error}"),
        }
    }
    pair.settled().await;
}

async fn a_stream_reset_by_its_handler_breaks_the_callers_socket(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (mut caller, caller_end) = connected().await;
    let pumped = pump_on(&pair.a, near, caller_end, LocalEnd::Caller);
    far.reset(ResetCode::ConnectRefused, "nobody listens");
    expect_reset(&mut caller).await;
    let outcome = within("the pump ends", pumped).await.unwrap().outcome;
    assert!(outcome.unwrap_err().to_string().contains("connect_refused"));
    pair.settled().await;
}

async fn a_reset_after_the_clean_end_is_still_told_while_the_stream_lives(
    transport: TransportKind,
) {
    let mut pair = Pair::new(transport).await;
    let mut piped = piped(&mut pair).await;
    piped.caller.write_all(b"all of it").await.unwrap();
    let mut asked = [0; 9];
    within("the data", piped.origin.read_exact(&mut asked))
        .await
        .unwrap();
    assert_eq!(&asked, b"all of it");
    piped.caller.shutdown().await.unwrap();
    let end = within("the end", piped.origin.read(&mut asked)).await;
    assert_eq!(end.unwrap(), 0);
    // Nothing moves any more, either way: the origin's pump waits for its socket alone.
    break_off(piped.caller);
    expect_reset_on_write(&mut piped.origin).await;
    let origin = within("the origin's pump ends", piped.origin_pump)
        .await
        .unwrap();
    match origin.outcome.unwrap_err() {
        PumpError::Stream(reset) => assert_eq!(reset.code, ResetCode::CallerReset),
        error @ (PumpError::Local(_) | PumpError::Idle(_)) => panic!("{error}"),
    }
    pair.settled().await;
}

/// After its end was read, a socket shows a reset by its error flag and on the next write.
async fn expect_reset_on_write(socket: &mut TcpStream) {
    within(
        "a reset behind the end",
        socket.ready(tokio::io::Interest::ERROR),
    )
    .await
    .unwrap();
    let error = socket.take_error().unwrap().expect("an error is pending");
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
}

/// A caller that gives up while the origin takes nothing must not be kept waiting for credit.
async fn a_reset_is_told_even_when_there_is_no_credit_to_read_the_socket(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (mut caller, caller_end) = connected().await;
    let pumped = pump_on(&pair.a, near, caller_end, LocalEnd::Caller);
    caller.write_all(&[0; 16 << 10]).await.unwrap();
    crate::eventually("the grant is used up", || {
        pair.a.session.snapshot().bytes_sent == 16 << 10
    })
    .await;
    break_off(caller);
    let told = within("the reset", far.over()).await.unwrap_err();
    assert_eq!(told.code, ResetCode::CallerReset);
    within("the pump ends", pumped).await.unwrap();
    drop(far);
    pair.settled().await;
}

async fn a_pump_that_is_dropped_resets_both_its_sides(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let mut piped = piped(&mut pair).await;
    piped.caller.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    within("data", piped.origin.read_exact(&mut word))
        .await
        .unwrap();
    piped.caller_pump.abort();
    expect_reset(&mut piped.caller).await;
    expect_reset(&mut piped.origin).await;
    let origin = within("the other pump ends", piped.origin_pump)
        .await
        .unwrap();
    match origin.outcome.unwrap_err() {
        PumpError::Stream(reset) => assert_eq!(reset.code, ResetCode::Cancelled),
        error @ (PumpError::Local(_) | PumpError::Idle(_)) => panic!("{error}"),
    }
    pair.settled().await;
}
