//! `statscache store check`: all that is wrong with a store.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use statscache_core::{
    journal::{Journal, JournalHandle},
    store::{
        NamespaceId,
        check::{self, Finding, NamespaceReport},
    },
};

use super::{Place, time};
use crate::clock::{Clock, SystemClock};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (path, backend) = args.place.open()?;
    let journal = open_journal(&path.with_file_name("journal"))?;
    let mut found: BTreeMap<Option<NamespaceId>, Vec<Finding>> = BTreeMap::new();
    let report = check::check(&backend, journal.as_ref(), SystemClock.now(), &mut |finding| {
        found.entry(finding.ns).or_default().push(finding);
    })?;
    let mut out = io::stdout().lock();
    tell(&found.remove(&None).unwrap_or_default(), &mut out)?;
    for namespace in &report.namespaces {
        writeln!(out, "{}", line(namespace))?;
        tell(&found.remove(&Some(namespace.number)).unwrap_or_default(), &mut out)?;
    }
    let path = path.display();
    match report.problems {
        0 => writeln!(out, "{path} is fine: {} rows", report.rows)?,
        1 => bail!("{path}: 1 problem in {} rows", report.rows),
        n => bail!("{path}: {n} problems in {} rows", report.rows),
    }
    Ok(())
}

/// What was written beside the store. It is looked at only: repairs are for the daemon.
fn open_journal(path: &Path) -> anyhow::Result<Option<JournalHandle>> {
    if !path.exists() {
        return Ok(None);
    }
    let (journal, recovery) = Journal::open_read_only(path).context("cannot read the journal")?;
    if !recovery.is_clean() {
        eprintln!("the next start of the daemon will repair the journal: {recovery}");
    }
    Ok(Some(journal))
}

fn line(of: &NamespaceReport) -> String {
    let verdict = match of.problems {
        0 => "ok".to_owned(),
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    let NamespaceReport { number, instance, series, segments, chunks, cells, buckets, .. } = of;
    format!(
        "{instance} (namespace {number}): {verdict}; {series} label sets, {segments} segments, {chunks} chunks, \
         {cells} cells, {buckets} buckets compared"
    )
}

fn tell(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for Finding { is_problem, what, at, advice, .. } in findings {
        let at = at.map(|at| format!(", at {}", time(at))).unwrap_or_default();
        let sort = if *is_problem { "problem" } else { "note" };
        let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
        writeln!(out, "  {sort}: {what}{at}{advice}")?;
    }
    Ok(())
}
