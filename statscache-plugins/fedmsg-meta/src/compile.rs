//! From rules as they are written to what is run for each message; all that is wrong with one is said here.

use regex::Regex;
use statscache_plugin_sdk::PluginError;

use crate::Wanted;
use crate::place::{Demand, Demanded, Place, Test};
use crate::rule::{Condition, Detail, Rule, Source};
use crate::scan::Pointers;
use crate::text::{Glob, Refine};
use crate::topic::{Index, Pattern};

/// Longest regular expression, compiled; a larger one costs memory for every instance.
const REGEX_BYTES_MAX: usize = 1 << 18;

/// A rule with its name in messages, such as `rules.toml:12`.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) rule: Rule,
}

/// All rules, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) rules: Vec<Compiled>,
    index: Index,
}

/// One rule, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) name: String,
    pub(crate) topic: Pattern,
    /// What is read of `msg`.
    pub(crate) fields: Pointers,
    pub(crate) users: Option<Vec<Choice>>,
    pub(crate) packages: Option<Vec<Choice>>,
}

/// Sources of which the first that yields a name counts.
pub(crate) type Choice = Vec<Origin>;

/// One source.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// As `explain` shows it.
    pub(crate) shown: String,
    pub(crate) texts: Texts,
    pub(crate) conditions: Vec<Test>,
    pub(crate) refine: Refine,
}

/// Where the texts of a source come from.
#[derive(Clone, Debug)]
pub(crate) enum Texts {
    At(Place),
    KeysOf(Place),
    TopicWords(i32, i32),
    Is(String),
}

impl Program {
    /// The first thing that is wrong with the rules, if anything is.
    pub(crate) fn new(rules: &[Named], wanted: Wanted) -> Result<Self, PluginError> {
        let rules = rules.iter().map(|named| compile(named, wanted)).collect::<Result<Vec<_>, _>>()?;
        let index = Index::new(rules.iter().map(|rule| &rule.topic).enumerate());
        Ok(Self { rules, index })
    }

    /// The first rules for the topic that say something about users, and about packages, as far as they are asked for.
    pub(crate) fn rules_for(&self, topic: &str, [mut users, mut packages]: [bool; 2]) -> [Option<&Compiled>; 2] {
        let mut found = [None; 2];
        for rule in self.index.candidates(topic).iter().map(|number| &self.rules[*number]) {
            let says = [users && rule.users.is_some(), packages && rule.packages.is_some()];
            if says == [false; 2] || !rule.topic.matches(topic) {
                continue;
            }
            for (found, _) in found.iter_mut().zip(says).filter(|(_, says)| *says) {
                *found = Some(rule);
            }
            (users, packages) = (users && !says[0], packages && !says[1]);
            if !users && !packages {
                break;
            }
        }
        found
    }
}

fn compile(Named { name, rule }: &Named, wanted: Wanted) -> Result<Compiled, PluginError> {
    let wrong = |key: &str, why: String| PluginError::new(format!("{name}.{key}: {why}"));
    let topic = Pattern::parse(&rule.topic).map_err(|error| wrong("topic", error.to_string()))?;
    if rule.users.is_none() && rule.packages.is_none() {
        return Err(PluginError::new(format!("{name}: it says nothing"))
            .with_hint("give it `users`, `packages` or both; an empty list means that there are none"));
    }
    let mut fields = Pointers::default();
    let mut side = |key: &str, sources: &Option<Vec<Source>>, is_wanted: bool| match sources {
        Some(sources) if is_wanted => choices(&format!("{name}.{key}"), sources, &mut fields).map(Some),
        _ => Ok(None),
    };
    let users = side("users", &rule.users, wanted != Wanted::Packages)?;
    let packages = side("packages", &rule.packages, wanted != Wanted::Users)?;
    Ok(Compiled { name: name.clone(), topic, fields, users, packages })
}

fn choices(path: &str, sources: &[Source], fields: &mut Pointers) -> Result<Vec<Choice>, PluginError> {
    let numbered = sources.iter().enumerate().map(|(number, source)| (format!("{path}[{number}]"), source));
    numbered.map(|(path, source)| choice(&path, source, fields)).collect()
}

fn choice(path: &str, source: &Source, fields: &mut Pointers) -> Result<Choice, PluginError> {
    match source {
        Source::Place(pointer) => {
            let detail = Detail { at: Some(pointer.clone()), ..Detail::default() };
            Ok(vec![origin(path, &detail, fields)?])
        }
        Source::Detail(detail) => Ok(vec![origin(path, detail, fields)?]),
        Source::First(sources) if sources.is_empty() => {
            Err(PluginError::new(format!("{path}: a list of which the first counts needs one")))
        }
        Source::First(sources) => Ok(choices(path, sources, fields)?.into_iter().flatten().collect()),
    }
}

fn origin(path: &str, detail: &Detail, fields: &mut Pointers) -> Result<Origin, PluginError> {
    let demanded = detail.conditions.iter().enumerate();
    let demanded = demanded.map(|(number, condition)| demand(&format!("{path}.if[{number}]"), condition));
    let mut demanded = demanded.collect::<Result<Vec<_>, _>>()?;
    let (texts, shown) = texts(path, detail, fields, &mut demanded)?;
    let conditions = demanded.into_iter().map(|demanded| Test::new(demanded, fields)).collect();
    let find = detail.find.as_deref().map(|find| regex(path, find)).transpose()?;
    let not = detail.not.iter().map(|not| Glob::new(not)).collect();
    Ok(Origin { shown, texts, conditions, refine: Refine { find, steps: detail.steps.clone(), not } })
}

fn texts(
    path: &str,
    detail: &Detail,
    fields: &mut Pointers,
    demanded: &mut Vec<Demanded>,
) -> Result<(Texts, String), PluginError> {
    match (&detail.at, &detail.keys_of, &detail.topic_words, &detail.text) {
        (Some(at), None, None, None) => {
            Ok((Texts::At(Place::new(pointer(path, "at", at)?, fields, demanded)), at.clone()))
        }
        (None, Some(of), None, None) => {
            let place = Place::new(pointer(path, "keys_of", of)?, fields, demanded);
            Ok((Texts::KeysOf(place), format!("keys of {of}")))
        }
        (None, None, Some([from, to]), None) => Ok((Texts::TopicWords(*from, *to), "the topic".to_owned())),
        (None, None, None, Some(text)) => Ok((Texts::Is(text.clone()), "the rule itself".to_owned())),
        _ => Err(PluginError::new(format!("{path}: give it one of `at`, `keys_of`, `topic_words` and `text`"))),
    }
}

fn demand(path: &str, condition: &Condition) -> Result<Demanded, PluginError> {
    let at = pointer(path, "at", &condition.at)?.to_owned();
    match (&condition.is, condition.missing) {
        (Some(is), None) => {
            let globs = is.iter().map(|text| Glob::new(text)).collect();
            Ok((at, Demand::Is { globs, or_missing: condition.or_missing }))
        }
        (None, Some(missing)) if !condition.or_missing => Ok((at, Demand::Missing(missing))),
        _ => Err(PluginError::new(format!("{path}: give it `is`, with or without `or_missing`, or else `missing`"))),
    }
}

/// A JSON pointer into `msg`.
fn pointer<'t>(path: &str, key: &str, text: &'t str) -> Result<&'t str, PluginError> {
    let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && is_escaped {
        return Ok(text);
    }
    Err(PluginError::new(format!(
        "{path}.{key}: {text:?} is not a JSON pointer into `msg` such as \"/agent\" or \"/packages/*/name\""
    )))
}

fn regex(path: &str, text: &str) -> Result<Regex, PluginError> {
    let built = regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| PluginError::new(format!("{path}.find: {error}")))
}
