//! Texts of the boundary as Rust sees them. Messages and field values are kept in the boundary's
//! own layout, so that a call hands over a pointer and copies nothing.

use std::{fmt, marker::PhantomData, slice, str};

use super::{ABI1_MESSAGE_SIZE, AbiBytes, AbiMessage};
use crate::{Message, declare::InternedLabel, time::Timestamp};

/// The raw JSON of a declared field, or nothing.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct FieldValue<'a> {
    bytes: AbiBytes,
    text: PhantomData<&'a str>,
}

// SAFETY: it is a `&str` or nothing.
unsafe impl Send for FieldValue<'_> {}
// SAFETY: as above.
unsafe impl Sync for FieldValue<'_> {}

impl<'a> FieldValue<'a> {
    /// Nothing.
    pub const NONE: Self = Self { bytes: AbiBytes::NONE, text: PhantomData };

    /// This text.
    #[inline]
    pub const fn new(text: &'a str) -> Self {
        Self { bytes: AbiBytes::new(text), text: PhantomData }
    }

    /// The text.
    #[inline]
    pub fn get(self) -> Option<&'a str> {
        // SAFETY: made of a `&'a str`, or came with a message whose sender promises the same.
        unsafe { text(self.bytes) }
    }
}

impl<'a> From<Option<&'a str>> for FieldValue<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::NONE, Self::new)
    }
}

/// A label value as it crosses the boundary: a text, or the handle of one that was declared with
/// [`crate::Declare::label`].
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Label<'a> {
    bytes: AbiBytes,
    text: PhantomData<&'a str>,
}

// SAFETY: it is a `&str` or a number.
unsafe impl Send for Label<'_> {}
// SAFETY: as above.
unsafe impl Sync for Label<'_> {}

/// What a [`Label`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelValue<'a> {
    /// The text itself.
    Text(&'a str),
    /// Position in [`crate::Declaration::interned_labels`].
    Interned(InternedLabel),
}

impl<'a> Label<'a> {
    /// This text.
    #[inline]
    pub const fn text(text: &'a str) -> Self {
        Self { bytes: AbiBytes::new(text), text: PhantomData }
    }

    /// The text with this handle.
    #[inline]
    pub const fn interned(handle: InternedLabel) -> Self {
        Self { bytes: AbiBytes::interned(handle.0), text: PhantomData }
    }

    /// What it is.
    #[inline]
    pub fn get(self) -> LabelValue<'a> {
        // SAFETY: made of a `&'a str`, or checked when it came through the boundary.
        match unsafe { text(self.bytes) } {
            Some(text) => LabelValue::Text(text),
            None => LabelValue::Interned(InternedLabel(self.bytes.len as u32)),
        }
    }

    /// The labels of an update, checked: `None` if one of them is not UTF-8.
    ///
    /// # Safety
    /// `labels` leads to `count` entries that outlive `'a` unchanged, each null or leading to as
    /// many bytes as it says.
    #[inline]
    pub unsafe fn check(labels: *const AbiBytes, count: usize) -> Option<&'a [Self]> {
        if count == 0 {
            return Some(&[]);
        }
        // SAFETY: the caller promises the entries, and `Label` is laid out as `AbiBytes`; their
        // texts are looked at as bytes first.
        let labels: &'a [Self] = unsafe { slice::from_raw_parts(labels.cast(), count) };
        let is_utf8 = |bytes: AbiBytes| {
            // SAFETY: the caller promises as many bytes as it says.
            bytes.ptr.is_null() || str::from_utf8(unsafe { slice::from_raw_parts(bytes.ptr, bytes.len) }).is_ok()
        };
        labels.iter().all(|label| is_utf8(label.bytes)).then_some(labels)
    }
}

impl fmt::Debug for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// The data of a [`crate::Message`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageData<'a> {
    abi: AbiMessage,
    texts: PhantomData<&'a str>,
}

// SAFETY: it is a bundle of `&'a str` and numbers.
unsafe impl Send for MessageData<'_> {}
// SAFETY: as above.
unsafe impl Sync for MessageData<'_> {}

impl<'a> MessageData<'a> {
    pub(crate) fn new(
        topic: &'a str,
        id: &'a str,
        time: Timestamp,
        body: &'a str,
        fields: &'a [FieldValue<'a>],
    ) -> Self {
        let abi = AbiMessage {
            size: ABI1_MESSAGE_SIZE,
            topic: AbiBytes::new(topic),
            id: AbiBytes::new(id),
            time: time.micros(),
            body: AbiBytes::new(body),
            // `FieldValue` is laid out as `AbiBytes`.
            fields: fields.as_ptr().cast(),
            field_count: fields.len(),
        };
        Self { abi, texts: PhantomData }
    }

    pub(crate) fn as_abi(&self) -> &AbiMessage {
        &self.abi
    }

    #[inline]
    pub(crate) fn topic(&self) -> &'a str {
        // SAFETY: `new` and `from_abi` promise it; likewise below.
        unsafe { text(self.abi.topic) }.unwrap_or_default()
    }

    #[inline]
    pub(crate) fn id(&self) -> &'a str {
        // SAFETY: as above.
        unsafe { text(self.abi.id) }.unwrap_or_default()
    }

    #[inline]
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_micros(self.abi.time)
    }

    #[inline]
    pub(crate) fn body(&self) -> &'a str {
        // SAFETY: as above.
        unsafe { text(self.abi.body) }.unwrap_or_default()
    }

    #[inline]
    pub(crate) fn field(&self, slot: usize) -> Option<&'a str> {
        if slot >= self.abi.field_count {
            return None;
        }
        // SAFETY: `new` and `from_abi` promise `field_count` entries of UTF-8.
        unsafe { text(*self.abi.fields.add(slot)) }
    }
}

impl<'a> Message<'a> {
    /// The message behind the boundary, where it lies.
    ///
    /// # Safety
    /// `message` points to a message of [`ABI1_MESSAGE_SIZE`] or more; its texts are UTF-8, its
    /// fields lead to as many entries as it says, and all of it outlives `'a` unchanged.
    #[inline]
    pub(super) unsafe fn from_abi(message: *const AbiMessage) -> &'a Self {
        // SAFETY: the caller promises it; `Message` and `MessageData` are transparent, and
        // `AbiMessage` is frozen at that size.
        unsafe { &*message.cast() }
    }
}

/// # Safety
/// A pointer that is not null leads to `len` bytes of UTF-8 that outlive `'a` unchanged.
#[inline]
pub(super) unsafe fn text<'a>(bytes: AbiBytes) -> Option<&'a str> {
    if bytes.ptr.is_null() {
        return None;
    }
    // SAFETY: the caller promises just this; the daemon checked that messages are UTF-8 when they
    // came in.
    Some(unsafe { str::from_utf8_unchecked(slice::from_raw_parts(bytes.ptr, bytes.len)) })
}
