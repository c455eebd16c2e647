//! Works out expressions: each of their parts once for all steps.

use std::{collections::BTreeSet, time::SystemTime};

use promql_parser::parser::{AtModifier, Expr, MatrixSelector, Offset, VectorSelector};
use statscache_plugin_sdk::Kind;

use super::{
    answer::{ApiError, Sample},
    binary,
    families::{Family, Part},
    fetch::{self, Keep, Newest},
    matchers::Selector,
    source::{Failure, Source},
    value::{LabelSet, SAMPLES_MAX, Series, Value, check_samples, told_apart},
    window::{self, Moments, Over, Plan, Steps},
};

/// Samples of all selectors together.
const QUESTION_SAMPLES_MAX: usize = 32 * SAMPLES_MAX;
/// What the labels of a series take, in samples.
const SERIES_WEIGHT: usize = 24;
/// Bytes of a label that a function makes, and of all of them.
const LABEL_BYTES_MAX: usize = 8 << 10;
const LABELS_BYTES_MAX: usize = 64 << 20;

/// Series as they are stored: moments and values.
pub(super) type Matrix = Vec<(LabelSet, Vec<Sample>)>;

/// One question to one view.
pub(super) struct Evaluator<'s> {
    pub(super) source: &'s Source,
    pub(super) steps: Steps,
    /// What else there is to know.
    pub(super) infos: BTreeSet<String>,
    /// What was made for this question so far: samples, bytes of labels.
    pub(super) made: (usize, usize),
}

impl Evaluator<'_> {
    /// What an expression is; `keep`: the labels of it that matter, where it adds up.
    pub(super) fn eval(&mut self, expr: &Expr, keep: Option<&Keep>) -> Result<Value, Failure> {
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(vec![number.val; self.steps.count])),
            Expr::StringLiteral(text) => Ok(Value::Text(text.val.clone())),
            Expr::Paren(inner) => self.eval(&inner.expr, keep),
            Expr::Unary(inner) => Ok(binary::negated(self.eval(&inner.expr, None)?)?),
            Expr::VectorSelector(selector) => self.bare(selector, keep),
            Expr::Call(call) => self.call(call, keep),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(pair) => {
                let (left, right) = (self.eval(&pair.lhs, None)?, self.eval(&pair.rhs, None)?);
                Ok(binary::eval(pair, left, right)?)
            }
            Expr::MatrixSelector(_) => {
                Err(ApiError::bad_data("a range of time is for functions: increase(x[5m]), max_over_time(x[1h])")
                    .into())
            }
            Expr::Subquery(_) => Err(unsupported("a subquery").into()),
            Expr::Extension(_) => Err(unsupported("this expression").into()),
        }
    }

    /// The moments at which a selector is looked at.
    fn moments(&self, selector: &VectorSelector) -> Option<Moments> {
        let fixed = selector.at.as_ref().map(|at| match at {
            AtModifier::Start => self.steps.start,
            AtModifier::End => self.steps.end(),
            AtModifier::At(time) => micros_of(*time),
        });
        let offset = selector.offset.as_ref().map_or(0, |offset| match offset {
            Offset::Pos(back) => micros(*back),
            Offset::Neg(ahead) => -micros(*ahead),
        });
        Moments::new(self.steps, fixed, offset, self.source.as_of())
    }

    fn bare(&mut self, selector: &VectorSelector, keep: Option<&Keep>) -> Result<Value, Failure> {
        let (source, wanted) = (self.source, Selector::new(selector)?);
        let families = source.selected(&wanted)?;
        let Some(moments) = self.moments(selector) else { return Ok(Value::Vector(Vec::new())) };
        let mut all = Vec::new();
        for family in families {
            let (descriptor, horizon) = (&family.metric.descriptor, source.horizon());
            if let Kind::Latest { ttl, .. } = descriptor.kind {
                for group in fetch::newest(source, family, &wanted)? {
                    self.make_room(all.len() + group.series.len())?;
                    all.extend(newest(group, &moments, ttl.map(|ttl| ttl.micros())));
                }
                continue;
            }
            let plan = Plan::bare(&moments, &descriptor.tiers, wanted.step, horizon);
            if self.steps.step != plan.width.micros() && !self.steps.is_instant && wanted.step.is_none() {
                self.infos.insert(format!("`{}` is told in buckets of {}", family.name, plan.width));
            }
            let Some(buckets) = fetch::buckets(source, family, &wanted, plan.range, plan.width, keep)? else {
                continue;
            };
            self.make_room(all.len() + buckets.series.len())?;
            all.extend(buckets.series.iter().map(|series| Series {
                labels: series.labels.clone(),
                samples: window::newest(&buckets, series, &moments),
            }));
        }
        self.keep_room(all.len())?;
        all.sort_by(|a: &Series, b| a.labels.cmp(&b.labels));
        Ok(Value::Vector(told_apart(all)?))
    }

    /// A function of the buckets of a window.
    pub(super) fn over(
        &mut self,
        function: (&str, Over),
        selector: &MatrixSelector,
        keep: Option<&Keep>,
    ) -> Result<Value, Failure> {
        let (source, wanted) = (self.source, Selector::new(&selector.vs)?);
        let families = source.selected(&wanted)?;
        let moments = self.moments(&selector.vs);
        let (name, over) = function;
        let mut all = Vec::new();
        for family in families {
            let descriptor = &family.metric.descriptor;
            if !is_for(over, family) {
                return Err(window::not_for(&family.name, name, descriptor.kind).into());
            }
            let Some(moments) = &moments else { continue };
            let length = (micros(selector.range), over.is_sum());
            let plan = Plan::over(moments, &descriptor.tiers, wanted.step, length, source.horizon());
            if plan.length() != length.0 {
                let (asked, width) = (selector.range.as_secs_f64(), plan.width);
                let told = plan.length() / 1_000_000;
                self.infos.insert(format!(
                    "{name}() of `{}`: over {told} s instead of {asked} s, in buckets of {width}",
                    family.name
                ));
            }
            let keep = keep.filter(|_| over.is_sum());
            let Some(buckets) = fetch::buckets(source, family, &wanted, plan.range, plan.width, keep)? else {
                continue;
            };
            self.make_room(all.len() + buckets.series.len())?;
            window::check_visits(&buckets, moments, over, plan.window)?;
            all.extend(buckets.series.iter().map(|series| Series {
                labels: if over == Over::Last { series.labels.clone() } else { series.labels.without_name() },
                samples: window::over(&buckets, series, moments, (over, plan.window)),
            }));
        }
        self.keep_room(all.len())?;
        all.sort_by(|a: &Series, b| a.labels.cmp(&b.labels));
        Ok(Value::Vector(told_apart(all)?))
    }

    /// The buckets of a range as they are, each at its end.
    pub(super) fn matrix(&mut self, selector: &MatrixSelector) -> Result<Matrix, Failure> {
        let (source, wanted) = (self.source, Selector::new(&selector.vs)?);
        let families = source.selected(&wanted)?;
        let Some(moments) = self.moments(&selector.vs) else { return Ok(Matrix::new()) };
        let (mut all, mut count) = (Matrix::new(), 0);
        for family in families {
            let descriptor = &family.metric.descriptor;
            if !descriptor.kind.is_bucketed() {
                return Err(window::not_for(&family.name, "a range", descriptor.kind).into());
            }
            let length = (micros(selector.range), false);
            let plan = Plan::over(&moments, &descriptor.tiers, wanted.step, length, source.horizon());
            let Some(buckets) = fetch::buckets(source, family, &wanted, plan.range, plan.width, None)? else {
                continue;
            };
            for series in &buckets.series {
                check_samples(1, count + buckets.len())?;
                let value = |at| buckets.value(series, at).map(|value| (at as i64 + 1, value));
                let samples = (0..buckets.len()).filter_map(value);
                let samples: Vec<Sample> =
                    samples.map(|(ends, value)| Sample(buckets.start + ends * buckets.width, value)).collect();
                count += samples.len();
                all.push((series.labels.clone(), samples));
            }
        }
        Ok(all)
    }

    /// Refuses a question whose selectors together have more than the memory should hold: an operator keeps its left
    /// side while the right one is worked out.
    fn keep_room(&mut self, series: usize) -> Result<(), ApiError> {
        let more = series.saturating_mul(self.steps.count.saturating_add(SERIES_WEIGHT));
        self.made.0 = self.made.0.saturating_add(more);
        match self.made.0 {
            0..=QUESTION_SAMPLES_MAX => Ok(()),
            _ => Err(ApiError::execution(format!(
                "the selectors have more than {QUESTION_SAMPLES_MAX} samples together, of which each series counts for \
                 {SERIES_WEIGHT} more; ask with fewer selectors, add matchers, or ask for a shorter range or a greater step"
            ))),
        }
    }

    /// Refuses labels, made of others, that are longer than the memory should hold.
    pub(super) fn make_room_for_label(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.made.1 = self.made.1.saturating_add(bytes);
        if bytes > LABEL_BYTES_MAX || self.made.1 > LABELS_BYTES_MAX {
            return Err(ApiError::execution(format!(
                "label_replace() may make labels of {LABEL_BYTES_MAX} bytes at most, and {LABELS_BYTES_MAX} bytes of them"
            )));
        }
        Ok(())
    }

    /// Refuses more series than the steps leave room for.
    fn make_room(&self, series: usize) -> Result<(), ApiError> {
        check_samples(series, self.steps.count.min(SAMPLES_MAX))
    }
}

/// Whether a function of windows means something for it.
fn is_for(over: Over, family: &Family) -> bool {
    match family.part {
        Part::Newest => false,
        part => part.adds_up() || !over.is_sum(),
    }
}

/// The newest value at each moment, from its time on until it expires.
fn newest(group: Newest, moments: &Moments, ttl: Option<i64>) -> Vec<Series> {
    let Newest { mut values, series } = group;
    values.sort_by_key(|(time, _)| *time);
    let at = |moment: i64| {
        let (time, numbers) = values[..values.partition_point(|(time, _)| *time <= moment)].last()?;
        let lives = ttl.is_none_or(|ttl| moment < time.saturating_add(ttl));
        lives.then_some(numbers)
    };
    let series = series.into_iter().map(|(field, labels)| {
        let number = |moment| at(moment)?.iter().find(|(name, _)| *name == field).map(|(_, number)| *number);
        Series { labels, samples: moments.at.iter().map(|moment| moment.and_then(number)).collect() }
    });
    series.collect()
}

fn micros(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn micros_of(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    }
}

/// What is not there, and what is.
pub(super) fn unsupported(what: &str) -> ApiError {
    ApiError::bad_data(format!(
        "{what} is not supported; there are selectors with = != =~ !~, offset and @; rate, increase, sum_over_time, \
         avg_over_time, min_over_time, max_over_time, count_over_time, last_over_time; sum, avg, min, max, count, group, \
         topk, bottomk with by and without; arithmetic, comparisons, and, or, unless with on and ignoring; abs, ceil, \
         floor, round, clamp, clamp_min, clamp_max, sqrt, exp, ln, log2, log10, sgn, sort, sort_desc, scalar, vector, \
         time, absent, label_replace"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_values_hold_until_they_expire_or_a_newer_one_comes() {
        let group = || {
            let named = |name: &str| {
                let mut labels = LabelSet::default();
                labels.set(&"field".into(), name.into());
                (Some(name.to_owned()), labels)
            };
            let number = |name: &str, number| (Some(name.to_owned()), number);
            // Oldest last; the newest does not have `b` any more.
            let values = vec![(9, vec![number("a", 3.0)]), (2, vec![number("a", 1.0), number("b", 2.0)])];
            Newest { values, series: vec![named("a"), named("b")] }
        };
        let steps = Steps { start: 0, step: 1, count: 14, is_instant: false };
        let moments = Moments::new(steps, None, 0, 100).expect("not ahead");
        for (ttl, a, b) in [(None, "__111111133333", "__2222222_____"), (Some(4), "__1111___3333_", "__2222________")] {
            let told: Vec<String> =
                newest(group(), &moments, ttl).iter().map(|series| shown(&series.samples)).collect();
            assert_eq!(told, [a, b], "{ttl:?}");
        }
    }

    fn shown(samples: &[Option<f64>]) -> String {
        samples.iter().map(|sample| sample.map_or("_".to_owned(), |value| value.to_string())).collect()
    }
}
