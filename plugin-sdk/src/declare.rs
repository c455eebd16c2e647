//! Handles that a plugin gets for what it declares.

use crate::{
    descriptor::{Declaration, MetricDescriptor, Moved},
    error::PluginError,
    legacy::Legacy,
    metric::{Kind, Tiers},
    time::{Resolution, ResolutionError},
    topic::TopicPattern,
};

/// Handle of a `count` metric, for [`crate::Updates::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub(crate) u32);

/// Handle of a `stat` metric, for [`crate::Updates::observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat(pub(crate) u32);

/// Handle of a `distinct` metric, for [`crate::Updates::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distinct(pub(crate) u32);

/// Handle of a `dist` metric, for [`crate::Updates::observe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dist(pub(crate) u32);

/// Handle of a `top` metric, for [`crate::Updates::hit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top(pub(crate) u32);

/// Handle of a `latest` metric, for [`crate::Updates::set`] and [`crate::Updates::remove`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest(pub(crate) u32);

/// Handle of a field of the body, for [`crate::Message::get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field(pub(crate) u32);

/// Handle of a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InternedLabel(pub u32);

/// A metric about to be declared: its name, and what readers need to know about it.
#[derive(Clone, Debug)]
pub struct Metric {
    name: String,
    dimensions: Vec<String>,
    unit: String,
    description: String,
    tiers: Result<Tiers, crate::metric::TierError>,
    ttl: Option<Result<Resolution, ResolutionError>>,
    legacy: Option<Legacy>,
    moved: Option<Moved>,
}

impl Metric {
    /// A metric without dimensions, in default tiers. The name is the last part of its URL.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            dimensions: Vec::new(),
            unit: String::new(),
            description: String::new(),
            tiers: Ok(Tiers::default()),
            ttl: None,
            legacy: None,
            moved: None,
        }
    }

    /// Names of its labels; updates give their values in this order.
    #[must_use]
    pub fn by<const N: usize>(mut self, dimensions: [&str; N]) -> Self {
        self.dimensions = dimensions.map(str::to_owned).to_vec();
        self
    }

    /// What its values count, in plural: `messages`, `bytes`, `seconds`.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = unit.into();
        self
    }

    /// What it tells, for people.
    #[must_use]
    pub fn describe(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Its tiers, finest first, such as `1m for 7d, 1d forever`. A text that is none is an error
    /// when the plugin starts.
    #[must_use]
    pub fn tiers(mut self, tiers: &str) -> Self {
        self.tiers = tiers.parse();
        self
    }

    /// How long a latest value lives after its own time, a span such as `7d`. An error when the
    /// plugin starts if it cannot be read, and for a metric of another kind: how long buckets are
    /// kept is said by [`Metric::tiers`].
    #[must_use]
    pub fn expire_after(mut self, span: &str) -> Self {
        self.ttl = Some(span.parse());
        self
    }

    /// What it stands for in the API of the original statscache; without it, it is not there.
    #[must_use]
    pub fn legacy(mut self, legacy: Legacy) -> Self {
        self.legacy = Some(legacy);
        self
    }

    /// This label is a path such as `a/b/c`, and what lies at a path or below it goes where another metric
    /// of the plugin says: latest values with one label, the path, and values `{"to": "new/path"}` or
    /// `{"to": null}`. A value is shown where its path has gone since the value's time. For latest values
    /// only.
    #[must_use]
    pub fn moved_by(mut self, label: &str, metric: &str) -> Self {
        self.moved = Some(Moved { label: label.to_owned(), metric: metric.to_owned() });
        self
    }
}

impl From<&str> for Metric {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// Collects what a plugin declares.
#[derive(Debug, Default)]
pub struct Declare {
    declaration: Declaration,
    problems: Vec<String>,
}

impl Declare {
    /// Which messages it wants; without a call, all of them. See [`TopicPattern`].
    pub fn topics<'t>(&mut self, patterns: impl IntoIterator<Item = &'t str>) {
        for pattern in patterns {
            match pattern.parse::<TopicPattern>() {
                Ok(pattern) => self.declaration.topics.push(pattern),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
    }

    /// A field of the body that it reads, as a JSON pointer (RFC 6901): `/msg/build/id`. The
    /// daemon finds the fields of all plugins in one pass over the body.
    pub fn field(&mut self, pointer: &str) -> Field {
        let fields = &mut self.declaration.fields;
        let slot = fields.iter().position(|field| field == pointer).unwrap_or_else(|| {
            fields.push(pointer.to_owned());
            fields.len() - 1
        });
        Field(slot as u32)
    }

    /// A label value that recurs: the handle crosses the boundary faster than the text.
    pub fn label(&mut self, value: &str) -> InternedLabel {
        let labels = &mut self.declaration.interned_labels;
        labels.push(value.to_owned());
        InternedLabel(labels.len() as u32 - 1)
    }

    /// A whole number per time bucket.
    pub fn count(&mut self, metric: impl Into<Metric>) -> Count {
        Count(self.metric(metric.into(), Kind::Count))
    }

    /// Number, sum, least, greatest, mean and standard deviation of numbers per time bucket.
    pub fn stat(&mut self, metric: impl Into<Metric>) -> Stat {
        Stat(self.metric(metric.into(), Kind::Stat))
    }

    /// How many different texts there are per time bucket.
    pub fn distinct(&mut self, metric: impl Into<Metric>) -> Distinct {
        Distinct(self.metric(metric.into(), Kind::Distinct))
    }

    /// Percentiles of numbers per time bucket.
    pub fn dist(&mut self, metric: impl Into<Metric>) -> Dist {
        Dist(self.metric(metric.into(), Kind::Dist))
    }

    /// The `k` texts of greatest weight per time bucket, 1 to 1000.
    pub fn top(&mut self, metric: impl Into<Metric>, k: u32) -> Top {
        Top(self.metric(metric.into(), Kind::Top { k }))
    }

    /// The newest value per label set.
    pub fn latest(&mut self, metric: impl Into<Metric>) -> Latest {
        self.newest(metric, 1)
    }

    /// The newest `n` values per label set, 1 to 1000.
    pub fn newest(&mut self, metric: impl Into<Metric>, n: u32) -> Latest {
        Latest(self.metric(metric.into(), Kind::Latest { n, ttl: None }))
    }

    fn metric(&mut self, metric: Metric, mut kind: Kind) -> u32 {
        let tiers = metric.tiers.unwrap_or_else(|error| {
            self.problems.push(format!("metric `{}`: {error}", metric.name));
            Tiers::default()
        });
        match (metric.ttl, &mut kind) {
            (None, _) => {}
            (Some(Ok(span)), Kind::Latest { ttl, .. }) => *ttl = Some(span),
            (Some(Err(error)), Kind::Latest { .. }) => {
                self.problems.push(format!("metric `{}` expires after: {error}", metric.name));
            }
            (Some(_), kind) => self.problems.push(format!(
                "metric `{}` is a {}: only latest values expire, and buckets are kept as its tiers say",
                metric.name,
                kind.as_str()
            )),
        }
        self.declaration.metrics.push(MetricDescriptor {
            name: metric.name,
            kind,
            dimensions: metric.dimensions,
            unit: metric.unit,
            description: metric.description,
            tiers,
            legacy: metric.legacy,
            moved: metric.moved,
        });
        self.declaration.metrics.len() as u32 - 1
    }

    /// What was declared, or every problem with it in one error.
    pub(crate) fn finish(mut self) -> Result<Declaration, PluginError> {
        self.problems.extend(self.declaration.problems());
        if self.problems.is_empty() { Ok(self.declaration) } else { Err(PluginError::new(self.problems.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(declare: impl FnOnce(&mut Declare)) -> String {
        let mut declaration = Declare::default();
        declare(&mut declaration);
        declaration.finish().err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn handles_count_up_and_kinds_are_declared() {
        let mut declare = Declare::default();
        let handles = [
            declare.stat("a").0,
            declare.distinct("b").0,
            declare.dist("c").0,
            declare.top("d", 1000).0,
            declare.newest(Metric::new("e").expire_after("1w"), 2).0,
        ];
        assert_eq!(handles, [0, 1, 2, 3, 4]);
        let kinds: Vec<Kind> = declare.finish().expect("sound").metrics.iter().map(|metric| metric.kind).collect();
        let latest = Kind::Latest { n: 2, ttl: Resolution::from_secs(7 * 86_400) };
        assert_eq!(kinds, [Kind::Stat, Kind::Distinct, Kind::Dist, Kind::Top { k: 1000 }, latest]);
    }

    #[test]
    fn only_latest_values_expire() {
        type Case = fn(&mut Declare);
        let cases: [(Case, &[&str]); 5] = [
            (|declare| _ = declare.latest(Metric::new("x").expire_after("7 days")), &["`x`", "`7 days` is not a span"]),
            (|declare| _ = declare.count(Metric::new("x").expire_after("7d")), &["`x` is a count", "tiers"]),
            (|declare| _ = declare.dist(Metric::new("x").expire_after("soon")), &["`x` is a dist"]),
            (|declare| _ = declare.top(Metric::new("x"), 0), &["`x`", "top 0", "1 to 1000"]),
            (|declare| _ = declare.top(Metric::new("x"), 1001), &["`x`", "top 1001", "1 to 1000"]),
        ];
        for (declare, words) in cases {
            let problems = problems(declare);
            assert!(words.iter().all(|word| problems.contains(word)), "{words:?}: {problems}");
        }
    }

    #[test]
    fn latest_values_are_moved_by_others_with_one_label() {
        type Case = fn(&mut Declare);
        let cases: [(Case, &str); 6] = [
            (|declare| _ = declare.latest(Metric::new("x").by(["a"]).moved_by("a", "gone")), "no metric `gone`"),
            (|declare| _ = declare.latest(Metric::new("x").by(["a"]).moved_by("b", "moves")), "`b` is none of its"),
            (|declare| _ = declare.count(Metric::new("x").by(["a"]).moved_by("a", "moves")), "only latest values"),
            (|declare| _ = declare.latest(Metric::new("x").by(["a"]).moved_by("a", "x")), "does not move itself"),
            (|declare| _ = declare.latest(Metric::new("x").by(["a"]).moved_by("a", "two")), "with one label"),
            (|declare| _ = declare.latest(Metric::new("x").by(["a"]).moved_by("a", "n")), "must be latest"),
        ];
        let others = |declare: &mut Declare| {
            declare.newest(Metric::new("moves").by(["path"]), 16);
            declare.latest(Metric::new("two").by(["path", "user"]));
            declare.count(Metric::new("n").by(["path"]));
        };
        for (declare, words) in cases {
            let problems = problems(|all| {
                others(all);
                declare(all);
            });
            assert!(problems.contains(words) && problems.contains("metric `x` is moved"), "{words}: {problems}");
        }
        let sound = problems(|all| {
            all.latest(Metric::new("x").by(["a", "b"]).moved_by("b", "moves"));
            others(all);
        });
        assert_eq!(sound, "");
    }
}
