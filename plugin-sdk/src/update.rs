//! What plugins say.

use std::cell::Cell;

use serde::{Serialize, de::IgnoredAny};

use crate::{
    abi::Label,
    declare::{Count, Dist, Distinct, InternedLabel, Latest, Stat, Top},
    error::PluginError,
    host::{Sink, Value},
    time::Timestamp,
};

impl<'a> From<&'a str> for Label<'a> {
    fn from(text: &'a str) -> Self {
        Self::text(text)
    }
}

impl<'a> From<&'a String> for Label<'a> {
    fn from(text: &'a String) -> Self {
        Self::text(text)
    }
}

impl<'a> From<&'a std::borrow::Cow<'_, str>> for Label<'a> {
    fn from(text: &'a std::borrow::Cow<'_, str>) -> Self {
        Self::text(text)
    }
}

impl From<InternedLabel> for Label<'_> {
    fn from(label: InternedLabel) -> Self {
        Self::interned(label)
    }
}

/// Label values in the order of the metric's dimensions: an array, or `()` for no dimensions.
pub trait IntoLabels<'a> {
    /// What holds them.
    type Labels: AsRef<[Label<'a>]>;
    /// Converts each.
    fn into_labels(self) -> Self::Labels;
}

impl<'a> IntoLabels<'a> for () {
    type Labels = [Label<'a>; 0];
    fn into_labels(self) -> Self::Labels {
        []
    }
}

impl<'a, L: Into<Label<'a>>, const N: usize> IntoLabels<'a> for [L; N] {
    type Labels = [Label<'a>; N];
    fn into_labels(self) -> Self::Labels {
        self.map(Into::into)
    }
}

mod sealed {
    /// Kinds are the SDK's affair.
    pub trait Number {
        fn metric(self) -> u32;
    }
}

use sealed::Number;

/// A metric that takes numbers: [`Stat`] or [`Dist`].
pub trait Observable: Number {}

impl Number for Stat {
    fn metric(self) -> u32 {
        self.0
    }
}

impl Number for Dist {
    fn metric(self) -> u32 {
        self.0
    }
}

impl Observable for Stat {}
impl Observable for Dist {}

thread_local! {
    /// Where values become text, kept from message to message.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Larger ones are given back.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

/// Takes the updates of one message.
pub struct Updates<'a> {
    sink: &'a mut dyn Sink,
    time: Timestamp,
}

impl<'a> Updates<'a> {
    /// Updates that go to this sink, at this time unless told otherwise.
    pub fn new(sink: &'a mut dyn Sink, time: Timestamp) -> Self {
        Self { sink, time }
    }

    /// The same at another event time than the message's.
    pub fn at(&mut self, time: Timestamp) -> Updates<'_> {
        Updates { sink: self.sink, time }
    }

    /// Adds `n`, which may be negative, to the bucket of these labels.
    #[inline]
    pub fn add<'l>(&mut self, metric: Count, labels: impl IntoLabels<'l>, n: i64) {
        self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, Value::Add(n));
    }

    /// Adds a number to the bucket of these labels. NaN and infinities are no error: the daemon
    /// leaves them out and counts them.
    #[inline]
    pub fn observe<'l>(&mut self, metric: impl Observable, labels: impl IntoLabels<'l>, x: f64) {
        self.sink.update(metric.metric(), labels.into_labels().as_ref(), self.time, Value::Observe(x));
    }

    /// Adds a member to the bucket of these labels; a second time changes nothing.
    #[inline]
    pub fn insert<'l>(&mut self, metric: Distinct, labels: impl IntoLabels<'l>, member: &str) {
        self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, Value::Insert(member));
    }

    /// Adds `weight` to the key in the bucket of these labels. A weight of 0 means nothing; one
    /// beyond `i64::MAX` counts as that.
    #[inline]
    pub fn hit<'l>(&mut self, metric: Top, labels: impl IntoLabels<'l>, key: &str, weight: u64) {
        if weight > 0 {
            let value = Value::Hit(key, weight.min(i64::MAX as u64));
            self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, value);
        }
    }

    /// Offers a value as one of the newest of these labels. It is kept if it is among the newest
    /// by time; of two at the same time the one with the greater message id counts as newer.
    pub fn set<'l>(
        &mut self,
        metric: Latest,
        labels: impl IntoLabels<'l>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), PluginError> {
        let mut json = SCRATCH.take();
        json.clear();
        serde_json::to_writer(&mut json, value)?;
        self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, Value::Set(std::str::from_utf8(&json)?));
        if json.capacity() <= SCRATCH_BYTES_MAX {
            SCRATCH.set(json);
        }
        Ok(())
    }

    /// The same for a value that is JSON text already, such as [`crate::Json::raw`]. An error if it is not.
    pub fn set_raw<'l>(&mut self, metric: Latest, labels: impl IntoLabels<'l>, json: &str) -> Result<(), PluginError> {
        serde_json::from_str::<IgnoredAny>(json)
            .map_err(|error| PluginError::new(format!("a value that is not JSON: {error}")))?;
        self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, Value::Set(json));
        Ok(())
    }

    /// These labels have no latest value any more. It wins over every value at the same time or
    /// before, also over those that come later; values after it are values again.
    #[inline]
    pub fn remove<'l>(&mut self, metric: Latest, labels: impl IntoLabels<'l>) {
        self.sink.update(metric.0, labels.into_labels().as_ref(), self.time, Value::Remove);
    }
}
