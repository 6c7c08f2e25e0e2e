//! What is remembered of each name from one round to the next: since when it is not wanted, and how
//! often it came and went. Pure.
//!
//! Flapping is damped as RFC 2439 damps routes: each loss adds to a penalty that halves with time.
//! Above a bound the name keeps its records, until the penalty has fallen well below it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hickory_proto::rr::{LowerName, RData};

use super::records::Change;

/// What one loss adds.
const LOSS: f64 = 1000.0;
/// From where on a name is held: the third loss in quick succession.
const HOLD: f64 = 2000.0;
/// Below which it is let go again.
const RELEASE: f64 = 750.0;
/// Beyond which the penalty does not grow: so a name is held for four half-lives at most.
const MOST: f64 = 12_000.0;
/// The half-life of the penalty, in times that a record is kept for: 15 minutes, where that is one.
const HALF_LIFE: u32 = 15;

/// Everything that is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    half_life: Duration,
    names: BTreeMap<LowerName, Remembered>,
}

#[derive(Clone, Debug, Default)]
struct Remembered {
    /// Whether it was wanted at the last look.
    wanted: bool,
    /// Since when the whole name is not.
    gone: Option<Instant>,
    /// Since when which of its records are not.
    extra: BTreeMap<RData, Instant>,
    penalty: Penalty,
}

#[derive(Clone, Copy, Debug, Default)]
struct Penalty {
    /// As it was at a time.
    then: Option<(f64, Instant)>,
    holds: bool,
}

impl Memory {
    /// `remove_after` is how long records are kept that are not wanted.
    pub(crate) fn new(remove_after: Duration) -> Self {
        Self {
            half_life: remove_after * HALF_LIFE,
            names: BTreeMap::new(),
        }
    }

    /// These names may be there. They are remembered until it is known.
    pub(crate) fn may_be_there(&mut self, names: BTreeSet<LowerName>) {
        for name in names {
            self.names.entry(name).or_default();
        }
    }

    /// The name is wanted.
    pub(crate) fn wanted(&mut self, name: &LowerName) {
        let remembered = self.of(name);
        remembered.wanted = true;
        remembered.gone = None;
    }

    /// The name is not wanted: since when.
    pub(crate) fn unwanted(&mut self, name: &LowerName, now: Instant) -> Instant {
        let half_life = self.half_life;
        let remembered = self.of(name);
        remembered.wanted = false;
        *remembered.gone.get_or_insert_with(|| {
            remembered.penalty.add(now, half_life);
            now
        })
    }

    /// These records of a name are not wanted: since when each.
    pub(crate) fn extra(
        &mut self,
        name: &LowerName,
        records: &BTreeSet<RData>,
        now: Instant,
    ) -> BTreeMap<RData, Instant> {
        if records.is_empty() && !self.names.contains_key(name) {
            return BTreeMap::new();
        }
        let half_life = self.half_life;
        let remembered = self.of(name);
        remembered.extra.retain(|data, _| records.contains(data));
        let known = remembered.extra.len();
        for data in records {
            remembered.extra.entry(data.clone()).or_insert(now);
        }
        if remembered.extra.len() > known {
            remembered.penalty.add(now, half_life);
        }
        remembered.extra.clone()
    }

    /// A change was made: what it took away is new if somebody brings it back.
    pub(crate) fn made(&mut self, change: &Change) {
        let Some(remembered) = self.names.get_mut(&change.name) else {
            return;
        };
        let left = change.sets.iter().filter_map(|(key, set)| {
            let set = set.as_ref().filter(|_| key.name == change.name)?;
            Some(&set.data)
        });
        let left: Vec<_> = left.collect();
        let is_left = |data: &RData| left.iter().any(|set| set.contains(data));
        remembered.extra.retain(|data, _| is_left(data));
        if left.is_empty() {
            remembered.gone = None;
        }
    }

    /// Until when the name keeps what it has, because it came and went too often.
    pub(crate) fn held_until(&mut self, name: &LowerName, now: Instant) -> Option<Instant> {
        let half_life = self.half_life;
        let penalty = &mut self.names.get_mut(name)?.penalty;
        penalty.held_until(now, half_life)
    }

    /// Whatever else was wanted is not any more, also where there was never anything of ours.
    pub(crate) fn keep_wanted(&mut self, is_wanted: impl Fn(&LowerName) -> bool) {
        for (name, remembered) in &mut self.names {
            remembered.wanted &= is_wanted(name);
        }
    }

    /// Every name that anything is remembered of.
    pub(crate) fn names(&self) -> impl Iterator<Item = &LowerName> {
        self.names.keys()
    }

    /// Forgets names that are neither wanted nor there any more, once their penalties are gone.
    pub(crate) fn forget(&mut self, now: Instant, is_there: impl Fn(&LowerName) -> bool) {
        let half_life = self.half_life;
        self.names.retain(|name, remembered| {
            let is_there = is_there(name);
            if !is_there {
                // If somebody writes it again, that is another loss.
                remembered.gone = None;
            }
            let weighs = remembered.penalty.at(now, half_life) >= 1.0;
            remembered.wanted || weighs || is_there
        });
    }

    fn of(&mut self, name: &LowerName) -> &mut Remembered {
        // Mostly it is there, and a name is copied for nothing otherwise.
        if !self.names.contains_key(name) {
            self.names.insert(name.clone(), Remembered::default());
        }
        self.names.get_mut(name).expect("it is there now")
    }
}

impl Penalty {
    fn at(&self, now: Instant, half_life: Duration) -> f64 {
        self.then.map_or(0.0, |(penalty, then)| {
            let passed = now.saturating_duration_since(then);
            penalty * (-passed.as_secs_f64() / half_life.as_secs_f64()).exp2()
        })
    }

    fn add(&mut self, now: Instant, half_life: Duration) {
        let penalty = (self.at(now, half_life) + LOSS).min(MOST);
        self.then = Some((penalty, now));
        self.holds |= penalty > HOLD;
    }

    fn held_until(&mut self, now: Instant, half_life: Duration) -> Option<Instant> {
        let left = self.at(now, half_life);
        self.holds &= left > RELEASE;
        self.holds
            .then(|| now + half_life.mul_f64((left / RELEASE).log2()))
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn name() -> LowerName {
        LowerName::from(Name::from_ascii("a.example.com.").unwrap())
    }

    fn lose(memory: &mut Memory, now: Instant) {
        memory.wanted(&name());
        memory.unwanted(&name(), now);
    }

    #[test]
    fn the_first_moment_without_want_is_remembered_until_it_is_wanted_again() {
        let start = Instant::now();
        let mut memory = Memory::new(MINUTE);
        assert_eq!(memory.unwanted(&name(), start), start);
        assert_eq!(memory.unwanted(&name(), start + MINUTE), start);
        memory.wanted(&name());
        assert_eq!(memory.unwanted(&name(), start + MINUTE), start + MINUTE);
    }

    #[test]
    fn the_third_loss_in_quick_succession_holds_a_name_and_time_lets_it_go() {
        let start = Instant::now();
        let mut memory = Memory::new(MINUTE);
        for nth in 0..2 {
            lose(&mut memory, start + MINUTE * nth);
            assert_eq!(memory.held_until(&name(), start + MINUTE * nth), None);
        }
        let now = start + MINUTE * 2;
        lose(&mut memory, now);
        let until = memory.held_until(&name(), now).unwrap();
        // 2.86 thousand of penalty reach 750 after a bit less than two half-lives.
        let held = until - now;
        assert!(
            (MINUTE * 28..MINUTE * 30).contains(&held),
            "held for {held:?}"
        );
        let later = now + MINUTE * 10;
        let still = memory.held_until(&name(), later).unwrap();
        assert!(still.abs_diff(until) < Duration::from_millis(1));
        assert_eq!(memory.held_until(&name(), until + MINUTE), None);
    }

    #[test]
    fn the_worst_is_held_for_four_half_lives() {
        let now = Instant::now();
        let mut memory = Memory::new(MINUTE);
        for _ in 0..1000 {
            lose(&mut memory, now);
        }
        let held = memory.held_until(&name(), now).unwrap() - now;
        assert!(
            held.abs_diff(MINUTE * 60) < Duration::from_millis(1),
            "{held:?}"
        );
    }

    #[test]
    fn slow_changes_are_never_held() {
        let start = Instant::now();
        let mut memory = Memory::new(MINUTE);
        for hour in 0..100 {
            let now = start + MINUTE * 60 * hour;
            lose(&mut memory, now);
            assert_eq!(memory.held_until(&name(), now), None);
        }
    }

    #[test]
    fn what_somebody_brings_back_after_its_removal_is_not_old() {
        let start = Instant::now();
        let mut memory = Memory::new(MINUTE);
        memory.unwanted(&name(), start);
        let removal = Change {
            name: name(),
            expected: Vec::new(),
            sets: Vec::new(),
        };
        memory.made(&removal);
        let now = start + MINUTE;
        assert_eq!(memory.unwanted(&name(), now), now);
        memory.made(&removal);
        memory.unwanted(&name(), now);
        assert!(memory.held_until(&name(), now).is_some(), "it flaps");
    }

    #[test]
    fn what_was_wanted_and_never_ours_is_forgotten_when_it_is_not_wanted_any_more() {
        let mut memory = Memory::new(MINUTE);
        memory.wanted(&name());
        memory.keep_wanted(|_| true);
        memory.forget(Instant::now(), |_| false);
        assert_eq!(memory.names.len(), 1);
        memory.keep_wanted(|_| false);
        memory.forget(Instant::now(), |_| false);
        assert_eq!(memory.names.len(), 0);
    }

    #[test]
    fn what_may_be_there_is_remembered_until_it_is_known_not_to_be() {
        let mut memory = Memory::new(MINUTE);
        memory.may_be_there(BTreeSet::from([name()]));
        assert_eq!(memory.names().count(), 1);
        memory.forget(Instant::now(), |_| true);
        assert_eq!(memory.names().count(), 1);
        memory.forget(Instant::now(), |_| false);
        assert_eq!(memory.names().count(), 0);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let start = Instant::now();
        let mut memory = Memory::new(MINUTE);
        lose(&mut memory, start);
        memory.forget(start + MINUTE, |_| false);
        assert_eq!(memory.names.len(), 1, "its penalty weighs");
        memory.forget(start + MINUTE * 600, |_| true);
        assert_eq!(memory.names.len(), 1, "it is there");
        memory.forget(start + MINUTE * 600, |_| false);
        assert_eq!(memory.names.len(), 0);
    }

    trait AbsDiff {
        fn abs_diff(self, other: Self) -> Duration;
    }

    impl AbsDiff for Instant {
        fn abs_diff(self, other: Self) -> Duration {
            self.max(other) - self.min(other)
        }
    }
}
