//! What projects take up, and where they have moved: sizes that are added up along namespaces of any depth.
//!
//! A message says one of two things: how large a project is, or that something has another path now. Neither needs
//! to know of the other, so they may come in any order; the daemon puts them together when somebody asks.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{
    Declare, Field, Json, Latest, Message, Metric, Plugin, PluginError, Updates, export_plugins,
};

#[cfg(test)]
mod tests;

export_plugins!(Storage);

/// Moves of one path that are remembered. A path is seldom used again, and then that often.
const MOVES_KEPT: u32 = 16;

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Topics of the messages; `*` is one word, `#` any number of words.
    pub topics: Vec<String>,
    /// Where in a message the object is that GitLab gave, or that is like it: a JSON pointer.
    pub object: String,
    /// How long a project is there after its sizes were last said, such as `30d`; left out: until it is said to be
    /// gone. With it, a project goes even if the message of its end was lost.
    pub expire_after: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { topics: vec!["*.*.*.storage.#".to_owned()], object: "/msg".to_owned(), expire_after: None }
    }
}

/// The plugin `storage`.
pub struct Storage {
    projects: Latest,
    moves: Latest,
    hooks: Hooks,
    forms: [Form; 3],
}

/// Sizes of a project in bytes; those that were not said are not there.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Sizes {
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wiki: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lfs: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifacts: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<i64>,
}

/// Where something is now.
#[derive(Serialize)]
struct Moved<'a> {
    /// `None`: it is gone, with everything below it.
    to: Option<&'a str>,
}

impl Plugin for Storage {
    const ID: &'static str = "storage";
    const SUMMARY: &'static str = "what projects take up, added up along their namespaces";
    const DESCRIPTION: &'static str = "\
Keeps for each project the sizes that were said last: `storage` (all of it), `repository`, `wiki`, `lfs`, `artifacts`
and `packages`, in bytes. `rollup=sum&depth=N` adds them up per namespace.

Messages are project objects as GitLab's API gives them with `statistics=true`, GitLab's system hooks about projects,
groups and users that are renamed, transferred or destroyed, or plain objects: `{\"project\": \"a/b\", \"storage\": 1}`,
`{\"from\": \"a\", \"to\": \"b\"}`, where `\"to\": null` means that it is gone. What lies below a path goes along.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(config.topics.iter().map(String::as_str));
        let projects = Metric::new("projects")
            .by(["project"])
            .unit("bytes")
            .describe("Sizes of each project, where it is now.")
            .moved_by("project", "moves");
        let projects = match &config.expire_after {
            Some(span) => projects.expire_after(span),
            None => projects,
        };
        let moves = Metric::new("moves").by(["path"]).unit("moves").describe(
            "Where a project or a namespace went: `{\"to\": \"new/path\"}`; `{\"to\": null}` where it is gone.",
        );
        let mut field = |pointer: &str| declare.field(&format!("{}{pointer}", config.object));
        Ok(Self {
            hooks: Hooks::new(&mut field),
            forms: [Form::gitlab("", &mut field), Form::gitlab("/project", &mut field), Form::plain(&mut field)],
            projects: declare.latest(projects),
            moves: declare.newest(moves, MOVES_KEPT),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        if let Some((old, new)) = self.hooks.read(message) {
            return match is_path(&old) && old != new.as_deref().unwrap_or_default() {
                true => updates.set(self.moves, [&*old], &Moved { to: new.as_deref() }),
                false => Ok(()),
            };
        }
        match self.forms.iter().find_map(|form| form.read(message)) {
            Some((path, sizes)) => updates.set(self.projects, [&*path], &sizes),
            None => Ok(()),
        }
    }
}

/// Where sizes are in a message of some form.
struct Form {
    path: Field,
    /// In the order of the members of [`Sizes`].
    sizes: [Field; 6],
}

impl Form {
    /// A project as GitLab's API gives it.
    fn gitlab(at: &str, field: &mut impl FnMut(&str) -> Field) -> Self {
        let sizes = ["storage", "repository", "wiki", "lfs_objects", "job_artifacts", "packages"];
        Self {
            path: field(&format!("{at}/path_with_namespace")),
            sizes: sizes.map(|name| field(&format!("{at}/statistics/{name}_size"))),
        }
    }

    /// What is easy to write by hand.
    fn plain(field: &mut impl FnMut(&str) -> Field) -> Self {
        let sizes = ["/storage", "/repository", "/wiki", "/lfs", "/artifacts", "/packages"];
        Self { path: field("/project"), sizes: sizes.map(field) }
    }

    /// A project and its sizes, if the message has any. What is no size, being negative or no whole number, is left
    /// out.
    fn read<'a>(&self, message: &Message<'a>) -> Option<(Cow<'a, str>, Sizes)> {
        let path = message.get(self.path).as_str().filter(|path| is_path(path))?;
        let size = |field| message.get(field).as_i64().filter(|size| *size >= 0);
        let [storage, repository, wiki, lfs, artifacts, packages] = self.sizes.map(size);
        let sizes = Sizes { storage, repository, wiki, lfs, artifacts, packages };
        (sizes != Sizes::default()).then_some((path, sizes))
    }
}

/// Where messages say that something has moved.
struct Hooks {
    event: Field,
    project: [Field; 2],
    group: [Field; 2],
    user: [Field; 2],
    plain: [Field; 2],
}

impl Hooks {
    fn new(field: &mut impl FnMut(&str) -> Field) -> Self {
        Self {
            event: field("/event_name"),
            project: ["/old_path_with_namespace", "/path_with_namespace"].map(&mut *field),
            group: ["/old_full_path", "/full_path"].map(&mut *field),
            user: ["/old_username", "/username"].map(&mut *field),
            plain: ["/from", "/to"].map(&mut *field),
        }
    }

    /// The old path and the new one; no new one where it is gone.
    fn read<'a>(&self, message: &Message<'a>) -> Option<(Cow<'a, str>, Option<Cow<'a, str>>)> {
        let text = |field| message.get(field).as_str();
        let moved = |[old, new]: [Field; 2]| Some((text(old)?, Some(text(new).filter(|path| is_path(path))?)));
        let gone = |[_, path]: [Field; 2]| Some((text(path)?, None));
        match text(self.event).as_deref() {
            Some("project_rename" | "project_transfer") => moved(self.project),
            // GitLab says nothing about groups that are transferred; who does says it like this.
            Some("group_rename" | "group_transfer") => moved(self.group),
            // A user's own projects are below the name.
            Some("user_rename") => moved(self.user),
            Some("project_destroy") => gone(self.project),
            Some("group_destroy") => gone(self.group),
            Some("user_destroy") => gone(self.user),
            Some(_) => None,
            None if is_null(message.get(self.plain[1])) => Some((text(self.plain[0])?, None)),
            None => moved(self.plain),
        }
    }
}

fn is_null(json: Json<'_>) -> bool {
    json.raw() == Some("null")
}

/// Parts with something between the slashes, as all of GitLab's are.
fn is_path(text: &str) -> bool {
    text.split('/').all(|part| !part.is_empty())
}
