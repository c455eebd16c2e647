//! A directory in memory that behaves like a disk on a bad day.
//!
//! It knows what was synced and what was not, fails from a chosen operation on, and shows what a
//! power cut could leave. For tests, here and above; nothing in the daemon uses it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::dir::{Dir, DirLock, File};
use super::segment::lock;

const SECTOR_BYTES: usize = 512;

/// A directory in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDir {
    disk: Arc<Mutex<Disk>>,
    locked: Arc<AtomicBool>,
}

/// What fails once the operations allowed are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space: creating and growing fail; a write gets half way.
    Full,
    /// The disk is gone: everything that changes or syncs fails; a write gets half way.
    Broken,
}

/// What is left of the unsynced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Nothing.
    LosesAll,
    /// Everything.
    LosesNothing,
    /// Some writes, some sectors of others, in no order; entries in order. By this seed.
    Random(u64),
}

#[derive(Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    entries: BTreeMap<String, usize>,
    durable_entries: BTreeMap<String, usize>,
    entry_changes: Vec<EntryChange>,
    operations: u64,
    fault: Option<(u64, Fault)>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<FileChange>,
}

#[derive(Debug, Clone)]
enum FileChange {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Debug, Clone)]
enum EntryChange {
    Link(String, usize),
    Rename(String, String),
    Remove(String),
}

impl SimulatedDir {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations have changed or synced something.
    pub fn operations(&self) -> u64 {
        lock(&self.disk).operations
    }

    /// Lets `operations` more succeed, then fails.
    pub fn fail_after(&self, operations: u64, fault: Fault) {
        let mut disk = lock(&self.disk);
        disk.fault = Some((disk.operations + operations, fault));
    }

    /// Works again.
    pub fn heal(&self) {
        lock(&self.disk).fault = None;
    }

    /// What could be on the disk if the power went now: a new directory, healthy and unlocked.
    pub fn power_cut(&self, cut: PowerCut) -> Self {
        let disk = lock(&self.disk);
        let mut dice = Dice(match cut {
            PowerCut::Random(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            _ => 1,
        });
        let mut entries = disk.durable_entries.clone();
        let kept = match cut {
            PowerCut::LosesAll => 0,
            PowerCut::LosesNothing => disk.entry_changes.len(),
            PowerCut::Random(_) => dice.below(disk.entry_changes.len() + 1),
        };
        for change in &disk.entry_changes[..kept] {
            change.apply(&mut entries);
        }
        let inodes = disk.inodes.iter().map(|inode| inode.after(cut, &mut dice)).collect();
        let image = Disk { inodes, durable_entries: entries.clone(), entries, ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(image)), locked: Arc::default() }
    }

    /// The bytes of a file, for a test to look at.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let disk = lock(&self.disk);
        disk.entries.get(name).map(|&inode| disk.inodes[inode].now.clone())
    }

    /// Puts a file there, durable: an older journal, damage, somebody else's data.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = lock(&self.disk);
        let inode = disk.inodes.len();
        disk.inodes.push(Inode { durable: bytes.clone(), now: bytes, unsynced: Vec::new() });
        disk.entries.insert(name.to_owned(), inode);
        disk.durable_entries.insert(name.to_owned(), inode);
    }
}

impl Inode {
    fn after(&self, cut: PowerCut, dice: &mut Dice) -> Self {
        let mut left = self.durable.clone();
        match cut {
            PowerCut::LosesAll => {}
            PowerCut::LosesNothing => left.clone_from(&self.now),
            PowerCut::Random(_) => {
                for change in &self.unsynced {
                    change.apply_some(&mut left, dice);
                }
            }
        }
        Self { now: left.clone(), durable: left, unsynced: Vec::new() }
    }
}

impl FileChange {
    fn apply_some(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        match (self, dice.below(4)) {
            (_, 0) => {}
            (Self::Write(at, data), 1) => {
                for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                    if dice.below(2) == 0 {
                        put(bytes, at + index * SECTOR_BYTES, sector);
                    }
                }
            }
            (Self::Write(at, data), 2) => put(bytes, *at, &data[..dice.below(data.len() + 1)]),
            (Self::Write(at, data), _) => put(bytes, *at, data),
            (Self::Truncate(size), _) => bytes.resize(*size, 0),
        }
    }
}

impl EntryChange {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                entries.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = entries.remove(from) {
                    entries.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                entries.remove(name);
            }
        }
    }
}

impl Disk {
    /// Counts an operation; whether it works.
    fn operate(&mut self, needs_space: bool) -> io::Result<()> {
        match self.fault {
            Some((until, Fault::Full)) if needs_space && self.operations >= until => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Some((until, Fault::Broken)) if self.operations >= until => {
                Err(io::Error::other("simulated: the disk is gone"))
            }
            _ => {
                self.operations += 1;
                Ok(())
            }
        }
    }

    fn change(&mut self, change: EntryChange) {
        change.apply(&mut self.entries);
        self.entry_changes.push(change);
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.entries.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

#[derive(Debug)]
struct SimulatedLock(Arc<AtomicBool>);

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Dir for SimulatedDir {
    fn path(&self) -> &Path {
        Path::new("/simulated")
    }

    fn lock(&self) -> io::Result<Option<DirLock>> {
        match self.locked.swap(true, Ordering::AcqRel) {
            true => Ok(None),
            false => Ok(Some(Box::new(SimulatedLock(self.locked.clone())))),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.disk).entries.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = lock(&self.disk);
        disk.operate(true)?;
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.change(EntryChange::Link(name.to_owned(), inode));
        Ok(Arc::new(SimulatedFile { disk: self.disk.clone(), inode }))
    }

    fn open(&self, name: &str, _writable: bool) -> io::Result<Arc<dyn File>> {
        let inode = lock(&self.disk).find(name)?;
        Ok(Arc::new(SimulatedFile { disk: self.disk.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.operate(false)?;
        disk.find(from)?;
        disk.change(EntryChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.operate(false)?;
        disk.find(name)?;
        disk.change(EntryChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.operate(false)?;
        disk.durable_entries = disk.entries.clone();
        disk.entry_changes.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
}

impl File for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = lock(&self.disk);
        let bytes = disk.inodes[self.inode].now.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buf.len());
        buf[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        let done = disk.operate(true);
        let kept = if done.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let inode = &mut disk.inodes[self.inode];
        put(&mut inode.now, offset as usize, kept);
        inode.unsynced.push(FileChange::Write(offset as usize, kept.to_vec()));
        done
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.operate(false)?;
        let inode = &mut disk.inodes[self.inode];
        inode.now.resize(size as usize, 0);
        inode.unsynced.push(FileChange::Truncate(size as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.operate(false)?;
        let inode = &mut disk.inodes[self.inode];
        inode.durable.clone_from(&inode.now);
        inode.unsynced.clear();
        Ok(())
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// xorshift64: the same seed, the same accident.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}
