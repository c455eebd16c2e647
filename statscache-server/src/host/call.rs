//! Calls through a plugin's table, and the callbacks that it calls us back with. The third of
//! three files of the project with unsafe code.

#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice, str,
};

use serde_json::Value as Json;
use statscache_core::engine::{Failure, Processor};
use statscache_plugin_sdk::{
    Declaration, Label, Manifest, Message, PluginError, Timestamp,
    abi::{
        ABI1_UPDATE_SIZE, AbiBytes, AbiPlugin, AbiSink, AbiStatus, AbiUpdate, AbiUpdates, TAG_ADD, TAG_HIT, TAG_INSERT,
        TAG_OBSERVE, TAG_REMOVE, TAG_SET,
    },
    host::{Sink, Value},
};

use super::LoadedPlugin;

/// Text that a plugin may push in one call.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Labels that an update may carry; one more than any metric has.
const LABELS_MAX: usize = Declaration::DIMENSIONS_MAX + 1;

const NOT_UTF8: &str = "it makes an update with text that is not UTF-8";

/// Why a call did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin refused, or panicked; its own words.
    #[error("{0}")]
    Plugin(PluginErrorText),
    /// What it wrote is not what the boundary asks for.
    #[error("what it declares is not as the ABI asks")]
    Answer(#[from] serde_json::Error),
    /// What it declares contradicts itself.
    #[error("{0}")]
    Declaration(String),
    /// It said that all is well and gave no instance.
    #[error("it gives no instance")]
    NoInstance,
}

/// The words of a plugin that failed.
#[derive(Debug)]
pub struct PluginErrorText(PluginError);

impl std::fmt::Display for PluginErrorText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Asks a plugin what it is.
pub(super) fn manifest(table: &AbiPlugin) -> Result<Manifest, CallError> {
    let mut answer = None;
    let sink = sink_into(&mut answer);
    // SAFETY: the table was checked when the library was opened; the sink lives until it returns.
    let status = unsafe { (table.manifest)(&raw const sink) };
    Ok(serde_json::from_str(&read(answer, status)?)?)
}

impl LoadedPlugin {
    /// Makes an instance with this configuration.
    pub fn create(&self, config: &Json) -> Result<(PluginInstance, Declaration), CallError> {
        let config = config.to_string();
        let (mut answer, mut instance) = (None, ptr::null_mut());
        let sink = sink_into(&mut answer);
        // SAFETY: the table was checked when the library was opened; text, place and sink live
        // until it returns.
        let status = unsafe { (self.table.create)(AbiBytes::new(&config), &raw mut instance, &raw const sink) };
        // From here on the instance is destroyed whatever happens. Where a call fails there is none.
        let created = status == AbiStatus::OK && !instance.is_null();
        let instance = created.then(|| PluginInstance { table: self.table, instance });
        let declaration = read(answer, status)?;
        let instance = instance.ok_or(CallError::NoInstance)?;
        let declaration: Declaration = serde_json::from_str(&declaration)?;
        let problems = declaration.problems();
        if problems.is_empty() { Ok((instance, declaration)) } else { Err(CallError::Declaration(problems.join("; "))) }
    }
}

/// An instance behind the boundary.
#[derive(Debug)]
pub struct PluginInstance {
    table: &'static AbiPlugin,
    instance: *mut c_void,
}

// SAFETY: the boundary lets `process` and `destroy` be called from any thread.
unsafe impl Send for PluginInstance {}

impl Processor for PluginInstance {
    #[inline]
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        let mut taken = Taken { sink, fault: None };
        let updates =
            AbiUpdates { size: mem::size_of::<AbiUpdates>(), context: (&raw mut taken).cast(), update: take_update };
        let mut answer = None;
        let sink = sink_into(&mut answer);
        // SAFETY: `instance` came from this table's `create` and only `Drop` destroys it; all
        // structs and what they point to live until it returns, and `taken` is used by nobody
        // else meanwhile.
        let status =
            unsafe { (self.table.process)(self.instance, message.as_abi(), &raw const updates, &raw const sink) };
        if let Some(fault) = taken.fault {
            return Err(Failure(fault.to_owned()));
        }
        if status == AbiStatus::OK {
            return Ok(());
        }
        read(answer, status).map(|_| ()).map_err(|error| Failure(error.to_string()))
    }
}

impl Drop for PluginInstance {
    fn drop(&mut self) {
        // SAFETY: `instance` came from this table's `create` and is destroyed here only.
        unsafe { (self.table.destroy)(self.instance) };
    }
}

/// What a plugin pushed during a call.
type Answer = Option<Result<String, &'static str>>;

/// A sink that writes there; for one call, during which the answer stays where it is.
fn sink_into(answer: &mut Answer) -> AbiSink {
    AbiSink { context: (&raw mut *answer).cast(), write: take_text }
}

/// The text, if the call went well; else the plugin's error.
fn read(answer: Answer, status: AbiStatus) -> Result<String, CallError> {
    let error = |text: String| CallError::Plugin(PluginErrorText(PluginError::new(text)));
    let text = answer.transpose().map_err(|what| error(format!("it {what}")))?;
    if status == AbiStatus::OK {
        return text.ok_or_else(|| error("it says nothing".to_owned()));
    }
    let failure = text.and_then(|text| serde_json::from_str(&text).ok());
    Err(match failure {
        Some(failure) => CallError::Plugin(PluginErrorText(failure)),
        None => error(format!("it ends with status {} and no error text", status.0)),
    })
}

/// Callback: takes text from a plugin.
unsafe extern "C" fn take_text(context: *mut c_void, bytes: AbiBytes) {
    let taken = if bytes.ptr.is_null() || bytes.len > ANSWER_BYTES_MAX {
        Err("answers with no text, or with more than 4 MiB")
    } else {
        // SAFETY: the boundary promises `len` bytes until this returns.
        let bytes = unsafe { slice::from_raw_parts(bytes.ptr, bytes.len) };
        str::from_utf8(bytes).map(str::to_owned).map_err(|_| "answers with text that is not UTF-8")
    };
    // SAFETY: `context` is the `Answer` of the call under way, which nobody else touches meanwhile.
    unsafe { *context.cast::<Answer>() = Some(taken) };
}

/// Where updates of one call go.
struct Taken<'s> {
    sink: &'s mut dyn Sink,
    fault: Option<&'static str>,
}

/// Callback: takes one update.
unsafe extern "C" fn take_update(context: *mut c_void, update: *const AbiUpdate) {
    // SAFETY: `context` is the `Taken` of the call under way, used by nobody else meanwhile.
    let taken = unsafe { &mut *context.cast::<Taken<'_>>() };
    // SAFETY: the boundary promises an update that begins with its size, until this returns.
    let size = unsafe { (&raw const (*update).size).read() };
    if (size as usize) < ABI1_UPDATE_SIZE {
        taken.fault = Some("it makes an update that is shorter than that of ABI 1");
        return;
    }
    // SAFETY: large enough for version 1, which is all that the type has; it lives until this returns.
    let update = unsafe { &*update };
    // A panic of ours must not cross the plugin's frames.
    let forwarded = catch_unwind(AssertUnwindSafe(|| forward(update, taken.sink)));
    match forwarded {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => taken.fault = Some(fault),
        Err(_) => taken.fault = Some("the daemon failed on one of its updates; this is a defect of statscache"),
    }
}

#[inline]
fn forward(update: &AbiUpdate, sink: &mut dyn Sink) -> Result<(), &'static str> {
    let count = update.label_count as usize;
    if count > LABELS_MAX || (count > 0 && update.labels.is_null()) {
        return Err("it makes an update with more labels than any metric has");
    }
    // SAFETY: the boundary promises `label_count` labels until the callback returns.
    let labels = unsafe { Label::check(update.labels, count) }.ok_or(NOT_UTF8)?;
    let value = match update.tag {
        TAG_ADD => Value::Add(update.number),
        TAG_SET => Value::Set(json(text(update.text)?)?),
        TAG_OBSERVE => Value::Observe(f64::from_bits(update.number.cast_unsigned())),
        TAG_INSERT => Value::Insert(text(update.text)?.ok_or("it inserts a member and gives none")?),
        TAG_HIT => {
            let key = text(update.text)?.ok_or("it gives a weight and no key")?;
            match u64::try_from(update.number) {
                Ok(0) => return Ok(()),
                Ok(weight) => Value::Hit(key, weight),
                Err(_) => return Err("it gives a key a weight that is negative"),
            }
        }
        TAG_REMOVE => Value::Remove,
        _ => return Err("it makes an update with a tag that this version does not know"),
    };
    sink.update(update.metric, labels, Timestamp::from_micros(update.time), value);
    Ok(())
}

/// A text from a plugin; checked, because what is stored must be UTF-8.
fn text<'a>(bytes: AbiBytes) -> Result<Option<&'a str>, &'static str> {
    if bytes.ptr.is_null() {
        return Ok(None);
    }
    // SAFETY: the boundary promises `len` bytes until the callback returns, and nothing is kept.
    let bytes = unsafe { slice::from_raw_parts(bytes.ptr, bytes.len) };
    str::from_utf8(bytes).map(Some).map_err(|_| NOT_UTF8)
}

/// A latest value must be JSON, because it is served as it is. The SDK cannot get this wrong;
/// a plugin in another language can.
fn json(text: Option<&str>) -> Result<&str, &'static str> {
    let text = text.ok_or("it sets a value and gives none")?;
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(text),
        Err(_) => Err("it sets a value that is not JSON"),
    }
}

#[cfg(test)]
mod tests;
