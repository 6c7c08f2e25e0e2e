//! The control stream's two tasks: one writes and keeps time, one reads.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::line::Line;
use super::shared::{ClosedBy, Shared, close, now};
use crate::proto::{CloseCode, Control, FrameBuffer};
use crate::session::Violation;
use crate::transport::{RecvHalf, SendHalf, StreamBroken};

/// How many bytes of messages are written at once, about.
const BATCH: usize = 32 * 1024;

/// How often the clock is looked at while nothing can be written, at least.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long the last word may take to be read by the peer.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Writes what the session has to say for as long as the line carries it, then closes the connection.
pub(super) async fn write(shared: &Shared, line: &Line, mut control: Box<dyn SendHalf>) {
    let mut batch = BytesMut::new();
    let mut unwritten = Bytes::new();
    while !is_over(shared, line) {
        let deadline = shared.next_control(line, &mut batch, BATCH);
        if batch.is_empty() {
            tokio::select! {
                () = line.control_due.notified() => {}
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = over(shared, line) => {}
            }
            continue;
        }
        unwritten = batch.split().freeze();
        if write_in_time(shared, line, control.as_mut(), &mut unwritten)
            .await
            .is_err()
        {
            broken_off(shared, line).await;
        }
    }
    if shared.closed().is_cancelled() {
        say_goodbye(shared, line, control, unwritten).await;
    } else {
        line.connection.close(CloseCode::Moved, "");
    }
}

fn is_over(shared: &Shared, line: &Line) -> bool {
    shared.closed().is_cancelled() || line.over.is_cancelled()
}

/// Waits until the session is over, or goes on elsewhere.
async fn over(shared: &Shared, line: &Line) {
    tokio::select! {
        () = shared.closed().cancelled() => {}
        () = line.over.cancelled() => {}
    }
}

/// Writes until all is written or the line is over. Meanwhile the clock goes on, so that a peer
/// that takes nothing any more is noticed.
async fn write_in_time(
    shared: &Shared,
    line: &Line,
    control: &mut dyn SendHalf,
    bytes: &mut Bytes,
) -> Result<(), StreamBroken> {
    let mut written = pin!(write_all(control, bytes));
    loop {
        let due = shared.keep_time(line).min(now() + LOOK_AGAIN);
        tokio::select! {
            written = &mut written => return written,
            () = over(shared, line) => return Ok(()),
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }
}

/// Waits for the connection's word after its control stream has ended. Without one it is the peer
/// who broke the stream off, and nothing works without it.
async fn broken_off(shared: &Shared, line: &Line) {
    tokio::select! {
        lost = line.connection.lost() => shared.lost(line, lost),
        () = over(shared, line) => {}
        () = tokio::time::sleep(LAST_WORD * 4) => {
            shared.violated(&Violation::Unexpected("the end of the control stream"));
        }
    }
}

/// Resets what is left, says why if it was us, and closes the connection.
async fn say_goodbye(
    shared: &Shared,
    line: &Line,
    mut control: Box<dyn SendHalf>,
    mut unwritten: Bytes,
) {
    shared.reset_all();
    let closed = shared.closed_because();
    if closed.by == ClosedBy::Local {
        let mut last = BytesMut::new();
        Control::Close(closed.close.clone()).encode(&mut last);
        let read_by_peer = async {
            // First what was begun: half a message would spoil the last one.
            write_all(control.as_mut(), &mut unwritten).await?;
            write_all(control.as_mut(), &mut last.freeze()).await?;
            line.connection.lost().await;
            Ok::<_, StreamBroken>(())
        };
        // A peer that does not react learns the same from the transport's own close.
        let _ = tokio::time::timeout(LAST_WORD, read_by_peer).await;
    }
    let close = closed.close;
    line.connection.close(close.code, &close.message);
}

/// Writes all of `bytes`.
pub(super) async fn write_all(
    half: &mut dyn SendHalf,
    bytes: &mut Bytes,
) -> Result<(), StreamBroken> {
    while bytes.has_remaining() {
        poll_fn(|cx| half.poll_write(cx, bytes)).await?;
    }
    Ok(())
}

/// Hands every message of the peer to the session for as long as the line carries it.
pub(super) async fn read(
    shared: &Shared,
    line: &Line,
    mut control: Box<dyn RecvHalf>,
    mut frames: FrameBuffer,
) {
    // What had arrived before the connection was lost is read first: it may say that all is well.
    let until_it_ends = async {
        read_messages(shared, line, control.as_mut(), &mut frames).await;
        broken_off(shared, line).await;
    };
    tokio::select! {
        () = over(shared, line) => {}
        () = until_it_ends => {}
    }
}

async fn read_messages(
    shared: &Shared,
    line: &Line,
    control: &mut dyn RecvHalf,
    frames: &mut FrameBuffer,
) {
    let mut chunks = VecDeque::new();
    loop {
        loop {
            let message = match frames.next_frame() {
                Ok(Some(frame)) => Control::decode(frame),
                Ok(None) => break,
                Err(error) => {
                    let message = format!("control stream: {error}");
                    return shared.end(ClosedBy::Local, close(error.close_code(), &message));
                }
            };
            let handled = match message {
                Ok(message) => shared.handle_control(line, message),
                Err(error) => {
                    let message = format!("control stream: {error}");
                    return shared.end(ClosedBy::Local, close(CloseCode::Protocol, &message));
                }
            };
            if let Err(violation) = handled {
                return shared.violated(&violation);
            }
        }
        match poll_fn(|cx| control.poll_read(cx, &mut chunks)).await {
            Ok(0) | Err(StreamBroken) => return,
            Ok(_) => chunks.drain(..).for_each(|chunk| frames.push(&chunk)),
        }
    }
}
