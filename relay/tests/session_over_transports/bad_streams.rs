//! Peers that were let in and then break the rules of streams; and some that only look so.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use relay::ResetCode;
use relay::proto::{Attach, CloseCode, Control, Generation, StreamAnswer, StreamHeader, StreamId};
use relay::transport::TransportKind;
use tokio::io::AsyncReadExt;

use crate::ends::Setup;
use crate::raw::{Scene, header, own, theirs};
use crate::{eventually, within};

each_transport![
    an_attachment_that_was_not_negotiated,
    a_header_over_16_kib,
    malformed_headers,
    ids_that_no_honest_peer_uses,
    an_id_that_is_opened_twice_while_it_lives,
    an_id_that_is_opened_again_after_its_end_opens_nothing,
    ids_may_arrive_in_any_order,
    data_beyond_credit,
    exactly_the_credit_is_no_fault,
    ends_that_contradict_what_was_sent_or_said,
    bytes_beyond_the_end_that_was_said,
    an_end_may_overtake_its_header,
    a_reset_may_overtake_its_header,
    a_transport_stream_that_ends_or_breaks_is_no_end,
    half_a_header_holds_nobody_up,
    more_streams_than_are_allowed_are_refused_and_then_the_peer_is,
    answers_that_are_none,
    a_stream_that_is_never_answered_ends_by_the_sessions_word,
];

const PROTOCOL: CloseCode = CloseCode::Protocol;
const BASE: usize = 16 << 10;

fn answer(stream: StreamId) -> Bytes {
    let mut out = BytesMut::new();
    StreamAnswer {
        stream,
        generation: Generation(0),
        received: 0,
        start: 0,
        resumable: false,
    }
    .encode(&mut out);
    out.freeze()
}

async fn an_attachment_that_was_not_negotiated(transport: TransportKind) {
    let scene = Scene::new(transport).await;
    let mut out = BytesMut::new();
    StreamHeader::Attach(Attach {
        stream: own(0),
        generation: Generation(1),
        received: 0,
        start: 0,
    })
    .encode(&mut out);
    scene.raw.begin(own(0), &out).await;
    scene.thrown_out(PROTOCOL).await;
}

async fn a_header_over_16_kib(transport: TransportKind) {
    let scene = Scene::new(transport).await;
    scene.raw.begin(own(0), &[0x81, 0x80, 0x01]).await;
    scene.thrown_out(CloseCode::TooLarge).await;
}

async fn malformed_headers(transport: TransportKind) {
    for bad in [
        // Not protobuf.
        &b"\x04junk"[..],
        // Neither open nor attach.
        &[0],
        // An open without a service.
        &[4, 0x0a, 2, 0x08, 0],
        // A length that never ends.
        &[0xff, 0xff, 0xff, 0xff],
    ] {
        let scene = Scene::new(transport).await;
        scene.raw.begin(own(0), bad).await;
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn ids_that_no_honest_peer_uses(transport: TransportKind) {
    // The house's own side, far ahead, and the last there is.
    for id in [theirs(0), own(1 << 20), own(u64::MAX >> 1)] {
        let scene = Scene::new(transport).await;
        scene.raw.begin(id, &header(id)).await;
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn an_id_that_is_opened_twice_while_it_lives(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene.raw.open(0).await;
    let held = scene.end.next().await;
    scene.raw.open(0).await;
    scene.thrown_out(PROTOCOL).await;
    drop(held);
}

async fn an_id_that_is_opened_again_after_its_end_opens_nothing(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let first = scene.raw.open(0).await;
    scene
        .end
        .next()
        .await
        .stream
        .reset(ResetCode::NotAllowed, "no");
    let told = scene
        .raw
        .expect(|message| matches!(message, Control::Reset { .. }))
        .await;
    assert_eq!(
        told,
        Control::Reset {
            stream: first.id,
            code: ResetCode::NotAllowed,
            message: "no".into()
        }
    );
    scene
        .raw
        .say(Control::Reset {
            stream: first.id,
            code: ResetCode::Cancelled,
            message: String::new(),
        })
        .await;
    scene.raw.told_over(first.id).await;
    scene.raw.open(0).await;
    // The next stream is the next that arrives.
    scene.raw.open(1).await;
    assert_eq!(scene.end.next().await.stream.id(), own(1));
    scene.goes_on().await;
}

async fn ids_may_arrive_in_any_order(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    for index in [5, 3, 4, 0, 2, 1] {
        scene.raw.open(index).await;
        assert_eq!(scene.end.next().await.stream.id(), own(index));
    }
    scene.goes_on().await;
}

async fn data_beyond_credit(transport: TransportKind) {
    // Right behind the header, and later.
    for at_once in [true, false] {
        let mut scene = Scene::new(transport).await;
        let mut head = header(own(0)).to_vec();
        if at_once {
            head.resize(head.len() + BASE + 1, 0);
        }
        let mut stream = scene.raw.begin(own(0), &head).await;
        if !at_once {
            stream.answer().await;
            stream.send.write_all(&[0; BASE + 1]).await.unwrap();
        }
        // If all of it came with the header, nobody gets the stream at all. Whoever consumes
        // grants more, so this reader only looks.
        let arrived = within("the stream or the end", scene.end.incoming.recv()).await;
        if let Some(incoming) = arrived {
            let (_sender, mut receiver) = incoming.stream.split();
            let mut chunks = std::collections::VecDeque::new();
            let looked = async {
                while std::future::poll_fn(|cx| receiver.poll_recv(cx, &mut chunks))
                    .await
                    .is_ok()
                {}
            };
            within("the stream is reset", looked).await;
        }
        scene.thrown_out(CloseCode::CreditExceeded).await;
    }
}

async fn exactly_the_credit_is_no_fault(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let mut stream = scene.raw.open(0).await;
    stream.send.write_all(&[7; BASE]).await.unwrap();
    let mut io = scene.end.next().await.stream.into_io();
    let mut read = vec![0; BASE];
    within("the grant", io.read_exact(&mut read)).await.unwrap();
    scene
        .raw
        .expect(|message| {
            matches!(message, Control::Ack(ack)
                if ack.consumed == BASE as u64 && ack.limit >= 2 * BASE as u64)
        })
        .await;
    scene.goes_on().await;
}

async fn ends_that_contradict_what_was_sent_or_said(transport: TransportKind) {
    // Sent, then the ends that are said.
    for (sent, ends) in [
        (10_usize, [9_u64].as_slice()),
        (10, &[20, 30]),
        (0, &[5, 4]),
    ] {
        let mut scene = Scene::new(transport).await;
        let mut stream = scene.raw.open(0).await;
        let (_write, mut receiver) = scene.end.next().await.stream.split();
        stream.send.write_all(&vec![0; sent]).await.unwrap();
        let mut chunks = std::collections::VecDeque::new();
        while chunks.iter().map(Bytes::len).sum::<usize>() < sent {
            let read = std::future::poll_fn(|cx| receiver.poll_recv(cx, &mut chunks));
            within("the data", read).await.unwrap();
        }
        for last in ends {
            scene
                .raw
                .say(Control::Fin {
                    stream: stream.id,
                    last: *last,
                })
                .await;
        }
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn bytes_beyond_the_end_that_was_said(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let mut stream = scene.raw.open(0).await;
    let mut io = scene.end.next().await.stream.into_io();
    scene
        .raw
        .say(Control::Fin {
            stream: stream.id,
            last: 3,
        })
        .await;
    scene.raw.round_trip().await;
    stream.send.write_all(b"four").await.unwrap();
    let read = within("all that comes", io.read_to_end(&mut Vec::new())).await;
    assert!(read.is_err());
    scene.thrown_out(PROTOCOL).await;
}

async fn an_end_may_overtake_its_header(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene
        .raw
        .say(Control::Fin {
            stream: own(0),
            last: 5,
        })
        .await;
    scene.raw.round_trip().await;
    let mut head = header(own(0)).to_vec();
    head.extend_from_slice(b"whole");
    scene.raw.begin(own(0), &head).await;
    let mut io = scene.end.next().await.stream.into_io();
    let mut read = String::new();
    within("the end", io.read_to_string(&mut read))
        .await
        .unwrap();
    assert_eq!(read, "whole");
    scene.goes_on().await;
}

async fn a_reset_may_overtake_its_header(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene
        .raw
        .say(Control::Reset {
            stream: own(0),
            code: ResetCode::Cancelled,
            message: String::new(),
        })
        .await;
    scene.raw.told_over(own(0)).await;
    scene.raw.open(0).await;
    scene.raw.open(1).await;
    assert_eq!(scene.end.next().await.stream.id(), own(1));
    assert_eq!(scene.end.live(), 1);
    scene.goes_on().await;
}

/// The end of a transport stream says nothing; only Fin and Reset do.
async fn a_transport_stream_that_ends_or_breaks_is_no_end(transport: TransportKind) {
    for reset in [false, true] {
        let mut scene = Scene::new(transport).await;
        let mut stream = scene.raw.open(0).await;
        stream.send.write_all(b"part").await.unwrap();
        let mut io = scene.end.next().await.stream.into_io();
        let mut read = [0; 4];
        within("the data", io.read_exact(&mut read)).await.unwrap();
        if reset {
            stream.send.reset();
        } else {
            stream.send.finish();
        }
        let silence = tokio::time::timeout(Duration::from_millis(100), io.read(&mut read));
        assert!(silence.await.is_err(), "neither an end nor an error");
        scene
            .raw
            .say(Control::Fin {
                stream: own(0),
                last: 4,
            })
            .await;
        assert_eq!(within("the end", io.read(&mut read)).await.unwrap(), 0);
        scene.goes_on().await;
    }
}

async fn half_a_header_holds_nobody_up(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let whole = header(own(0));
    let mut halves = Vec::new();
    for _ in 0..500 {
        halves.push(scene.raw.begin(own(0), &whole[..whole.len() / 2]).await);
    }
    scene.raw.open(7).await;
    assert_eq!(scene.end.next().await.stream.id(), own(7));
    assert_eq!(scene.end.live(), 1);
    drop(halves);
    scene.goes_on().await;
}

async fn more_streams_than_are_allowed_are_refused_and_then_the_peer_is(transport: TransportKind) {
    let few = Setup {
        max_streams: 4,
        ..Setup::over(transport)
    };
    let mut scene = Scene::with(few).await;
    let mut held = Vec::new();
    for index in 0..4 {
        held.push((scene.raw.open(index).await, scene.end.next().await));
    }
    // Some more are let in, since the peer may know of an end before the house does.
    let mut index = 4;
    let refused = loop {
        held.push((scene.raw.open(index).await, {
            match tokio::time::timeout(Duration::from_millis(200), scene.end.incoming.recv()).await
            {
                Ok(incoming) => incoming.unwrap(),
                Err(_) => break own(index),
            }
        }));
        index += 1;
        assert!(index < 100, "no limit");
    };
    let told = scene
        .raw
        .expect(|message| matches!(message, Control::Reset { .. }))
        .await;
    assert!(
        matches!(told, Control::Reset { stream, code: ResetCode::Overload, .. } if stream == refused)
    );
    // It never confirms, and goes on, as fast as the transport takes it.
    within("the end of its patience", async {
        while scene.end.session.is_open() {
            index += 1;
            let opened = scene.raw.open_bi().await;
            let Ok((mut send, _recv)) = opened else { break };
            if send.write_all(&header(own(index))).await.is_err() {
                break;
            }
            assert!(scene.end.live() < 500, "no limit");
            tokio::task::yield_now().await;
        }
    })
    .await;
    scene.thrown_out(PROTOCOL).await;
}

async fn answers_that_are_none(transport: TransportKind) {
    let too_long = Bytes::from_static(&[0x81, 0x80, 0x01]);
    let garbage = Bytes::from_static(b"\x04junk");
    for words in [too_long, garbage, answer(theirs(9))] {
        let scene = Scene::new(transport).await;
        let mut io = scene.end.open("raw").await.into_io();
        let accepted = scene.raw.accept_bi();
        let (mut send, _recv) = within("the stream", accepted).await.unwrap();
        send.write_all(&words).await.unwrap();
        let error = within("a reset", io.read(&mut [0])).await.unwrap_err();
        assert!(error.to_string().contains("session_closed"), "{error}");
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn a_stream_that_is_never_answered_ends_by_the_sessions_word(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let mut io = scene.end.open("raw").await.into_io();
    scene
        .raw
        .say(Control::Reset {
            stream: io.id(),
            code: ResetCode::UnknownService,
            message: "raw".into(),
        })
        .await;
    let error = within("the reset", io.read(&mut [0])).await.unwrap_err();
    assert!(error.to_string().contains("unknown_service"), "{error}");
    scene.raw.told_over(theirs(0)).await;
    drop(io);
    eventually("nothing is live", || scene.end.live() == 0).await;
    scene.goes_on().await;
}
