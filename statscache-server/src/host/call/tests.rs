use std::sync::atomic::{AtomicIsize, Ordering};

use statscache_plugin_sdk::{
    Declare, Dist, Distinct, Latest, Metric, Plugin, Stat, Top, Updates,
    abi::{self, AbiMessage},
};

use super::*;

/// Instances that exist.
static ALIVE: AtomicIsize = AtomicIsize::new(0);

unsafe extern "C" fn manifest(_: *const AbiSink) -> AbiStatus {
    AbiStatus::FAILED
}

const DECLARATION: &[u8] = br#"{"metrics": [{"name": "n", "kind": {"type": "count"}, "dimensions": [],
    "unit": "", "description": "", "tiers": "1d forever"}]}"#;

/// Creates an instance, and answers as the configuration says.
unsafe extern "C" fn create(config: AbiBytes, instance: *mut *mut c_void, out: *const AbiSink) -> AbiStatus {
    ALIVE.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller promises the place, the text and the sink.
    let (config, out) = unsafe {
        *instance = ptr::dangling_mut::<u64>().cast();
        (slice::from_raw_parts(config.ptr, config.len), *out)
    };
    let text = match config {
        b"\"good\"" => DECLARATION.to_vec(),
        b"\"long\"" => vec![b' '; ANSWER_BYTES_MAX + 1],
        b"\"binary\"" => vec![0xff; 10],
        b"\"half\"" => b"{\"metrics\": [".to_vec(),
        _ => return AbiStatus::OK,
    };
    // SAFETY: the caller promises that its callback takes its context, and copies the text.
    unsafe { (out.write)(out.context, AbiBytes { ptr: text.as_ptr(), len: text.len() }) };
    AbiStatus::OK
}

unsafe extern "C" fn process(
    _: *const c_void,
    _: *const AbiMessage,
    _: *const AbiUpdates,
    _: *const AbiSink,
) -> AbiStatus {
    AbiStatus::FAILED
}

unsafe extern "C" fn destroy(_: *mut c_void) {
    ALIVE.fetch_sub(1, Ordering::Relaxed);
}

static TABLE: AbiPlugin = AbiPlugin {
    size: mem::size_of::<AbiPlugin>() as u32,
    state_version: 1,
    id: AbiBytes::new("fake"),
    version: AbiBytes::new("1"),
    manifest,
    create,
    process,
    destroy,
};

/// As if it had been opened.
fn loaded(table: &'static AbiPlugin) -> LoadedPlugin {
    let manifest = serde_json::json!({"summary": "fake", "description": "", "config_schema": {}});
    LoadedPlugin {
        id: "fake".to_owned(),
        version: "1".to_owned(),
        state_version: 1,
        manifest: serde_json::from_value(manifest).expect("a manifest"),
        origin: String::new(),
        code: 0,
        table,
    }
}

#[test]
fn an_instance_is_destroyed_whatever_its_declaration_is() {
    let plugin = loaded(&TABLE);
    for (config, words) in [
        ("long", "more than 4 MiB"),
        ("binary", "not UTF-8"),
        ("half", "not as the ABI asks"),
        ("none", "says nothing"),
    ] {
        let error = plugin.create(&config.into()).map(|_| ()).expect_err(config);
        assert!(error.to_string().contains(words), "{config}: {error}");
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0, "{config}");
    }
    let good = plugin.create(&"good".into()).expect("a declaration");
    assert_eq!(ALIVE.load(Ordering::Relaxed), 1);
    drop(good);
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
}

/// Keeps updates as text.
#[derive(Default)]
struct Kept(Vec<String>);

impl Sink for Kept {
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) {
        self.0.push(format!("{metric} {labels:?} at {}: {value:?}", time.micros()));
    }
}

/// A plugin that says something of each kind.
struct Speaker {
    stat: Stat,
    dist: Dist,
    distinct: Distinct,
    top: Top,
    latest: Latest,
}

impl Plugin for Speaker {
    const ID: &'static str = "speaker";
    type Config = ();

    fn declare((): (), declare: &mut Declare) -> Result<Self, PluginError> {
        Ok(Self {
            stat: declare.stat("stat"),
            dist: declare.dist("dist"),
            distinct: declare.distinct("distinct"),
            top: declare.top(Metric::new("top").by(["topic"]), 5),
            latest: declare.latest(Metric::new("latest").expire_after("90m")),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        for x in [2.5, -0.0, 5e-324, f64::NEG_INFINITY, f64::NAN] {
            updates.observe(self.stat, (), x);
        }
        updates.observe(self.dist, (), f64::MAX);
        updates.insert(self.distinct, (), "é");
        updates.insert(self.distinct, (), "");
        updates.hit(self.top, [message.topic()], "", u64::MAX);
        updates.hit(self.top, [message.topic()], "nothing", 0);
        updates.set_raw(self.latest, (), " {} ")?;
        updates.at(Timestamp::from_micros(7)).remove(self.latest, ());
        Ok(())
    }
}

#[test]
fn what_the_sdk_says_arrives() {
    static SPEAKER: AbiPlugin = abi::plugin::<Speaker>("1");
    let (mut instance, declaration) = loaded(&SPEAKER).create(&Json::Null).expect("it starts");
    let kinds: Vec<Json> =
        declaration.metrics.iter().map(|metric| serde_json::to_value(metric.kind).expect("JSON")).collect();
    assert_eq!(
        serde_json::json!(kinds),
        serde_json::json!([
            {"type": "stat"}, {"type": "dist"}, {"type": "distinct"}, {"type": "top", "k": 5},
            {"type": "latest", "n": 1, "ttl": "1h30m"},
        ])
    );
    let mut kept = Kept::default();
    let message = Message::new("a.b", "1", Timestamp::from_micros(5), "{}", &[]);
    instance.process(&message, &mut kept).map_err(|failure| failure.0).expect("it goes well");
    assert_eq!(
        kept.0,
        [
            "0 [] at 5: Observe(2.5)",
            "0 [] at 5: Observe(-0.0)",
            "0 [] at 5: Observe(5e-324)",
            "0 [] at 5: Observe(-inf)",
            "0 [] at 5: Observe(NaN)",
            "1 [] at 5: Observe(1.7976931348623157e308)",
            "2 [] at 5: Insert(\"é\")",
            "2 [] at 5: Insert(\"\")",
            "3 [Text(\"a.b\")] at 5: Hit(\"\", 9223372036854775807)",
            "4 [] at 5: Set(\" {} \")",
            "4 [] at 7: Remove",
        ]
    );
}

#[test]
fn updates_that_no_sdk_makes() {
    const BINARY: AbiBytes = AbiBytes { ptr: [0xc3, b'('].as_ptr(), len: 2 };
    const TEXT: AbiBytes = AbiBytes::new("text");
    for (tag, number, text, expected) in [
        (abi::TAG_OBSERVE, i64::MIN, BINARY, Ok("0 [] at 0: Observe(-0.0)")),
        (abi::TAG_REMOVE, -1, BINARY, Ok("0 [] at 0: Remove")),
        (abi::TAG_INSERT, -1, TEXT, Ok("0 [] at 0: Insert(\"text\")")),
        (abi::TAG_HIT, 1, TEXT, Ok("0 [] at 0: Hit(\"text\", 1)")),
        (abi::TAG_HIT, 0, TEXT, Ok("")),
        (abi::TAG_HIT, -1, TEXT, Err("negative")),
        (abi::TAG_HIT, i64::MIN, TEXT, Err("negative")),
        (abi::TAG_HIT, 0, AbiBytes::NONE, Err("no key")),
        (abi::TAG_HIT, 1, BINARY, Err("not UTF-8")),
        (abi::TAG_INSERT, 0, AbiBytes::NONE, Err("gives none")),
        (abi::TAG_INSERT, 0, BINARY, Err("not UTF-8")),
        (abi::TAG_SET, 0, AbiBytes::NONE, Err("gives none")),
        (abi::TAG_SET, 0, TEXT, Err("not JSON")),
        (0, 0, TEXT, Err("a tag that")),
        (7, 0, TEXT, Err("a tag that")),
    ] {
        let size = mem::size_of::<AbiUpdate>() as u32;
        let update = AbiUpdate { size, tag, metric: 0, label_count: 0, labels: ptr::null(), time: 0, number, text };
        let mut kept = Kept::default();
        let mut taken = Taken { sink: &mut kept, fault: None };
        // SAFETY: `taken` and the update, whose text is static, live until it returns.
        unsafe { take_update((&raw mut taken).cast(), &raw const update) };
        let (fault, what) = (taken.fault, format!("tag {tag}, number {number}"));
        match expected {
            Ok(line) => assert_eq!((fault, kept.0.concat().as_str()), (None, line), "{what}"),
            Err(words) => {
                assert!(fault.is_some_and(|fault| fault.contains(words)), "{what}: {fault:?}");
                assert!(kept.0.is_empty(), "{what}: {:?}", kept.0);
            }
        }
    }
}
