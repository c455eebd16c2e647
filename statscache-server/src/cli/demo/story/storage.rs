//! Sizes of projects of a code forge, in GitLab's words, and projects that move.

use serde_json::{Value, json};

use super::{DAY, Event, HOUR, Random};

/// Length of the slots in which projects move, seconds.
pub(super) const MOVES: i64 = 28 * DAY;

const PROJECTS: u64 = 200;
/// Each project is measured once a week.
const WEEK_HOURS: u64 = 7 * 24;
const NAMESPACES: [&str; 6] = ["platform", "apps/web", "apps/mobile", "data/pipelines", DESIGN[0], LABS];
/// A group with two names, which is renamed every few slots from one to the other.
const DESIGN: [&str; 2] = ["design", "studio"];
const DESIGN_SLOTS: i64 = 4;
/// Where projects begin; one in each slot is transferred, from there to [`GROWN_UP`] or back.
const LABS: &str = "labs";
const GROWN_UP: &str = "platform";
/// 2025-01-01: from then on everything grows.
const EPOCH: i64 = 1_735_689_600;

/// What is measured in an hour: every project once a week.
pub(super) fn statistics(random: &mut Random, start: i64) -> Vec<Event> {
    let hour = start.div_euclid(HOUR) as u64 % WEEK_HOURS;
    let of_hour = (0..PROJECTS).filter(|project| project * WEEK_HOURS / PROJECTS == hour);
    of_hour.map(|project| measured(project, start + random.below(HOUR as u64) as i64)).collect()
}

/// One project is measured.
pub(super) fn statistic(random: &mut Random, time: i64) -> Event {
    measured(random.below(PROJECTS), time)
}

/// What happens to projects and groups at the beginning of a slot, and in the course of it.
pub(super) fn moves(random: &mut Random, start: i64) -> Vec<Event> {
    let slot = start.div_euclid(MOVES);
    let hook = |time: i64, msg: Value| Event::new(time, "org.example.prod.storage.hook", msg);
    let project = transferred(slot);
    let (old, new) = (path(project, start - 1), path(project, start));
    let mut events = vec![hook(
        start,
        json!({"event_name": "project_transfer", "project_id": project, "path_with_namespace": new,
               "old_path_with_namespace": old, "updated_at": rfc3339(start)}),
    )];
    if slot.rem_euclid(DESIGN_SLOTS) == 0 {
        let (old, new) = (design(start - 1), design(start));
        let msg = json!({"event_name": "group_rename", "group_id": 5, "full_path": new, "old_full_path": old});
        events.push(hook(start, msg));
    }
    // Somebody tries something out, and clears it away.
    let spike = format!("{LABS}/spike-{}", slot.rem_euclid(1000));
    let id = PROJECTS + slot.rem_euclid(1000) as u64;
    events.push(project_event(start + DAY, id, &spike, random.below(9 << 30)));
    let gone = json!({"event_name": "project_destroy", "project_id": id, "path_with_namespace": spike});
    events.push(hook(start + 20 * DAY, gone));
    events
}

fn measured(project: u64, time: i64) -> Event {
    // Most are small, a few are very large, and each grows at its own pace.
    let mut random = Random::of("project", project as i64);
    let (size, pace) = (3e6 * (8.0 * random.share().powi(2)).exp(), random.share());
    let years = (time - EPOCH) as f64 / (365.0 * DAY as f64);
    project_event(time, project, &path(project, time), (size * (1.0 + pace * years.max(0.0))) as u64)
}

/// The object that GitLab's API gives for a project.
fn project_event(time: i64, id: u64, path: &str, repository: u64) -> Event {
    let mut random = Random::of("parts", id as i64);
    // Artifacts pile up during a week and are cleared away then.
    let week = (time.rem_euclid(7 * DAY)) as f64 / (7.0 * DAY as f64);
    let mut part = |most: f64| (repository as f64 * most * random.share().powi(3)) as u64;
    let (lfs, packages, wiki) = (part(4.0), part(2.0), part(0.05));
    let artifacts = (part(3.0) as f64 * (0.2 + 0.8 * week)) as u64;
    let statistics = json!({
        "storage_size": repository + wiki + lfs + artifacts + packages, "repository_size": repository,
        "wiki_size": wiki, "lfs_objects_size": lfs, "job_artifacts_size": artifacts, "packages_size": packages,
    });
    let msg = json!({"id": id, "path_with_namespace": path, "statistics": statistics});
    Event::new(time, "org.example.prod.storage.project", msg)
}

/// Where a project is at that time.
fn path(project: u64, time: i64) -> String {
    const NAMES: [&str; 10] =
        ["anchor", "beacon", "compass", "derrick", "ember", "flint", "gantry", "harbor", "ingot", "jetty"];
    let name = format!("{}-{}", NAMES[(project / 6 % 10) as usize], project / 60 + 1);
    match NAMESPACES[(project % 6) as usize] {
        LABS if is_grown_up(project, time) => format!("{GROWN_UP}/labs-{name}"),
        LABS => format!("{LABS}/{name}"),
        namespace if namespace == DESIGN[0] => format!("{}/{name}", design(time)),
        namespace => format!("{namespace}/{name}"),
    }
}

/// What the group is called at that time.
fn design(time: i64) -> &'static str {
    DESIGN[time.div_euclid(MOVES * DESIGN_SLOTS).rem_euclid(2) as usize]
}

/// Projects of [`LABS`].
const LABS_PROJECTS: i64 = (PROJECTS / 6) as i64;

/// The project that moves at the beginning of a slot.
fn transferred(slot: i64) -> u64 {
    6 * slot.rem_euclid(LABS_PROJECTS) as u64 + 5
}

fn is_grown_up(project: u64, time: i64) -> bool {
    let position = (project / 6) as i64;
    let moves = (time.div_euclid(MOVES) - position).div_euclid(LABS_PROJECTS);
    moves.rem_euclid(2) == 0
}

fn rfc3339(time: i64) -> String {
    crate::http::time::rfc3339(statscache_plugin_sdk::Timestamp::from_secs(time))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What hooks say is what later measurements show: nothing is at a place that it has left.
    #[test]
    fn projects_are_where_the_hooks_say() {
        for slot in 720..760 {
            let start = slot * MOVES;
            let [transfer, rest @ ..] = &*moves(&mut Random::of("test", slot), start) else { panic!("no events") };
            let (old, new) = (&transfer.msg["old_path_with_namespace"], &transfer.msg["path_with_namespace"]);
            assert_ne!(old, new, "slot {slot}");
            let paths: BTreeSet<String> = (0..PROJECTS).map(|project| path(project, start)).collect();
            assert_eq!(paths.len() as u64, PROJECTS, "each has a place of its own");
            assert!(paths.contains(new.as_str().expect("a path")) && !paths.contains(old.as_str().expect("a path")));
            let renamed = rest.iter().find(|event| event.msg["event_name"] == "group_rename");
            assert_eq!(renamed.is_some(), design(start) != design(start - 1));
            if let Some(event) = renamed {
                let old = format!("{}/", event.msg["old_full_path"].as_str().expect("a path"));
                assert!(!paths.iter().any(|path| path.starts_with(&old)));
            }
        }
    }

    #[test]
    fn every_project_is_measured_once_a_week() {
        let mut random = Random::of("test", 0);
        let week = (0..7 * 24).flat_map(|hour| statistics(&mut random, (3000 * 7 * 24 + hour) * HOUR));
        let ids: Vec<u64> = week.map(|event| event.msg["id"].as_u64().expect("a number")).collect();
        assert_eq!(ids.len() as u64, PROJECTS);
        assert_eq!(ids.into_iter().collect::<BTreeSet<u64>>().len() as u64, PROJECTS);
    }
}
