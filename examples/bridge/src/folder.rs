//! Documents of a folder: every file once, and again what is new in it when it has changed.
//!
//! A file is one document, a list of documents, or a document a line. One that cannot be read to its end as such is
//! told of and left for the next look: it may be half written. (Who writes can write beside it and rename.)

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Args,
    bus::Bus,
    envelope::{Envelopes, Origin},
};

/// Longer files are told of and passed over.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What is remembered of files at most; others are told of and passed over.
const FILES_MAX: usize = 100_000;
const ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];

/// What was published, by the names of files.
#[derive(Default, Serialize, Deserialize)]
struct Memory(BTreeMap<String, Seen>);

type Documents = BTreeMap<u64, u32>;

/// One file, as it was when it was published.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    stamp: Stamp,
    /// Hashes of its documents, and how often each was there.
    documents: Documents,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stamp {
    /// When it was last written, microseconds since 1970.
    modified: i64,
    bytes: u64,
}

/// Publishes what there is and what comes, for ever or once.
pub(crate) async fn follow(dir: &Path, args: &Args, envelopes: &Envelopes, bus: &Bus) -> anyhow::Result<()> {
    let mut memory = read_memory(args.remember.as_deref())?;
    let mut told = BTreeMap::new();
    loop {
        let failures = look(dir, args, envelopes, bus, &mut memory).await?;
        for (name, why) in failures.iter().filter(|(name, why)| told.get(*name) != Some(*why)) {
            eprintln!("{name}: {why}");
        }
        told = failures;
        if args.once {
            bus.drained().await?;
            anyhow::ensure!(told.is_empty(), "{} files were not published", told.len());
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
    }
}

/// Publishes what is new; gives what could not be, and why.
async fn look(
    dir: &Path,
    args: &Args,
    envelopes: &Envelopes,
    bus: &Bus,
    memory: &mut Memory,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut failures = BTreeMap::new();
    let files = files(dir).with_context(|| format!("cannot read --dir {}", dir.display()))?;
    memory.0.retain(|name, _| files.contains_key(name));
    let mut is_changed = false;
    for (name, stamp) in files {
        let before = memory.0.get(&name);
        if before.is_some_and(|seen| seen.stamp == stamp) {
            continue;
        }
        if before.is_none() && memory.0.len() >= FILES_MAX {
            failures.insert(name, format!("not read: there are more than {FILES_MAX} files"));
            continue;
        }
        match read(&dir.join(&name), stamp, args.max_bytes) {
            Ok(documents) => {
                let known = before.map(|seen| seen.documents.clone()).unwrap_or_default();
                let seen = publish(&documents, stamp, &known, envelopes, bus).await?;
                memory.0.insert(name, seen);
                is_changed = true;
            }
            Err(why) => drop(failures.insert(name, format!("{why:#}; tried again until it is whole"))),
        }
    }
    if is_changed && let Some(path) = &args.remember {
        // Not before they are out: what is lost in a crash is published again, under the same id.
        bus.drained().await?;
        write_memory(path, memory)?;
    }
    Ok(failures)
}

/// Names and stamps of the files to publish.
fn files(dir: &Path) -> io::Result<BTreeMap<String, Stamp>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_wanted =
            path.extension().is_some_and(|end| ENDINGS.iter().any(|ending| end.eq_ignore_ascii_case(ending)));
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // It may be gone again.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if is_wanted && metadata.is_file() && !name.starts_with('.') {
            files.insert(name.to_owned(), stamp(&metadata));
        }
    }
    Ok(files)
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    Stamp { modified, bytes: metadata.len() }
}

/// The documents of a file that is still what was seen.
fn read(path: &Path, expected: Stamp, bytes_max: u32) -> anyhow::Result<Vec<Box<RawValue>>> {
    anyhow::ensure!(expected.bytes <= FILE_BYTES_MAX, "longer than {} MiB", FILE_BYTES_MAX >> 20);
    let text = fs::read_to_string(path).context("cannot be read")?;
    let now = stamp(&fs::metadata(path)?);
    anyhow::ensure!(now == expected && text.len() as u64 == expected.bytes, "it is being written");
    let documents = documents(&text)?;
    if let Some(long) = documents.iter().find(|document| document.get().len() > bytes_max as usize) {
        anyhow::bail!("a document of {} bytes, more than --max-bytes {bytes_max}", long.get().len());
    }
    Ok(documents)
}

/// The documents of a text: one, a list of them, or several behind each other.
fn documents(text: &str) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut documents = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    while let Some(value) = values.next() {
        let value = value.with_context(|| format!("not JSON after {} bytes", values.byte_offset()))?;
        documents.push(value);
    }
    if let [one] = &*documents
        && one.get().starts_with('[')
    {
        return Ok(serde_json::from_str(one.get())?);
    }
    anyhow::ensure!(!documents.is_empty(), "there is nothing in it");
    Ok(documents)
}

/// Publishes those that were not known; gives what is known now.
async fn publish(
    documents: &[Box<RawValue>],
    stamp: Stamp,
    known: &Documents,
    envelopes: &Envelopes,
    bus: &Bus,
) -> anyhow::Result<Seen> {
    let mut seen = Seen { stamp, documents: Documents::new() };
    for document in documents {
        let hash = xxh3_64(document.get().as_bytes());
        let count = seen.documents.entry(hash).or_default();
        *count += 1;
        if *count > known.get(&hash).copied().unwrap_or(0) {
            // Two alike in one file are two events.
            let key = (*count > 1).then(|| format!("{hash:016x}/{count}/{}", stamp.modified));
            let origin = Origin { time: stamp.modified, key: key.as_deref() };
            bus.take(envelopes.of(&[], document, origin)).await?;
        }
    }
    Ok(seen)
}

fn read_memory(path: Option<&Path>) -> anyhow::Result<Memory> {
    let Some(path) = path else { return Ok(Memory::default()) };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("--remember {} is not what was written there; remove it", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read --remember {}", path.display())),
    }
}

/// Whole or not at all.
fn write_memory(path: &Path, memory: &Memory) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec(memory)?)?;
        // Renamed before it is on disk, it could be empty after a power cut.
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write --remember {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<String>> {
        let documents = documents(text).ok()?;
        Some(documents.iter().map(|document| document.get().to_owned()).collect())
    }

    #[test]
    fn a_file_is_a_document_a_list_or_a_document_a_line() {
        let two = Some(vec![r#"{"a":1}"#.to_owned(), r#"{"a":2}"#.to_owned()]);
        assert_eq!(texts(r#"[{"a":1}, {"a":2}]"#), two);
        assert_eq!(texts("{\"a\":1}\n\n{\"a\":2}\n"), two);
        assert_eq!(texts("{\n  \"a\": 1\n}\n"), Some(vec!["{\n  \"a\": 1\n}".to_owned()]));
        assert_eq!(texts("[]"), Some(Vec::new()));
        for half in ["", "  \n", r#"{"a":1"#, "{\"a\":1}\n{\"a\":", r#"[{"a":1},"#, "hello"] {
            assert_eq!(texts(half), None, "{half:?}");
        }
    }
}
