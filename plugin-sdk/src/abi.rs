//! The boundary between the daemon and a plugin library: plain C data, version 1.
//!
//! A library exports one static, [`SYMBOL`], of type [`AbiLibrary`]. The daemon reads `magic`,
//! `abi` and `size` before it trusts anything else, and calls nothing until they fit. A library
//! can be written in any language that speaks the C ABI; authors in Rust use
//! [`crate::export_plugins`] and never see this module.
//!
//! Rules:
//! * **Ownership.** Each side frees what it allocated. Text that goes to the daemon is pushed
//!   through an [`AbiSink`], copied before the callback returns. What the daemon hands to a call
//!   is valid until that call returns, and no longer.
//! * **Threads.** `process` may be called from several threads at once on one instance;
//!   `create` and `destroy` once each. The daemon's callbacks are for the calling thread, during
//!   the call.
//! * **Panics** (or C++ exceptions) never leave a function: return [`AbiStatus::PANICKED`].
//! * **Growth.** [`AbiLibrary`], [`AbiPlugin`], [`AbiUpdates`] and [`AbiUpdate`] may become longer
//!   within version 1, at the end only. Each says its size, which is never less than `ABI1_…_SIZE`.
//!   A reader asks for that size, not for the size of its own type, and looks at `size` again
//!   before it reads a field that version 1 did not have. So that nothing else compiles, the types
//!   here stay those of version 1: later fields are those of a type around it, `#[repr(C)] struct
//!   AbiPluginV2 { v1: AbiPlugin, … }`, to which a pointer is cast once `size` allows it.
//! * **Frozen** are [`AbiBytes`], [`AbiSink`] and [`AbiMessage`], which cross by value, in arrays, or
//!   are used in place: they have this layout in all of version 1, and a message's `size` is
//!   [`ABI1_MESSAGE_SIZE`]. What is to be known of a message beyond that is asked for, through a
//!   function at the end of [`AbiUpdates`], or comes with one at the end of [`AbiPlugin`].
//! * **Tags** may become more within version 1, as kinds do. A daemon that does not know an update's
//!   tag fails the message and says so, and one that does not know a kind refuses the declaration:
//!   an author sees it at once, and nothing is miscounted.
//! * [`ABI_VERSION`] changes only when all that is not enough.
//! * All text is UTF-8. A null pointer stands for absence, never for an empty text.

use std::{ffi::c_void, mem};

#[allow(unsafe_code)]
pub(crate) mod borrowed;
#[allow(unsafe_code)]
mod shim;
#[cfg(test)]
#[allow(unsafe_code)]
mod tests;

pub use borrowed::{FieldValue, Label, LabelValue};
pub use shim::{library, plugin};

/// Version of this boundary; apart from the versions of crates.
pub const ABI_VERSION: u32 = 1;
/// First bytes of [`AbiLibrary`].
pub const MAGIC: [u8; 8] = *b"statsplg";
/// Name of the exported static, ending in NUL.
pub const SYMBOL: &[u8] = b"STATSCACHE_PLUGINS\0";

/// Least [`AbiLibrary::size`], for ever; like the others, it is what version 1 began with.
pub const ABI1_LIBRARY_SIZE: usize = first_size(48, mem::size_of::<AbiLibrary>());
/// Least [`AbiPlugin::size`], for ever.
pub const ABI1_PLUGIN_SIZE: usize = first_size(72, mem::size_of::<AbiPlugin>());
/// [`AbiMessage::size`], for ever: messages are frozen.
pub const ABI1_MESSAGE_SIZE: usize = first_size(80, mem::size_of::<AbiMessage>());
/// Least [`AbiUpdate::size`], for ever.
pub const ABI1_UPDATE_SIZE: usize = first_size(56, mem::size_of::<AbiUpdate>());
/// Least [`AbiUpdates::size`], for ever.
pub const ABI1_UPDATES_SIZE: usize = first_size(24, mem::size_of::<AbiUpdates>());

/// The number where pointers have 64 bits. Elsewhere sizes depend on alignment, and what holds is that the types here
/// stay as they are.
const fn first_size(with_64_bits: usize, elsewhere: usize) -> usize {
    if cfg!(target_pointer_width = "64") { with_64_bits } else { elsewhere }
}

/// Borrowed bytes. Frozen.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiBytes {
    /// First byte; null for absence.
    pub ptr: *const u8,
    /// Number of bytes; for an interned label (null pointer) its handle.
    pub len: usize,
}

impl AbiBytes {
    /// Absence.
    pub const NONE: Self = Self { ptr: std::ptr::null(), len: 0 };

    /// The bytes of this text.
    pub const fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The label with this handle.
    pub const fn interned(handle: u32) -> Self {
        Self { ptr: std::ptr::null(), len: handle as usize }
    }
}

/// Where a plugin pushes text: errors, manifests, declarations. Called at most once per call. Frozen.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiSink {
    /// Goes back to `write` as it is.
    pub context: *mut c_void,
    /// Copies the text.
    pub write: unsafe extern "C" fn(context: *mut c_void, text: AbiBytes),
}

/// How a call ended. Other numbers count as [`AbiStatus::FAILED`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbiStatus(pub u32);

impl AbiStatus {
    /// It did what it was asked.
    pub const OK: Self = Self(0);
    /// It could not; the sink has the error, JSON `{"message": …, "hint": …}`.
    pub const FAILED: Self = Self(1);
    /// It panicked; the sink has the error.
    pub const PANICKED: Self = Self(2);
}

/// One message. Frozen: a plugin uses it in place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiMessage {
    /// [`ABI1_MESSAGE_SIZE`].
    pub size: usize,
    /// Topic.
    pub topic: AbiBytes,
    /// Identity, as text.
    pub id: AbiBytes,
    /// Event time, microseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// The whole JSON envelope.
    pub body: AbiBytes,
    /// Raw JSON of the declared fields, in order; null pointers where the body has nothing.
    pub fields: *const AbiBytes,
    /// Number of fields.
    pub field_count: usize,
}

/// [`AbiUpdate::tag`]: adds `number` to a count.
pub const TAG_ADD: u32 = 1;
/// [`AbiUpdate::tag`]: `text` is a newest value, JSON.
pub const TAG_SET: u32 = 2;
/// [`AbiUpdate::tag`]: a number for a stat or a dist; `number` has the bits of the IEEE 754 double.
pub const TAG_OBSERVE: u32 = 3;
/// [`AbiUpdate::tag`]: `text` is a member for a distinct.
pub const TAG_INSERT: u32 = 4;
/// [`AbiUpdate::tag`]: `text` is a key for a top, `number` its weight, which is not negative; 0 means nothing.
pub const TAG_HIT: u32 = 5;
/// [`AbiUpdate::tag`]: there is no latest value any more as of `time`.
pub const TAG_REMOVE: u32 = 6;

/// One update.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiUpdate {
    /// Its size in the plugin, at least [`ABI1_UPDATE_SIZE`].
    pub size: u32,
    /// What it says: `TAG_…`.
    pub tag: u32,
    /// Position of the metric in the declaration.
    pub metric: u32,
    /// Number of labels.
    pub label_count: u32,
    /// Label values in the order of the metric's dimensions.
    pub labels: *const AbiBytes,
    /// Event time, microseconds.
    pub time: i64,
    /// For [`TAG_ADD`], [`TAG_OBSERVE`] and [`TAG_HIT`].
    pub number: i64,
    /// For [`TAG_SET`], [`TAG_INSERT`] and [`TAG_HIT`], which cannot do without; it may be empty.
    pub text: AbiBytes,
}

/// Takes updates during a call of `process`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiUpdates {
    /// Its size in the daemon, at least [`ABI1_UPDATES_SIZE`].
    pub size: usize,
    /// Goes back to `update` as it is.
    pub context: *mut c_void,
    /// Copies one update.
    pub update: unsafe extern "C" fn(context: *mut c_void, update: *const AbiUpdate),
}

/// One plugin of a library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiPlugin {
    /// Its size in the plugin, at least [`ABI1_PLUGIN_SIZE`].
    pub size: u32,
    /// See `Plugin::STATE_VERSION`.
    pub state_version: u32,
    /// Name in URLs and configuration.
    pub id: AbiBytes,
    /// Version of the plugin itself.
    pub version: AbiBytes,
    /// Writes the manifest, JSON of [`crate::Manifest`].
    pub manifest: unsafe extern "C" fn(out: *const AbiSink) -> AbiStatus,
    /// Creates an instance from its configuration (a JSON object); writes what it declares, JSON
    /// of [`crate::Declaration`], or the error.
    pub create: unsafe extern "C" fn(config: AbiBytes, instance: *mut *mut c_void, out: *const AbiSink) -> AbiStatus,
    /// Says what one message means; writes the error, if any.
    pub process: unsafe extern "C" fn(
        instance: *const c_void,
        message: *const AbiMessage,
        updates: *const AbiUpdates,
        error: *const AbiSink,
    ) -> AbiStatus,
    /// Frees an instance.
    pub destroy: unsafe extern "C" fn(instance: *mut c_void),
}

/// What a library exports.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AbiLibrary {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_VERSION`] of the library. What follows is laid out as that version says.
    pub abi: u32,
    /// Its size in the library, at least [`ABI1_LIBRARY_SIZE`].
    pub size: u32,
    /// Version of the SDK it was built with, for messages.
    pub sdk: AbiBytes,
    /// Its plugins.
    pub plugins: *const *const AbiPlugin,
    /// Number of plugins.
    pub plugin_count: usize,
}

// The layout is the contract. These types are version 1 for ever: what comes later goes into types around them.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(mem::size_of::<AbiBytes>() == 16);
    assert!(mem::size_of::<AbiSink>() == 16);
    assert!(mem::size_of::<AbiMessage>() == ABI1_MESSAGE_SIZE);
    assert!(mem::offset_of!(AbiMessage, time) == 40);
    assert!(mem::offset_of!(AbiMessage, fields) == 64);
    assert!(mem::size_of::<AbiUpdate>() == ABI1_UPDATE_SIZE);
    assert!(mem::offset_of!(AbiUpdate, labels) == 16);
    assert!(mem::offset_of!(AbiUpdate, text) == 40);
    assert!(mem::size_of::<AbiUpdates>() == ABI1_UPDATES_SIZE);
    assert!(mem::size_of::<AbiPlugin>() == ABI1_PLUGIN_SIZE);
    assert!(mem::offset_of!(AbiPlugin, id) == 8);
    assert!(mem::offset_of!(AbiPlugin, manifest) == 40);
    assert!(mem::size_of::<AbiLibrary>() == ABI1_LIBRARY_SIZE);
    assert!(mem::offset_of!(AbiLibrary, abi) == 8);
    assert!(mem::offset_of!(AbiLibrary, plugins) == 32);
};
