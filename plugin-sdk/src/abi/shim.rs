//! The plugin's side of the boundary: C functions over any [`Plugin`]. One of three files of the
//! project with unsafe code. A panic stops here.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    ffi::c_void,
    mem,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use super::borrowed::text;
use super::{
    ABI_VERSION, ABI1_MESSAGE_SIZE, ABI1_UPDATES_SIZE, AbiBytes, AbiLibrary, AbiMessage, AbiPlugin, AbiSink, AbiStatus,
    AbiUpdate, AbiUpdates, MAGIC, TAG_ADD, TAG_HIT, TAG_INSERT, TAG_OBSERVE, TAG_REMOVE, TAG_SET,
};
use crate::{
    Declaration, Message, Plugin, PluginError, Timestamp, Updates,
    abi::Label,
    host,
    host::{Sink, Value},
};

// SAFETY: both are read-only statics; their pointers lead to other read-only statics and functions.
unsafe impl Sync for AbiLibrary {}
// SAFETY: as above.
unsafe impl Sync for AbiPlugin {}

/// The table of a plugin; `version` is that of its crate.
pub const fn plugin<P: Plugin>(version: &'static str) -> AbiPlugin {
    AbiPlugin {
        size: mem::size_of::<AbiPlugin>() as u32,
        state_version: P::STATE_VERSION,
        id: AbiBytes::new(P::ID),
        version: AbiBytes::new(version),
        manifest: manifest::<P>,
        create: create::<P>,
        process: process::<P>,
        destroy: destroy::<P>,
    }
}

/// The exported static over these plugins.
pub const fn library(plugins: &'static [&'static AbiPlugin]) -> AbiLibrary {
    AbiLibrary {
        magic: MAGIC,
        abi: ABI_VERSION,
        size: mem::size_of::<AbiLibrary>() as u32,
        sdk: AbiBytes::new(env!("CARGO_PKG_VERSION")),
        // A reference and a pointer are laid out alike.
        plugins: plugins.as_ptr().cast(),
        plugin_count: plugins.len(),
    }
}

unsafe extern "C" fn manifest<P: Plugin>(out: *const AbiSink) -> AbiStatus {
    let result = guard(|| Ok(serde_json::to_string(&host::manifest::<P>())?));
    // SAFETY: the caller promises a sink that lives until this returns.
    unsafe { answer(out, result) }
}

unsafe extern "C" fn create<P: Plugin>(config: AbiBytes, instance: *mut *mut c_void, out: *const AbiSink) -> AbiStatus {
    let result = guard(|| {
        // SAFETY: the caller promises UTF-8 that lives until this returns.
        let config = unsafe { text(config) }.unwrap_or("null");
        let (plugin, declaration): (P, Declaration) = host::create::<P>(config)?;
        let json = serde_json::to_string(&declaration)?;
        // SAFETY: the caller promises a place to write one pointer. `destroy` gets it back.
        unsafe { instance.write(Box::into_raw(Box::new(plugin)).cast()) };
        Ok(json)
    });
    // SAFETY: the caller promises a sink that lives until this returns.
    unsafe { answer(out, result) }
}

unsafe extern "C" fn process<P: Plugin>(
    instance: *const c_void,
    message: *const AbiMessage,
    updates: *const AbiUpdates,
    error: *const AbiSink,
) -> AbiStatus {
    // SAFETY: `instance` came from `create` of this same table and has not been destroyed;
    // plugins are `Sync`, so several threads may be here at once.
    let plugin = unsafe { &*instance.cast::<P>() };
    // SAFETY: the caller promises both structs, which begin with their sizes.
    let (message_size, updates_size) =
        unsafe { ((&raw const (*message).size).read(), (&raw const (*updates).size).read()) };
    if message_size < ABI1_MESSAGE_SIZE || updates_size < ABI1_UPDATES_SIZE {
        let short = PluginError::new("the daemon hands over less than version 1 of the ABI has");
        // SAFETY: the caller promises a sink that lives until this returns.
        return unsafe { report(error, AbiStatus::FAILED, &short) };
    }
    // SAFETY: the caller promises both structs and all they point to until this returns; both are
    // at least as large as in ABI 1, and these types have nothing beyond it.
    let (message, mut sink) = unsafe { (Message::from_abi(message), CSink { updates: &*updates }) };
    let run = AssertUnwindSafe(|| plugin.process(message, &mut Updates::new(&mut sink, message.time())));
    match catch(run) {
        Ok(Ok(())) => AbiStatus::OK,
        // SAFETY: the caller promises a sink that lives until this returns.
        Ok(Err(failure)) => unsafe { report(error, AbiStatus::FAILED, &failure) },
        // SAFETY: as above.
        Err(panic) => unsafe { report(error, AbiStatus::PANICKED, &panic) },
    }
}

unsafe extern "C" fn destroy<P: Plugin>(instance: *mut c_void) {
    let drop_it = AssertUnwindSafe(|| {
        // SAFETY: the caller hands back what `create` of this table gave, once, and uses it no more.
        drop(unsafe { Box::from_raw(instance.cast::<P>()) });
    });
    // A panicking destructor has nobody to report to; the memory is leaked.
    let _ = catch(drop_it);
}

/// Runs what may panic; both endings are errors with a text.
fn guard(run: impl FnOnce() -> Result<String, PluginError>) -> (AbiStatus, Result<String, PluginError>) {
    match catch(AssertUnwindSafe(run)) {
        Ok(Ok(text)) => (AbiStatus::OK, Ok(text)),
        Ok(Err(error)) => (AbiStatus::FAILED, Err(error)),
        Err(panic) => (AbiStatus::PANICKED, Err(panic)),
    }
}

/// # Safety
/// `out` points to a sink that lives until this returns.
unsafe fn answer(out: *const AbiSink, (status, result): (AbiStatus, Result<String, PluginError>)) -> AbiStatus {
    match result {
        Ok(text) => {
            // SAFETY: passed on.
            unsafe { write(out, &text) };
            status
        }
        // SAFETY: passed on.
        Err(error) => unsafe { report(out, status, &error) },
    }
}

/// # Safety
/// As [`answer`].
unsafe fn report(out: *const AbiSink, status: AbiStatus, error: &PluginError) -> AbiStatus {
    let json = serde_json::to_string(error).unwrap_or_default();
    // SAFETY: passed on.
    unsafe { write(out, &json) };
    status
}

/// # Safety
/// As [`answer`].
unsafe fn write(out: *const AbiSink, text: &str) {
    // SAFETY: the caller promises the sink; the daemon promises that its callback takes its context.
    unsafe { ((*out).write)((*out).context, AbiBytes::new(text)) };
}

/// Hands updates over as they come.
struct CSink<'a> {
    updates: &'a AbiUpdates,
}

impl Sink for CSink<'_> {
    #[inline]
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) {
        let (tag, number, text) = match value {
            Value::Add(n) => (TAG_ADD, n, AbiBytes::NONE),
            Value::Observe(x) => (TAG_OBSERVE, x.to_bits().cast_signed(), AbiBytes::NONE),
            Value::Insert(member) => (TAG_INSERT, 0, AbiBytes::new(member)),
            Value::Hit(key, weight) => (TAG_HIT, weight as i64, AbiBytes::new(key)),
            Value::Set(json) => (TAG_SET, 0, AbiBytes::new(json)),
            Value::Remove => (TAG_REMOVE, 0, AbiBytes::NONE),
        };
        let update = AbiUpdate {
            size: mem::size_of::<AbiUpdate>() as u32,
            tag,
            metric,
            label_count: labels.len() as u32,
            // `Label` is laid out as `AbiBytes`.
            labels: labels.as_ptr().cast(),
            time: time.micros(),
            number,
            text,
        };
        // SAFETY: the daemon promises a callback that takes its own context and copies what it
        // keeps; `update` and its labels live until it returns.
        unsafe { (self.updates.update)(self.updates.context, &raw const update) };
    }
}

thread_local! {
    static IN_PLUGIN: Cell<bool> = const { Cell::new(false) };
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs it; a panic becomes an error that says what and where. The library has a std of its own,
/// so its panic hook is its own, too: it stays silent here and leaves the telling to the daemon.
fn catch<T>(run: AssertUnwindSafe<impl FnOnce() -> T>) -> Result<T, PluginError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IN_PLUGIN.get() {
                let place = info.location().map(ToString::to_string);
                PANIC_PLACE.with_borrow_mut(|kept| *kept = place);
            } else {
                previous(info);
            }
        }));
    });
    IN_PLUGIN.set(true);
    let result = panic::catch_unwind(run).map_err(|payload| {
        let error = panic_error(&*payload);
        // What was thrown may panic again as it is dropped; what that throws is leaked.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))).map_err(mem::forget);
        error
    });
    IN_PLUGIN.set(false);
    result
}

fn panic_error(payload: &(dyn Any + Send)) -> PluginError {
    let what = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    match PANIC_PLACE.take() {
        Some(place) => PluginError::new(format!("panicked at {place}: {what}")),
        None => PluginError::new(format!("panicked: {what}")),
    }
}
