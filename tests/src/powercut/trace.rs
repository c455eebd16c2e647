//! What `record.c` has written: every change of the disk, in order.

use std::{fs, ops::Range, path::Path};

use anyhow::{Context, bail};

/// One event, as `record.c` tells it.
pub(super) struct Event {
    pub(super) thread: u64,
    pub(super) what: What,
}

/// What happened. Data is a range of the trace's bytes.
pub(super) enum What {
    CreateFile {
        path: String,
        inode: u64,
    },
    CreateDir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    Write {
        inode: u64,
        offset: usize,
        data: Range<usize>,
    },
    Resize {
        inode: u64,
        len: usize,
    },
    SyncBegins {
        path: String,
        inode: u64,
        number: u64,
        is_full: bool,
    },
    SyncEnds {
        number: u64,
    },
    /// `sync_file_range`: no barrier.
    WrittenBack,
}

/// A whole trace.
pub(super) struct Trace {
    pub(super) bytes: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl Trace {
    /// Reads a trace.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let (mut events, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let len = bytes[at..].iter().position(|byte| *byte == b'\n').context("an event without an end")?;
            let line = std::str::from_utf8(&bytes[at..at + len])?;
            let (event, end) =
                event(&bytes, line, at + len + 1).with_context(|| format!("event {}, {line:?}", events.len()))?;
            events.push(event);
            at = end;
        }
        Ok(Self { bytes, events })
    }
}

/// The event of a line whose texts and data start at `at`, and where they end.
fn event(bytes: &[u8], line: &str, at: usize) -> anyhow::Result<(Event, usize)> {
    let (kind, numbers) = line.split_once(' ').context("no numbers")?;
    let numbers: Vec<u64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [thread, inode, offset, length, path_len, other_len, data_len] = numbers[..] else {
        bail!("not seven numbers")
    };
    let path_end = at + path_len as usize;
    let other_end = path_end + other_len as usize;
    let data = other_end..other_end + data_len as usize;
    let text = |range: Range<usize>| -> anyhow::Result<String> {
        Ok(std::str::from_utf8(bytes.get(range).context("cut off")?)?.to_owned())
    };
    let (path, other) = (text(at..path_end)?, text(path_end..other_end)?);
    let end = data.end;
    anyhow::ensure!(end <= bytes.len(), "cut off");
    let what = match kind {
        "C" => What::CreateFile { path, inode },
        "M" => What::CreateDir { path },
        "R" => What::Rename { from: path, to: other },
        "U" => What::Remove { path },
        "W" => What::Write { inode, offset: offset as usize, data },
        "T" => What::Resize { inode, len: length as usize },
        "S" => What::SyncBegins { path, inode, number: length, is_full: offset == 1 },
        "E" => What::SyncEnds { number: length },
        "F" => What::WrittenBack,
        "X" => bail!("the recorder cannot describe this: {path}"),
        _ => bail!("an unknown event"),
    };
    Ok((Event { thread, what }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> anyhow::Result<Trace> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("trace");
        fs::write(&path, bytes).expect("it is written");
        Trace::read(&path)
    }

    #[test]
    fn what_is_recorded_is_read() {
        let trace = read(b"C 1 7 0 0 2 0 0\n/aW 2 7 512 0 0 0 3\nx\nyR 1 0 0 0 2 2 0\n/a/b").expect("it reads");
        assert_eq!(trace.events.len(), 3);
        assert!(matches!(&trace.events[0].what, What::CreateFile { path, inode: 7 } if path == "/a"));
        let What::Write { inode: 7, offset: 512, data } = &trace.events[1].what else { panic!("a write") };
        assert_eq!((&trace.bytes[data.clone()], trace.events[1].thread), (&b"x\ny"[..], 2));
        assert!(matches!(&trace.events[2].what, What::Rename { from, to } if from == "/a" && to == "/b"));
    }

    #[test]
    fn what_cannot_be_described_is_refused() {
        for bytes in [&b"X 1 0 0 0 4 0 0\nmmap"[..], b"W 1 7 0 0 0 0 9\nshort", b"W 1 7\n", b"Q 1 0 0 0 0 0 0\n", b"W"]
        {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
