//! What plugins say.

use std::cell::Cell;

use serde::Serialize;

use crate::{
    abi::Label,
    declare::{Count, InternedLabel, Latest},
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
}
