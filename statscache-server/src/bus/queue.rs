//! The queue between sources and the engine: bounded by bytes of memory, many senders on tokio, one receiver on a
//! plain thread.
//!
//! One operation moves a whole [`Batch`]. What is charged is the memory a batch holds, not its payload, so the
//! limit is a limit. A batch is always taken when the queue is empty, whatever its size: the bound is the limit
//! plus one batch.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Batch;
use super::batch::KEEP_BYTES_MAX;

/// Spare buffers kept for senders. Sixteen of about 256 KiB: 4 MiB at most.
const SPARES_LEN_MAX: usize = 16;
/// A buffer larger than this is given back to the allocator, and one that is smaller is not worth keeping.
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 32 * 1024..=KEEP_BYTES_MAX;

/// What a sender does when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The batch is dropped and counted, as a PUB socket does at its high-water mark: the source stays live.
    #[default]
    Drop,
    /// The source waits and so stops reading: TCP pushes back, and the publisher's own queue fills and drops,
    /// uncounted by us. While it waits, the source answers no heartbeats.
    Wait,
}

/// Nobody takes batches any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiving end of the message queue is gone")]
pub struct QueueClosed;

/// What [`BatchReceiver::recv_timeout`] got.
#[derive(Debug)]
pub enum Recv {
    /// The oldest batch.
    Batch(Batch),
    /// Nothing came in time, or somebody woke the receiver.
    Timeout,
    /// The queue is empty and all senders are gone.
    Closed,
}

/// Figures about a queue; readable from anywhere, without a lock.
#[derive(Debug, Default)]
pub struct QueueStats {
    limit_bytes: u64,
    messages: AtomicU64,
    bytes: AtomicU64,
    bytes_peak: AtomicU64,
    dropped_messages: AtomicU64,
    dropped_bytes: AtomicU64,
}

impl QueueStats {
    /// The bound on [`QueueStats::bytes`], exceeded by at most one batch.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
    /// Messages waiting.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
    /// Memory held by what is waiting.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
    /// The largest value of [`QueueStats::bytes`] so far.
    pub fn bytes_peak(&self) -> u64 {
        self.bytes_peak.load(Ordering::Relaxed)
    }
    /// Messages dropped because the queue was full.
    pub fn dropped_messages(&self) -> u64 {
        self.dropped_messages.load(Ordering::Relaxed)
    }
    /// Topic and body bytes of the messages dropped.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes.load(Ordering::Relaxed)
    }
}

/// A queue that holds about `limit_bytes` of memory.
pub fn queue(limit_bytes: usize, when_full: WhenFull) -> (BatchSender, BatchReceiver) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { senders: 1, receiver: true, ..State::default() }),
        arrived: Condvar::new(),
        room: Notify::new(),
        limit_bytes,
        stats: Arc::new(QueueStats { limit_bytes: limit_bytes as u64, ..QueueStats::default() }),
    });
    (BatchSender { shared: Arc::clone(&shared), when_full, tap: None }, BatchReceiver { shared })
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A batch was pushed, or the last sender left.
    arrived: Condvar,
    /// A batch was taken, or the receiver left.
    room: Notify,
    limit_bytes: usize,
    stats: Arc<QueueStats>,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    bytes: usize,
    senders: usize,
    receiver: bool,
    receiver_waits: bool,
    is_woken: bool,
    spares: Vec<Spare>,
}

/// Data and index of a batch that was taken.
type Spare = (Vec<u8>, Vec<(usize, usize)>);

enum Pushed {
    Taken,
    Full,
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic here: every section is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the messages out of `batch`, which keeps or gets spare memory.
    fn push(&self, batch: &mut Batch) -> Pushed {
        let sparse = if batch.is_sparse() { Some(batch.compact_copy()) } else { None };
        let mut state = self.lock();
        if !state.receiver {
            return Pushed::Closed;
        }
        let charge = sparse.as_ref().unwrap_or(batch).memory();
        if !state.batches.is_empty() && state.bytes + charge > self.limit_bytes {
            return Pushed::Full;
        }
        let full = match sparse {
            Some(copy) => {
                batch.clear();
                copy
            }
            None => {
                let (data, index) = state.spares.pop().unwrap_or_default();
                let empty = Batch::from_parts(data, index, Arc::clone(batch.endpoint()), batch.received_us());
                std::mem::replace(batch, empty)
            }
        };
        state.bytes += charge;
        self.stats.messages.fetch_add(full.len() as u64, Ordering::Relaxed);
        self.stats.bytes.store(state.bytes as u64, Ordering::Relaxed);
        self.stats.bytes_peak.fetch_max(state.bytes as u64, Ordering::Relaxed);
        state.batches.push_back(full);
        if state.receiver_waits {
            drop(state);
            self.arrived.notify_one();
        }
        Pushed::Taken
    }
}

/// Somebody who sees what a sender sends, on the way.
pub(super) trait Tap: fmt::Debug + Send + Sync {
    /// This is about to be sent. Called once a batch.
    fn sees(&self, batch: &Batch);
}

/// The sending end, one clone a source. The queue closes when all are gone.
#[derive(Debug)]
pub struct BatchSender {
    shared: Arc<Shared>,
    when_full: WhenFull,
    tap: Option<Arc<dyn Tap>>,
}

impl BatchSender {
    /// Sends the messages in `batch` and leaves it empty, with memory to fill again. Nothing to send is not an
    /// error.
    ///
    /// With [`WhenFull::Drop`] it never waits: `Ok` then means sent or dropped and counted. With
    /// [`WhenFull::Wait`] it waits for room; cancelled while it waits, `batch` is unchanged.
    pub async fn send(&self, batch: &mut Batch) -> Result<(), QueueClosed> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(tap) = &self.tap {
            tap.sees(batch);
        }
        loop {
            // Registered before the attempt, so that room made in between is not missed.
            let mut room = std::pin::pin!(self.shared.room.notified());
            room.as_mut().enable();
            match self.shared.push(batch) {
                Pushed::Taken => return Ok(()),
                Pushed::Closed => return Err(QueueClosed),
                Pushed::Full if self.when_full == WhenFull::Drop => {
                    self.drop_counted(batch);
                    return Ok(());
                }
                Pushed::Full => room.await,
            }
        }
    }

    fn drop_counted(&self, batch: &mut Batch) {
        let (messages, bytes) = (batch.len() as u64, batch.byte_len() as u64);
        self.shared.stats.dropped_messages.fetch_add(messages, Ordering::Relaxed);
        self.shared.stats.dropped_bytes.fetch_add(bytes, Ordering::Relaxed);
        batch.endpoint().count_dropped(messages, bytes);
        batch.clear();
    }

    /// Another end that always waits for room.
    pub(super) fn waiting(&self) -> Self {
        let mut sender = self.clone();
        (sender.when_full, sender.tap) = (WhenFull::Wait, None);
        sender
    }

    /// Another end; `tap` sees what it sends.
    pub(super) fn tapped(&self, tap: Arc<dyn Tap>) -> Self {
        let mut sender = self.clone();
        sender.tap = Some(tap);
        sender
    }

    /// Figures about the queue.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.shared.stats)
    }
}

impl Clone for BatchSender {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared), when_full: self.when_full, tap: self.tap.clone() }
    }
}

impl Drop for BatchSender {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        if state.senders == 0 {
            drop(state);
            self.shared.arrived.notify_all();
        }
    }
}

/// The receiving end, for a plain thread. Dropped, it discards what is queued and makes sends fail.
#[derive(Debug)]
pub struct BatchReceiver {
    shared: Arc<Shared>,
}

impl BatchReceiver {
    /// The oldest batch, waiting at most `timeout` for one. What was queued before the last sender left is still
    /// given out.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Recv {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.lock();
        loop {
            if let Some(batch) = state.batches.pop_front() {
                state.bytes -= batch.memory();
                let bytes = state.bytes;
                self.shared.stats.messages.fetch_sub(batch.len() as u64, Ordering::Relaxed);
                self.shared.stats.bytes.store(bytes as u64, Ordering::Relaxed);
                drop(state);
                self.shared.room.notify_waiters();
                return Recv::Batch(batch);
            }
            if state.senders == 0 {
                return Recv::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || std::mem::take(&mut state.is_woken) {
                return Recv::Timeout;
            }
            state.receiver_waits = true;
            state = self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.receiver_waits = false;
        }
    }

    /// Gives a batch's memory back to the senders. Optional; saves an allocation and its page faults a batch.
    pub fn recycle(&mut self, batch: Batch) {
        let (data, index) = batch.into_parts();
        if !SPARE_BYTES.contains(&data.capacity()) {
            return;
        }
        let mut state = self.shared.lock();
        if state.spares.len() < SPARES_LEN_MAX {
            state.spares.push((data, index));
        }
    }

    /// Figures about the queue.
    pub fn stats(&self) -> Arc<QueueStats> {
        Arc::clone(&self.shared.stats)
    }

    /// For those who have something for the receiver that is no batch.
    pub fn waker(&self) -> QueueWaker {
        QueueWaker { shared: Arc::clone(&self.shared) }
    }
}

/// Wakes the receiver of a queue, once for each call at most.
#[derive(Debug, Clone)]
pub struct QueueWaker {
    shared: Arc<Shared>,
}

impl QueueWaker {
    /// The receiver returns at once from waiting, now or the next time.
    pub fn wake(&self) {
        self.shared.lock().is_woken = true;
        self.shared.arrived.notify_one();
    }
}

impl Drop for BatchReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver = false;
        state.batches.clear();
        state.bytes = 0;
        self.shared.stats.messages.store(0, Ordering::Relaxed);
        self.shared.stats.bytes.store(0, Ordering::Relaxed);
        drop(state);
        self.shared.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Endpoint, EndpointStatus};

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(5);

    fn endpoint() -> Arc<EndpointStatus> {
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        EndpointStatus::new(&endpoint, "test")
    }

    fn batch(endpoint: &Arc<EndpointStatus>, messages: usize, body: usize) -> Batch {
        let mut batch = Batch::new(Arc::clone(endpoint));
        for _ in 0..messages {
            batch.push(b"a.b", &vec![b'x'; body]);
        }
        batch
    }

    fn taken(recv: Recv) -> Batch {
        match recv {
            Recv::Batch(batch) => batch,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn batches_come_out_as_they_went_in() {
        let (sender, mut receiver) = queue(1 << 20, WhenFull::Drop);
        let endpoint = endpoint();
        let mut batch = batch(&endpoint, 3, 5);
        batch.push(b"topic", b"");
        batch.set_received_us(7);
        sender.send(&mut batch).await.expect("open");
        assert!(batch.is_empty());
        assert_eq!(receiver.stats().messages(), 4);
        let got = taken(receiver.recv_timeout(SOON));
        assert_eq!((got.len(), got.byte_len(), got.received_us()), (4, 29, 7));
        assert_eq!(got.iter().last(), Some((&b"topic"[..], &b""[..])));
        assert!(got.iter().take(3).all(|message| message == (&b"a.b"[..], &b"xxxxx"[..])));
        assert_eq!((receiver.stats().messages(), receiver.stats().bytes()), (0, 0));
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts() {
        let (sender, mut receiver) = queue(10_000, WhenFull::Drop);
        let endpoint = endpoint();
        for _ in 0..10 {
            sender.send(&mut batch(&endpoint, 2, 1000)).await.expect("open");
        }
        let stats = sender.stats();
        assert!(stats.bytes() <= 10_000, "{stats:?}");
        assert!(stats.messages() >= 4, "{stats:?}");
        assert_eq!(stats.messages() + stats.dropped_messages(), 20, "{stats:?}");
        assert_eq!(stats.dropped_bytes(), stats.dropped_messages() * 1003);
        assert_eq!(endpoint.snapshot().dropped_messages, stats.dropped_messages());
        while let Recv::Batch(_) = receiver.recv_timeout(Duration::ZERO) {}
        assert_eq!((stats.messages(), stats.bytes()), (0, 0));
    }

    #[tokio::test]
    async fn a_batch_above_the_limit_fits_an_empty_queue() {
        for when_full in [WhenFull::Drop, WhenFull::Wait] {
            let (sender, mut receiver) = queue(10, when_full);
            sender.send(&mut batch(&endpoint(), 1, 5000)).await.expect("open");
            assert_eq!(taken(receiver.recv_timeout(SOON)).len(), 1);
        }
    }

    #[tokio::test]
    async fn a_full_queue_waits_for_room() {
        let (sender, mut receiver) = queue(10, WhenFull::Wait);
        let endpoint = endpoint();
        sender.send(&mut batch(&endpoint, 1, 10)).await.expect("open");
        let mut second = batch(&endpoint, 2, 10);
        let waits = tokio::time::timeout(SOON, sender.send(&mut second)).await;
        assert!(waits.is_err());
        assert_eq!(second.len(), 2, "a cancelled send keeps its batch");
        let reader = std::thread::spawn(move || {
            let first = taken(receiver.recv_timeout(LATE)).len();
            (first, taken(receiver.recv_timeout(LATE)).len())
        });
        tokio::time::timeout(LATE, sender.send(&mut second)).await.expect("room was made").expect("open");
        assert_eq!(reader.join().expect("no panic"), (1, 2));
        assert_eq!(sender.stats().dropped_messages(), 0);
    }

    #[tokio::test]
    async fn each_end_notices_that_the_other_is_gone() {
        let (sender, mut receiver) = queue(10, WhenFull::Wait);
        let endpoint = endpoint();
        assert!(matches!(receiver.recv_timeout(Duration::ZERO), Recv::Timeout));
        let clone = sender.clone();
        clone.send(&mut batch(&endpoint, 1, 1)).await.expect("open");
        drop((sender, clone));
        assert_eq!(taken(receiver.recv_timeout(LATE)).len(), 1);
        assert!(matches!(receiver.recv_timeout(LATE), Recv::Closed));

        let (sender, receiver) = queue(10, WhenFull::Wait);
        sender.send(&mut batch(&endpoint, 1, 10)).await.expect("open");
        let mut second = batch(&endpoint, 1, 10);
        let waiting = sender.send(&mut second);
        let leaving = async { drop(receiver) };
        let both = async { tokio::join!(biased; waiting, leaving).0 };
        assert_eq!(tokio::time::timeout(LATE, both).await.expect("noticed"), Err(QueueClosed));
    }

    #[test]
    fn the_receiver_is_woken_once() {
        let (sender, mut receiver) = queue(10, WhenFull::Wait);
        let waker = receiver.waker();
        waker.wake();
        waker.wake();
        let started = Instant::now();
        assert!(matches!(receiver.recv_timeout(LATE), Recv::Timeout));
        assert!(started.elapsed() < LATE, "it did not wait");
        assert!(matches!(receiver.recv_timeout(SOON), Recv::Timeout));
        assert!(started.elapsed() >= SOON, "it did wait");
        drop(sender);
    }

    #[tokio::test]
    async fn a_sparse_batch_is_charged_for_what_it_holds() {
        let (sender, mut receiver) = queue(100_000, WhenFull::Drop);
        let endpoint = endpoint();
        let mut reused = batch(&endpoint, 90, 1000);
        reused.clear();
        for _ in 0..50 {
            reused.push(b"a", b"b");
            sender.send(&mut reused).await.expect("open");
        }
        assert_eq!(sender.stats().dropped_messages(), 0);
        assert!(sender.stats().bytes() < 10_000, "{:?}", sender.stats());
        receiver.recycle(batch(&endpoint, 100, 1000));
        assert!(matches!(receiver.recv_timeout(SOON), Recv::Batch(_)));
    }
}
