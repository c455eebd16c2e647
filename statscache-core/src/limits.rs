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
/// How far an event may lie in the future, microseconds: a day, for clocks and time zones that are
/// wrong. Buckets beyond it would never be dropped, and one stamp from the year 9999 would be the
/// watermark for ever; such messages take the time of their arrival and are counted.
pub const FUTURE_MICROS_MAX: i64 = 86_400_000_000;
/// Topics whose route is remembered; beyond it the memory is emptied and learnt anew.
pub const ROUTES_MAX: usize = 65_536;
/// Rows of one write to sled: more cost 4.6 KB of memory each and block its readers.
pub const STORE_BATCH_ROWS_MAX: usize = 20_000;
/// Bytes of one value in sled, about: many small cells in few values are 28 times cheaper than a
/// row each, and much larger values would be rewritten too often.
pub const CHUNK_BYTES: usize = 16 * 1024;
/// Buckets of one partition: retention drops whole partitions, so one must be short against what
/// a tier keeps; segments of one partition are merged, so it must not be tiny.
pub const PARTITION_BUCKETS: i64 = 512;
/// Cells that a query may visit before it is refused: half a second of one core. It is told from the
/// bytes, of which a cell takes two at least, before any is visited.
pub const QUERY_CELLS_MAX: u64 = 10_000_000;
/// Rows that a query may find before `limit` chooses among them: a hundred megabytes, since a row
/// gets its labels only when it is chosen.
pub const QUERY_ROWS_MAX: usize = 1_000_000;
/// Patterns in the filters of one query: each is compared with every label of its dimension.
pub const QUERY_PATTERNS_MAX: usize = 32;

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
        }
    }
}
