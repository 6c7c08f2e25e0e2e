//! Sessions that lose their connection and go on with another.

use std::io::ErrorKind;

use relay::proto::{Attempt, CloseCode, ContinueMode};
use relay::transport::TransportKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ends::{End, Guest, House, Setup};
use crate::pattern::{bytes, expect};
use crate::{eventually, within};

each_transport![
    a_stream_goes_on_where_it_was,
    bulk_both_ways_survives_many_connections,
    a_stream_that_has_ended_one_way_ends_the_other_way_too,
    a_stream_that_its_acceptor_does_not_keep_ends_with_its_connection,
    a_stream_opened_while_there_is_no_connection_waits_for_one,
    a_connection_that_lives_is_replaced_by_another,
    streams_are_reset_when_no_connection_comes_in_time,
    nobody_else_and_nothing_older_can_go_on,
];

/// How much is sent each way, in bytes: many windows.
const BULK: u64 = 24 << 20;

async fn pair(transport: TransportKind) -> (House, Guest, End) {
    let mut house = House::listen(Setup::over(transport)).await;
    let (guest, end) = house.visit().await;
    (house, guest, end)
}

impl House {
    /// Takes the connection away that came last, at this end; the other end finds out.
    fn cut(&self) {
        let connections = self.connections.lock();
        let last = connections.last().expect("somebody has come");
        last.close(CloseCode::Dead, "cut");
    }
}

/// Both ends know that they have lost their connection.
async fn both_detached(guest: &Guest, end: &End) {
    within("both lose it", async {
        guest.end.session.detached().await;
        end.session.detached().await;
    })
    .await;
}

async fn a_stream_goes_on_where_it_was(transport: TransportKind) {
    let (house, guest, end) = pair(transport).await;
    let mut io = guest.end.open("echo").await.into_io();
    for attempt in 2..6 {
        io.write_all(b"before").await.unwrap();
        let mut back = [0; 6];
        within("an echo", io.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"before");
        house.cut();
        both_detached(&guest, &end).await;
        let writing = io.write_all(b"meanwhile");
        let (written, ()) = tokio::join!(writing, guest.resume(attempt));
        written.unwrap();
        let mut back = [0; 9];
        within("an echo", io.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"meanwhile");
    }
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", io.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    eventually("both ends forget it", || {
        guest.end.live() == 0 && end.live() == 0
    })
    .await;
}

async fn bulk_both_ways_survives_many_connections(transport: TransportKind) {
    let (house, guest, mut end) = pair(transport).await;
    let near = guest.end.open("bulk").await.into_io();
    let far = end.next().await.stream.into_io();
    let exchanges = [(near, 1, 2), (far, 2, 1)].map(|(io, out, back)| {
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(io);
            let sending = async {
                for offset in (0..BULK).step_by(1 << 16) {
                    write.write_all(&bytes(out, offset, 1 << 16)).await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let receiving = async {
                expect(&mut read, back, BULK).await;
                let mut rest = Vec::new();
                read.read_to_end(&mut rest).await.unwrap();
                assert!(rest.is_empty(), "bytes beyond the end");
            };
            tokio::join!(sending, receiving);
        })
    });
    let mut passed = 0;
    for attempt in 2..12 {
        let moved = || guest.end.session.snapshot().bytes_received;
        let more = passed + (BULK >> 5);
        let done = || exchanges.iter().all(tokio::task::JoinHandle::is_finished);
        eventually("more has come", || moved() >= more || done()).await;
        passed = moved();
        house.cut();
        both_detached(&guest, &end).await;
        guest.resume(attempt).await;
    }
    for exchange in exchanges {
        within("all of it", exchange).await.unwrap();
    }
    eventually("both ends forget it", || {
        guest.end.live() == 0 && end.live() == 0
    })
    .await;
    eventually("nothing is kept", || {
        [guest.end.budget.used(), end.budget.used()] == [0, 0]
    })
    .await;
}

async fn a_stream_that_has_ended_one_way_ends_the_other_way_too(transport: TransportKind) {
    let (house, guest, mut end) = pair(transport).await;
    let mut near = guest.end.open("test").await.into_io();
    let mut far = end.next().await.stream.into_io();
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    house.cut();
    both_detached(&guest, &end).await;
    guest.resume(2).await;
    let mut question = String::new();
    within("all of it", far.read_to_string(&mut question))
        .await
        .unwrap();
    assert_eq!(question, "question");
    far.write_all(b"answer").await.unwrap();
    house.cut();
    both_detached(&guest, &end).await;
    far.shutdown().await.unwrap();
    drop(far);
    guest.resume(3).await;
    let mut answer = String::new();
    within("all of it", near.read_to_string(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, "answer");
    eventually("both ends forget it", || {
        guest.end.live() == 0 && end.live() == 0
    })
    .await;
}

async fn a_stream_that_its_acceptor_does_not_keep_ends_with_its_connection(
    transport: TransportKind,
) {
    let (house, guest, mut end) = pair(transport).await;
    let mut fleeting = guest.end.open("fleeting").await.into_io();
    let mut there = end.next().await.stream.into_io();
    let mut lasting = guest.end.open("echo").await.into_io();
    there.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    within("hello", fleeting.read_exact(&mut back))
        .await
        .unwrap();
    // The answer has come with it. What is sent now, nobody takes before the connection is lost.
    fleeting.write_all(&[7; 4096]).await.unwrap();
    assert_eq!(guest.end.budget.kept(), 0);
    assert!(guest.end.session.has_fleeting() && end.session.has_fleeting());

    house.cut();
    both_detached(&guest, &end).await;
    for end in [&mut fleeting, &mut there] {
        let error = within("it ends", end.read_exact(&mut [0; 8192])).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    guest.resume(2).await;
    assert!(!guest.end.session.has_fleeting() && !end.session.has_fleeting());
    lasting.write_all(b"still").await.unwrap();
    within("an echo", lasting.read_exact(&mut back))
        .await
        .unwrap();
    drop((fleeting, there, lasting));
    eventually("both ends forget them", || {
        guest.end.live() == 0 && end.live() == 0
    })
    .await;
}

async fn a_stream_opened_while_there_is_no_connection_waits_for_one(transport: TransportKind) {
    let (house, guest, mut end) = pair(transport).await;
    house.cut();
    both_detached(&guest, &end).await;
    let opening = async {
        let mut near = guest.end.open("test").await.into_io();
        near.write_all(b"late").await.unwrap();
        near.shutdown().await.unwrap();
        let mut back = Vec::new();
        near.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"but there");
    };
    let serving = async {
        guest.resume(2).await;
        let mut far = end.next().await.stream.into_io();
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"late");
        far.write_all(b"but there").await.unwrap();
        far.shutdown().await.unwrap();
        far
    };
    within("both", async { tokio::join!(opening, serving) }).await;
}

async fn a_connection_that_lives_is_replaced_by_another(transport: TransportKind) {
    let (house, guest, end) = pair(transport).await;
    let mut io = guest.end.open("echo").await.into_io();
    for attempt in 2..20 {
        let sent = bytes(attempt, 0, 100_000);
        let mut back = vec![0; sent.len()];
        let (mut read, mut write) = tokio::io::split(&mut io);
        let talking = async {
            tokio::join!(
                async { write.write_all(&sent).await.unwrap() },
                async { read.read_exact(&mut back).await.unwrap() },
                async { guest.resume(attempt).await },
            )
        };
        within("an echo", talking).await;
        assert_eq!(back, sent);
    }
    assert_eq!(house.connections.lock().len(), 19);
    io.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("the end", io.read_to_end(&mut rest)).await.unwrap();
    eventually("both ends forget it", || {
        guest.end.live() == 0 && end.live() == 0
    })
    .await;
}

async fn streams_are_reset_when_no_connection_comes_in_time(transport: TransportKind) {
    let (house, guest, mut end) = pair(transport).await;
    let mut near = guest.end.open("test").await.into_io();
    near.write_all(b"received").await.unwrap();
    let mut far = end.next().await.stream.into_io();
    let mut begun = [0; 8];
    within("what was sent", far.read_exact(&mut begun))
        .await
        .unwrap();
    house.cut();
    both_detached(&guest, &end).await;
    for mut io in [near, far] {
        let error = within("an error", io.read(&mut [0; 1])).await.unwrap_err();
        let reset = error.get_ref().unwrap().to_string();
        assert!(reset.contains("grace_expired"), "{reset}");
    }
    assert!(!guest.end.session.is_open() && !end.session.is_open());
}

async fn nobody_else_and_nothing_older_can_go_on(transport: TransportKind) {
    let (house, guest, end) = pair(transport).await;
    let mut io = guest.end.open("echo").await.into_io();
    guest.resume(7).await;
    for older in [1, 6, 7] {
        guest.resume_saying(older, |_| {}).await.unwrap_err();
    }
    // A number that another was proved with.
    let numbered = guest.resume_saying(8, |hello| hello.attempt = Attempt(9));
    assert_eq!(
        numbered.await.unwrap_err(),
        "closed by the peer: refused: refused"
    );
    // A mode that another was proved with.
    let joined = guest.resume_saying(8, |hello| {
        let continues = hello.continues.as_mut().unwrap();
        continues.mode = ContinueMode::Join;
    });
    assert_eq!(
        joined.await.unwrap_err(),
        "closed by the peer: refused: refused"
    );
    // The end of another session, which knows the name of this one.
    let stranger = Guest::dial(house.address, &house.certificate, Setup::over(transport)).await;
    let wanted = guest.end.session.id();
    let guessed = stranger.resume_saying(8, move |hello| {
        hello.continues.as_mut().unwrap().session = wanted;
    });
    assert_eq!(
        guessed.await.unwrap_err(),
        "closed by the peer: refused: refused"
    );
    io.write_all(b"still").await.unwrap();
    io.shutdown().await.unwrap();
    let mut back = Vec::new();
    within("an echo", io.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, b"still");
    assert!(end.session.is_connected());
}
