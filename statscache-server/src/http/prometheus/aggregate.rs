//! Aggregations: many series become one for each group, or the greatest of each group stay.

use std::collections::BTreeMap;

use promql_parser::parser::{
    AggregateExpr, Expr, LabelModifier,
    token::{T_AVG, T_BOTTOMK, T_COUNT, T_GROUP, T_MAX, T_MIN, T_SUM, T_TOPK, TokenId},
};

use super::{
    eval::{Evaluator, unsupported},
    fetch::Keep,
    functions::sort,
    source::Failure,
    value::{LabelSet, Series, Value},
    window::Over,
};

impl Evaluator<'_> {
    /// An aggregation. A sum tells what it sums up which labels matter, so that the core can add up.
    pub(super) fn aggregate(&mut self, aggregate: &AggregateExpr) -> Result<Value, Failure> {
        let op = aggregate.op.id();
        let keep = (op == T_SUM && adds_up(&aggregate.expr)).then(|| keep(aggregate.modifier.as_ref()));
        let series = self.eval(&aggregate.expr, keep.as_ref())?.vector()?;
        let mut groups: BTreeMap<LabelSet, Vec<Series>> = BTreeMap::new();
        for series in series {
            groups.entry(group_of(&series.labels, aggregate.modifier.as_ref())).or_default().push(series);
        }
        match (op, &aggregate.param) {
            (T_TOPK | T_BOTTOMK, Some(param)) => {
                let wanted = self.eval(param, None)?.scalar()?;
                let mut all: Vec<Series> =
                    groups.into_values().flat_map(|group| greatest(group, &wanted, op == T_TOPK)).collect();
                if self.steps.is_instant {
                    sort(&mut all, op == T_TOPK);
                }
                Ok(Value::Vector(all))
            }
            (T_SUM | T_AVG | T_MIN | T_MAX | T_COUNT | T_GROUP, _) => {
                let count = self.steps.count;
                let one =
                    |(labels, group): (LabelSet, Vec<Series>)| Series { labels, samples: merged(op, &group, count) };
                Ok(Value::Vector(groups.into_iter().map(one).collect()))
            }
            _ => Err(unsupported(&aggregate.op.to_string()).into()),
        }
    }
}

/// Whether adding up before or after is the same.
fn adds_up(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => adds_up(&inner.expr),
        Expr::VectorSelector(_) => true,
        Expr::Call(call) => Over::named(call.func.name).is_some_and(Over::is_sum),
        _ => false,
    }
}

fn keep(modifier: Option<&LabelModifier>) -> Keep {
    match modifier {
        None => Keep::Only(Vec::new()),
        Some(LabelModifier::Include(names)) => Keep::Only(names.labels.clone()),
        Some(LabelModifier::Exclude(names)) => Keep::Except(names.labels.clone()),
    }
}

fn group_of(labels: &LabelSet, modifier: Option<&LabelModifier>) -> LabelSet {
    match modifier {
        None => LabelSet::default(),
        Some(LabelModifier::Include(names)) => labels.kept(&names.labels, true),
        Some(LabelModifier::Exclude(names)) => labels.kept(&names.labels, false).without_name(),
    }
}

/// One sample for each step at which the group has some.
fn merged(op: TokenId, group: &[Series], count: usize) -> Vec<Option<f64>> {
    let at = |step: usize| {
        let mut there = group.iter().filter_map(|series| series.samples[step]).peekable();
        there.peek()?;
        Some(match op {
            T_SUM => there.sum(),
            T_AVG => {
                let (sum, count) = there.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
                sum / count
            }
            T_MIN => there.fold(f64::NAN, f64::min),
            T_MAX => there.fold(f64::NAN, f64::max),
            T_COUNT => there.count() as f64,
            _ => 1.0,
        })
    };
    (0..count).map(at).collect()
}

/// Of each step the `wanted` greatest or least samples; not a number is the last of all.
fn greatest(mut group: Vec<Series>, wanted: &[f64], is_top: bool) -> Vec<Series> {
    for (step, wanted) in wanted.iter().enumerate() {
        let value = |at: usize| group[at].samples[step];
        let mut there: Vec<usize> = (0..group.len()).filter(|at| value(*at).is_some()).collect();
        let rank = |at: &usize| value(*at).filter(|value| !value.is_nan());
        there.sort_by(|a, b| match (rank(a), rank(b)) {
            (Some(a), Some(b)) if is_top => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        // Not a number wants none, and neither does less than one.
        for at in there.split_off((*wanted as usize).min(there.len())) {
            group[at].samples[step] = None;
        }
    }
    group.retain(|series| series.samples.iter().any(Option::is_some));
    group
}
