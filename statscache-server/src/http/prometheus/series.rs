//! What there is: series, labels, values of labels, types. The range of time that is asked for is passed over: what a
//! metric has at all is told, which its keys of `top` metrics are not; those are the keys of the last hour.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, State};
use promql_parser::parser::Expr;
use serde::Serialize;
use statscache_core::query::QUANTILES;
use statscache_plugin_sdk::Resolution;

use super::{
    super::AppState,
    answer::{ApiError, Success},
    families::{self, Family, Part},
    fetch, guard,
    matchers::{NAME, Selector, is_label},
    params::Form,
    query::metric,
    source::{self, Failure, Source},
    value::LabelSet,
};

/// Series that are looked at and told.
const SERIES_MAX: usize = 100_000;

/// `/series`
pub(super) async fn series(
    State(state): State<AppState>,
    form: Form,
) -> Result<Success<Vec<BTreeMap<String, String>>>, ApiError> {
    if form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = form.limit()?;
    source::work(state, move |source| {
        let mut found = BTreeSet::new();
        matched(source, &form, |labels| {
            found.insert(labels);
        })?;
        Ok(limited(found.into_iter().map(|labels| metric(&labels)), limit))
    })
    .await
}

/// `/labels`
pub(super) async fn labels(State(state): State<AppState>, form: Form) -> Result<Success<Vec<String>>, ApiError> {
    let limit = form.limit()?;
    source::work(state, move |source| {
        let mut names = BTreeSet::new();
        if form.all("match[]").next().is_some() {
            matched(source, &form, |labels| names.extend(labels.iter().map(|(name, _)| name.to_string())))?;
        } else {
            // Without a selector the declarations tell.
            names.insert(NAME.to_owned());
            for family in source.families() {
                names.extend(family.labels.iter().map(|name| name.to_string()));
                names.extend(family.part.label().map(str::to_owned));
            }
        }
        Ok(limited(names.into_iter(), limit))
    })
    .await
}

/// `/label/{name}/values`
pub(super) async fn label_values(
    State(state): State<AppState>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Success<Vec<String>>, ApiError> {
    let limit = form.limit()?;
    if !is_label(&name) {
        return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
    }
    source::work(state, move |source| {
        let mut values = BTreeSet::new();
        if name == NAME && form.all("match[]").next().is_none() {
            values.extend(source.families().map(|family| family.name.to_string()));
        } else {
            matched(source, &form, |labels| {
                values.extend(Some(labels.get(&name)).filter(|value| !value.is_empty()).map(str::to_owned));
            })?;
        }
        Ok(limited(values.into_iter(), limit))
    })
    .await
}

/// What a name is.
#[derive(Serialize)]
pub(super) struct Metadata {
    r#type: &'static str,
    help: String,
    unit: String,
}

/// `/metadata`
pub(super) async fn metadata(
    State(state): State<AppState>,
    form: Form,
) -> Result<Success<BTreeMap<String, [Metadata; 1]>>, ApiError> {
    let limit = form.limit()?;
    source::work(state, move |source| {
        let wanted = form.get("metric").filter(|name| !name.is_empty());
        let families = source.families().filter(|family| wanted.is_none_or(|name| name == &*family.name));
        let told = families.take(limit).map(|family| {
            let descriptor = &family.metric.descriptor;
            let (r#type, help) = (family.part.type_name(), descriptor.description.clone());
            (family.name.to_string(), [Metadata { r#type, help, unit: descriptor.unit.clone() }])
        });
        Ok(Success::new(told.collect()))
    })
    .await
}

/// The first of them, and a warning if there are more.
fn limited<T: Serialize>(mut all: impl Iterator<Item = T>, limit: usize) -> Success<Vec<T>> {
    let first: Vec<T> = all.by_ref().take(limit).collect();
    let warnings = all.next().map(|_| "results truncated due to limit".to_owned());
    Success::with(first, warnings.into_iter().collect(), Vec::new())
}

/// Visits the series that one of the selectors means; without any, all.
fn matched(source: &Source, form: &Form, mut visit: impl FnMut(LabelSet)) -> Result<(), Failure> {
    let mut count = 0;
    let mut visit = |labels| {
        count += 1;
        visit(labels);
        match count {
            SERIES_MAX.. => Err(ApiError::execution(format!(
                "there are more than {SERIES_MAX} such series; add matchers, as in match[]=volume_by_category"
            ))),
            _ => Ok(()),
        }
    };
    let mut selectors = Vec::new();
    let texts: Vec<&str> = form.all("match[]").collect();
    for (expr, text) in guard::parse_all("match[]", &texts)?.into_iter().zip(texts) {
        match expr {
            Expr::VectorSelector(selector) => selectors.push(Selector::new(&selector)?),
            _ => return Err(ApiError::parameter("match[]", format!("`{text}` is no selector")).into()),
        }
    }
    for selector in &selectors {
        for family in source.selected(selector)? {
            series_of(source, family, selector, &mut visit)?;
        }
    }
    if selectors.is_empty() {
        let any = Selector::any();
        for family in source.families() {
            series_of(source, family, &any, &mut visit)?;
        }
    }
    Ok(())
}

/// Visits the series of one name.
fn series_of(
    source: &Source,
    family: &Family,
    selector: &Selector,
    visit: &mut impl FnMut(LabelSet) -> Result<(), ApiError>,
) -> Result<(), Failure> {
    match family.part {
        Part::Newest => {
            let groups = fetch::newest(source, family, selector)?;
            groups.into_iter().flat_map(|group| group.series).try_for_each(|(_, labels)| visit(labels))?;
        }
        Part::Keys => {
            let (width, end) = (families::hourly(&family.metric.descriptor.tiers), source.as_of());
            let since = end - Resolution::HOUR.micros();
            let buckets = fetch::buckets(source, family, selector, (since, end), width, None)?;
            buckets.into_iter().flat_map(|found| found.series).try_for_each(|series| visit(series.labels))?;
        }
        _ => declared(family, selector, visit)?,
    }
    Ok(())
}

/// Those that the label sets of the metric make, without a look at any value.
fn declared(
    family: &Family,
    selector: &Selector,
    visit: &mut impl FnMut(LabelSet) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let dimensions: Vec<usize> = (0..family.labels.len()).collect();
    let quantiles: Vec<String> = match family.part {
        Part::Quantiles => QUANTILES.iter().map(f64::to_string).collect(),
        _ => Vec::new(),
    };
    for chunk in &family.metric.series {
        for set in chunk.iter(dimensions.len()) {
            let set: Vec<Box<str>> = set.map_err(|_| ApiError::internal())?.into_iter().map(Box::from).collect();
            let mut found = |extra| match fetch::wanted(family, selector, &dimensions, (&set, extra)) {
                Some(labels) => visit(labels),
                None => Ok(()),
            };
            if quantiles.is_empty() {
                found(None)?;
            }
            quantiles.iter().try_for_each(|quantile| found(Some(quantile.as_str())))?;
        }
    }
    Ok(())
}
