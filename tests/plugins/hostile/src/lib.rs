//! A library of two plugins for tests of the daemon: `hostile` does what its configuration says,
//! and nothing good; `neighbour` counts messages, and shows that the library is alive.
//!
//! Whatever it does in `process`, `hostile` has counted the message in `seen` before: what is
//! taken back with a failed message is missing there.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use statscache_plugin_sdk::{
    Count, Declare, Distinct, Field, InternedLabel, Label, Latest, Message, Metric, Plugin, PluginError, Stat,
    Timestamp, Top, Updates, export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Hostile, Neighbour);

/// What the plugin `hostile` shall do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How it behaves.
    pub mode: Mode,
    /// How many, how long or how often: see the mode. Without it, the mode's own number.
    pub n: Option<u64>,
}

/// A way to behave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As it should.
    #[default]
    Ok,
    /// Each message says in `/msg/do` how to behave, and in `/msg/n` how much.
    Asked,

    /// `create` returns an error with a hint.
    ErrorCreate,
    /// `create` panics.
    PanicCreate,
    /// `create` declares names, topics, fields and tiers that cannot be.
    BadDeclaration,
    /// `destroy` panics.
    PanicDestroy,

    /// `process` returns an error.
    ErrorProcess,
    /// `process` panics.
    PanicProcess,
    /// `process` panics with a value that is no text, and whose destructor panics again.
    PanicBomb,
    /// `process` panics on every n-th message (3rd), counted over the life of the instance.
    PanicEvery,
    /// `process` returns an error on every n-th message (3rd).
    ErrorEvery,
    /// `process` takes n milliseconds (1000).
    StallMs,
    /// `process` ends the daemon. Nothing in one process can stop it.
    Abort,

    /// An update with two labels where the metric has one.
    WrongLabels,
    /// An update with 100 labels, more than any metric has.
    ManyLabels,
    /// An update of metric number n (100).
    UnknownMetric,
    /// A newest value for a count.
    WrongKind,
    /// A removal from a count.
    RemoveCount,
    /// An update with the handle n (100) of a label that was not declared.
    UnknownLabel,

    /// n updates (100,000) of one series.
    Flood,
    /// n series (100,000).
    ManySeries,
    /// A label of n bytes (1 MiB).
    HugeLabel,
    /// A newest value of n bytes (16 MiB).
    HugeValue,
    /// A newest value of n arrays inside each other (100,000).
    DeepValue,
    /// A newest value that is JSON and that many parsers refuse: `1e400`, half a character.
    OddValue,
    /// Labels with nothing in them, with control characters, with what separates keys elsewhere.
    OddLabels,
    /// Counts at both ends of time.
    FarTimes,
    /// Counts that do not fit together into 64 bits.
    Overflow,
    /// Observes NaN and both infinities.
    NotFinite,
    /// Observes the greatest, the least and the smallest number, whose sums do not fit anywhere.
    Extremes,
    /// n members (100,000) of one distinct.
    ManyMembers,
    /// A member of n bytes (1 MiB).
    HugeMember,
    /// n keys (100,000) of one top.
    ManyKeys,
    /// A key of n bytes (1 MiB).
    HugeKey,
    /// Weights that do not fit together into 64 bits.
    HugeWeights,
    /// Removes the newest value at the end of time, and sets it.
    FarRemoval,
}

impl Mode {
    /// The number of a mode that is given none.
    const fn default_n(self) -> u64 {
        match self {
            Self::PanicEvery | Self::ErrorEvery => 3,
            Self::StallMs => 1000,
            Self::UnknownMetric | Self::UnknownLabel => 100,
            Self::Flood | Self::ManySeries | Self::DeepValue | Self::ManyMembers | Self::ManyKeys => 100_000,
            Self::HugeLabel | Self::HugeMember | Self::HugeKey => 1 << 20,
            Self::HugeValue => 16 << 20,
            _ => 1,
        }
    }
}

/// The plugin `hostile`.
pub struct Hostile {
    config: Config,
    seen: Count,
    newest: Latest,
    sizes: Stat,
    members: Distinct,
    keys: Top,
    asked: Field,
    asked_n: Field,
    /// Exactly what a plugin must not have.
    calls: AtomicU64,
}

impl Plugin for Hostile {
    const ID: &'static str = "hostile";
    const SUMMARY: &'static str = "does what no plugin should";
    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        match config.mode {
            Mode::ErrorCreate => {
                return Err(PluginError::new("hostile: no").with_hint("do not load me"));
            }
            Mode::PanicCreate => panic!("hostile: panic in create"),
            Mode::BadDeclaration => {
                declare.topics(["a.*b"]);
                declare.field("no-slash");
                declare.count(Metric::new("Bad Name").by(["time", "x", "x"]));
                declare.newest(Metric::new("tiers").tiers("1m for 1s, 1s for 1m"), 0);
            }
            _ => {}
        }
        Ok(Self {
            seen: declare.count(Metric::new("seen").by(["topic"]).unit("messages").describe("Messages that it saw.")),
            newest: declare.latest(Metric::new("newest").by(["topic"]).describe("Whatever comes to its mind.")),
            sizes: declare.stat(Metric::new("sizes").by(["topic"]).describe("Numbers, and what is none.")),
            members: declare.distinct(Metric::new("members").by(["topic"]).describe("As many as can be.")),
            keys: declare.top(Metric::new("keys").by(["topic"]).describe("As heavy as can be."), 10),
            asked: declare.field("/msg/do"),
            asked_n: declare.field("/msg/n"),
            config,
            calls: AtomicU64::new(0),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.seen, [message.topic()], 1);
        let (mode, n) = match self.config.mode {
            Mode::Asked => {
                let mode = message.get(self.asked).to().unwrap_or_default();
                (mode, message.get(self.asked_n).to().unwrap_or_default())
            }
            mode => (mode, self.config.n),
        };
        self.behave(mode, n.unwrap_or(mode.default_n()), message.topic(), updates)
    }
}

impl Hostile {
    fn behave(&self, mode: Mode, n: u64, topic: &str, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let is_turn = call.is_multiple_of(n.max(1));
        match mode {
            Mode::Ok | Mode::Asked | Mode::PanicDestroy => {}
            Mode::ErrorCreate | Mode::PanicCreate | Mode::BadDeclaration => {
                unreachable!("it was never created")
            }

            Mode::ErrorProcess => {
                return Err(PluginError::new("hostile: error in process").with_hint("none"));
            }
            Mode::PanicProcess => panic!("hostile: panic in process"),
            Mode::PanicBomb => std::panic::panic_any(Bomb),
            Mode::PanicEvery if is_turn => panic!("hostile: panic on message {call}"),
            Mode::ErrorEvery if is_turn => {
                return Err(PluginError::new(format!("hostile: error on message {call}")));
            }
            Mode::PanicEvery | Mode::ErrorEvery => {}
            Mode::StallMs => thread::sleep(Duration::from_millis(n)),
            Mode::Abort => process::abort(),

            Mode::WrongLabels => updates.add(self.seen, [topic, "too many"], 1),
            Mode::ManyLabels => updates.add(self.seen, ["x"; 100], 1),
            Mode::UnknownMetric => updates.add(foreign_count(n), [topic], 1),
            Mode::WrongKind => updates.set(foreign_latest(0), [topic], &1)?,
            Mode::RemoveCount => updates.remove(foreign_latest(0), [topic]),
            Mode::UnknownLabel => updates.add(self.seen, [Label::interned(InternedLabel(n as u32))], 1),

            Mode::Flood => (0..n).for_each(|_| updates.add(self.seen, ["flood"], 1)),
            Mode::ManySeries => (0..n).for_each(|i| updates.add(self.seen, [&*format!("series {i}")], 1)),
            Mode::HugeLabel => updates.add(self.seen, [&*"x".repeat(n as usize)], 1),
            Mode::HugeValue => updates.set(self.newest, [topic], &"x".repeat(n as usize))?,
            Mode::DeepValue => {
                let depth = n as usize;
                let value = RawValue::from_string(format!("{}{}", "[".repeat(depth), "]".repeat(depth)))?;
                updates.set(self.newest, [topic], &value)?;
            }
            Mode::OddValue => {
                let value =
                    r#"{"big": 1e400, "half": "\ud83d", "digits": 123456789012345678901234567890, "a": 1, "a": 2}"#;
                updates.set(self.newest, [topic], &RawValue::from_string(value.to_owned())?)?;
            }
            Mode::OddLabels => {
                for label in ["", " ", "\0", "\n", "\u{1f}", "\"", "__other__", "*", "a/b", "a:b", "a,b", "\u{202e}ıİ"]
                {
                    updates.add(self.seen, [label], 1);
                }
            }
            Mode::FarTimes => {
                for micros in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                    updates.at(Timestamp::from_micros(micros)).add(self.seen, [topic], 1);
                }
            }
            Mode::Overflow => {
                for number in [i64::MAX, i64::MAX, i64::MIN, i64::MIN] {
                    updates.add(self.seen, ["overflow"], number);
                }
            }
            Mode::NotFinite => {
                for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    updates.observe(self.sizes, [topic], x);
                }
            }
            Mode::Extremes => {
                for x in [f64::MAX, f64::MAX, f64::MIN, f64::MIN, f64::MIN_POSITIVE / 4.0, -0.0] {
                    updates.observe(self.sizes, [topic], x);
                }
            }
            Mode::ManyMembers => (0..n).for_each(|i| updates.insert(self.members, [topic], &format!("member {i}"))),
            Mode::HugeMember => updates.insert(self.members, [topic], &"x".repeat(n as usize)),
            Mode::ManyKeys => (0..n).for_each(|i| updates.hit(self.keys, [topic], &format!("key {i}"), i + 1)),
            Mode::HugeKey => updates.hit(self.keys, [topic], &"x".repeat(n as usize), 1),
            Mode::HugeWeights => {
                for weight in [i64::MAX as u64, u64::MAX, u64::MAX] {
                    updates.hit(self.keys, [topic], "heavy", weight);
                }
            }
            Mode::FarRemoval => {
                updates.at(Timestamp::from_micros(i64::MAX)).remove(self.newest, [topic]);
                updates.set(self.newest, [topic], &"still here")?;
            }
        }
        Ok(())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if self.config.mode == Mode::PanicDestroy {
            panic!("hostile: panic in destroy");
        }
    }
}

/// Panics when it is dropped, on top of whatever is going on.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("hostile: panic in the destructor of a panic");
    }
}

/// The handle of metric number `n`, from a declaration that nobody sees.
fn foreign_count(n: u64) -> Count {
    let mut declare = Declare::default();
    let mut handle = declare.count("x");
    (0..n).for_each(|_| handle = declare.count("x"));
    handle
}

/// As [`foreign_count`].
fn foreign_latest(n: u64) -> Latest {
    let mut declare = Declare::default();
    let mut handle = declare.latest("x");
    (0..n).for_each(|_| handle = declare.latest("x"));
    handle
}

/// The plugin `neighbour`: messages by topic, and nothing else.
pub struct Neighbour {
    seen: Count,
}

impl Plugin for Neighbour {
    const ID: &'static str = "neighbour";
    const SUMMARY: &'static str = "messages by topic, next to a hostile plugin";
    type Config = ();

    fn declare((): (), declare: &mut Declare) -> Result<Self, PluginError> {
        let seen = Metric::new("seen").by(["topic"]).unit("messages").describe("Messages of each topic.");
        Ok(Self { seen: declare.count(seen) })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        updates.add(self.seen, [message.topic()], 1);
        Ok(())
    }
}
