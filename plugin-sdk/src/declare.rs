//! Handles that a plugin gets for what it declares.

use crate::{
    descriptor::{Declaration, MetricDescriptor},
    error::PluginError,
    metric::{Kind, Tiers},
    topic::TopicPattern,
};

/// Handle of a `count` metric, for [`crate::Updates::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub(crate) u32);

/// Handle of a `latest` metric, for [`crate::Updates::set`].
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

    /// The newest value per label set.
    pub fn latest(&mut self, metric: impl Into<Metric>) -> Latest {
        self.newest(metric, 1)
    }

    /// The newest `n` values per label set, 1 to 1000.
    pub fn newest(&mut self, metric: impl Into<Metric>, n: u32) -> Latest {
        Latest(self.metric(metric.into(), Kind::Latest { n }))
    }

    fn metric(&mut self, metric: Metric, kind: Kind) -> u32 {
        let tiers = metric.tiers.unwrap_or_else(|error| {
            self.problems.push(format!("metric `{}`: {error}", metric.name));
            Tiers::default()
        });
        self.declaration.metrics.push(MetricDescriptor {
            name: metric.name,
            kind,
            dimensions: metric.dimensions,
            unit: metric.unit,
            description: metric.description,
            tiers,
        });
        self.declaration.metrics.len() as u32 - 1
    }

    /// What was declared, or every problem with it in one error.
    pub(crate) fn finish(mut self) -> Result<Declaration, PluginError> {
        self.problems.extend(self.declaration.problems());
        if self.problems.is_empty() { Ok(self.declaration) } else { Err(PluginError::new(self.problems.join("; "))) }
    }
}
