//! The two directions of a stream, as their users hold them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::heard::Read;
use super::room::Written;
use super::shared::Shared;
use super::streams::Key;
use crate::proto::ResetCode;
use crate::transport::{RecvHalf, SendHalf, StreamBroken, TransportStream};

/// Both halves of `key`.
pub(super) fn both(shared: &Arc<Shared>, key: Key) -> TransportStream {
    TransportStream {
        send: Box::new(TlsSend {
            shared: shared.clone(),
            key,
        }),
        recv: Box::new(TlsRecv {
            shared: shared.clone(),
            key,
        }),
    }
}

#[derive(Debug)]
struct TlsSend {
    shared: Arc<Shared>,
    key: Key,
}

impl SendHalf for TlsSend {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>> {
        let write =
            |streams: &mut super::streams::Streams| streams.write(self.key, chunk, cx.waker());
        match self.shared.with(write) {
            Written::Taken => Poll::Ready(Ok(())),
            Written::Waits => Poll::Pending,
            Written::Broken => Poll::Ready(Err(StreamBroken)),
        }
    }

    fn finish(&mut self) {
        self.shared.with(|streams| streams.finish(self.key));
    }

    fn reset(&mut self, code: ResetCode) {
        self.shared
            .with(|streams| streams.reset(self.key, code.number()));
    }

    fn prioritize(&mut self) {
        self.shared.with(|streams| streams.prioritize(self.key));
    }
}

impl Drop for TlsSend {
    fn drop(&mut self) {
        self.shared.with(|streams| streams.drop_out(self.key));
    }
}

#[derive(Debug)]
struct TlsRecv {
    shared: Arc<Shared>,
    key: Key,
}

impl RecvHalf for TlsRecv {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, StreamBroken>> {
        let read =
            |streams: &mut super::streams::Streams| streams.read(self.key, chunks, cx.waker());
        match self.shared.with(read) {
            Read::Arrived(count) => Poll::Ready(Ok(count)),
            Read::End => Poll::Ready(Ok(0)),
            Read::Waits => Poll::Pending,
            Read::Broken => Poll::Ready(Err(StreamBroken)),
        }
    }

    fn stop(&mut self, code: ResetCode) {
        self.shared
            .with(|streams| streams.stop(self.key, code.number()));
    }
}

impl Drop for TlsRecv {
    fn drop(&mut self) {
        self.shared.with(|streams| streams.drop_back(self.key));
    }
}
