//! Brings a store of an older format up to the present one.
//!
//! Rows that are laid out anew have new keys, so what was done before an interruption is known
//! by its key, and doing it again goes on from there. The version is written last. Where rows keep
//! their keys, and are few, they are written together with it.
//!
//! Format 2 had no times filled in readings, no state in namespaces, and cursors with a number less.
//!
//! Format 1 had `C` for cursors, with five counters and no number of them, and `B` ns metric tier
//! partition commit chunk for cells: rows as [`crate::segment::rows`] has them, without the byte for
//! the layout, and latest values without removals.

use std::collections::BTreeMap;

use statscache_plugin_sdk::{Kind, Timestamp};

use super::{Batch, NamespaceId, NamespaceRecord, Store, StoreError, keys, values};
use crate::{
    bytes::{Corrupt, Input},
    coverage::Reading,
    kind::{CountRule, LatestRule, LatestState, LatestValue, Rule},
    segment::{Cell, Form, SegmentKey, merge_sorted, rows},
};

const CURSORS: &[u8] = b"C";
const CELLS: u8 = b'B';

/// From format 2: readings. The batch is written together with the new version. What does not read is
/// left as it is: opening tells of it.
pub(super) fn from_2(store: &Store, batch: &mut Batch) -> Result<(), StoreError> {
    store.scan(keys::READINGS, &mut |key, value| {
        let reading = values::open(value).and_then(|value| Reading::decode_unfilled(&mut Input(value)));
        if let Ok(reading) = reading {
            batch.put(key.to_vec(), values::reading(&reading));
        }
        Ok(true)
    })
}

/// From format 1 to 2. The caller writes the new version afterwards.
pub(super) fn from_1(store: &Store) -> Result<(), StoreError> {
    let records: BTreeMap<NamespaceId, NamespaceRecord> = store.read_records()?.into_iter().collect();
    let mut batch = Batch::default();
    store.scan(CURSORS, &mut |key, value| {
        let cursor = read_cursor(values::open(value)?)?;
        batch.put_cursor(keys::read_namespace(key)?, &cursor);
        batch.rows.push((key.to_vec(), None));
        Ok(true)
    })?;
    store.apply(&batch)?;
    while let Some(batch) = next_segment(store, &records)? {
        store.apply(&batch)?;
    }
    store.sync()
}

fn read_cursor(value: &[u8]) -> Result<super::Cursor, Corrupt> {
    let mut input = Input(value);
    let mut cursor = values::read_position(&mut input)?;
    let super::Cursor { processed, failed, updates, limited, missed, .. } = &mut cursor;
    for counter in [processed, failed, updates, limited, missed] {
        *counter = input.u64()?;
    }
    Ok(cursor)
}

/// The first segment that there is still in the old format, written anew.
fn next_segment(store: &Store, records: &BTreeMap<NamespaceId, NamespaceRecord>) -> Result<Option<Batch>, StoreError> {
    let (mut segment, mut batch, mut chunks) = (None, Batch::default(), Vec::new());
    store.scan(&[CELLS], &mut |key, value| {
        let of = read_key(key)?;
        if *segment.get_or_insert(of) != of {
            return Ok(false);
        }
        chunks.push(values::open(value)?.to_vec());
        batch.rows.push((key.to_vec(), None));
        Ok(true)
    })?;
    let Some(key) = segment else { return Ok(None) };
    let damaged = |source| StoreError::Damaged { key: format!("{key:?}"), source };
    let metric = records.get(&key.ns).and_then(|record| record.metrics.get(usize::from(key.metric)));
    let packed = match metric.map(|metric| metric.kind) {
        Some(Kind::Count) => repack(CountRule, &chunks, |input| input.i64()),
        Some(Kind::Latest { n, ttl }) => repack(LatestRule { n, ttl }, &chunks, read_latest),
        // Format 1 knew no other kinds; what belongs to nobody is not taken along.
        _ => Ok(Vec::new()),
    };
    batch.put_segment(key, packed.map_err(damaged)?);
    Ok(Some(batch))
}

fn read_key(key: &[u8]) -> Result<SegmentKey, Corrupt> {
    let mut key = keys::Reader(key.get(1..).unwrap_or_default());
    Ok(SegmentKey {
        ns: NamespaceId::from_be_bytes(key.take()?),
        metric: u16::from_be_bytes(key.take()?),
        tier: u8::from_be_bytes(key.take()?),
        partition: key.partition()?,
        form: Form::Rows,
        commit: u64::from_be_bytes(key.take()?),
    })
}

fn repack<R: Rule>(
    rule: R,
    chunks: &[Vec<u8>],
    read_state: impl Fn(&mut Input<'_>) -> Result<R::State, Corrupt>,
) -> Result<Vec<crate::segment::PackedChunk>, Corrupt> {
    let mut cells = Vec::new();
    for chunk in chunks {
        let mut input = Input(chunk);
        let mut series = 0_u32;
        for _ in 0..input.u32()? {
            series = series.checked_add(input.u32()?).ok_or(Corrupt("a series is too large"))?;
            let count = input.u32()?;
            let mut frame = Input(input.bytes()?);
            let mut place = 0_u32;
            for _ in 0..count {
                place = place.checked_add(frame.u32()?).ok_or(Corrupt("a place is too large"))?;
                cells.push(Cell { series, place, state: read_state(&mut frame)? });
            }
        }
    }
    Ok(rows::pack(rule, merge_sorted(rule, cells)))
}

fn read_latest(input: &mut Input<'_>) -> Result<LatestState, Corrupt> {
    let mut values = Vec::new();
    for _ in 0..input.u64()? {
        values.push(LatestValue {
            time: Timestamp::from_micros(input.i64()?),
            id: input.text()?.into(),
            json: input.text()?.into(),
        });
    }
    Ok(LatestState { removed: None, values })
}
