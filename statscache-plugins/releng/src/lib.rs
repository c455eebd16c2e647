//! The release engineering event log: what was composed, synced, uploaded and built last.
//!
//! Four sub-logs share one metric: composes of rawhide and branched, updates that reached the
//! master mirror, cloud images at Amazon, appliances and live images. Each is a function from a
//! message to an `Entry`; a message that is not of the expected shape makes none.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use statscache_plugin_sdk::{
    Count, Declare, Field, Latest, Legacy, Message, Metric, Plugin, PluginError, Updates, export_plugins,
};

mod layout;
#[cfg(test)]
mod tests;

export_plugins!(Releng);

/// What the operator can choose.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// First words of the topics, up to and including the environment; `org.fedoraproject.stg`
    /// for the staging bus.
    pub topic_prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic_prefix: "org.fedoraproject.prod".to_owned() }
    }
}

/// The plugin `releng`.
pub struct Releng {
    log: Latest,
    events: Count,
    topic_prefix: String,
    fields: Fields,
}

struct Fields {
    arch: Field,
    release: Field,
    repo: Field,
    status: Field,
    image_name: Field,
    destination: Field,
    image_id: Field,
    owner: Field,
    method: Field,
    srpm: Field,
    state: Field,
    task: Field,
    instance: Field,
    info: Field,
    link: Field,
}

/// One line of the log.
struct Entry<'a> {
    category: String,
    constraint: Cow<'a, str>,
    line: Line<'a>,
}

/// What a dashboard shows: the value of `log`.
#[derive(Serialize)]
struct Line<'a> {
    name: Cow<'a, str>,
    status: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_link: Option<String>,
}

const BRANCHES: [&str; 2] = ["rawhide", "branched"];
/// Steps of a compose; the empty one is the compose as a whole.
const STEPS: [&str; 4] = ["", ".mash", ".pungify", ".rsync"];
const STATUSES: [&str; 2] = ["start", "complete"];
const OTHER_TOPICS: [&str; 5] = [
    "bodhi.updates.fedora.sync",
    "bodhi.updates.epel.sync",
    "fedimg.image.upload",
    "fedimg.image.test",
    "buildsys.task.state.change",
];

impl Plugin for Releng {
    const ID: &'static str = "releng";
    const SUMMARY: &'static str = "release engineering event log: composes, updates, cloud images, appliances";
    const DESCRIPTION: &'static str = "\
`log` holds the newest entry of each (`category`, `constraint`), for a dashboard of release engineering. A value is an \
object: `name`, `status`, and where there is one `link`, `extra_text` and `extra_link`.

| category | constraint | status | from |
|---|---|---|---|
| `compose-rawhide_ARCH`, `compose-branched_ARCH` | the step: `mash`, `pungify`, `rsync`, or the branch for the whole | `start`, `complete` | `compose.BRANCH[.STEP].STATUS` |
| `updates-fedora`, `updates-epel` | release and repository | `synced out` | `bodhi.updates.DISTRO.sync` |
| `ami-rawhide`, `ami-branched` | image and region | `completed` | `fedimg.image.upload`, `fedimg.image.test` |
| `artifact-appliance_ARCH`, `artifact-livecd_ARCH` | the image's name | Koji's: `OPEN`, `CLOSED`, `FAILED`, … | `buildsys.task.state.change` of the user `masher` |

`ARCH` of a compose is `primary` where the message has none. Status words are those of the messages; the old dashboard \
lower-cases them. `events` counts the same entries over time.

Messages on these topics that are not of the expected shape are passed over; they are no failures.";

    type Config = Config;

    fn declare(config: Config, declare: &mut Declare) -> Result<Self, PluginError> {
        let prefix = config.topic_prefix;
        if prefix.split('.').any(|word| matches!(word, "" | "*" | "#")) {
            return Err(PluginError::new(format!("config.topic_prefix: `{prefix}` is not the beginning of a topic"))
                .with_hint("write whole words with dots between them, such as org.fedoraproject.prod"));
        }
        let composes = BRANCHES.iter().flat_map(|branch| {
            STEPS.iter().flat_map(move |step| STATUSES.map(|status| format!("compose.{branch}{step}.{status}")))
        });
        let topics: Vec<String> =
            composes.chain(OTHER_TOPICS.map(str::to_owned)).map(|rest| format!("{prefix}.{rest}")).collect();
        declare.topics(topics.iter().map(String::as_str));
        Ok(Self {
            log: declare.latest(
                Metric::new("log")
                    .by(["category", "constraint"])
                    .describe("The newest entry of each kind of event: an object with name, status and links.")
                    .legacy(
                        Legacy::new("release-engineering-event-logs", "message")
                            .column_of("constraint", "category_constraint")
                            .json_text()
                            .layout(layout::layout()),
                    ),
            ),
            events: declare.count(
                Metric::new("events")
                    .by(["category", "status"])
                    .unit("events")
                    .describe("Entries that were logged.")
                    .tiers("1m for 7d, 1h for 400d, 1d forever"),
            ),
            topic_prefix: prefix,
            fields: Fields {
                arch: declare.field("/msg/arch"),
                release: declare.field("/msg/release"),
                repo: declare.field("/msg/repo"),
                status: declare.field("/msg/status"),
                image_name: declare.field("/msg/image_name"),
                destination: declare.field("/msg/destination"),
                image_id: declare.field("/msg/extra/id"),
                owner: declare.field("/msg/owner"),
                method: declare.field("/msg/method"),
                srpm: declare.field("/msg/srpm"),
                state: declare.field("/msg/new"),
                task: declare.field("/msg/id"),
                instance: declare.field("/msg/instance"),
                info: declare.field("/msg/info"),
                link: declare.field("/meta/link"),
            },
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let Some(Entry { category, constraint, line }) = self.entry(message) else { return Ok(()) };
        updates.set(self.log, [&*category, &*constraint], &line)?;
        updates.add(self.events, [&*category, &*line.status], 1);
        Ok(())
    }
}

impl Releng {
    fn entry<'a>(&self, message: &Message<'a>) -> Option<Entry<'a>> {
        let rest = message.topic().strip_prefix(&*self.topic_prefix)?.strip_prefix('.')?;
        let words: Vec<&str> = rest.split('.').collect();
        match words[..] {
            ["compose", branch, .., status] => self.compose(message, branch, words[words.len() - 2], status),
            ["bodhi", "updates", distro, "sync"] => self.update(message, distro),
            ["fedimg", "image", "upload" | "test"] => self.ami(message),
            ["buildsys", "task", "state", "change"] => self.artifact(message),
            _ => None,
        }
    }

    fn compose<'a>(&self, message: &Message<'a>, branch: &str, step: &'a str, status: &'a str) -> Option<Entry<'a>> {
        let arch = text(message, self.fields.arch).unwrap_or(Cow::Borrowed("primary"));
        let line = Line { name: title_case(step).into(), status: status.into(), ..Line::default() };
        Some(Entry { category: format!("compose-{branch}_{arch}"), constraint: step.into(), line })
    }

    fn update<'a>(&self, message: &Message<'a>, distro: &str) -> Option<Entry<'a>> {
        let release = text(message, self.fields.release)?;
        let repo = text(message, self.fields.repo)?;
        let name = format!("{release}-{repo}");
        let line = Line { name: name.clone().into(), status: "synced out".into(), ..Line::default() };
        Some(Entry { category: format!("updates-{distro}"), constraint: name.into(), line })
    }

    fn ami<'a>(&self, message: &Message<'a>) -> Option<Entry<'a>> {
        let status = text(message, self.fields.status).filter(|status| status == "completed")?;
        let image = text(message, self.fields.image_name)?;
        let destination = text(message, self.fields.destination)?;
        let version = image.split('.').next().and_then(|stem| stem.split('-').nth(3)).unwrap_or_default();
        let branch = if version.eq_ignore_ascii_case("rawhide") { "rawhide" } else { "branched" };
        let region = in_brackets(&destination).unwrap_or(&destination);
        let wizard = |ami: Cow<'_, str>| {
            format!(
                "https://redirect.fedoraproject.org/console.aws.amazon.com/ec2/v2/home?region={region}\
                 #LaunchInstanceWizard:ami={ami}"
            )
        };
        let extra_link = text(message, self.fields.image_id).map(wizard);
        let constraint = format!("{image}-{region}");
        let line = Line { name: image, status, link: None, extra_text: Some(destination), extra_link };
        Some(Entry { category: format!("ami-{branch}"), constraint: constraint.into(), line })
    }

    fn artifact<'a>(&self, message: &Message<'a>) -> Option<Entry<'a>> {
        text(message, self.fields.owner).filter(|owner| owner == "masher")?;
        let method = text(message, self.fields.method).filter(|method| method == "appliance" || method == "livecd")?;
        let srpm = text(message, self.fields.srpm)?;
        let status = text(message, self.fields.state)?;
        let arch = srpm.rsplit('-').next().unwrap_or_default();
        let category = format!("artifact-{method}_{arch}");
        let info: Json = message.get(self.fields.info).to().unwrap_or_default();
        let link = if method == "livecd" && status == "CLOSED" { iso_link(&info) } else { None };
        let extra_link = self.task_link(message);
        // Without a link there are no details to call so.
        let extra_text = extra_link.is_some().then_some("(details)".into());
        let name = artifact_name(&srpm, &info);
        let line = Line { name: name.clone().into(), status, link, extra_text, extra_link };
        Some(Entry { category, constraint: name.into(), line })
    }

    /// The link that a history service computed, else that of the task at its Koji.
    fn task_link(&self, message: &Message<'_>) -> Option<String> {
        if let Some(link) = text(message, self.fields.link) {
            return Some(link.into_owned());
        }
        let task = message.get(self.fields.task).as_i64()?;
        let host = match text(message, self.fields.instance).as_deref() {
            None | Some("primary") => "koji.fedoraproject.org".to_owned(),
            Some(instance) if instance.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                format!("{instance}.koji.fedoraproject.org")
            }
            Some(_) => return None,
        };
        Some(format!("https://{host}/koji/taskinfo?taskID={task}"))
    }
}

/// The string, or the digits of an integer, at this place; `None` for anything else and for the
/// empty string.
fn text<'a>(message: &Message<'a>, field: Field) -> Option<Cow<'a, str>> {
    let json = message.get(field);
    let text = json.as_str().or_else(|| json.as_i64().and(json.raw()).map(Cow::Borrowed))?;
    (!text.is_empty()).then_some(text)
}

impl Default for Line<'_> {
    fn default() -> Self {
        Self { name: "".into(), status: "".into(), link: None, extra_text: None, extra_link: None }
    }
}

fn title_case(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `us-east-1` of `EC2 (us-east-1)`.
fn in_brackets(text: &str) -> Option<&str> {
    let (_, inner) = text.split_once('(')?;
    inner.split(')').next().filter(|inner| !inner.is_empty())
}

/// The image's name with its format and branch, as far as the task's request tells them.
fn artifact_name(srpm: &str, info: &Json) -> String {
    let mut name = srpm.to_owned();
    let Some(request) = info["request"].as_array() else { return name };
    if let Some(format) = request.last().and_then(|options| options["format"].as_str()) {
        name.push_str(&format!(" ({format})"));
    }
    if let Some(branch) = request.get(1).and_then(Json::as_str).filter(|branch| !branch.is_empty()) {
        name.push_str(if branch == "rawhide" { " (rawhide)" } else { " (branched)" });
    }
    name
}

/// Where the image of a live image task is: with its only child, below the last four digits of
/// the child's number.
fn iso_link(info: &Json) -> Option<String> {
    let [child] = &info["children"].as_array()?[..] else { return None };
    let task = child["id"].as_u64()?;
    let request = info["request"].as_array()?;
    let (name, version) = (request.first()?.as_str()?, request.get(1)?.as_str()?);
    let release = request.last()?["release"].as_str()?;
    Some(format!(
        "https://kojipkgs.fedoraproject.org/work/tasks/{}/{task}/{name}-{version}-{release}.iso",
        task % 10_000
    ))
}
