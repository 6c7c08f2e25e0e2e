//! Ten thousand streams at once, twenty thousand one after the other, and one too many.

use relay::transport::TransportKind;
use relay::{OpenError, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::ends::{Pair, Setup, request};
use crate::{eventually, within};

each_transport![
    ten_thousand_streams_at_once,
    twenty_thousand_streams_opened_and_reset_leave_nothing,
    an_open_beyond_the_limit_waits_until_a_stream_ends,
    whoever_waits_for_room_hears_of_the_sessions_end,
];

async fn ten_thousand_streams_at_once(transport: TransportKind) {
    let pair = Pair::new(transport).await;
    let count = 10_000_u32;
    let mut streams = Vec::new();
    for index in 0..count {
        let mut io = pair.a.open("echo").await.into_io();
        io.write_all(&index.to_le_bytes()).await.unwrap();
        streams.push(io);
    }
    let all_there = || pair.a.live() == count as usize && pair.b.live() == count as usize;
    eventually("all are open at once", all_there).await;
    for (index, io) in (0..count).zip(&mut streams) {
        io.shutdown().await.unwrap();
        let mut back = Vec::new();
        within("the echo and its end", io.read_to_end(&mut back))
            .await
            .unwrap();
        assert_eq!(back, index.to_le_bytes());
    }
    drop(streams);
    pair.settled().await;
}

async fn twenty_thousand_streams_opened_and_reset_leave_nothing(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for round in 0..20_000 {
        let stream = pair.a.open("test").await;
        // Sometimes with the peer's answer, mostly without waiting for anything.
        if round % 100 == 0 {
            while pair.b.next().await.stream.id() != stream.id() {}
        }
        stream.reset(ResetCode::Overload, "flood");
    }
    while let Ok(incoming) = pair.b.incoming.try_recv() {
        drop(incoming);
    }
    pair.b.incoming.close();
    eventually("all streams retire", || pair.a.live() + pair.b.live() == 0).await;
    pair.settled().await;
    assert!(pair.a.session.is_open() && pair.b.session.is_open());
}

async fn an_open_beyond_the_limit_waits_until_a_stream_ends(transport: TransportKind) {
    let few = Setup {
        max_streams: 4,
        ..Setup::over(transport)
    };
    let mut pair = Pair::with(few, few).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pair.stream().await);
    }
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let session = pair.a.session.clone();
        waiting.spawn(async move { session.open(request("test")).await });
    }
    // The other direction has a limit of its own.
    let back = within("room the other way", pair.b.session.open(request("test")))
        .await
        .unwrap();
    drop(pair.a.next().await);
    drop(back);
    eventually("somebody waits", || room_is_wanted(&pair)).await;
    let mut kept = Vec::new();
    for stream in held {
        assert!(waiting.try_join_next().is_none(), "there is no room");
        drop(stream);
        // One that ends lets one in, whichever; the last finds nobody waiting.
        if let Some(opened) = within("room", waiting.join_next()).await {
            let stream = opened.unwrap().unwrap();
            let incoming = pair.b.next().await;
            assert_eq!(incoming.stream.id(), stream.id());
            kept.push((stream, incoming));
        }
    }
    drop(kept);
    pair.settled().await;
}

async fn whoever_waits_for_room_hears_of_the_sessions_end(transport: TransportKind) {
    let one = Setup {
        max_streams: 1,
        ..Setup::over(transport)
    };
    let mut pair = Pair::with(one, one).await;
    let _held = pair.stream().await;
    let session = pair.a.session.clone();
    let waiting = tokio::spawn(async move { session.open(request("test")).await });
    eventually("somebody waits", || room_is_wanted(&pair)).await;
    pair.b
        .session
        .close(relay::CloseCode::Shutdown, "that is all");
    let refused = within("the word", waiting).await.unwrap().unwrap_err();
    assert_eq!(refused, OpenError::SessionClosed);
}

fn room_is_wanted(pair: &Pair) -> bool {
    format!("{:?}", pair.a.session).contains("room_wanted: true")
}
