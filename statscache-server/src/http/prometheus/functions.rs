//! Functions.

use std::sync::Arc;

use promql_parser::{
    label::MatchOp,
    parser::{Call, Expr},
};
use regex::Regex;

use super::{
    answer::ApiError,
    eval::{Evaluator, unsupported},
    fetch::Keep,
    matchers::{NAME, is_label},
    source::Failure,
    value::{LabelSet, Series, Value, told_apart},
    window::Over,
};

/// Bytes that a compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Evaluator<'_> {
    /// A function and its arguments, whose number and types the parser has checked.
    pub(super) fn call(&mut self, call: &Call, keep: Option<&Keep>) -> Result<Value, Failure> {
        let (name, args) = (call.func.name, &call.args.args);
        if let Some(over) = Over::named(name) {
            return match args.first().map(|arg| unwrapped(arg)) {
                Some(Expr::MatrixSelector(selector)) => self.over((name, over), selector, keep),
                _ => Err(unsupported("a subquery").into()),
            };
        }
        match name {
            "time" => Ok(Value::Scalar(self.steps.all().map(|at| at as f64 / 1e6).collect())),
            "pi" => Ok(Value::Scalar(vec![std::f64::consts::PI; self.steps.count])),
            "vector" => {
                let samples = self.number(args, 0, 0.0)?.into_iter().map(Some).collect();
                Ok(Value::Vector(vec![Series { labels: LabelSet::default(), samples }]))
            }
            "scalar" => Ok(Value::Scalar(only(&self.series(args)?, self.steps.count))),
            "absent" => {
                let labels = args.first().map_or_else(LabelSet::default, |arg| equal_labels(unwrapped(arg)));
                Ok(Value::Vector(absent(&self.series(args)?, labels, self.steps.count)))
            }
            "sort" | "sort_desc" => {
                let mut series = self.series(args)?;
                sort(&mut series, name == "sort_desc");
                Ok(Value::Vector(series))
            }
            "label_replace" => self.label_replace(args),
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(name, args),
            "round" => {
                let to = self.number(args, 1, 1.0)?;
                self.each(args, |value, step| (value * to[step].recip() + 0.5).floor() / to[step].recip())
            }
            _ => {
                let of_one = simple(name).ok_or_else(|| unsupported(&format!("{name}()")))?;
                self.each(args, |value, _| of_one(value))
            }
        }
    }

    /// The first argument.
    fn series(&mut self, args: &[Box<Expr>]) -> Result<Vec<Series>, Failure> {
        let first = args.first().ok_or_else(|| ApiError::bad_data("an argument is missing"))?;
        Ok(self.eval(first, None)?.vector()?)
    }

    /// Another one, a number.
    fn number(&mut self, args: &[Box<Expr>], at: usize, default: f64) -> Result<Vec<f64>, Failure> {
        match args.get(at) {
            Some(arg) => Ok(self.eval(arg, None)?.scalar()?),
            None => Ok(vec![default; self.steps.count]),
        }
    }

    /// Each sample of the first argument, with the number of its step.
    fn each(&mut self, args: &[Box<Expr>], of_one: impl Fn(f64, usize) -> f64) -> Result<Value, Failure> {
        let mut series = self.series(args)?;
        for series in &mut series {
            series.labels = series.labels.without_name();
            for (step, sample) in series.samples.iter_mut().enumerate() {
                *sample = sample.map(|value| of_one(value, step));
            }
        }
        Ok(Value::Vector(told_apart(series)?))
    }

    fn clamp(&mut self, name: &str, args: &[Box<Expr>]) -> Result<Value, Failure> {
        let least =
            if name == "clamp_max" { vec![f64::NEG_INFINITY; self.steps.count] } else { self.number(args, 1, 0.0)? };
        let greatest = match name {
            "clamp_min" => vec![f64::INFINITY; self.steps.count],
            "clamp_max" => self.number(args, 1, 0.0)?,
            _ => self.number(args, 2, 0.0)?,
        };
        let clamped = self.each(args, |value, step| match value.is_nan() {
            true => value,
            false => value.min(greatest[step]).max(least[step]),
        })?;
        // Between bounds the wrong way round nothing lies.
        let mut series = clamped.vector()?;
        for series in &mut series {
            for (step, sample) in series.samples.iter_mut().enumerate() {
                *sample = sample.filter(|_| least[step] <= greatest[step]);
            }
        }
        Ok(Value::Vector(told_apart(series)?))
    }

    fn label_replace(&mut self, args: &[Box<Expr>]) -> Result<Value, Failure> {
        let mut series = self.series(args)?;
        let mut texts = Vec::new();
        for arg in args.iter().skip(1) {
            texts.push(self.eval(arg, None)?.text()?);
        }
        let [target, replacement, source, pattern] = &texts[..] else {
            return Err(ApiError::bad_data("label_replace(v, target, replacement, source, regex)").into());
        };
        if !is_label(target) {
            return Err(ApiError::execution(format!("invalid label name in label_replace(): {target}")).into());
        }
        let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
        let regex: Regex = regex
            .map_err(|_| ApiError::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        let target: Arc<str> = target.as_str().into();
        let references = replacement.matches('$').count();
        for series in &mut series {
            let text = series.labels.get(source);
            let longest = replacement.len().saturating_add(references.saturating_mul(text.len()));
            if let Some(found) = regex.captures(text) {
                self.make_room_for_label(longest)?;
                let mut value = String::new();
                found.expand(replacement, &mut value);
                series.labels.set(&target, value.into());
            }
        }
        Ok(Value::Vector(told_apart(series)?))
    }
}

/// Without parentheses.
fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(inner) => unwrapped(&inner.expr),
        other => other,
    }
}

/// Functions of one number.
fn simple(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "sqrt" => f64::sqrt,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
        _ => return None,
    })
}

/// The value of the only series that has one at each step, else NaN.
fn only(series: &[Series], count: usize) -> Vec<f64> {
    let at = |step: usize| {
        let mut there = series.iter().filter_map(|series| series.samples[step]);
        there.next().filter(|_| there.next().is_none()).unwrap_or(f64::NAN)
    };
    (0..count).map(at).collect()
}

/// The labels that a selector says its series to have.
fn equal_labels(expr: &Expr) -> LabelSet {
    let mut labels = LabelSet::default();
    let Expr::VectorSelector(selector) = expr else { return labels };
    let all = &selector.matchers.matchers;
    for matcher in all.iter().filter(|matcher| matcher.name != NAME && matches!(matcher.op, MatchOp::Equal)) {
        let is_only = all.iter().filter(|other| other.name == matcher.name).count() == 1;
        labels.set(&matcher.name.as_str().into(), if is_only { matcher.value.as_str().into() } else { "".into() });
    }
    labels
}

/// 1 at each step at which no series has a value.
fn absent(series: &[Series], labels: LabelSet, count: usize) -> Vec<Series> {
    let is_there = |step: usize| series.iter().any(|series| series.samples[step].is_some());
    let samples: Vec<Option<f64>> = (0..count).map(|step| (!is_there(step)).then_some(1.0)).collect();
    if samples.iter().any(Option::is_some) { vec![Series { labels, samples }] } else { Vec::new() }
}

/// By the value at the last step; what is none comes last.
pub(super) fn sort(series: &mut [Series], descending: bool) {
    let value = |series: &Series| series.samples.last().copied().flatten().filter(|value| !value.is_nan());
    series.sort_by(|a, b| match (value(a), value(b)) {
        (Some(a), Some(b)) if descending => b.total_cmp(&a),
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
}
