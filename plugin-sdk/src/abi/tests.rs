//! The shim, called as a daemon calls it: through the C table, with memory that is gone when the
//! call returns. Meant for valgrind as well, but for the bombs, which leak what they throw:
//! `valgrind --error-exitcode=1 --leak-check=full --errors-for-leak-kinds=definite …/statscache_plugin_sdk-… abi:: --skip bombs`

use std::{panic, ptr, slice, sync::Barrier, thread};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    Count, Declare, Dist, Distinct, Field, InternedLabel, Label, Latest, Manifest, Message, Metric, Plugin,
    PluginError, Stat, Timestamp, Top, Updates,
};

mod tags;

/// A plugin that does what the topic says.
struct Probe {
    count: Count,
    latest: Latest,
    stat: Stat,
    dist: Dist,
    distinct: Distinct,
    top: Top,
    known: InternedLabel,
    a: Field,
    b: Field,
    panic_on_drop: bool,
    /// Memory of its own, for valgrind to miss.
    _heap: Vec<u8>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Config {
    /// How `declare` ends.
    declare: String,
    panic_on_drop: bool,
    number: u8,
}

impl Plugin for Probe {
    const ID: &'static str = "probe";
    const SUMMARY: &'static str = "does what the topic says";
    const STATE_VERSION: u32 = 7;
    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["#"]);
        match config.declare.as_str() {
            "error" => return Err(PluginError::new("no").with_hint("yes")),
            "panic" => panic!("in declare"),
            "problem" => drop(declare.field("no-slash")),
            _ => {}
        }
        Ok(Self {
            count: declare.count(Metric::new("count").by(["topic", "known"])),
            latest: declare.latest("latest"),
            stat: declare.stat("stat"),
            dist: declare.dist("dist"),
            distinct: declare.distinct("distinct"),
            top: declare.top("top", 10),
            known: declare.label("known label"),
            a: declare.field("/msg/a"),
            b: declare.field("/msg/b"),
            panic_on_drop: config.panic_on_drop,
            _heap: vec![config.number; 100],
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let topic = message.topic();
        match topic {
            "two" => {
                updates.add(self.count, [Label::from(topic), self.known.into()], -7);
                updates.at(Timestamp::from_micros(i64::MIN)).set(self.latest, (), &json!({"id": message.id()}))?;
            }
            "fields" => {
                let raw = [self.a, self.b, Field(2), Field(u32::MAX)].map(|field| message.get(field).raw());
                updates.set(self.latest, (), &raw)?;
            }
            "empty" => updates.set(self.latest, (), &json!([message.id(), message.body(), message.time().micros()]))?,
            "tags" => self.every_tag(updates)?,
            "no labels" => updates.add(self.count, (), 1),
            "20 labels" => updates.add(self.count, ["x"; 20], 1),
            "empty label" => updates.add(self.count, [""], 1),
            "error" => {
                updates.add(self.count, ["before", "the error"], 1);
                return Err(PluginError::new("no \"good\"").with_hint("é"));
            }
            "panic text" => panic!("text"),
            "panic string" => panic!("string {}", message.id()),
            "panic value" => panic::panic_any(7),
            "panic bomb" => panic::panic_any(Bomb),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert!(!self.panic_on_drop, "in drop");
    }
}

/// A panic whose destructor panics, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in the destructor of a panic");
    }
}

static PROBE: AbiPlugin = plugin::<Probe>("1.2.3");

/// The daemon's side, as small as it can be.
struct Instance(*mut c_void);

// SAFETY: the boundary lets any thread call `process`; plugins are `Send` and `Sync`.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

/// What one label was.
#[derive(Debug, PartialEq)]
enum Got {
    Text(String),
    Handle(usize),
}

/// One update, copied.
#[derive(Debug, PartialEq)]
struct Copied {
    tag: u32,
    metric: u32,
    labels: Vec<Got>,
    time: i64,
    number: i64,
    text: Option<String>,
}

/// # Safety
/// A pointer that is not null leads to `len` bytes.
unsafe fn copy(bytes: AbiBytes) -> Option<String> {
    // SAFETY: the caller promises just this.
    let bytes = (!bytes.ptr.is_null()).then(|| unsafe { slice::from_raw_parts(bytes.ptr, bytes.len) })?;
    Some(String::from_utf8(bytes.to_vec()).expect("UTF-8"))
}

unsafe extern "C" fn take_text(context: *mut c_void, text: AbiBytes) {
    // SAFETY: `sink` is the only one to make a sink with this function, over a vector that it
    // keeps alive and does not touch meanwhile.
    let texts = unsafe { &mut *context.cast::<Vec<String>>() };
    // SAFETY: the plugin promises text that lives until this returns.
    texts.push(unsafe { copy(text) }.expect("some text"));
}

unsafe extern "C" fn take_update(context: *mut c_void, update: *const AbiUpdate) {
    // SAFETY: `process` is the only one to pass this function, over a vector that it keeps alive
    // and does not touch meanwhile; the plugin promises an update that lives until this returns.
    let (taken, update) = unsafe { (&mut *context.cast::<Vec<Copied>>(), &*update) };
    assert_eq!(update.size as usize, mem::size_of::<AbiUpdate>());
    let labels = (0..update.label_count as usize).map(|i| {
        // SAFETY: the plugin promises `label_count` labels.
        let label = unsafe { *update.labels.add(i) };
        // SAFETY: as above; each is text or a handle.
        unsafe { copy(label) }.map_or(Got::Handle(label.len), Got::Text)
    });
    let labels = labels.collect();
    // SAFETY: as above.
    let text = unsafe { copy(update.text) };
    let (tag, metric, time, number) = (update.tag, update.metric, update.time, update.number);
    taken.push(Copied { tag, metric, labels, time, number, text });
}

/// Calls with a sink; the status, and the one text that came.
fn with_sink(call: impl FnOnce(*const AbiSink) -> AbiStatus) -> (AbiStatus, Option<String>) {
    let mut texts: Vec<String> = Vec::new();
    let status = call(&AbiSink { context: (&raw mut texts).cast(), write: take_text });
    assert!(texts.len() <= 1, "a sink is written to once at most: {texts:?}");
    (status, texts.pop())
}

fn create(config: Option<&str>) -> Result<(Instance, Json), (AbiStatus, PluginError)> {
    let mut instance = ptr::null_mut();
    let config = config.map(str::to_owned);
    let bytes = config.as_deref().map_or(AbiBytes::NONE, AbiBytes::new);
    // SAFETY: the configuration, the place for the instance and the sink live until it returns.
    let (status, text) = with_sink(|sink| unsafe { (PROBE.create)(bytes, &raw mut instance, sink) });
    drop(config);
    let text = text.expect("create always says something");
    if status == AbiStatus::OK {
        assert!(!instance.is_null());
        return Ok((Instance(instance), serde_json::from_str(&text).expect("a declaration")));
    }
    assert!(instance.is_null(), "nothing was created, so nothing is to be destroyed");
    Err((status, serde_json::from_str(&text).expect("an error")))
}

fn probe() -> Instance {
    create(None).unwrap_or_else(|(status, error)| panic!("{status:?}: {error}")).0
}

fn destroy(instance: Instance) {
    // SAFETY: it came from `create` of this table, and is consumed here.
    unsafe { (PROBE.destroy)(instance.0) };
}

/// A daemon of a later version: its structs go on behind what this version knows.
#[repr(C)]
struct Later<T> {
    known: T,
    more: [u64; 8],
}

/// Hands over one message, whose memory is freed before the answer is looked at.
fn process(instance: &Instance, topic: &str, fields: &[Option<&str>]) -> (AbiStatus, Vec<Copied>, Option<PluginError>) {
    let (topic, id, body) = (topic.to_owned(), "id-1".to_owned(), "{}".to_owned());
    let texts: Vec<Option<String>> = fields.iter().map(|field| field.map(str::to_owned)).collect();
    let fields: Vec<AbiBytes> =
        texts.iter().map(|field| field.as_deref().map_or(AbiBytes::NONE, AbiBytes::new)).collect();
    let message = Box::new(Later {
        known: AbiMessage {
            size: mem::size_of::<Later<AbiMessage>>(),
            topic: AbiBytes::new(&topic),
            id: AbiBytes::new(&id),
            time: 1_450_000_000_000_001,
            body: AbiBytes::new(&body),
            fields: fields.as_ptr(),
            field_count: fields.len(),
        },
        more: [u64::MAX; 8],
    });
    call(instance, &message.known)
}

fn call(instance: &Instance, message: &AbiMessage) -> (AbiStatus, Vec<Copied>, Option<PluginError>) {
    let mut taken: Vec<Copied> = Vec::new();
    let updates = Later {
        known: AbiUpdates {
            size: mem::size_of::<Later<AbiUpdates>>(),
            context: (&raw mut taken).cast(),
            update: take_update,
        },
        more: [u64::MAX; 8],
    };
    // SAFETY: the instance came from this table and is alive; everything else lives until it returns.
    let (status, text) = with_sink(|error| unsafe { (PROBE.process)(instance.0, message, &updates.known, error) });
    (status, taken, text.map(|text| serde_json::from_str(&text).expect("an error")))
}

#[test]
fn the_library_leads_to_its_plugins() {
    static LIBRARY: AbiLibrary = library(&[&PROBE, &PROBE]);
    assert_eq!((&LIBRARY.magic, LIBRARY.abi, LIBRARY.size), (b"statsplg", 1, 48));
    assert_eq!(LIBRARY.plugin_count, 2);
    for i in 0..LIBRARY.plugin_count {
        // SAFETY: there are so many entries, each a static.
        let plugin = unsafe { &**LIBRARY.plugins.add(i) };
        assert_eq!((plugin.size, plugin.state_version), (72, 7));
        // SAFETY: they are texts of the binary.
        let texts = unsafe { (copy(plugin.id), copy(plugin.version), copy(LIBRARY.sdk)) };
        assert_eq!(texts, (Some("probe".into()), Some("1.2.3".into()), Some(env!("CARGO_PKG_VERSION").into())));
    }
}

#[test]
fn the_manifest_is_json() {
    // SAFETY: the sink lives until it returns.
    let (status, text) = with_sink(|sink| unsafe { (PROBE.manifest)(sink) });
    assert_eq!(status, AbiStatus::OK);
    let manifest: Manifest = serde_json::from_str(&text.expect("a manifest")).expect("JSON of a manifest");
    assert_eq!((manifest.summary.as_str(), manifest.description.as_str()), (Probe::SUMMARY, ""));
    assert_eq!(manifest.config_schema["properties"]["declare"]["description"], "How `declare` ends.");
}

#[test]
fn create_says_what_was_declared() {
    for config in [None, Some("null"), Some("{}"), Some(r#" {"number": 255} "#)] {
        let (instance, declaration) = create(config).unwrap_or_else(|(_, error)| panic!("{config:?}: {error}"));
        assert_eq!(declaration["topics"], json!(["#"]), "{config:?}");
        assert_eq!(declaration["fields"], json!(["/msg/a", "/msg/b"]), "{config:?}");
        assert_eq!(declaration["interned_labels"], json!(["known label"]), "{config:?}");
        assert_eq!(declaration["metrics"][0]["kind"], json!({"type": "count"}), "{config:?}");
        assert_eq!(declaration["metrics"][1]["kind"], json!({"type": "latest", "n": 1}), "{config:?}");
        destroy(instance);
    }
}

#[test]
fn create_refuses_with_a_reason() {
    for (config, status, message, hint) in [
        (r#"{"declare": "error"}"#, AbiStatus::FAILED, "no", Some("yes")),
        (r#"{"declare": "problem"}"#, AbiStatus::FAILED, "`no-slash` is not a JSON pointer", None),
        (r#"{"declare": "panic"}"#, AbiStatus::PANICKED, "in declare", None),
        (r#"{"declare": "panic", "panic_on_drop": true}"#, AbiStatus::PANICKED, "in declare", None),
        (r#"{"delcare": "x"}"#, AbiStatus::FAILED, "unknown key `delcare`", Some("declare, number, panic_on_drop")),
        (r#"{"number": 256}"#, AbiStatus::FAILED, "config.number", None),
        ("[]", AbiStatus::FAILED, "must be an object", None),
        ("{", AbiStatus::FAILED, "EOF", None),
        ("", AbiStatus::FAILED, "EOF", None),
    ] {
        let Err((found, error)) = create(Some(config)) else { panic!("{config} was taken") };
        assert_eq!(found, status, "{config}: {error}");
        assert!(error.message().contains(message), "{config}: {error}");
        let said = error.hint().unwrap_or_default();
        assert!(hint.is_none_or(|hint| said.contains(hint)), "{config}: {error}");
    }
}

#[test]
fn updates_arrive_whole() {
    let instance = probe();
    let (status, updates, error) = process(&instance, "two", &[None, None]);
    assert_eq!((status, error), (AbiStatus::OK, None));
    let count = Copied {
        tag: TAG_ADD,
        metric: 0,
        labels: vec![Got::Text("two".into()), Got::Handle(0)],
        time: 1_450_000_000_000_001,
        number: -7,
        text: None,
    };
    let text = Some(r#"{"id":"id-1"}"#.to_owned());
    let latest = Copied { tag: TAG_SET, metric: 1, labels: vec![], time: i64::MIN, number: 0, text };
    assert_eq!(updates, [count, latest]);
    destroy(instance);
}

#[test]
fn labels_of_a_wrong_number_are_handed_on_as_such() {
    let instance = probe();
    for (topic, labels) in [("no labels", 0), ("empty label", 1), ("20 labels", 20)] {
        let (status, updates, _) = process(&instance, topic, &[None, None]);
        assert_eq!((status, updates.len()), (AbiStatus::OK, 1), "{topic}");
        assert_eq!(updates[0].labels.len(), labels, "{topic}: the host refuses them");
    }
    let (_, updates, _) = process(&instance, "empty label", &[]);
    assert_eq!(updates[0].labels, [Got::Text(String::new())], "an empty text is not a handle");
    destroy(instance);
}

#[test]
fn fields_are_read_where_they_are() {
    let instance = probe();
    for (fields, expected) in [
        (&[Some("1"), Some("\"b\"")][..], json!(["1", "\"b\"", null, null])),
        (&[None, Some("null")][..], json!([null, "null", null, null])),
        (&[Some("1")][..], json!(["1", null, null, null])),
        (&[][..], json!([null, null, null, null])),
    ] {
        let (status, updates, error) = process(&instance, "fields", fields);
        assert_eq!((status, error), (AbiStatus::OK, None), "{fields:?}");
        let value: Json = serde_json::from_str(updates[0].text.as_deref().expect("a value")).expect("JSON");
        assert_eq!(value, expected, "{fields:?}");
    }
    destroy(instance);
}

#[test]
fn sizes_of_version_1_are_for_ever() {
    let sizes = [ABI1_LIBRARY_SIZE, ABI1_PLUGIN_SIZE, ABI1_MESSAGE_SIZE, ABI1_UPDATE_SIZE, ABI1_UPDATES_SIZE];
    if cfg!(target_pointer_width = "64") {
        assert_eq!(sizes, [48, 72, 80, 56, 24], "plugins and daemons exist that were built with these");
    }
}

#[test]
fn less_than_version_1_is_refused() {
    unsafe extern "C" fn not_called(_: *mut c_void, _: *const AbiUpdate) {}
    let instance = probe();
    let message = AbiMessage {
        size: ABI1_MESSAGE_SIZE,
        topic: AbiBytes::new("two"),
        id: AbiBytes::NONE,
        time: 0,
        body: AbiBytes::NONE,
        fields: ptr::null(),
        field_count: 0,
    };
    let updates = AbiUpdates { size: ABI1_UPDATES_SIZE, context: ptr::null_mut(), update: not_called };
    for (message_less, updates_less, expected) in
        [(0, 0, AbiStatus::OK), (1, 0, AbiStatus::FAILED), (0, 8, AbiStatus::FAILED)]
    {
        let message = AbiMessage { size: message.size - message_less, ..message };
        let updates = AbiUpdates { size: updates.size - updates_less, ..updates };
        // SAFETY: the instance came from this table and is alive; everything else lives until it returns.
        let (status, error) =
            with_sink(|error| unsafe { (PROBE.process)(instance.0, &raw const message, &raw const updates, error) });
        assert_eq!(status, expected, "{message_less} {updates_less}: {error:?}");
        assert_eq!(error.is_some_and(|error| error.contains("version 1")), status != AbiStatus::OK);
    }
    destroy(instance);
}

#[test]
fn absence_is_an_empty_text() {
    let instance = probe();
    let message = AbiMessage {
        size: mem::size_of::<AbiMessage>(),
        topic: AbiBytes::new("empty"),
        id: AbiBytes::NONE,
        time: i64::MAX,
        body: AbiBytes::NONE,
        fields: ptr::null(),
        field_count: 0,
    };
    let (status, updates, error) = call(&instance, &message);
    assert_eq!((status, error), (AbiStatus::OK, None));
    assert_eq!(updates[0].text.as_deref(), Some(r#"["","",9223372036854775807]"#));
    let (status, updates, _) = call(&instance, &AbiMessage { topic: AbiBytes::NONE, ..message });
    assert_eq!((status, updates), (AbiStatus::OK, vec![]));
    destroy(instance);
}

#[test]
fn an_error_comes_with_its_hint_after_the_updates() {
    let instance = probe();
    let (status, updates, error) = process(&instance, "error", &[None, None]);
    assert_eq!((status, updates.len()), (AbiStatus::FAILED, 1), "taking them back is the daemon's affair");
    assert_eq!(error, Some(PluginError::new("no \"good\"").with_hint("é")));
    destroy(instance);
}

#[test]
fn a_panic_is_an_error_with_its_place() {
    let instance = probe();
    for (topic, what) in
        [("panic text", "text"), ("panic string", "string id-1"), ("panic value", "a value that is no text")]
    {
        let (status, updates, error) = process(&instance, topic, &[None, None]);
        assert_eq!((status, updates), (AbiStatus::PANICKED, vec![]), "{topic}");
        let message = error.expect("a text").message().to_owned();
        assert!(message.starts_with("panicked at ") && message.contains("tests.rs:"), "{message}");
        assert!(message.ends_with(&format!(": {what}")), "{message}");
        let (status, updates, _) = process(&instance, "two", &[None, None]);
        assert_eq!((status, updates.len()), (AbiStatus::OK, 2), "it goes on after {topic}");
    }
    destroy(instance);
}

#[test]
fn bombs_go_off_inside() {
    let instance = probe();
    let (status, _, error) = process(&instance, "panic bomb", &[None, None]);
    assert_eq!(status, AbiStatus::PANICKED);
    assert!(error.is_some_and(|error| error.message().ends_with("a value that is no text")));
    destroy(instance);

    let Err((status, error)) = create(Some(r#"{"declare": "problem", "panic_on_drop": true}"#)) else {
        panic!("it was taken")
    };
    assert_eq!(status, AbiStatus::PANICKED);
    assert!(error.message().ends_with("in drop"), "{error}");
}

#[test]
fn a_panic_in_destroy_is_contained() {
    let (instance, _) = create(Some(r#"{"panic_on_drop": true}"#)).unwrap_or_else(|(_, error)| panic!("{error}"));
    destroy(instance);
    let instance = probe();
    let (status, ..) = process(&instance, "two", &[None, None]);
    assert_eq!(status, AbiStatus::OK, "a panic afterwards would say that the last one goes on");
    destroy(instance);
}

#[test]
fn threads_share_an_instance() {
    const CALLS: usize = 50;
    let instance = probe();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for topic in ["two", "panic text", "error", "fields"] {
            let (instance, start) = (&instance, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..CALLS {
                    let (status, updates, error) = process(instance, topic, &[Some("1"), None]);
                    let expected = match topic {
                        "panic text" => (AbiStatus::PANICKED, 0, true),
                        "error" => (AbiStatus::FAILED, 1, true),
                        "two" => (AbiStatus::OK, 2, false),
                        _ => (AbiStatus::OK, 1, false),
                    };
                    assert_eq!((status, updates.len(), error.is_some()), expected, "{topic}");
                }
            });
        }
    });
    destroy(instance);
}
