//! What the dashboard of release engineering shows, in which order, under which names. The ids of
//! components are categories of `log`.

use serde_json::{Value, json};

/// The layout, as the dashboard reads it.
pub fn layout() -> Value {
    let arches = [("primary", "Primary"), ("arm", "arm"), ("ppc", "ppc"), ("s390", "s390")];
    let composes = arches.map(
        |(arch, name)| json!({"id": format!("compose-rawhide_{arch}"), "name": format!("Rawhide Compose ({name})")}),
    );
    let updates = [("fedora", "Fedora"), ("epel", "EPEL")]
        .map(|(distro, name)| json!({"id": format!("updates-{distro}"), "name": format!("Repo Updates ({name})")}));
    let amis = [("branched", "name"), ("rawhide", "message")].map(|(branch, link_for)| {
        let name = format!("AMIs ({branch})");
        json!({"id": format!("ami-{branch}"), "name": name, "link_for": link_for, "show_time_at": false})
    });
    let lives = ["x86_64", "i686"]
        .map(|arch| json!({"id": format!("artifact-livecd_{arch}"), "name": arch, "show_time_at": false}));
    let appliances =
        [json!({"id": "artifact-appliance_armhfp", "name": "armhfp", "show_status": false, "show_time_at": false})];
    json!({
        "groups": [
            {"id": "compose", "components": composes},
            {"id": "updates", "components": updates},
            {"id": "amis", "components": amis},
            {"id": "appliance", "name": "Appliance builds (rawhide)", "components": appliances},
            {"id": "livecd", "name": "LiveCD builds (rawhide)", "components": lives},
        ],
        "default_options": default_options(),
    })
}

/// How a component is shown that says nothing else. Keys of the maps are statuses in lower case.
fn default_options() -> Value {
    json!({
        "show_time_at": true,
        "show_status": true,
        "status_verb_map": {"start": "started", "complete": "completed", "open": "opened", "close": "closed"},
        "status_class_map": {
            "start": "text-warning",
            "open": "text-warning",
            "opened": "text-warning",
            "complete": "text-primary",
            "closed": "text-primary",
            "failed": "text-danger",
        },
        "old_log_threshold": {"key": "hours", "value": 24},
    })
}
