//! Starts on what a power cut has left, in a process of its own: that may panic, hang or die.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    stream::Stream,
    subject::{self, Subject},
};

/// Nobody waits longer for an answer.
const DEADLINE: Duration = Duration::from_secs(120);
/// Messages that come after the power is back.
const MORE: u64 = 30;

/// What became of one image.
pub(super) enum Outcome {
    /// All is well: where journal and store were.
    Fine { journal: u64, store: u64 },
    /// What is wrong.
    Failed(String),
}

/// The process that checks, started when it is needed.
pub(super) struct Checker<'c> {
    /// A program with [`serve`] behind the argument `power-cut-check`.
    program: &'c Path,
    stream: Stream,
    worker: Option<Worker>,
}

struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Gone already is fine, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'c> Checker<'c> {
    pub(super) fn new(program: &'c Path, stream: Stream) -> Self {
        Self { program, stream, worker: None }
    }

    /// Checks an image: what was promised was everything before `promised`. The image is changed by it.
    pub(super) fn check(&mut self, image: &Path, promised: u64) -> anyhow::Result<Outcome> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => self.start()?,
        };
        let stdin = worker.child.stdin.as_mut().context("stdin is a pipe")?;
        // If it has died, there is no answer either.
        let _ = writeln!(stdin, "{promised} {}", image.display()).and_then(|()| stdin.flush());
        let line = match worker.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => "failed no end within two minutes".to_owned(),
            Err(mpsc::RecvTimeoutError::Disconnected) => "failed the process died".to_owned(),
        };
        if let Some(rest) = line.strip_prefix("fine ") {
            let (journal, store) = rest.split_once(' ').context("two numbers")?;
            self.worker = Some(worker);
            return Ok(Outcome::Fine { journal: journal.parse()?, store: store.parse()? });
        }
        // What is left of a failure, such as threads of the store, ends with the process.
        Ok(Outcome::Failed(line.strip_prefix("failed ").unwrap_or(&line).to_owned()))
    }

    fn start(&self) -> anyhow::Result<Worker> {
        let mut child = Command::new(self.program)
            .args(["power-cut-check", &self.stream.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the checking process does not start")?;
        let out = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
        let (sender, lines) = mpsc::sync_channel(1);
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Worker { child, lines })
    }
}

/// The process that checks: an image a line, and a line of answer to each. A panic anywhere is an answer, and its end.
pub fn serve(seed: &str) -> anyhow::Result<()> {
    let stream = Stream { seed: seed.parse()? };
    std::panic::set_hook(Box::new(|panic| {
        println!("failed panic: {}", panic.to_string().replace('\n', " "));
        std::process::exit(1);
    }));
    for line in std::io::stdin().lines() {
        let line = line?;
        let (promised, image) = line.split_once(' ').context("a number and a path")?;
        match check(Path::new(image), promised.parse()?, stream) {
            Ok((journal, store)) => println!("fine {journal} {store}"),
            Err(error) => println!("failed {}", format!("{error:#}").replace('\n', " ")),
        }
    }
    Ok(())
}

/// Opens what is there, compares it with a recount of the journal's messages, goes on, and opens it once more. Says how
/// far journal and store had got.
fn check(dir: &Path, promised: u64, stream: Stream) -> anyhow::Result<(u64, u64)> {
    let (mut subject, found) = Subject::open(dir, stream)?;
    let (first, next) = found.journal;
    ensure!(next >= promised, "the journal ends at {next}, everything before {promised} was promised");
    ensure!(found.store >= promised, "the store ends at {}, everything before {promised} was promised", found.store);
    ensure!(found.store <= next, "the store is at {}, the journal at {next} only", found.store);
    subject::compare_journal(dir, stream, (first, next))?;
    subject.catch_up(next)?;
    subject.commit(next, || Ok(()))?;
    subject.compare(next)?;

    let after = next + MORE;
    let new = subject.feed(next.saturating_sub(2).max(first)..after)?;
    ensure!(new == MORE, "{new} of {MORE} messages were new");
    subject.commit(after, || Ok(()))?;
    subject.compare(after)?;
    drop(subject);

    let (subject, again) = Subject::open(dir, stream).context("the second start")?;
    ensure!(again.journal.1 == after && again.store == after, "the second start is at {}", again.store);
    subject.compare(after).context("the second start")?;
    Ok((next, found.store))
}
