use proptest::{collection::vec, option, prelude::*};

use super::*;

/// A quarter of a second, so that buckets of whole seconds begin and end within an interval.
const TICK: i64 = 250_000;
/// Instants of the model, in ticks; the epoch is in the middle.
const TICKS: std::ops::Range<i64> = -40..40;

fn tick(n: i64) -> Timestamp {
    Timestamp::from_micros(n * TICK)
}

fn secs(n: i64) -> Timestamp {
    Timestamp::from_secs(n)
}

/// The same thing done the simplest way: a level for each tick.
#[derive(Clone, Debug, PartialEq)]
struct Model(Vec<Level>);

impl Model {
    fn new() -> Self {
        Self(TICKS.map(|_| None).collect())
    }

    fn of(coverage: &Coverage) -> Self {
        let at = |n: i64| coverage.clamp(tick(n), tick(n + 1)).intervals().next().map(|(_, _, seen)| seen);
        Self(TICKS.map(at).collect())
    }

    fn edit(&mut self, start: i64, end: i64, level: impl Fn(Level) -> Level) {
        for (n, at) in TICKS.zip(&mut self.0) {
            if start <= n && n < end {
                *at = level(*at);
            }
        }
    }

    fn bucket(&self, start: i64, end: i64) -> BucketCoverage {
        let levels: Vec<Level> = (start..end).map(|n| self.level(n)).collect();
        match &levels[..] {
            levels if levels.iter().all(|level| level.is_none()) => BucketCoverage::Missing,
            levels if levels.iter().all(|level| *level == Some(Seen::Whole)) => BucketCoverage::Complete,
            _ => BucketCoverage::Partial,
        }
    }

    fn level(&self, n: i64) -> Level {
        if TICKS.contains(&n) { self.0[(n - TICKS.start) as usize] } else { None }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add(i64, i64, Seen),
    Lower(i64, i64, Level),
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![Just(Seen::Part), Just(Seen::Whole)]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (TICKS, 0..30_i64, seen()).prop_map(|(start, len, seen)| Op::Add(start, (start + len).min(TICKS.end), seen)),
        1 => (TICKS, TICKS, option::of(seen())).prop_map(|(start, end, to)| Op::Lower(start, end, to)),
    ];
    vec(op, 0..12)
}

fn made(ops: &[Op]) -> (Coverage, Model) {
    let (mut coverage, mut model) = (Coverage::new(), Model::new());
    for op in ops {
        match *op {
            Op::Add(start, end, seen) => {
                coverage.add(tick(start), tick(end), seen);
                model.edit(start, end, |level| level.max(Some(seen)));
            }
            Op::Lower(start, end, to) => {
                coverage.lower(tick(start), tick(end), to);
                model.edit(start, end, |level| level.min(to));
            }
        }
        assert_canonical(&coverage);
    }
    (coverage, model)
}

fn coverage() -> impl Strategy<Value = Coverage> {
    ops().prop_map(|ops| made(&ops).0)
}

fn assert_canonical(coverage: &Coverage) {
    let mut before = (i64::MIN, None);
    for change in &coverage.changes {
        assert!(change.at > before.0 && change.level != before.1, "{coverage:?}");
        before = (change.at, change.level);
    }
    assert_eq!(before.1, None, "{coverage:?}");
}

fn bytes(coverage: &Coverage) -> Vec<u8> {
    let mut bytes = Vec::new();
    coverage.encode(&mut bytes);
    bytes
}

fn decoded(bytes: &[u8]) -> Result<Coverage, Corrupt> {
    let mut input = Input(bytes);
    let coverage = Coverage::decode(&mut input)?;
    if input.is_empty() { Ok(coverage) } else { Err(Corrupt("more bytes")) }
}

fn merged(a: &Coverage, b: &Coverage) -> Coverage {
    let mut merged = a.clone();
    merged.merge(b);
    assert_canonical(&merged);
    merged
}

proptest! {
    #[test]
    fn it_is_what_the_model_says(ops in ops()) {
        let (coverage, model) = made(&ops);
        prop_assert_eq!(Model::of(&coverage), model);
    }

    #[test]
    fn laws(a in coverage(), b in coverage(), c in coverage()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&a, &a), &a);
        prop_assert_eq!(&merged(&a, &Coverage::new()), &a);
        prop_assert_eq!(a.meet(&b), b.meet(&a));
        prop_assert_eq!(a.meet(&b).meet(&c), a.meet(&b.meet(&c)));
        prop_assert_eq!(&a.meet(&a), &a);
        prop_assert_eq!(&a.meet(&merged(&a, &b)), &a);
    }

    #[test]
    fn merge_and_meet_are_pointwise(a in ops(), b in ops()) {
        let ((a, in_a), (b, in_b)) = (made(&a), made(&b));
        let pointwise = |level: fn(Level, Level) -> Level| {
            Model(in_a.0.iter().zip(&in_b.0).map(|(a, b)| level(*a, *b)).collect())
        };
        prop_assert_eq!(Model::of(&merged(&a, &b)), pointwise(Level::max));
        prop_assert_eq!(Model::of(&a.meet(&b)), pointwise(Level::min));
        assert_canonical(&a.meet(&b));
    }

    #[test]
    fn bytes_do_not_depend_on_the_order_of_adding(
        (ops, shuffled) in vec((TICKS, 0..30_i64, seen()), 0..12)
            .prop_flat_map(|ops| (Just(ops.clone()), Just(ops).prop_shuffle())),
    ) {
        let of = |ops: &[(i64, i64, Seen)]| {
            let mut coverage = Coverage::new();
            for (start, len, seen) in ops {
                coverage.add(tick(*start), tick(start + len), *seen);
            }
            coverage
        };
        prop_assert_eq!(bytes(&of(&ops)), bytes(&of(&shuffled)));
    }

    #[test]
    fn a_bucket_is_what_the_model_says(ops in ops(), start in TICKS, len in 1..30_i64) {
        let (coverage, model) = made(&ops);
        prop_assert_eq!(coverage.of(tick(start), tick(start + len)), model.bucket(start, start + len));
    }

    #[test]
    fn runs_are_the_buckets_run_length_coded(ops in ops(), start in TICKS, len in 0..60_i64, step in 1..4_u64) {
        let (coverage, model) = made(&ops);
        let width = step as i64 * 4;
        let mut expected: Vec<(i64, i64, BucketCoverage)> = Vec::new();
        let mut bucket = start.div_euclid(width) * width;
        while len > 0 && bucket < start + len {
            let end = bucket + width;
            let of_bucket = model.bucket(bucket, end);
            match expected.last_mut() {
                Some(run) if run.2 == of_bucket => run.1 = end,
                _ => expected.push((bucket, end, of_bucket)),
            }
            bucket = end;
        }
        let step = Resolution::from_secs(step).expect("not zero");
        let runs = coverage.runs(tick(start), tick(start + len), step);
        let runs: Vec<_> =
            runs.map(|(start, end, of_run)| (start.micros() / TICK, end.micros() / TICK, of_run)).collect();
        prop_assert_eq!(runs, expected);
    }

    #[test]
    fn a_range_of_it_holds_nothing_else(ops in ops(), start in TICKS, end in TICKS) {
        let (coverage, mut model) = made(&ops);
        let clamped = coverage.clamp(tick(start), tick(end));
        assert_canonical(&clamped);
        let mut cut = coverage.clone();
        cut.lower(tick(TICKS.start), tick(start), None);
        cut.lower(tick(end.max(start)), tick(TICKS.end), None);
        prop_assert_eq!(clamped, cut);

        let mut younger = coverage.clone();
        younger.forget_before(tick(start));
        model.edit(TICKS.start, start, |_| None);
        prop_assert_eq!(Model::of(&younger), model);
    }

    #[test]
    fn bytes_come_back(coverage in coverage()) {
        prop_assert_eq!(decoded(&bytes(&coverage)), Ok(coverage));
    }

    #[test]
    fn other_bytes_are_refused_or_come_back(
        start in coverage(), changed in vec((0..64_usize, any::<u8>()), 0..3), noise: Vec<u8>
    ) {
        let mut damaged = bytes(&start);
        for (at, byte) in changed {
            let at = at % damaged.len();
            damaged[at] = byte;
        }
        for input in [damaged, noise] {
            if let Ok(coverage) = decoded(&input) {
                assert_canonical(&coverage);
                prop_assert_eq!(bytes(&coverage), input);
            }
        }
    }

    #[test]
    fn a_bound_only_takes_away_what_was_known(ops in ops(), max in 2..16_usize) {
        let (coverage, before) = made(&ops);
        let mut bounded = coverage.clone();
        bounded.bound(max);
        assert_canonical(&bounded);
        prop_assert!(bounded.changes.len() <= max);
        prop_assert!(coverage.changes.len() > max || bounded == coverage);
        for (n, (after, before)) in TICKS.zip(Model::of(&bounded).0.iter().zip(&before.0)) {
            prop_assert!(after == before || *after == Some(Seen::Part), "at {n}: {before:?} became {after:?}");
        }
        let ends = |coverage: &Coverage| (coverage.changes.first().map(|it| it.at), coverage.changes.last().map(|it| it.at));
        prop_assert_eq!(ends(&bounded), ends(&coverage));
    }
}

#[test]
fn a_bound_joins_what_is_short() {
    let mut coverage = Coverage::new();
    // A day, a gap of an hour, ten seconds of a bad connection, a day.
    coverage.add(secs(0), secs(86_400), Seen::Whole);
    for n in 0..5 {
        coverage.add(secs(90_000 + 2 * n), secs(90_001 + 2 * n), Seen::Whole);
    }
    coverage.add(secs(90_010), secs(180_000), Seen::Whole);
    assert_eq!(coverage.changes.len(), 14);
    coverage.bound(13);
    let intervals: Vec<_> = coverage.intervals().collect();
    assert_eq!(intervals.first(), Some(&(secs(0), secs(86_400), Seen::Whole)));
    assert_eq!(intervals.last(), Some(&(secs(90_010), secs(180_000), Seen::Whole)));
    assert_eq!(coverage.of(secs(86_400), secs(90_000)), BucketCoverage::Missing, "the gap was not short");
    assert_eq!(coverage.changes.len(), 10, "a quarter of room");
}

#[test]
fn a_connection_that_is_lost_all_the_time_does_not_fill_the_memory() {
    let mut coverage = Coverage::new();
    let mut most = 0;
    for n in 0..3 * COVERAGE_CHANGES_MAX as i64 {
        coverage.add(secs(10 * n), secs(10 * n + 9), Seen::Whole);
        most = most.max(coverage.changes.len());
    }
    assert!((COVERAGE_CHANGES_MAX - 2..=COVERAGE_CHANGES_MAX).contains(&most), "{most}");
    let last = 10 * (3 * COVERAGE_CHANGES_MAX as i64 - 1);
    assert_eq!(coverage.intervals().last().map(|(_, end, _)| end), Some(secs(last + 9)));
    assert_eq!(coverage.of(secs(0), secs(last + 9)), BucketCoverage::Partial);
    assert_eq!(decoded(&bytes(&coverage)), Ok(coverage));
}

#[test]
fn a_year_without_trouble_is_small_and_one_run() {
    let mut coverage = Coverage::new();
    for n in 0..100_000 {
        coverage.add(secs(n), secs(n + 1), Seen::Whole);
    }
    coverage.add(secs(100_000), secs(365 * 86_400), Seen::Whole);
    assert_eq!(coverage.intervals().count(), 1);
    assert!(bytes(&coverage).len() < 16);
    let runs: Vec<_> = coverage.runs(secs(0), secs(365 * 86_400), Resolution::HOUR).collect();
    assert_eq!(runs, [(secs(0), secs(365 * 86_400), BucketCoverage::Complete)]);
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
    let mut coverage = Coverage::new();
    coverage.add(first, last, Seen::Whole);
    coverage.lower(first, secs(0), Some(Seen::Part));
    assert_eq!(coverage.intervals().count(), 2);
    assert_eq!(decoded(&bytes(&coverage)).as_ref(), Ok(&coverage));
    assert_eq!(coverage.of(first, secs(0)), BucketCoverage::Partial);
    assert_eq!(coverage.of(secs(0), last), BucketCoverage::Complete);
    let runs: Vec<_> = coverage.runs(first, last, Resolution::DAY).map(|(_, _, of_run)| of_run).collect();
    assert_eq!(runs, [BucketCoverage::Partial, BucketCoverage::Complete]);
    coverage.bound(2);
    assert_eq!(coverage.of(first, last), BucketCoverage::Partial);
    coverage.forget_before(last);
    assert!(coverage.is_empty());
}

#[test]
fn nothing_is_missing() {
    let mut coverage = Coverage::new();
    coverage.add(secs(0), secs(60), Seen::Whole);
    for (start, end, expected) in [(0, 60, "complete"), (0, 61, "partial"), (-1, 1, "partial"), (60, 61, "missing")] {
        assert_eq!(coverage.of(secs(start), secs(end)).as_str(), expected, "[{start}, {end})");
    }
    assert_eq!(coverage.of(secs(1), secs(1)), BucketCoverage::Missing, "an empty interval claims nothing");
    assert_eq!(coverage.runs(secs(2), secs(1), Resolution::SECOND).count(), 0);
}

#[test]
fn what_is_not_canonical_is_refused() {
    let change = |at: i64, level: Level| Change { at, level };
    let whole = Some(Seen::Whole);
    for (changes, why) in [
        (vec![change(0, None), change(1, whole), change(2, None)], "begins with nothing"),
        (vec![change(0, whole), change(1, whole), change(2, None)], "a change that is none"),
        (vec![change(0, whole), change(0, None)], "an interval without length"),
        (vec![change(1, whole), change(0, None)], "backwards"),
        (vec![change(0, whole)], "no end"),
    ] {
        assert!(decoded(&bytes(&Coverage { changes })).is_err(), "{why}");
    }
    assert_eq!(decoded(&[2, 0, 2, 1, 0]).map(|coverage| coverage.intervals().count()), Ok(1));
    assert!(decoded(&[2, 0, 2, 0x81, 0, 0]).is_err(), "the same with a longer number");
    assert!(decoded(&[2, 0, 3, 1, 0]).is_err(), "no such level");
    let level = |n: usize| if n.is_multiple_of(2) { whole } else { None };
    let changes = |len: usize| (0..len).map(|n| change(n as i64, level(n))).collect();
    assert!(decoded(&bytes(&Coverage { changes: changes(COVERAGE_CHANGES_MAX) })).is_ok());
    let many = bytes(&Coverage { changes: changes(COVERAGE_CHANGES_MAX + 2) });
    assert!(decoded(&many).is_err(), "more than the bound");
}

#[test]
fn an_instance_has_seen_what_came_and_was_read() {
    let mut bus = Coverage::new();
    bus.add(secs(0), secs(50), Seen::Part);
    bus.add(secs(50), secs(100), Seen::Whole);
    let mut reading = Reading::new(secs(20));
    reading.advance(secs(60));
    reading.advance(secs(40));
    assert_eq!(reading.until(), secs(60));
    reading.gap(secs(55), secs(57));
    reading.skip(secs(70));
    reading.advance(secs(90));
    let seen: Vec<_> = reading.seen_by(&bus).intervals().collect();
    assert_eq!(
        seen,
        [
            (secs(20), secs(50), Seen::Part),
            (secs(50), secs(55), Seen::Whole),
            (secs(57), secs(60), Seen::Whole),
            (secs(70), secs(90), Seen::Whole),
        ]
    );
    let mut bytes = Vec::new();
    reading.encode(&mut bytes);
    let mut input = Input(&bytes);
    assert_eq!(Reading::decode(&mut input), Ok(reading.clone()));
    assert!(input.is_empty());
    reading.forget_before(secs(80));
    assert_eq!(reading.seen_by(&bus).intervals().next(), Some((secs(80), secs(90), Seen::Whole)));

    bytes.clear();
    put_i64(&mut bytes, secs(89).micros());
    reading.read().encode(&mut bytes);
    Coverage::new().encode(&mut bytes);
    assert!(Reading::decode(&mut Input(&bytes)).is_err(), "it cannot have read what is to come");
    assert!(Reading::decode(&mut Input(&[0x80, 0, 0, 0])).is_err(), "a number that is too long");
    assert!(Reading::decode(&mut Input(&[0, 0, 0])).is_ok());
    assert!(Reading::decode(&mut Input(&[0, 0])).is_err(), "format 2 of the store had no times filled");
    assert_eq!(Reading::decode_unfilled(&mut Input(&[0, 0])), Ok(Reading::new(secs(0))));
}

#[test]
fn what_was_filled_has_been_seen_whatever_the_bus_brought() {
    let (part, whole) = (Seen::Part, Seen::Whole);
    let mut bus = Coverage::new();
    bus.add(secs(50), secs(100), whole);
    let mut reading = Reading::new(secs(60));
    reading.advance(secs(100));
    reading.fill(secs(0), secs(50), whole);
    reading.fill(secs(45), secs(70), part);
    reading.fill(secs(10), secs(10), whole);
    let seen = |reading: &Reading| {
        let seen = reading.seen_by(&bus);
        seen.intervals()
            .map(|(start, end, seen)| (start.micros() / 1_000_000, end.micros() / 1_000_000, seen))
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(&reading), [(0, 50, whole), (50, 60, part), (60, 100, whole)], "before it began as well");
    assert_eq!(reading.filled().intervals().count(), 2);
    assert_eq!((reading.until(), reading.read().intervals().count()), (secs(100), 1), "nothing else is touched");

    let mut bytes = Vec::new();
    reading.encode(&mut bytes);
    let mut input = Input(&bytes);
    assert_eq!(Reading::decode(&mut input), Ok(reading.clone()));
    assert!(input.is_empty());
    assert!((0..bytes.len()).all(|len| Reading::decode(&mut Input(&bytes[..len])).is_err()), "it ends early");

    reading.gap(secs(40), secs(80));
    assert_eq!(seen(&reading), [(0, 40, whole), (80, 100, whole)], "a gap is one of both");
    reading.fill(secs(40), secs(60), whole);
    reading.doubt(secs(55), secs(85));
    assert_eq!(seen(&reading), [(0, 55, whole), (55, 60, part), (80, 85, part), (85, 100, whole)]);
    reading.forget_before(secs(57));
    assert_eq!(seen(&reading)[0], (57, 60, part));
    assert_eq!(reading.filled().intervals().count(), 1);
}
