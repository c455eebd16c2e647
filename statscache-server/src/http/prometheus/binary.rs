//! Operators between numbers, between series and numbers, and between series that match.

use std::collections::{BTreeMap, HashMap};

use promql_parser::parser::{
    BinaryExpr, LabelModifier, VectorMatchCardinality,
    token::{
        T_ADD, T_ATAN2, T_DIV, T_EQLC, T_GTE, T_GTR, T_LAND, T_LOR, T_LSS, T_LTE, T_MOD, T_MUL, T_NEQ, T_POW, T_SUB,
        TokenId,
    },
};

use super::{
    answer::ApiError,
    eval::unsupported,
    value::{LabelSet, Series, Value, told_apart},
};

/// What to do, and which labels match.
struct Operator<'e> {
    op: TokenId,
    is_comparison: bool,
    /// A comparison gives 0 or 1 instead of choosing.
    is_bool: bool,
    matching: Option<&'e LabelModifier>,
}

/// An operator on both sides.
pub(super) fn eval(expr: &BinaryExpr, left: Value, right: Value) -> Result<Value, ApiError> {
    let operator = Operator {
        op: expr.op.id(),
        is_comparison: expr.op.is_comparison_operator(),
        is_bool: expr.return_bool(),
        matching: expr.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref()),
    };
    let modifier = expr.modifier.as_ref();
    if modifier.is_some_and(|modifier| modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some()) {
        return Err(unsupported("fill"));
    }
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let pairs = left.into_iter().zip(right);
            Ok(Value::Scalar(pairs.map(|(a, b)| operator.number(a, b)).collect()))
        }
        (Value::Vector(series), Value::Scalar(numbers)) => operator.with_numbers(series, &numbers, false),
        (Value::Scalar(numbers), Value::Vector(series)) => operator.with_numbers(series, &numbers, true),
        (Value::Vector(left), Value::Vector(right)) => match modifier.map(|modifier| &modifier.card) {
            Some(VectorMatchCardinality::ManyToMany) => Ok(Value::Vector(operator.set(left, &right))),
            None | Some(VectorMatchCardinality::OneToOne) => operator.one_to_one(left, right),
            Some(_) => Err(unsupported("group_left and group_right")),
        },
        _ => Err(ApiError::bad_data("a text is no operand")),
    }
}

/// With the other sign.
pub(super) fn negated(value: Value) -> Result<Value, ApiError> {
    let minus = Operator { op: T_MUL, is_comparison: false, is_bool: false, matching: None };
    match value {
        Value::Scalar(numbers) => Ok(Value::Scalar(numbers.into_iter().map(|number| -number).collect())),
        Value::Vector(series) => {
            let steps = series.first().map_or(0, |series| series.samples.len());
            minus.with_numbers(series, &vec![-1.0; steps], false)
        }
        Value::Text(_) => Err(ApiError::bad_data("a text is no operand")),
    }
}

impl Operator<'_> {
    fn compare(&self, a: f64, b: f64) -> bool {
        match self.op {
            T_EQLC => a == b,
            T_NEQ => a != b,
            T_GTR => a > b,
            T_LSS => a < b,
            T_GTE => a >= b,
            T_LTE => a <= b,
            _ => false,
        }
    }

    /// A number of two; of a comparison 0 or 1.
    fn number(&self, a: f64, b: f64) -> f64 {
        match self.op {
            T_ADD => a + b,
            T_SUB => a - b,
            T_MUL => a * b,
            T_DIV => a / b,
            T_MOD => a % b,
            T_POW => a.powf(b),
            T_ATAN2 => a.atan2(b),
            _ => f64::from(u8::from(self.compare(a, b))),
        }
    }

    /// A sample of two; a comparison that chooses gives `chosen` or nothing.
    fn sample(&self, a: f64, b: f64, chosen: f64) -> Option<f64> {
        match self.is_comparison && !self.is_bool {
            true => self.compare(a, b).then_some(chosen),
            false => Some(self.number(a, b)),
        }
    }

    /// Whether what comes out is something else than what went in.
    fn renames(&self) -> bool {
        !self.is_comparison || self.is_bool
    }

    fn with_numbers(&self, mut all: Vec<Series>, numbers: &[f64], is_left: bool) -> Result<Value, ApiError> {
        for series in &mut all {
            if self.renames() {
                series.labels = series.labels.without_name();
            }
            for (sample, number) in series.samples.iter_mut().zip(numbers) {
                *sample = sample.and_then(|value| match is_left {
                    true => self.sample(*number, value, value),
                    false => self.sample(value, *number, value),
                });
            }
        }
        Ok(Value::Vector(told_apart(all)?))
    }

    /// The labels that match.
    fn signature(&self, labels: &LabelSet) -> LabelSet {
        match self.matching {
            None => labels.without_name(),
            Some(LabelModifier::Include(names)) => labels.kept(&names.labels, true),
            Some(LabelModifier::Exclude(names)) => labels.kept(&names.labels, false).without_name(),
        }
    }

    fn one_to_one(&self, left: Vec<Series>, right: Vec<Series>) -> Result<Value, ApiError> {
        if left.is_empty() || right.is_empty() {
            return Ok(Value::Vector(Vec::new()));
        }
        let right = self.by_signature(right)?;
        // Those that nothing matches may be alike.
        let left = left.into_iter().filter(|series| right.contains_key(&self.signature(&series.labels))).collect();
        let mut all = Vec::new();
        for (signature, one) in self.by_signature(left)? {
            let Some(other) = right.get(&signature) else { continue };
            let pairs = one.samples.iter().zip(&other.samples);
            let samples = pairs.map(|(a, b)| (*a).zip(*b).and_then(|(a, b)| self.sample(a, b, a))).collect();
            let has_name = !self.renames() && !matches!(self.matching, Some(LabelModifier::Include(_)));
            let mut labels = signature;
            if has_name {
                labels.set(&super::matchers::NAME.into(), one.labels.get(super::matchers::NAME).into());
            }
            all.push(Series { labels, samples });
        }
        Ok(Value::Vector(told_apart(all)?))
    }

    /// One series for each set of labels that match; two may share one if they never have a sample together.
    fn by_signature(&self, all: Vec<Series>) -> Result<BTreeMap<LabelSet, Series>, ApiError> {
        let mut found: BTreeMap<LabelSet, Series> = BTreeMap::new();
        for series in all {
            let signature = self.signature(&series.labels);
            let Some(known) = found.get_mut(&signature) else {
                found.insert(signature, series);
                continue;
            };
            for (into, sample) in known.samples.iter_mut().zip(series.samples) {
                if into.is_some() && sample.is_some() {
                    let text = "found duplicate series for the match group on one side of the operation; \
                                many-to-many matching not allowed: matching labels must be unique on both sides";
                    return Err(ApiError::execution(text));
                }
                *into = into.or(sample);
            }
        }
        Ok(found)
    }

    /// `and`, `or`, `unless`, step by step.
    fn set(&self, left: Vec<Series>, right: &[Series]) -> Vec<Series> {
        let (stays, other): (Vec<Series>, &[Series]) = (left, right);
        let there = |all: &[Series]| {
            let mut there: HashMap<LabelSet, Vec<bool>> = HashMap::new();
            for series in all {
                let steps =
                    there.entry(self.signature(&series.labels)).or_insert_with(|| vec![false; series.samples.len()]);
                steps.iter_mut().zip(&series.samples).for_each(|(is_there, sample)| *is_there |= sample.is_some());
            }
            there
        };
        let only = |all: Vec<Series>, in_other: &HashMap<LabelSet, Vec<bool>>, wanted: bool| {
            let mut all = all;
            for series in &mut all {
                let steps = in_other.get(&self.signature(&series.labels));
                for (step, sample) in series.samples.iter_mut().enumerate() {
                    *sample = sample.filter(|_| steps.is_some_and(|steps| steps[step]) == wanted);
                }
            }
            all.retain(|series| series.samples.iter().any(Option::is_some));
            all
        };
        match self.op {
            T_LAND => only(stays, &there(other), true),
            T_LOR => {
                let added = only(other.to_vec(), &there(&stays), false);
                joined(stays, added)
            }
            _ => only(stays, &there(other), false),
        }
    }
}

/// Both; a label set that is in both, at different steps, is one series.
fn joined(mut all: Vec<Series>, added: Vec<Series>) -> Vec<Series> {
    let places: HashMap<LabelSet, usize> =
        all.iter().enumerate().map(|(place, series)| (series.labels.clone(), place)).collect();
    for new in added {
        match places.get(&new.labels) {
            Some(place) => {
                all[*place].samples.iter_mut().zip(new.samples).for_each(|(into, sample)| *into = into.or(sample));
            }
            None => all.push(new),
        }
    }
    all
}
