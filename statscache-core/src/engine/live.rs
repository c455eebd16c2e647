//! The newest part of the journal, in memory and read once for all instances.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use statscache_plugin_sdk::Timestamp;

use super::{
    admit::{Admitted, Slot},
    runner::Request,
};
use crate::{
    journal::Audience,
    limits::{LIVE_BYTES_MAX, LIVE_SPARE_BYTES_MAX, LIVE_SPARES_MAX, LIVE_WAKE_BYTES},
};

/// What an instance is shown of a message.
pub(super) struct Shown<'m> {
    pub(super) topic: &'m str,
    pub(super) id: &'m str,
    pub(super) time: Timestamp,
    pub(super) body: &'m str,
    /// Its fields begin here.
    pub(super) first_slot: usize,
}

/// Where a text is.
enum Text {
    /// In the text of all messages.
    Within(u32, u32),
    Own(Box<str>),
}

impl Text {
    fn new(all: &str, part: Cow<'_, str>) -> Self {
        match part {
            Cow::Borrowed(part) => {
                let start = part.as_ptr().addr() - all.as_ptr().addr();
                Self::Within(start as u32, (start + part.len()) as u32)
            }
            Cow::Owned(text) => Self::Own(text.into_boxed_str()),
        }
    }

    fn of<'t>(&'t self, all: &'t str) -> &'t str {
        match self {
            Self::Within(start, end) => &all[*start as usize..*end as usize],
            Self::Own(text) => text,
        }
    }
}

/// One message of a [`Live`], without the bytes.
pub(super) struct LiveMessage {
    topic: Text,
    id: Text,
    body: Text,
    time: Timestamp,
    first_slot: u32,
    /// It is kept and handed to nobody.
    pub(super) is_future: bool,
    /// Its time moves the horizon.
    pub(super) is_stamped: bool,
    /// Who folds it.
    pub(super) audience: Audience,
}

impl LiveMessage {
    /// Of a message whose texts are within `all`.
    pub(super) fn new(all: &str, message: &Admitted<'_>, is_stamped: bool, audience: Audience) -> Self {
        Self {
            topic: Text::new(all, Cow::Borrowed(message.topic)),
            id: Text::new(all, message.id.clone()),
            body: Text::new(all, message.body.clone()),
            time: message.time,
            first_slot: message.first_slot as u32,
            is_future: message.is_future,
            is_stamped,
            audience,
        }
    }
}

/// Some messages in a row.
pub(super) struct Live {
    /// Sequence of the first.
    pub(super) first: u64,
    /// When they were accepted.
    pub(super) received: Timestamp,
    pub(super) text: String,
    pub(super) messages: Vec<LiveMessage>,
    pub(super) slots: Vec<Slot>,
}

impl Live {
    /// The sequence after the last.
    pub(super) fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    pub(super) fn shown(&self, number: usize) -> Shown<'_> {
        let message = &self.messages[number];
        Shown {
            topic: message.topic.of(&self.text),
            id: message.id.of(&self.text),
            time: message.time,
            body: message.body.of(&self.text),
            first_slot: message.first_slot as usize,
        }
    }

    fn bytes(&self) -> usize {
        self.text.capacity()
            + self.messages.capacity() * size_of::<LiveMessage>()
            + self.slots.capacity() * size_of::<Slot>()
    }
}

/// Memory to fill again.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) text: Vec<u8>,
    pub(super) messages: Vec<LiveMessage>,
    pub(super) slots: Vec<Slot>,
}

/// What a runner tells about itself.
#[derive(Default)]
pub(super) struct Gauge {
    /// The sequence that it wants next.
    pub(super) cursor: AtomicU64,
    /// It gets no more messages.
    pub(super) is_stopped: AtomicBool,
    /// Bytes of its delta, about.
    pub(super) pending: AtomicUsize,
    /// Bytes of its label sets.
    pub(super) label_sets: AtomicUsize,
}

impl Gauge {
    /// Bytes of its delta and its label sets.
    pub(super) fn memory(&self) -> usize {
        self.label_sets.load(Ordering::Relaxed) + self.pending.load(Ordering::Relaxed)
    }
}

/// Where a runner finds what it wants next.
pub(super) enum Where {
    /// Nowhere yet.
    Head,
    /// Here.
    Live(Arc<Live>),
    /// In the journal's files.
    Journal,
}

/// The end of the journal as far as memory is spent on it, and what intake and runners tell each other.
/// A runner that falls behind reads the journal's files instead; nobody waits for it.
pub(super) struct Tail {
    state: Mutex<State>,
    changed: Condvar,
    gauges: Vec<Arc<Gauge>>,
    /// Number of the last request, of the one that is open or of one that was withdrawn.
    asked: AtomicU64,
    /// Whether new label sets are folded.
    is_full: AtomicBool,
}

struct State {
    live: VecDeque<Arc<Live>>,
    bytes: usize,
    /// The sequence of the next message of all.
    head: u64,
    /// Pushed since somebody was woken.
    unseen: usize,
    /// What runners are asked for, and have not all answered.
    request: Option<Request>,
    /// Nobody waits any more.
    is_closed: bool,
    spares: Vec<Spare>,
}

impl Tail {
    pub(super) fn new(head: u64, cursors: impl Iterator<Item = u64>) -> Self {
        let gauge = |cursor| Arc::new(Gauge { cursor: AtomicU64::new(cursor), ..Gauge::default() });
        let state = State {
            live: VecDeque::new(),
            bytes: 0,
            head,
            unseen: 0,
            request: None,
            is_closed: false,
            spares: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            gauges: cursors.map(gauge).collect(),
            asked: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
        }
    }

    pub(super) fn gauges(&self) -> &[Arc<Gauge>] {
        &self.gauges
    }

    /// Bytes of all deltas, about.
    pub(super) fn pending_bytes(&self) -> usize {
        self.gauges.iter().map(|gauge| gauge.pending.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Appends what has just been written to the journal, or nothing but the journal's new end. Wakes
    /// runners when enough has come together: what they make of it is seen at the next commit only.
    pub(super) fn push(&self, live: Option<Live>, head: u64) {
        let mut state = self.lock();
        let mut dropped = Vec::new();
        if let Some(live) = live {
            state.bytes += live.bytes();
            state.unseen += live.text.len();
            state.live.push_back(Arc::new(live));
        }
        state.head = head;
        let wanted = self.wanted().unwrap_or(head);
        while state.live.front().is_some_and(|oldest| oldest.next() <= wanted || state.bytes > LIVE_BYTES_MAX)
            && let Some(oldest) = state.live.pop_front()
        {
            state.bytes -= oldest.bytes();
            dropped.push(oldest);
        }
        for oldest in dropped {
            if let Ok(Live { text, mut messages, mut slots, .. }) = Arc::try_unwrap(oldest)
                && text.capacity() <= LIVE_SPARE_BYTES_MAX
                && state.spares.len() < LIVE_SPARES_MAX
            {
                let mut text = text.into_bytes();
                text.clear();
                messages.clear();
                slots.clear();
                state.spares.push(Spare { text, messages, slots });
            }
        }
        let is_much = state.unseen >= LIVE_WAKE_BYTES;
        if is_much {
            state.unseen = 0;
        }
        drop(state);
        if is_much {
            self.changed.notify_all();
        }
    }

    /// Memory of messages that nobody wants any more.
    pub(super) fn spare(&self) -> Spare {
        self.lock().spares.pop().unwrap_or_default()
    }

    /// The first sequence that any runner wants.
    fn wanted(&self) -> Option<u64> {
        let running = self.gauges.iter().filter(|gauge| !gauge.is_stopped.load(Ordering::Relaxed));
        running.map(|gauge| gauge.cursor.load(Ordering::Acquire)).min()
    }

    /// Where the message with this sequence is.
    pub(super) fn place(&self, sequence: u64) -> Where {
        let state = self.lock();
        if sequence >= state.head {
            return Where::Head;
        }
        let after = state.live.partition_point(|live| live.first <= sequence);
        match after.checked_sub(1).map(|at| &state.live[at]) {
            Some(live) if sequence < live.next() => Where::Live(live.clone()),
            _ => Where::Journal,
        }
    }

    /// Asks all runners for their deltas.
    pub(super) fn ask(&self, request: Request) {
        self.lock().request = Some(request);
        self.asked.store(request.number, Ordering::Release);
        self.changed.notify_all();
    }

    /// From here on nobody answers what was asked last.
    pub(super) fn withdraw(&self) {
        self.lock().request = None;
    }

    /// What is asked.
    pub(super) fn request(&self) -> Option<Request> {
        self.lock().request
    }

    /// Number of what was asked last. Cheap.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// Answers, unless something else or nothing is asked by now; nobody asks or withdraws meanwhile.
    pub(super) fn answer(&self, number: u64, answer: impl FnOnce(&Request)) -> bool {
        let state = self.lock();
        match state.request.filter(|request| request.number == number) {
            Some(request) => answer(&request),
            None => return false,
        }
        true
    }

    /// Wakes all that wait, for good.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits until there is something at this sequence, or something newer than `asked` is asked, or
    /// time is up; not at all once it is closed.
    pub(super) fn wait(&self, sequence: u64, asked: u64, timeout: Duration) {
        let state = self.lock();
        if self.asked() == asked && sequence >= state.head && !state.is_closed {
            drop(self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans a panic: every section is a few assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
