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
