//! Where in a message a text is, and under which conditions it counts.

use std::borrow::Cow;

use statscache_plugin_sdk::Json;

use crate::scan::{Pointers, Slots, each};
use crate::text::Glob;

/// A pointer, cut at its first `*`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    slot: usize,
    elements: Option<Box<Elements>>,
}

/// What is read from each element of a list.
#[derive(Clone, Debug)]
struct Elements {
    fields: Pointers,
    value: Place,
    /// Conditions on the same element.
    conditions: Vec<Test>,
}

/// A condition.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) place: Place,
    pub(crate) demand: Demand,
}

/// What a condition asks of the value at its place.
#[derive(Clone, Debug)]
pub(crate) enum Demand {
    Is { globs: Vec<Glob>, or_missing: bool },
    Missing(bool),
}

/// A condition that was not built yet, with its pointer.
pub(crate) type Demanded = (String, Demand);

impl Place {
    /// Registers the pointer with the fields of its text. Conditions that share its way down to a `*` are checked there;
    /// those that do not remain in `conditions`.
    pub(crate) fn new(pointer: &str, fields: &mut Pointers, conditions: &mut Vec<Demanded>) -> Self {
        let Some((before, behind)) = cut_at_star(pointer) else {
            return Self { slot: fields.insert(pointer), elements: None };
        };
        let slot = fields.insert(before);
        let mut own: Vec<Demanded> = Vec::new();
        conditions.retain(|(at, demand)| match cut_at_star(at) {
            Some((same, rest)) if same == before => {
                own.push((rest.to_owned(), demand.clone()));
                false
            }
            _ => true,
        });
        let mut fields = Pointers::default();
        let value = Self::new(behind, &mut fields, &mut own);
        let conditions = own.into_iter().map(|demanded| Test::new(demanded, &mut fields)).collect();
        Self { slot, elements: Some(Box::new(Elements { fields, value, conditions })) }
    }

    /// Gives the JSON text of each value there to `give`.
    pub(crate) fn values<'m>(&self, slots: Slots<'_, 'm>, give: &mut dyn FnMut(&'m str)) {
        let Some(raw) = slots.get(self.slot).copied().flatten() else { return };
        match &self.elements {
            None => give(raw),
            Some(elements) => elements.values(raw, give),
        }
    }
}

impl Elements {
    fn values<'m>(&self, raw: &'m str, give: &mut dyn FnMut(&'m str)) {
        each(raw, &mut |_, element| {
            self.fields.find(element, |slots| {
                if self.conditions.iter().all(|condition| condition.holds(slots)) {
                    self.value.values(slots, give);
                }
            });
        });
    }
}

impl Test {
    pub(crate) fn new((pointer, demand): Demanded, fields: &mut Pointers) -> Self {
        Self { place: Place::new(&pointer, fields, &mut Vec::new()), demand }
    }

    /// Whether any value at the place is as it must be, or there is none and that is right.
    pub(crate) fn holds(&self, slots: Slots<'_, '_>) -> bool {
        let (mut is_there, mut fits) = (false, false);
        self.place.values(slots, &mut |raw| {
            is_there |= raw != "null";
            fits |= match &self.demand {
                Demand::Is { globs, .. } => {
                    text_of(raw).is_some_and(|text| globs.iter().any(|glob| glob.matches(&text)))
                }
                Demand::Missing(_) => false,
            };
        });
        match self.demand {
            Demand::Is { or_missing, .. } => fits || (or_missing && !is_there),
            Demand::Missing(missing) => missing != is_there,
        }
    }
}

/// A string, a number or a truth value as text.
fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    Json::from_raw(raw).as_text()
}

/// What is before the first key `*` of a pointer, and what behind it.
fn cut_at_star(pointer: &str) -> Option<(&str, &str)> {
    let at = pointer
        .match_indices("/*")
        .map(|(at, _)| at)
        .find(|at| matches!(pointer.as_bytes().get(at + 2), None | Some(b'/')))?;
    Some((&pointer[..at], &pointer[at + 2..]))
}
