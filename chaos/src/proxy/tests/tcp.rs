use super::*;

#[tokio::test]
async fn without_faults_bytes_and_half_closes_pass() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    let (mut caller, mut served) = pair(&bed, &listener).await;
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    // Answers only after the caller's end, which must not have ended the other direction.
    let serving = tokio::spawn(async move {
        let all = read_all(&mut served).await.unwrap();
        served.write_all(&all).await.unwrap();
    });
    caller.write_all(&sent).await.unwrap();
    caller.shutdown().await.unwrap();
    assert!(read_all(&mut caller).await.unwrap() == sent);
    serving.await.unwrap();
    let totals = bed.observer.totals();
    assert_eq!([totals.bytes_up, totals.bytes_down], [sent.len() as u64; 2]);
    wait_for("no connection", || bed.observer.totals().open == 0).await;
}

#[tokio::test]
async fn a_reset_of_either_side_reaches_the_other() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    for server_resets in [false, true] {
        let (mut caller, mut served) = pair(&bed, &listener).await;
        round_trip(&mut caller, &mut served).await;
        let (resetting, mut other) = if server_resets {
            (served, caller)
        } else {
            (caller, served)
        };
        socket2::SockRef::from(&resetting)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(resetting);
        let error = read_all(&mut other).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_reset_after_an_end_reaches_the_other_side_as_well() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    let (mut caller, mut served) = pair(&bed, &listener).await;
    caller.shutdown().await.unwrap();
    assert_eq!(read_all(&mut served).await.unwrap(), b"");
    assert_eq!(bed.observer.totals().open, 1);
    socket2::SockRef::from(&caller)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(caller);
    // Nothing is written that could fail by it.
    wait_for("the end of the connection", || {
        bed.observer.totals().open == 0
    })
    .await;
    let error = within("an error", served.ready(tokio::io::Interest::ERROR)).await;
    assert!(error.unwrap().is_error());
}

#[tokio::test]
async fn a_proxy_that_stops_resets_both_sides() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    let (mut caller, mut served) = pair(&bed, &listener).await;
    round_trip(&mut caller, &mut served).await;
    drop(bed);
    for side in [&mut caller, &mut served] {
        let error = read_all(side).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_its_callers() {
    let (listener, to) = server().await;
    drop(listener);
    let bed = Bed::before(to, Protocols::Tcp);
    let mut caller = TcpStream::connect(bed.address).await.unwrap();
    let error = read_all(&mut caller).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bed.observer.totals().refused, 1);
}

#[tokio::test]
async fn callers_beyond_the_most_wait_for_their_turn() {
    let (listener, to) = server().await;
    let options = Options {
        max_connections: 1,
        ..Options::default()
    };
    let bed = Bed::with(to, Protocols::Tcp, options);
    let (first, _served) = pair(&bed, &listener).await;
    let mut second = TcpStream::connect(bed.address).await.unwrap();
    assert!(timeout(SILENCE, listener.accept()).await.is_err());
    drop((first, _served));
    let (mut served, _) = within("its turn", listener.accept()).await.unwrap();
    round_trip(&mut second, &mut served).await;
}

#[tokio::test]
async fn latency_is_for_each_direction() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("up latency delay=100ms");
    bed.set("down latency delay=50ms");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    let took = round_trip(&mut caller, &mut served).await;
    assert!(took >= Duration::from_millis(150), "{took:?}");
    let begin = Instant::now();
    caller.write_all(b"there").await.unwrap();
    read(&mut served, 5).await;
    assert!(begin.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn bandwidth_is_shared_by_all_connections() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("down bandwidth rate=100KiB");
    let begin = Instant::now();
    let mut pairs = Vec::new();
    for _ in 0..4 {
        let (caller, mut served) = pair(&bed, &listener).await;
        served.write_all(&[7; 10 * 1024]).await.unwrap();
        pairs.push((caller, served));
    }
    for (caller, _) in &mut pairs {
        assert_eq!(read(caller, 10 * 1024).await, vec![7; 10 * 1024]);
    }
    // 40 KiB; the last piece is not waited for, nor what each connection may have of it at once.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn a_slow_close_comes_after_the_bytes() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("up slow-close delay=300ms");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    let begin = Instant::now();
    caller.write_all(b"bye").await.unwrap();
    caller.shutdown().await.unwrap();
    assert_eq!(read(&mut served, 3).await, b"bye");
    assert_eq!(read_all(&mut served).await.unwrap(), b"");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    // The other direction is not slow, nor closed.
    served.write_all(b"bye").await.unwrap();
    assert_eq!(read(&mut caller, 3).await, b"bye");
}

#[tokio::test]
async fn slices_arrive_with_pauses() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("up slice size=1B pause=10ms");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    let begin = Instant::now();
    caller.write_all(b"0123456789").await.unwrap();
    assert_eq!(read(&mut served, 10).await, b"0123456789");
    assert!(begin.elapsed() >= Duration::from_millis(90));
}

#[tokio::test]
async fn a_truncated_answer_ends_early_and_both_sides_know() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("down truncate bytes=10");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    served.write_all(&[7; 1000]).await.unwrap();
    assert_eq!(read_all(&mut caller).await.unwrap(), [7; 10]);
    // The server has not ended its side yet, and is waited for; but the connection is over.
    assert_eq!(bed.observer.connections(), Value::Array(Vec::new()));
    assert_eq!(read_all(&mut served).await.unwrap(), b"");
}

#[tokio::test]
async fn a_reset_is_for_the_side_that_it_names() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    for (fault, caller_is_reset, server_is_reset) in [
        ("reset", true, true),
        ("down reset", true, false),
        ("up reset", false, true),
    ] {
        let (mut caller, mut served) = pair(&bed, &listener).await;
        round_trip(&mut caller, &mut served).await;
        bed.set(fault);
        let is_reset = |read: io::Result<Vec<u8>>| match read {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        assert_eq!(is_reset(read_all(&mut caller).await), caller_is_reset);
        assert_eq!(is_reset(read_all(&mut served).await), server_is_reset);
        bed.faults.clear_all();
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_answer() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("down reset bytes=10");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    served.write_all(&[7; 1000]).await.unwrap();
    let mut got = Vec::new();
    let error = within("the reset", caller.read_to_end(&mut got)).await;
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(got.len() <= 10);
}

#[tokio::test]
async fn a_timeout_is_silence_and_then_an_end() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("timeout");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    caller.write_all(b"anybody?").await.unwrap();
    assert!(is_silent(&mut served).await);
    assert!(is_silent(&mut caller).await);
    bed.faults.clear_all();
    assert_eq!(read_all(&mut caller).await.unwrap(), b"");
    assert_eq!(read_all(&mut served).await.unwrap(), b"");

    bed.set("timeout after=200ms");
    let begin = Instant::now();
    let (mut caller, _served) = pair(&bed, &listener).await;
    assert_eq!(read_all(&mut caller).await.unwrap(), b"");
    assert!(begin.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_cut_holds_everything_until_it_is_healed() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    let (mut caller, mut served) = pair(&bed, &listener).await;
    round_trip(&mut caller, &mut served).await;
    bed.set("cut");
    caller.write_all(b"still there?").await.unwrap();
    caller.shutdown().await.unwrap();
    served.write_all(b"yes").await.unwrap();
    let mut late = TcpStream::connect(bed.address).await.unwrap();
    late.write_all(b"late").await.unwrap();
    assert!(is_silent(&mut served).await && is_silent(&mut caller).await);
    assert!(timeout(SILENCE, listener.accept()).await.is_err());
    bed.faults.clear_all();
    assert_eq!(read_all(&mut served).await.unwrap(), b"still there?");
    assert_eq!(read(&mut caller, 3).await, b"yes");
    let (mut served, _) = within("the late caller", listener.accept()).await.unwrap();
    assert_eq!(read(&mut served, 4).await, b"late");
}

#[tokio::test]
async fn a_one_way_cut_is_one_way() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    let (mut caller, mut served) = pair(&bed, &listener).await;
    bed.set("up cut");
    // Known to be in force once the other direction carries what was sent after it was set.
    caller.write_all(b"lost?").await.unwrap();
    served.write_all(b"hear me").await.unwrap();
    assert_eq!(read(&mut caller, 7).await, b"hear me");
    assert!(is_silent(&mut served).await);
    bed.faults.clear_all();
    assert_eq!(read(&mut served, 5).await, b"lost?");
}

#[tokio::test]
async fn corruption_is_not_the_proxys_end() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("down corrupt rate=100%");
    let (mut caller, mut served) = pair(&bed, &listener).await;
    caller.write_all(&[0; 1000]).await.unwrap();
    assert_eq!(read(&mut served, 1000).await, [0; 1000]);
    served.write_all(&[0; 1000]).await.unwrap();
    let got = read(&mut caller, 1000).await;
    assert!(got.iter().all(|byte| byte.count_ones() == 1));
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let (listener, to) = server().await;
    let bed = Bed::before(to, Protocols::Tcp);
    bed.set("up latency delay=1h");
    let (mut caller, _served) = pair(&bed, &listener).await;
    let chunk = [0; 64 * 1024];
    let mut sent = 0;
    while sent < Options::default().buffer {
        let wrote = within("room in the buffer", caller.write(&chunk)).await;
        sent += wrote.unwrap();
    }
    while let Ok(wrote) = timeout(SILENCE, caller.write(&chunk)).await {
        sent += wrote.unwrap();
        // Besides the buffer there are those of the system, 6 MiB at most by default (tcp(7)).
        assert!(sent < 64 << 20, "nothing holds the caller back");
    }
}
