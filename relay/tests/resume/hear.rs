//! What an end hears: control messages, headers, answers and bytes.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use relay::proto::{Control, Open, StreamAnswer, StreamHeader, StreamId};
use relay::session::{HeaderOutcome, Violation};

use crate::end::End;
use crate::link::Connection;
use crate::stream::{Place, Reader, Stream, Writer, byte, is_declined};

impl End {
    /// Bytes of the other end's control stream.
    pub(crate) fn hear_control(
        &mut self,
        number: usize,
        bytes: &[u8],
        links: &mut [Connection],
        now: Instant,
    ) -> Result<(), Violation> {
        let Connection {
            attempt, frames, ..
        } = &mut links[number];
        frames[self.side].push(bytes);
        while let Some(frame) = frames[self.side].next_frame().unwrap() {
            if !self.state.is_current(*attempt) {
                continue;
            }
            let message = Control::decode(frame).unwrap();
            self.note_heard(&message);
            self.state.handle_control(message, now)?;
            self.drain();
        }
        Ok(())
    }

    /// Bytes of a transport stream.
    pub(crate) fn hear_data(
        &mut self,
        place: Place,
        bytes: &[u8],
        base: u32,
        links: &mut [Connection],
        now: Instant,
    ) -> Result<(), Violation> {
        let transport = place.of(links);
        let id = transport.stream;
        if let Some(frames) = transport
            .header
            .as_mut()
            .filter(|_| transport.opener != self.side)
        {
            frames.push(bytes);
            let Some(frame) = frames.next_frame().unwrap() else {
                return Ok(());
            };
            let rest = transport.header.take().unwrap().into_rest();
            let header = StreamHeader::decode(frame).unwrap();
            if self.state.is_current(links[place.connection].attempt) {
                self.admit(place, &header, base, links, now)?;
                self.take_bytes(place, id, rest, now)?;
            }
            return Ok(());
        }
        self.take_bytes(place, id, Bytes::copy_from_slice(bytes), now)
    }

    fn admit(
        &mut self,
        place: Place,
        header: &StreamHeader,
        base: u32,
        links: &mut [Connection],
        now: Instant,
    ) -> Result<(), Violation> {
        let (outcome, resumable) = match header {
            StreamHeader::Open(open) => {
                let resumable = open.resumable && !is_declined(open.stream);
                let open = Open {
                    resumable,
                    ..open.clone()
                };
                (self.state.handle_open(&open, now)?, resumable)
            }
            StreamHeader::Attach(attach) => (self.state.handle_attach(attach)?, true),
        };
        let (answer, skip) = match outcome {
            HeaderOutcome::New { answer } => (answer, None),
            HeaderOutcome::Moved { answer, skip } => (answer, Some(skip)),
            HeaderOutcome::TooLate => return Ok(()),
            HeaderOutcome::Overload => panic!("an honest opener stays within the limit"),
        };
        let id = answer.stream;
        let stream = self
            .streams
            .entry(id)
            .or_insert_with(|| Stream::new(resumable, base));
        let generation = answer.generation;
        let writer = Writer { place, generation };
        stream.reader = Some(Reader {
            place,
            generation,
            answer: None,
            skip: skip.unwrap_or(0),
        });
        if skip.is_some() {
            stream.again = Some((writer, answer.start));
        } else {
            assert!(
                !std::mem::replace(&mut stream.begun, true),
                "{id}: opened twice"
            );
            stream.writer = Some(writer);
        }
        let mut first = BytesMut::new();
        answer.encode(&mut first);
        place.write(self.side, &first, links);
        self.drain();
        Ok(())
    }

    /// Takes bytes of a transport stream behind its header, if the stream is still read there.
    fn take_bytes(
        &mut self,
        place: Place,
        id: StreamId,
        mut bytes: Bytes,
        now: Instant,
    ) -> Result<(), Violation> {
        if self.line == Some(place.connection) {
            self.arrived += bytes.len() as u64;
            self.state.set_arrived(self.arrived, now);
        }
        let Some(stream) = self.streams.get_mut(&id).filter(|it| it.may_read()) else {
            return Ok(());
        };
        let Some(reader) = stream.reader.as_mut().filter(|it| it.place == place) else {
            return Ok(());
        };
        if let Some(frames) = &mut reader.answer {
            frames.push(&bytes);
            let Some(frame) = frames.next_frame().unwrap() else {
                return Ok(());
            };
            bytes = reader.answer.take().unwrap().into_rest();
            let answer = StreamAnswer::decode(frame).unwrap();
            self.state.handle_answer(id, reader.generation, &answer)?;
            stream.resumable &= answer.resumable;
        }
        let known = reader.skip.min(bytes.len() as u64);
        reader.skip -= known;
        let new = bytes.slice(known as usize..);
        if new.is_empty() {
            return Ok(());
        }
        if !self
            .state
            .received(id, reader.generation, new.len() as u64, now)?
        {
            stream.reader = None;
            return Ok(());
        }
        for got in new {
            let expected = byte(id, 1 - self.side, stream.received);
            assert_eq!(
                got, expected,
                "{id}: another byte at {} than was sent",
                stream.received
            );
            stream.received += 1;
        }
        self.drain();
        Ok(())
    }

    fn note_heard(&mut self, message: &Control) {
        match message {
            Control::Ack(ack) => {
                if let Some(stream) = self.streams.get_mut(&ack.stream) {
                    let words = &mut stream.words;
                    words.heard_limit = words.heard_limit.max(ack.limit);
                    words.heard_consumed = words.heard_consumed.max(ack.consumed);
                }
            }
            Control::Release { stream, released } => {
                if let Some(stream) = self.streams.get_mut(stream) {
                    stream.words.heard_released = stream.words.heard_released.max(*released);
                }
            }
            Control::Connected { stream } => {
                self.streams.get_mut(stream).unwrap().connected = true;
            }
            Control::Hello(_)
            | Control::HelloAck(_)
            | Control::Ping(_)
            | Control::Pong(_)
            | Control::Fin { .. }
            | Control::Reset { .. }
            | Control::Drain { .. }
            | Control::HealthReport(_)
            | Control::EdgeList(_)
            | Control::Close(_)
            | Control::Unknown => {}
        }
    }
}
