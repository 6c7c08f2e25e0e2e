//! Keeps those who are refused from filling the disk with lines about it.
//!
//! ```text
//! warning ──▶ one of the first ten of its kind in this second? ── yes ──▶ log
//!                                     └── no: counted ──once a second──▶ "and N more"
//! ```
//!
//! A kind is a place in the code. Only warnings are limited: whatever strangers and peers can cause
//! is one, or below the usual level.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many warnings of a kind there may be in a second.
const MOST: u32 = 10;

const SECOND: Duration = Duration::from_secs(1);

/// The target of the lines that stand for others. They are not limited: each kind has one a second.
const STANDS_FOR_OTHERS: &str = "causeway::flood";

/// The layer. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct FloodLimit {
    kinds: Arc<Mutex<HashMap<Identifier, Kind>>>,
    /// Wakes the thread that tells what was left out.
    left_out: SyncSender<()>,
}

#[derive(Debug)]
struct Kind {
    second: Instant,
    logged: u32,
    /// Since it was last told.
    left_out: u64,
    /// What the first line that was left out says.
    message: String,
}

impl FloodLimit {
    /// Starts the thread that tells, a second after something was left out, how much it was.
    pub(super) fn start() -> io::Result<Self> {
        let (left_out, woken) = sync_channel(1);
        let limit = Self {
            kinds: Arc::default(),
            left_out,
        };
        let telling = limit.clone();
        thread::Builder::new().name("logs".into()).spawn(move || {
            while woken.recv().is_ok() {
                thread::sleep(SECOND);
                telling.tell();
            }
        })?;
        Ok(limit)
    }

    /// Logs how many lines were left out since the last time.
    pub(super) fn tell(&self) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let untold: Vec<_> = kinds.values_mut().filter_map(Kind::take_left_out).collect();
        drop(kinds);
        for (like, more) in untold {
            tracing::warn!(target: STANDS_FOR_OTHERS, like, more, "and {more} more");
        }
    }
}

impl<S: Subscriber> Layer<S> for FloodLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let about = event.metadata();
        if *about.level() != Level::WARN || about.target() == STANDS_FOR_OTHERS {
            return true;
        }
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds
            .entry(about.callsite())
            .or_insert_with(|| Kind::new(now));
        let logged = kind.admit(now, || message_of(event));
        drop(kinds);
        if !logged {
            // If the thread was woken before, it will find this too.
            let _ = self.left_out.try_send(());
        }
        logged
    }
}

impl Kind {
    fn new(now: Instant) -> Self {
        Self {
            second: now,
            logged: 0,
            left_out: 0,
            message: String::new(),
        }
    }

    /// Whether a line of this kind is logged now.
    fn admit(&mut self, now: Instant, message: impl FnOnce() -> String) -> bool {
        if now.duration_since(self.second) >= SECOND {
            self.second = now;
            self.logged = 0;
        }
        if self.logged < MOST {
            self.logged += 1;
            return true;
        }
        if self.left_out == 0 {
            self.message = message();
        }
        self.left_out += 1;
        false
    }

    fn take_left_out(&mut self) -> Option<(String, u64)> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| (std::mem::take(&mut self.message), left_out))
    }
}

/// The words of an event, without its fields.
fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn each_second_has_its_ten_lines_and_the_others_are_counted() {
        let began = Instant::now();
        let mut kind = Kind::new(began);
        for second in 0..3_u64 {
            let now = began + SECOND * second as u32 + Duration::from_millis(10 * second);
            let admitted = (0..1000).filter(|_| kind.admit(now, || "m".into()));
            assert_eq!(admitted.count(), 10);
        }
        assert_eq!(kind.take_left_out(), Some(("m".into(), 3 * 990)));
        assert_eq!(kind.take_left_out(), None);
    }

    /// Where a test's lines go.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_warnings_are_limited_and_each_place_by_itself() {
        let lines = Lines::default();
        let written = lines.clone();
        let (left_out, woken) = sync_channel(1);
        let limit = FloodLimit {
            kinds: Arc::default(),
            left_out,
        };
        let plain = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || lines.clone());
        let subscriber = tracing_subscriber::registry()
            .with(limit.clone())
            .with(plain);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..10_000 {
                tracing::warn!(number, "refused");
                tracing::info!("told");
                if number % 5_000 == 0 {
                    tracing::warn!("rare");
                }
            }
            limit.tell();
        });
        woken
            .try_recv()
            .expect("somebody is told of what was left out");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |word| text.lines().filter(|line| line.contains(word)).count();
        assert_eq!((count(" told"), count(" rare")), (10_000, 2));
        let logged = count(": refused");
        assert!((10..10_000).contains(&logged), "{logged}");
        let told = format!("and {} more like=\"refused\"", 10_000 - logged);
        assert!(text.contains(&told), "{told}: {text:.2000}");
    }
}
