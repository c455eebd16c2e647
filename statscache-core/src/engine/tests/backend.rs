//! A disk that fails, or loses what was not synced.

use std::sync::{Arc, Mutex};

use crate::store::MemoryBackend;
use crate::store::backend::{Backend, BackendError, Row};

/// Rows in memory that can fail after a number of operations, and lose what was not synced.
#[derive(Clone, Debug, Default)]
pub(super) struct TestBackend {
    pub(super) rows: MemoryBackend,
    pub(super) disk: Arc<Mutex<DiskState>>,
}

#[derive(Debug, Default)]
pub(super) struct DiskState {
    operations: u64,
    fail_after: Option<u64>,
    durable: Vec<Row>,
    /// Batches since the last sync.
    unsynced: Vec<Vec<Row>>,
    pub(super) rows_of_batches: Vec<usize>,
}

impl TestBackend {
    pub(super) fn all(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        self.rows
            .scan(b"", &mut |key, value| {
                rows.push((key.to_vec(), Some(value.to_vec())));
                true
            })
            .expect("memory");
        rows
    }

    pub(super) fn operations(&self) -> u64 {
        self.disk.lock().expect("no panic").operations
    }

    /// Lets `operations` more succeed, then fails.
    pub(super) fn fail_after(&self, operations: u64) {
        let mut disk = self.disk.lock().expect("no panic");
        disk.fail_after = Some(disk.operations + operations);
    }

    pub(super) fn heal(&self) {
        self.disk.lock().expect("no panic").fail_after = None;
    }

    /// What a power cut may leave: what was synced, and the first so many batches after that.
    pub(super) fn power_cut(&self, batches_kept: usize) -> Self {
        let disk = self.disk.lock().expect("no panic");
        let image = Self::default();
        image.rows.apply(&disk.durable).expect("memory");
        for batch in disk.unsynced.iter().take(batches_kept) {
            image.rows.apply(batch).expect("memory");
        }
        image.sync().expect("memory");
        image
    }

    fn operate(&self) -> Result<(), BackendError> {
        let mut disk = self.disk.lock().expect("no panic");
        if disk.fail_after.is_some_and(|until| disk.operations >= until) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(BackendError::Io { path: "test".into(), source });
        }
        disk.operations += 1;
        Ok(())
    }
}

impl Backend for TestBackend {
    fn apply(&self, rows: &[Row]) -> Result<(), BackendError> {
        self.operate()?;
        let mut disk = self.disk.lock().expect("no panic");
        disk.unsynced.push(rows.to_vec());
        disk.rows_of_batches.push(rows.len());
        self.rows.apply(rows)
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.operate()?;
        let durable = self.all();
        let mut disk = self.disk.lock().expect("no panic");
        disk.unsynced.clear();
        disk.durable = durable;
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.rows.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), BackendError> {
        self.rows.scan(prefix, visit)
    }

    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.rows.last_key(prefix)
    }

    fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}
