//! Moves live streams onto the connection that there is, and sends again what was under way.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::control::write_all;
use super::line::Line;
use super::shared::Shared;
use super::stream::MovedReceiver;
use crate::proto::{FrameBuffer, Generation, MAX_HEADER_FRAME, ResetCode, StreamId};
use crate::session::Replayed;
use crate::transport::{SendHalf, StreamBroken};

/// Attaches this end's own streams to every new connection, until the session is over.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut moving = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.closed().cancelled() => break,
            () = shared.attach_due() => {
                while let Some((line, id)) = shared.next_attach() {
                    let attaching = attach(shared.clone(), line, id);
                    moving.spawn(attaching.instrument(shared.span.clone()));
                }
            }
            Some(ended) = moving.join_next() => super::surface_panic(ended),
        }
    }
}

async fn attach(shared: Arc<Shared>, line: Arc<Line>, id: StreamId) {
    // Whatever fails here fails with the connection, and is done again on the next.
    let Some(Ok(transport)) = line.over.run_until_cancelled(line.connection.open()).await else {
        return;
    };
    let attaching = shared.on_line(&line, |session, _| session.attach(id));
    let Some(attaching) = attaching.flatten() else {
        return;
    };
    let mut header = BytesMut::new();
    attaching.header.encode(&mut header);
    shared.metrics.stream_moved();
    shared.hand_receiver(
        id,
        MovedReceiver {
            generation: attaching.generation,
            half: transport.recv,
            answer: Some(FrameBuffer::new(MAX_HEADER_FRAME)),
            skip: 0,
            early: Bytes::new(),
        },
    );
    let moved = MovedSender {
        shared,
        id,
        generation: attaching.generation,
        half: transport.send,
    };
    moved
        .send_again(&line, header.freeze(), attaching.start)
        .await;
}

/// The sending half of a stream's new transport stream, until all is sent again.
pub(super) struct MovedSender {
    pub(super) shared: Arc<Shared>,
    pub(super) id: StreamId,
    pub(super) generation: Generation,
    pub(super) half: Box<dyn SendHalf>,
}

impl MovedSender {
    /// Sends `first`, then what was sent from `offset` on, and hands the half to the stream's sender.
    pub(super) async fn send_again(self, line: &Line, first: Bytes, offset: u64) {
        // If the line is lost, so is all that was sent on it.
        let _: Option<Result<(), StreamBroken>> = line
            .over
            .run_until_cancelled(self.send_all(first, offset))
            .await;
    }

    async fn send_all(mut self, mut first: Bytes, mut offset: u64) -> Result<(), StreamBroken> {
        write_all(self.half.as_mut(), &mut first).await?;
        let Self {
            shared,
            id,
            generation,
            mut half,
        } = self;
        loop {
            let (replayed, kept) = shared.replayed(id, generation, offset, half);
            match (replayed, kept) {
                (Replayed::Bytes(mut bytes), Some(again)) => {
                    half = again;
                    offset += bytes.len() as u64;
                    write_all(half.as_mut(), &mut bytes).await?;
                }
                (Replayed::Everything { .. }, Some(mut half)) => {
                    half.finish();
                    return Ok(());
                }
                (Replayed::TooLate, Some(mut half)) => {
                    half.reset(ResetCode::Cancelled);
                    return Ok(());
                }
                // Its sender has it.
                (_, None) => return Ok(()),
            }
        }
    }
}
