//! What is wrong with a file, where, and how it is shown.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Problems shown; a file with more is not a configuration, and a terminal has an end.
const SHOWN_MAX: usize = 50;
/// Characters of a source line that are shown.
const EXCERPT_LEN_MAX: usize = 120;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read, and all of this is wrong with it.
    #[error("{}", Listing { file, problems })]
    Problems {
        /// The file, as the operator named it.
        file: String,
        /// In the order of the file; never empty.
        problems: Vec<Problem>,
    },
    /// No address of the bus, where one is needed.
    #[error(
        "{file}: [bus] endpoints and bind are both empty, so there is nothing to listen to; \
         write the addresses of the publishers, such as endpoints = [\"tcp://127.0.0.1:9940\"]"
    )]
    NoBus {
        /// The file, as the operator named it.
        file: String,
    },
}

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The option, such as `bus.queue` or `instance.id`; empty for a fault of syntax.
    pub key: String,
    /// What, and what to write instead.
    pub message: String,
    excerpt: String,
    /// Characters of the excerpt before the mark, and under it.
    mark: (usize, usize),
}

/// `line:column: message`, then the line of the file with the place marked.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, excerpt, mark: (before, marked), .. } = self;
        writeln!(f, "{line}:{column}: {message}")?;
        let gutter = format!("{line:>5}");
        writeln!(f, "{}", format!("{gutter} | {excerpt}").trim_end())?;
        write!(f, "{:gutter$} | {:before$}{:^<marked$}", "", "", "", gutter = gutter.len())
    }
}

struct Listing<'a> {
    file: &'a str,
    problems: &'a [Problem],
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{}:{problem}", if i == 0 { "" } else { "\n" }, self.file)?;
        }
        match self.problems.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more problems", self.file),
        }
    }
}

/// The text, and where its lines begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// The text at those bytes; empty outside of it.
    pub(super) fn slice(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or("")
    }

    /// Line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// A problem with those bytes; where they go beyond the end of their line, the mark does not.
    pub(super) fn problem(&self, span: Range<usize>, key: String, message: String) -> Problem {
        let at = floor_char(self.text, span.start);
        let line = self.line(at);
        let start = self.starts[line - 1];
        let whole = self.text[start..].split('\n').next().unwrap_or("").trim_end_matches('\r');
        let before = self.text[start..at].chars().count();
        let marked = self.text[at..floor_char(self.text, span.end.max(at))].split('\n').next().unwrap_or("");
        let skipped = if before < EXCERPT_LEN_MAX * 2 / 3 { 0 } else { before - EXCERPT_LEN_MAX / 3 };
        let excerpt: String = whole.chars().skip(skipped).take(EXCERPT_LEN_MAX).map(printable).collect();
        let room = excerpt.chars().count().saturating_sub(before - skipped).max(1);
        let mark = (before - skipped, marked.trim_end().chars().count().clamp(1, room));
        Problem { line, column: before + 1, key, message, excerpt, mark }
    }
}

/// The problem of a file that is not text, from the first byte that is not.
pub(super) fn not_utf8(bytes: &[u8], at: usize) -> Problem {
    let text = String::from_utf8_lossy(&bytes[..at]);
    let message = format!("byte {:#04x} is not UTF-8: save the file as UTF-8", bytes.get(at).copied().unwrap_or(0));
    Lines::new(&text).problem(at..at, String::new(), message)
}

fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        _ if c.is_control() => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}
