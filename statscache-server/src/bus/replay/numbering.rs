//! The numbers that one publisher gives its messages, and which of them did not come. Pure.

/// So many messages in a row with numbers that ascend, all not above the highest, are a publisher that began anew. One
/// or two may be repeats; and to take repeats for a new beginning would be to ask for what came long ago.
const RESTART_RUN: u32 = 3;

/// Messages that did not come, with what is known of when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first of them.
    pub first: i64,
    /// The last of them.
    pub last: i64,
    /// When the message before them came, µs since the epoch.
    pub after_us: i64,
    /// When the message behind them came.
    pub before_us: i64,
}

impl Gap {
    /// How many.
    pub fn len(&self) -> u64 {
        self.last.abs_diff(self.first) + 1
    }
}

/// Where a publisher's numbering stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The highest number so far.
    pub seq_id: i64,
    /// When it came, µs since the epoch.
    pub at_us: i64,
}

/// Follows the numbers in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    position: Option<Position>,
    /// The last number that was not above the highest, and how many have ascended up to it.
    below: Option<(i64, u32)>,
}

impl Numbering {
    /// Goes on from there; from `None`, nothing that came before is missed.
    pub fn from(position: Option<Position>) -> Self {
        Self { position, below: None }
    }

    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// A message with this number came. What did not come before it, if anything.
    pub fn came(&mut self, seq_id: i64, at_us: i64) -> Option<Gap> {
        let here = Position { seq_id, at_us };
        let Some(last) = self.position.filter(|last| last.seq_id < seq_id) else {
            self.came_below(here);
            return None;
        };
        (self.position, self.below) = (Some(here), None);
        let gap = Gap { first: last.seq_id + 1, last: seq_id - 1, after_us: last.at_us, before_us: at_us };
        (gap.first <= gap.last).then_some(gap)
    }

    /// The first of all, a repeat, or one of a publisher that began anew.
    fn came_below(&mut self, here: Position) {
        let run = match self.below {
            Some((before, run)) if before < here.seq_id => run + 1,
            _ => 1,
        };
        self.below = Some((here.seq_id, run));
        if self.position.is_none() || run >= RESTART_RUN {
            (self.position, self.below) = (Some(here), None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gaps that numbers make; each comes a microsecond after the one before.
    fn gaps(numbers: &[i64]) -> String {
        let mut numbering = Numbering::from(None);
        let gaps = numbers.iter().zip(1..).filter_map(|(number, at)| numbering.came(*number, at));
        gaps.map(|gap| format!("{}..={}", gap.first, gap.last)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_passed_over_is_missing() {
        for (numbers, expect) in [
            (&[7, 8, 9][..], ""),
            (&[7, 9], "8..=8"),
            (&[1, 5, 6, 9], "2..=4 7..=8"),
            (&[0, i64::MAX], "1..=9223372036854775806"),
        ] {
            assert_eq!(gaps(numbers), expect, "{numbers:?}");
        }
    }

    #[test]
    fn repeats_are_neither_a_gap_nor_a_new_beginning() {
        for numbers in [&[5, 5, 6][..], &[5, 4, 6], &[5, 3, 4, 6], &[5, 6, 2, 7, 3, 8, 4, 9], &[5, 4, 3, 2, 1, 0, 6]] {
            assert_eq!(gaps(numbers), "", "{numbers:?}");
        }
    }

    #[test]
    fn a_publisher_that_begins_anew_is_followed_after_three() {
        assert_eq!(gaps(&[900, 1, 2, 3, 5]), "4..=4");
        assert_eq!(gaps(&[900, 4, 1, 2, 3, 5]), "4..=4");
        assert_eq!(gaps(&[900, 1, 2, 901]), "", "the old numbering goes on");
    }

    #[test]
    fn a_gap_says_when() {
        let mut numbering = Numbering::from(Some(Position { seq_id: 3, at_us: 10 }));
        let gap = numbering.came(6, 25);
        assert_eq!(gap, Some(Gap { first: 4, last: 5, after_us: 10, before_us: 25 }));
        assert_eq!(gap.map(|gap| gap.len()), Some(2));
        assert_eq!(numbering.position(), Some(Position { seq_id: 6, at_us: 25 }));
    }
}
