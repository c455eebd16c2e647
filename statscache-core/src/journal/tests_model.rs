//! Any sequence of calls, compared with a vector.

use proptest::prelude::*;

use super::tests::{Sample, append, open, read};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Discard(u64),
    Reopen,
    Jump(u64),
    Sync,
    Retain(u64),
    Read(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..20).prop_map(Step::Append),
        1 => (0u64..5).prop_map(Step::Discard),
        1 => Just(Step::Reopen),
        1 => (0u64..10).prop_map(Step::Jump),
        1 => Just(Step::Sync),
        1 => (0u64..20_000).prop_map(Step::Retain),
        2 => (1u64..200).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The journal is a vector of sequences whose front may go.
    #[test]
    fn behaves_like_a_vector(steps in steps()) {
        let dir = SimulatedDir::new();
        let (mut journal, _) = open(&dir);
        let mut model: Vec<u64> = Vec::new();
        let mut next = 1;
        for step in steps {
            match step {
                Step::Append(count) => {
                    append(&mut journal, count).unwrap();
                    model.extend(next..next + count);
                    next += count;
                }
                Step::Discard(count) => {
                    for _ in 0..count {
                        journal.push(&Sample::new(1).record());
                    }
                    prop_assert_eq!(journal.discard(), count);
                }
                Step::Reopen => {
                    drop(journal);
                    let recovery;
                    (journal, recovery) = open(&dir);
                    prop_assert!(recovery.is_clean(), "{}", recovery);
                    // A jump that nothing was written behind is not remembered.
                    next = recovery.next;
                    prop_assert_eq!(next, model.last().map_or(1, |last| last + 1));
                }
                Step::Jump(by) => {
                    journal.ensure_next(next + by).unwrap();
                    next += by;
                }
                Step::Sync => prop_assert_eq!(journal.dirty().sync().unwrap(), next),
                Step::Retain(bytes) => {
                    journal.config.retain_bytes = bytes;
                    for dropped in journal.retain(0, u64::MAX).unwrap() {
                        prop_assert_eq!(model[0], dropped.first);
                        model.retain(|&sequence| sequence > dropped.last);
                    }
                }
                Step::Read(from) => {
                    let (found, gaps) = read(journal.reader(from));
                    let expected: Vec<u64> =
                        model.iter().copied().filter(|&sequence| sequence >= from).collect();
                    let missing: u64 = gaps.iter().map(Gap::count).sum();
                    let span = expected.last().map_or(0, |last| last + 1 - from);
                    prop_assert_eq!(missing, span - expected.len() as u64);
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(journal.next_sequence(), next);
            prop_assert_eq!(journal.first_sequence(), *model.first().unwrap_or(&next));
        }
    }
}
