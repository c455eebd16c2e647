//! A power cut at any change of the disk, for journal and store alike: what was promised is there, and everything
//! equals a recount of the journal. Here a short, seeded run; `measure power-cut` is the long one.

use std::path::Path;

use statscache_tests::powercut::{self, Cuts, Model, Options, Report};

use crate::support::note;

const SEED: u64 = 1;

fn cut(cuts: u64, drop_fdatasync: Option<&str>) -> Report {
    let report = powercut::run(&Options {
        program: Path::new(env!("CARGO_BIN_EXE_measure")),
        seed: SEED,
        cuts: Cuts::Some(cuts),
        model: Model::Journaling,
        commits: 10,
        drop_fdatasync,
        trace: None,
        keep: None,
        failures_max: 3,
    });
    report.expect("the processes run and can be recorded")
}

#[test]
fn power_cuts_lose_nothing_that_was_promised() {
    let report = cut(60, None);
    note(&format!("power: {report}"));
    assert_eq!(report.differences, 0, "{report}");
    // It was worth it.
    let (journal, store) = report.writes;
    assert!(journal > 20 && store > 60 && report.threads > 3, "{report}");
    assert!(report.cuts == 60 && report.cuts_again > 10, "{report}");
    assert!(report.dirty > 30 && report.behind > 10, "{report}");
}

#[test]
fn without_syncs_of_the_store_the_harness_finds_loss() {
    let report = cut(60, Some("/store/db"));
    assert!(report.differences >= 3, "{report}");
    assert!(report.told.iter().any(|text| text.contains("store")), "{report}");
}

#[test]
fn without_syncs_of_the_journal_the_harness_finds_loss() {
    let report = cut(60, Some("/journal/"));
    assert!(report.differences >= 3, "{report}");
    assert!(report.told.iter().any(|text| text.contains("journal")), "{report}");
}
