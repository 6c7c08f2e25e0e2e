//! What was asked, what was answered, and how long that holds. Pure: time and chance come in.
//!
//! ```text
//!            ┌──────────── asked again when its TTL is over ────────────┐
//!            ▼                                                          │
//! asking ──▶ fresh ──nobody answers──▶ stale ──longer than stale_for──▶ failed
//!    │         │                         │                                ▲
//!    │         └───────────── denied ◀───┘                                │
//!    └───────────────────────── nobody answers ───────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::told::{NameState, ToldName};
use crate::config::ResolverSettings;

/// How many targets of one name are looked at.
pub(super) const MAX_TARGETS: usize = 64;

/// How many addresses of one name are looked at.
pub(super) const MAX_ADDRESSES: usize = 16;

/// How soon who did not answer is asked again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Question {
    /// The SRV records of an owner name.
    Srv(String),
    /// The addresses of a host that the configuration names: the system may know it by a shorter
    /// name.
    Host(String),
    /// The addresses of the target of an SRV record.
    Target(String),
}

impl Question {
    /// For the label of a metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Srv(_) => "srv",
            Self::Host(_) | Self::Target(_) => "address",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Srv(name) | Self::Host(name) | Self::Target(name) => f.write_str(name),
        }
    }
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a question was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Targets(Vec<Target>),
    Addresses(Vec<IpAddr>),
}

/// Records, and for how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) records: Records,
    pub(super) ttl: Duration,
    /// The family of addresses that nobody has said anything about, and why.
    pub(super) unanswered: Option<(Family, Failure)>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// DNS says that there are none, for as long as the zone says.
    Denied {
        why: String,
        ttl: Option<Duration>,
        label: &'static str,
    },
    /// Nobody who knows has answered.
    Unanswered { why: String, label: &'static str },
}

impl Failure {
    /// For the label of a metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Denied { label, .. } | Self::Unanswered { label, .. } => label,
        }
    }
}

/// Every question that is of interest.
#[derive(Debug)]
pub(super) struct Book {
    bounds: ResolverSettings,
    entries: BTreeMap<Question, Entry>,
}

#[derive(Debug)]
struct Entry {
    last: Last,
    /// Of the last answer that had any.
    known: Option<Known>,
    asked: Option<Instant>,
    /// `None` while it is being asked.
    due: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct Known {
    records: Records,
    fresh_until: Instant,
}

/// What became of the last time that it was asked.
#[derive(Debug)]
enum Last {
    Nothing,
    Answered,
    Denied(String),
    Unanswered(String),
}

impl Book {
    pub(super) fn new(settings: &ResolverSettings) -> Self {
        Self {
            bounds: settings.clone(),
            entries: BTreeMap::new(),
        }
    }

    /// These questions, and no others.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Question>, now: Instant) {
        self.entries.retain(|question, _| wanted.contains(question));
        for question in wanted {
            self.entries
                .entry(question.clone())
                .or_insert_with(|| Entry {
                    last: Last::Nothing,
                    known: None,
                    asked: None,
                    due: Some(now),
                    failures: 0,
                });
        }
    }

    /// What has to be asked now; it is under way from now on.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Question> {
        let due = |entry: &&mut Entry| entry.due.is_some_and(|due| due <= now);
        let mut taken = Vec::new();
        for (question, entry) in &mut self.entries {
            if due(&entry) {
                entry.due = None;
                entry.asked = Some(now);
                taken.push(question.clone());
            }
        }
        taken
    }

    /// What a question has led to. `jitter`, up to 1, spreads who asks again.
    pub(super) fn note(
        &mut self,
        question: &Question,
        outcome: Result<Answer, Failure>,
        now: Instant,
        jitter: f64,
    ) {
        let (shortest, longest) = (self.bounds.min_ttl, self.bounds.max_ttl);
        let Some(entry) = self.entries.get_mut(question) else {
            return;
        };
        // Some servers never answer for one family, and the other one is enough; but what was known of
        // a family is not gone because nobody answers for it now.
        let outcome = match outcome {
            Ok(Answer {
                unanswered: Some((family, failure)),
                ..
            }) if entry.knows(family, now, self.bounds.stale_for) => Err(failure),
            other => other,
        };
        let again = match outcome {
            Ok(Answer { records, ttl, .. }) => {
                let ttl = ttl.clamp(shortest, longest);
                let fresh_until = now + ttl;
                entry.last = Last::Answered;
                entry.known = Some(Known {
                    records,
                    fresh_until,
                });
                entry.failures = 0;
                ttl
            }
            Err(Failure::Denied { why, ttl, .. }) => {
                // What the zone's owner has taken away is gone (RFC 8767 §4).
                entry.last = Last::Denied(why);
                entry.known = None;
                entry.failures += 1;
                let asked_to_wait = ttl.unwrap_or(shortest).clamp(shortest, longest);
                asked_to_wait.min(retry(entry.failures, shortest, jitter).max(shortest))
            }
            Err(Failure::Unanswered { why, .. }) => {
                entry.last = Last::Unanswered(why);
                entry.failures += 1;
                retry(entry.failures, shortest, jitter)
            }
        };
        entry.due = Some(now + again);
    }

    /// Asks again soon, though no sooner after the last time than the shortest TTL.
    pub(super) fn hurry(&mut self, now: Instant) {
        let shortest = self.bounds.min_ttl;
        for entry in self.entries.values_mut() {
            let soonest = entry.asked.map_or(now, |asked| (asked + shortest).max(now));
            entry.due = entry.due.map(|due| due.min(soonest));
        }
    }

    /// When there will be something to ask, or something known will be too old.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| entry.due);
        let known = self.entries.values().filter_map(|it| it.known.as_ref());
        let ends = known.flat_map(|known| [known.fresh_until, self.useless_from(known)]);
        due.chain(ends.filter(|end| *end > now)).min()
    }

    /// What is known in answer to a question, and may still be used.
    pub(super) fn records(&self, question: &Question, now: Instant) -> Option<&Records> {
        let known = self.entries.get(question)?.known.as_ref()?;
        (now < self.useless_from(known)).then_some(&known.records)
    }

    /// Whether every question was answered, be it by a denial or long ago.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        let mut questions = self.entries.keys();
        questions.all(|question| match self.state(question, now) {
            NameState::Fresh { .. } | NameState::Stale { .. } | NameState::Denied { .. } => true,
            NameState::Asking | NameState::Failed { .. } => false,
        })
    }

    /// Where a question stands.
    pub(super) fn state(&self, question: &Question, now: Instant) -> NameState {
        let Some(entry) = self.entries.get(question) else {
            return NameState::Asking;
        };
        let usable = entry.known.as_ref();
        let usable = usable.filter(|known| now < self.useless_from(known));
        match (&entry.last, usable) {
            (Last::Nothing, _) => NameState::Asking,
            (Last::Denied(why), _) => NameState::Denied { why: why.clone() },
            (Last::Answered, Some(known)) => NameState::Fresh {
                until: known.fresh_until,
            },
            (Last::Unanswered(why), Some(known)) => NameState::Stale {
                since: known.fresh_until,
                why: why.clone(),
            },
            (Last::Unanswered(why), None) => NameState::Failed { why: why.clone() },
            (Last::Answered, None) => NameState::Asking,
        }
    }

    /// Every question and where it stands.
    pub(super) fn told(&self, now: Instant) -> Vec<ToldName> {
        let told = self.entries.iter().map(|(question, entry)| ToldName {
            name: question.to_string(),
            kind: question.label(),
            state: self.state(question, now),
            records: match self.records(question, now) {
                Some(Records::Targets(targets)) => targets.len(),
                Some(Records::Addresses(addresses)) => addresses.len(),
                None => 0,
            },
            next: entry.due,
        });
        told.collect()
    }

    fn useless_from(&self, known: &Known) -> Instant {
        known.fresh_until + self.bounds.stale_for
    }
}

impl Entry {
    /// Whether it has addresses of the family that may still be used.
    fn knows(&self, family: Family, now: Instant, stale_for: Duration) -> bool {
        let Some(Known {
            records: Records::Addresses(addresses),
            fresh_until,
        }) = &self.known
        else {
            return false;
        };
        let is_of_family = |address: &IpAddr| match family {
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        now < *fresh_until + stale_for && addresses.iter().any(is_of_family)
    }
}

/// How long to wait after so many failures.
fn retry(failures: u32, shortest: Duration, jitter: f64) -> Duration {
    let first = FIRST_RETRY.min(shortest);
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_RETRY).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A book with one question, and when it was opened.
    struct Case {
        book: Book,
        question: Question,
        start: Instant,
    }

    impl Case {
        fn new() -> Self {
            let question = Question::Host("edge.example.com".to_owned());
            let mut book = Book::new(&ResolverSettings::default());
            let start = Instant::now();
            book.want(&BTreeSet::from([question.clone()]), start);
            Self {
                book,
                question,
                start,
            }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + secs(seconds)
        }

        fn note(&mut self, outcome: Result<Answer, Failure>, at: u64) {
            let at = self.at(at);
            self.book.note(&self.question, outcome, at, 1.0);
        }

        fn asked(&mut self, at: u64) -> bool {
            let at = self.at(at);
            !self.book.take_due(at).is_empty()
        }

        fn state(&self, at: u64) -> NameState {
            self.book.state(&self.question, self.at(at))
        }

        fn has_records(&self, at: u64) -> bool {
            self.book.records(&self.question, self.at(at)).is_some()
        }
    }

    fn answer(ttl: u64) -> Result<Answer, Failure> {
        Ok(Answer {
            records: Records::Addresses(vec!["192.0.2.1".parse().unwrap()]),
            ttl: secs(ttl),
            unanswered: None,
        })
    }

    fn unanswered() -> Result<Answer, Failure> {
        Err(Failure::Unanswered {
            why: "no answer".to_owned(),
            label: "timeout",
        })
    }

    /// Nobody answers for IPv6.
    fn half_answered() -> Result<Answer, Failure> {
        let mut answer = answer(60)?;
        answer.unanswered = Some((Family::V6, unanswered().unwrap_err()));
        Ok(answer)
    }

    fn denied(ttl: u64) -> Result<Answer, Failure> {
        Err(Failure::Denied {
            why: "no such name".to_owned(),
            ttl: Some(secs(ttl)),
            label: "nxdomain",
        })
    }

    #[test]
    fn a_name_is_asked_again_when_its_ttl_is_over_and_not_before() {
        let mut case = Case::new();
        assert!(case.asked(0));
        assert!(!case.asked(0), "it is under way");
        assert_eq!(case.state(0), NameState::Asking);
        case.note(answer(60), 0);
        assert!(!case.asked(59));
        assert_eq!(case.state(59), NameState::Fresh { until: case.at(60) });
        assert!(case.asked(60));
    }

    #[test]
    fn addresses_of_a_family_stay_while_nobody_answers_for_it() {
        let mut case = Case::new();
        assert!(case.asked(0));
        let both = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let both = Records::Addresses(both);
        let mut first = answer(60).unwrap();
        first.records = both.clone();
        case.note(Ok(first), 0);
        assert!(case.asked(60));
        case.note(half_answered(), 60);
        assert!(matches!(case.state(61), NameState::Stale { .. }));
        let known = case.book.records(&case.question, case.at(61));
        assert_eq!(known, Some(&both));
        // Not for ever.
        let last = 60 + 24 * 3600;
        assert!(case.asked(last));
        case.note(half_answered(), last);
        assert!(matches!(case.state(last), NameState::Fresh { .. }));
        let known = case.book.records(&case.question, case.at(last));
        assert_eq!(known, Some(&answer(60).unwrap().records));
    }

    #[test]
    fn a_family_that_was_never_known_does_not_keep_the_other_waiting() {
        let mut case = Case::new();
        assert!(case.asked(0));
        case.note(half_answered(), 0);
        assert!(matches!(case.state(1), NameState::Fresh { .. }));
    }

    #[test]
    fn ttls_are_kept_within_bounds() {
        for (ttl, asked_again) in [(0, 5), (3, 5), (7, 7), (86_400, 3_600)] {
            let mut case = Case::new();
            assert!(case.asked(0));
            case.note(answer(ttl), 0);
            assert!(!case.asked(asked_again - 1), "{ttl}");
            assert!(case.asked(asked_again), "{ttl}");
        }
    }

    #[test]
    fn an_answer_serves_beyond_its_time_while_nobody_answers_and_no_longer_than_stated() {
        let mut case = Case::new();
        assert!(case.asked(0));
        case.note(answer(60), 0);
        assert!(case.asked(60));
        assert!(case.has_records(60), "while it is being asked again");
        case.note(unanswered(), 61);
        let since = case.at(60);
        let why = "no answer".to_owned();
        assert_eq!(
            case.state(61),
            NameState::Stale {
                since,
                why: why.clone()
            }
        );
        assert!(case.book.is_complete(case.at(61)));
        let last = 60 + 24 * 3600;
        assert!(case.has_records(last - 1));
        assert!(!case.has_records(last));
        assert_eq!(case.state(last), NameState::Failed { why });
        assert!(!case.book.is_complete(case.at(last)));

        case.note(answer(60), last + 1);
        assert!(case.has_records(last + 1));
    }

    #[test]
    fn what_dns_denies_is_gone_at_once() {
        let mut case = Case::new();
        assert!(case.asked(0));
        case.note(answer(60), 0);
        case.note(denied(30), 60);
        assert!(!case.has_records(60));
        let why = "no such name".to_owned();
        assert_eq!(case.state(60), NameState::Denied { why });
        assert!(case.book.is_complete(case.at(60)));
    }

    #[test]
    fn who_does_not_answer_is_asked_less_and_less_often() {
        let mut case = Case::new();
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            assert!(case.asked(now));
            case.note(unanswered(), now);
            assert!(!case.asked(now + wait - 1));
            now += wait;
        }
        assert!(case.asked(now));
        case.note(answer(60), now);
        case.note(unanswered(), now + 60);
        assert!(case.asked(now + 61), "an answer makes it forget");
    }

    #[test]
    fn in_a_hurry_a_name_is_asked_again_before_its_time_but_not_too_often() {
        let mut case = Case::new();
        assert!(case.asked(0));
        case.note(answer(600), 1);
        case.book.hurry(case.at(2));
        assert!(!case.asked(4));
        assert!(case.asked(5), "5 s after it was asked");
        case.note(answer(600), 5);
        case.book.hurry(case.at(100));
        assert!(case.asked(100));
    }

    #[test]
    fn what_is_no_longer_wanted_is_forgotten() {
        let mut case = Case::new();
        assert!(case.asked(0));
        case.book.want(&BTreeSet::new(), case.at(1));
        case.note(answer(60), 1);
        assert!(!case.has_records(1));
        assert_eq!(case.book.next_change(case.at(1)), None);
        assert!(case.book.is_complete(case.at(1)));
    }
}
