//! Who writes next while a connection takes no more.
//!
//! quinn wakes all whom it had refused, the last one first, and whoever runs first takes all the room that
//! there is by then. So, of hundreds that wait, those in the middle would wait for as long as others have
//! anything to write. Here one at a time asks quinn, and the others stand in line behind it.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// How much one may write before others have their turn, in bytes, if there are others.
pub(super) const TURN: usize = 16 << 10;

/// See the module. Whoever stands in line must leave it, or write when it is woken.
#[derive(Debug, Default)]
pub(super) struct Line(Mutex<Standing>);

#[derive(Debug, Default)]
struct Standing {
    line: VecDeque<(Place, Waker)>,
    last: u64,
}

/// Where somebody stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Line {
    /// Ready when it is the caller's turn: how much it may write. Else it stands in line, `ahead` of all
    /// others or behind them, and is woken.
    pub(super) fn poll_turn(
        &self,
        place: &mut Option<Place>,
        ahead: bool,
        cx: &mut Context<'_>,
    ) -> Poll<usize> {
        let mut standing = self.0.lock();
        let may_write = match standing.line.front() {
            None => return Poll::Ready(usize::MAX),
            Some((first, _)) => Some(*first) == *place,
        };
        if may_write {
            return Poll::Ready(match standing.line.len() {
                1 => usize::MAX,
                _ => TURN,
            });
        }
        standing.stand(place, ahead, cx.waker());
        match standing.line.front() {
            Some((first, _)) if Some(*first) == *place => Poll::Ready(TURN),
            Some(_) | None => Poll::Pending,
        }
    }

    /// Nothing is taken at present: whoever asked stands in line from now on, if it did not before.
    pub(super) fn refused(&self, place: &mut Option<Place>, ahead: bool, cx: &mut Context<'_>) {
        self.0.lock().stand(place, ahead, cx.waker());
    }

    /// Whoever stands there has written, or will not: the next has its turn.
    pub(super) fn leave(&self, place: &mut Option<Place>) {
        let Some(place) = place.take() else { return };
        let mut standing = self.0.lock();
        let at = standing.line.iter().position(|(other, _)| *other == place);
        let was_first = at == Some(0);
        if let Some(at) = at {
            standing.line.remove(at);
        }
        let next = standing.line.front().filter(|_| was_first);
        let next = next.map(|(_, waker)| waker.clone());
        drop(standing);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

impl Standing {
    fn stand(&mut self, place: &mut Option<Place>, ahead: bool, waker: &Waker) {
        if let Some(place) = place {
            let mut line = self.line.iter_mut();
            if let Some((_, known)) = line.find(|(other, _)| other == place) {
                known.clone_from(waker);
            }
            return;
        }
        self.last += 1;
        let own = *place.insert(Place(self.last));
        match ahead {
            true => self.line.push_front((own, waker.clone())),
            false => self.line.push_back((own, waker.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who writes.
    #[derive(Default)]
    struct Writer {
        place: Option<Place>,
        ahead: bool,
        woken: Arc<Woken>,
    }

    impl Writer {
        fn ask(&mut self, line: &Line) -> Poll<usize> {
            let waker = Waker::from(self.woken.clone());
            let mut cx = Context::from_waker(&waker);
            line.poll_turn(&mut self.place, self.ahead, &mut cx)
        }

        fn is_refused(&mut self, line: &Line) {
            let waker = Waker::from(self.woken.clone());
            let mut cx = Context::from_waker(&waker);
            line.refused(&mut self.place, self.ahead, &mut cx);
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn nobody_stands_in_line_before_anything_is_refused() {
        let (line, mut a, mut b) = (Line::default(), Writer::default(), Writer::default());
        assert_eq!(a.ask(&line), Poll::Ready(usize::MAX));
        line.leave(&mut a.place);
        assert_eq!(b.ask(&line), Poll::Ready(usize::MAX));
    }

    #[test]
    fn those_who_wait_write_in_the_order_of_their_coming() {
        let line = Line::default();
        let mut writers: [Writer; 3] = Default::default();
        assert!(writers[0].ask(&line).is_ready());
        writers[0].is_refused(&line);
        assert!(writers[1].ask(&line).is_pending());
        assert!(writers[2].ask(&line).is_pending());
        assert!(writers[1].ask(&line).is_pending(), "asking does not help");
        for turn in 0..7 {
            let (this, next) = (turn % 3, (turn + 1) % 3);
            let before = writers[next].woken();
            assert_eq!(writers[this].ask(&line), Poll::Ready(TURN));
            line.leave(&mut writers[this].place);
            assert_eq!(writers[next].woken(), before + 1);
            assert!(writers[this].ask(&line).is_pending(), "it has had its turn");
        }
    }

    #[test]
    fn who_goes_ahead_is_next_and_the_others_stay_in_order() {
        let line = Line::default();
        let (mut first, mut second) = (Writer::default(), Writer::default());
        let mut control = Writer {
            ahead: true,
            ..Writer::default()
        };
        first.is_refused(&line);
        assert!(second.ask(&line).is_pending());
        assert_eq!(control.ask(&line), Poll::Ready(TURN));
        control.is_refused(&line);
        assert!(first.ask(&line).is_pending());
        line.leave(&mut control.place);
        assert_eq!((first.woken(), second.woken()), (1, 0));
        assert!(first.ask(&line).is_ready());
    }

    #[test]
    fn who_gives_up_holds_nobody_up() {
        let line = Line::default();
        let mut writers: [Writer; 4] = Default::default();
        writers[0].is_refused(&line);
        for writer in &mut writers[1..] {
            assert!(writer.ask(&line).is_pending());
        }
        line.leave(&mut writers[2].place);
        line.leave(&mut writers[0].place);
        assert_eq!(writers[1].woken(), 1);
        line.leave(&mut writers[1].place);
        assert_eq!(writers[3].woken(), 1);
        assert_eq!(writers[3].ask(&line), Poll::Ready(usize::MAX), "alone");
        line.leave(&mut writers[3].place);
        assert!(line.0.lock().line.is_empty());
    }
}
