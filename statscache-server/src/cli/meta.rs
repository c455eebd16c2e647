//! `statscache meta explain`: which rule finds which users and packages in messages, and where.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::Serialize;
use statscache_fedmsg_meta::{Explainer, Explanation, Finding, Rules, Speaker};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the users and packages of each message, with the rule that says so and the place in `msg`
    Explain(ExplainArgs),
}

#[derive(clap::Args)]
struct ExplainArgs {
    /// Envelopes, one JSON object with a `topic` (or a `message` that has one) per line; - for standard input
    file: PathBuf,
    /// TOML file of rules to try before the shipped ones, as for `config_file`
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// One JSON object per message, and one for the summary
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Explain(args) = &args.command;
    let rules = rules(args.rules.as_deref())?;
    let mut report = Report { out: io::stdout().lock(), json: args.json, summary: Summary::default() };
    let written = report.all(&rules, open(&args.file)?).and_then(|()| report.end(&rules));
    match written {
        // Whoever reads has seen enough.
        Err(Trouble::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(Trouble::Write(error)) => return Err(error).context("cannot write"),
        Err(Trouble::Read(error)) => return Err(error).with_context(|| format!("cannot read {}", args.file.display())),
        Ok(()) => {}
    }
    match report.summary.malformed {
        0 => Ok(()),
        1 => bail!("1 line is no message"),
        n => bail!("{n} lines are no messages"),
    }
}

fn rules(file: Option<&Path>) -> anyhow::Result<Rules> {
    let rules = match file {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Rules::with_toml(&path.display().to_string(), &text)
        }
        None => Rules::with(Vec::new()),
    };
    rules.map_err(|error| anyhow::anyhow!("{error}"))
}

fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Why it ends early.
enum Trouble {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// What was seen altogether.
#[derive(Default, Serialize)]
struct Summary {
    messages: u64,
    with_users: u64,
    with_packages: u64,
    /// About which nothing but the rule for all topics, if that, said something.
    generic: u64,
    malformed: u64,
    #[serde(skip)]
    used: BTreeSet<String>,
}

/// A message in JSON.
#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    topic: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

struct Report<W> {
    out: W,
    json: bool,
    summary: Summary,
}

impl<W: Write> Report<W> {
    fn all(&mut self, rules: &Rules, mut input: impl BufRead) -> Result<(), Trouble> {
        let explainer = Explainer::new(rules);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            if input.read_until(b'\n', &mut bytes).map_err(Trouble::Read)? == 0 {
                break;
            }
            match std::str::from_utf8(&bytes).map(str::trim) {
                Ok("") => {}
                Ok(text) => match explainer.explain(text) {
                    Ok((topic, explanation)) => self.message(line, &topic, &explanation)?,
                    Err(error) => self.malformed(line, error.message())?,
                },
                Err(_) => self.malformed(line, "it is not UTF-8")?,
            }
        }
        Ok(())
    }

    fn message(&mut self, line: u64, topic: &str, explanation: &Explanation) -> io::Result<()> {
        let Explanation { users, packages } = explanation;
        let summary = &mut self.summary;
        summary.messages += 1;
        summary.with_users += u64::from(!users.names.is_empty());
        summary.with_packages += u64::from(!packages.names.is_empty());
        let is_generic = |finding: &Finding| matches!(finding.by, Speaker::Generic(_) | Speaker::Nobody);
        summary.generic += u64::from(is_generic(users) && is_generic(packages));
        summary.used.extend([users, packages].into_iter().filter_map(|finding| finding.by.rule()).map(str::to_owned));
        if self.json {
            return self.json_line(&Line { line, topic, explanation });
        }
        writeln!(self.out, "{line}: {}", printable(topic))?;
        self.finding("user", users)?;
        self.finding("package", packages)
    }

    fn finding(&mut self, kind: &str, finding: &Finding) -> io::Result<()> {
        let by = &finding.by;
        if finding.names.is_empty() {
            return writeln!(self.out, "  no {kind}, says {by}");
        }
        finding.names.iter().try_for_each(|found| {
            writeln!(self.out, "  {kind} {} from {}, says {by}", printable(&found.name), found.at)
        })
    }

    fn malformed(&mut self, line: u64, why: &str) -> io::Result<()> {
        self.summary.malformed += 1;
        if self.json {
            return self.json_line(&serde_json::json!({"line": line, "error": why}));
        }
        writeln!(self.out, "{line}: {why}")
    }

    fn end(&mut self, rules: &Rules) -> Result<(), Trouble> {
        let unused: Vec<(&str, bool)> = rules.names().filter(|(name, _)| !self.summary.used.contains(*name)).collect();
        if self.json {
            let mut summary = serde_json::json!(self.summary);
            summary["unused_rules"] = unused.iter().map(|(name, _)| *name).collect();
            return Ok(self.json_line(&serde_json::json!({ "summary": summary }))?);
        }
        let Summary { messages, with_users, with_packages, generic, malformed, used } = &self.summary;
        writeln!(self.out, "{messages} messages, {with_users} with users, {with_packages} with packages")?;
        writeln!(self.out, "{generic} of them without a rule for their topic; {malformed} lines that are no messages")?;
        let own: Vec<&str> = unused.iter().filter(|(_, shipped)| !shipped).map(|(name, _)| *name).collect();
        let shipped = unused.len() - own.len();
        writeln!(self.out, "{} rules used; not used: {shipped} shipped ones", used.len())?;
        own.iter().try_for_each(|name| writeln!(self.out, "  not used: {name}"))?;
        Ok(())
    }

    fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        writeln!(self.out)
    }
}

/// Texts of messages must not move the cursor of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
