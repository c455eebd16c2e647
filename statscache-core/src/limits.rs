//! Every bound of the core, with its reason. The ones that operators set come in with
//! [`Limits`]; the others are constants.

/// Largest number that one update adds to a count: a float in a dashboard still holds it exactly
/// (2^53), and a cell takes a thousand of them before it wraps.
pub const COUNT_ADD_MAX: i64 = 1 << 53;
/// Updates of one message before it counts as failed: a plugin in a loop must not eat the memory.
pub const UPDATES_PER_MESSAGE_MAX: usize = 10_000;
/// Bytes of latest values that one message may set, together: as above.
pub const UPDATE_BYTES_PER_MESSAGE_MAX: usize = 4 << 20;
/// Arrays and objects inside each other in a latest value: what JSON readers of dashboards take.
pub const VALUE_DEPTH_MAX: usize = 100;
/// Topics whose route is remembered; beyond it the memory is emptied and learnt anew.
pub const ROUTES_MAX: usize = 65_536;
/// Rows of one write to sled: more cost 4.6 KB of memory each and block its readers.
pub const STORE_BATCH_ROWS_MAX: usize = 20_000;
/// Messages that are kept in memory for instances, bytes: about a tenth of a second at full speed. One
/// that is further behind reads the journal's files.
pub const LIVE_BYTES_MAX: usize = 64 << 20;
/// Memory of a batch that is filled again, bytes.
pub const LIVE_SPARE_BYTES_MAX: usize = 1 << 20;
/// Batches whose memory is filled again: what is on its way to instances, twice.
pub const LIVE_SPARES_MAX: usize = 16;
/// Messages that come together before instances are woken, bytes. What they make of them is seen at the
/// next commit only, and each waking costs some microseconds an instance.
pub const LIVE_WAKE_BYTES: usize = 512 << 10;
/// Memory that deltas may take before instances wait for a commit, bytes.
pub const PENDING_BYTES_MAX: usize = 64 << 20;
/// Bytes of one value in sled, about: many small cells in few values are 28 times cheaper than a
/// row each, and sled takes larger ones out of its log and does not get rid of them again.
pub const CHUNK_BYTES: usize = 4 * 1024;
/// A segment of more bytes is not merged by commits any more but by compaction, a step at a time: no
/// commit waits for it.
pub const MERGE_BYTES_MAX: u64 = 4 << 20;
/// Cells that compaction works on in one commit: about a tenth of a second.
pub const COMPACT_CELLS_PER_COMMIT: usize = 1 << 20;
/// How long after its end a partition is closed, microseconds: what comes later is few.
pub const CLOSE_AFTER_MICROS: i64 = 60_000_000;
/// Segments beside the columns of a closed partition, or large ones of an open one, beyond which they
/// are compacted.
pub const SEGMENTS_MAX: usize = 8;
/// How long chunks of replaced segments stay, microseconds: views that are being read want them.
pub const SWEEP_AFTER_MICROS: i64 = 60_000_000;
/// Rows of garbage that one commit removes.
pub const SWEEP_ROWS_PER_COMMIT: u32 = 8_000;
/// How often coverage is stored while nothing else is, microseconds: what a crash forgets of it.
pub const COVERAGE_STORE_MICROS: i64 = 10_000_000;
/// Bytes of one row of label sets, about.
pub const SERIES_CHUNK_BYTES: usize = 6 * 1024;
/// Bytes of one column chunk, about: what all of its pages share is then a few percent of it.
pub const COLUMN_CHUNK_BYTES: usize = 5 * 1024;
/// Numbers of one column of a column chunk: what a writer holds in memory, however well they pack.
pub const COLUMN_CHUNK_NUMBERS_MAX: usize = 1 << 20;
/// Numbers of one page of a column, about: what is decoded to read one series of it.
pub const COLUMN_PAGE_NUMBERS: usize = 1024;
/// Bytes of states that are not numbers, in one page, about: what is kept together with them.
pub const COLUMN_PAGE_REST_BYTES: usize = 4096;
/// Buckets of one partition: retention drops whole partitions, so one must be short against what
/// a tier keeps; segments of one partition are merged, so it must not be tiny.
pub const PARTITION_BUCKETS: i64 = 512;
/// Cells that a query may visit before it is refused: half a second of one core. It is told
/// from the directories before any is visited.
pub const QUERY_CELLS_MAX: u64 = 10_000_000;
/// Rows that a query may find before `limit` chooses among them: a hundred megabytes, since a row
/// gets its labels only when it is chosen.
pub const QUERY_ROWS_MAX: usize = 1_000_000;
/// Memory of the sketches that one query merges, bytes.
pub const QUERY_STATE_BYTES_MAX: usize = 256 << 20;
/// Longest path that a move can lead to, bytes: that of a label unless configured otherwise.
pub const MOVED_PATH_BYTES_MAX: usize = 1024;
/// Names of members that one query adds up: each is looked for in each value.
pub const MEMBERS_MAX: usize = 100;
/// Patterns in the filters of one query: each is compared with every label of its dimension.
pub const QUERY_PATTERNS_MAX: usize = 32;
/// Changes of level that one coverage remembers, two for an interval: a connection lost every quarter
/// of an hour for a hundred days. It takes 320 KB in memory and about 120 KB where it is written.
pub const COVERAGE_CHANGES_MAX: usize = 20_000;
/// Bytes of one line of an export: a thousand of the longest latest values, with what JSON adds.
pub const IMPORT_LINE_BYTES_MAX: u64 = 256 << 20;
/// Cells that an import packs at a time, and bytes of their states: what it holds in memory besides
/// label sets.
pub const IMPORT_CELLS_MAX: usize = 1 << 18;
/// See [`IMPORT_CELLS_MAX`].
pub const IMPORT_STATE_BYTES_MAX: usize = 16 << 20;

/// Bounds that operators set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series of one metric; beyond it new label sets count as `__other__`.
    pub series_per_metric: u32,
    /// Bytes of one label value; longer ones are cut.
    pub label_bytes: usize,
    /// Bytes of one latest value; larger ones are refused.
    pub value_bytes: usize,
    /// Failures in a row before an instance is quarantined; 0: never.
    pub quarantine_after: u32,
    /// Identities remembered, whatever the window of time.
    pub dedupe_ids: usize,
    /// How long an identity is remembered, microseconds.
    pub dedupe_window: i64,
    /// How far an event may lie in the future, microseconds. Buckets beyond it would never be dropped,
    /// and one stamp from the year 9999 would be the watermark for ever.
    pub event_ahead: i64,
    /// Memory of label sets, deltas, indexes and cached chunks, bytes: beyond it new label sets count
    /// as `__other__`.
    pub memory_bytes: usize,
    /// How long a state is kept after another has taken its place, microseconds.
    pub retired_grace: i64,
    /// Chunks of segments kept in memory after they were read, bytes.
    pub cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_metric: 100_000,
            label_bytes: 1024,
            value_bytes: 64 * 1024,
            quarantine_after: 10,
            dedupe_ids: 2_000_000,
            dedupe_window: 3_600_000_000,
            event_ahead: 86_400_000_000,
            memory_bytes: 1 << 30,
            retired_grace: 7 * 86_400_000_000,
            cache_bytes: 64 << 20,
        }
    }
}
