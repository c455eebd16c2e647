//! Messages for the plugins that count something else than Fedora's own services.

use serde_json::json;

use super::{
    Content, Random, TIME_MARK,
    words::{hex, text, user},
};

/// A check of a web site.
pub(super) fn uptime_check(random: &mut Random) -> Content {
    let site = random.below(400);
    let good = random.below(50) > 0;
    Content {
        topic: "org.example.prod.uptime.check".to_owned(),
        msg: json!({
            "url": format!("https://site{site}.example.org/{}", if site.is_multiple_of(3) { "health" } else { "" }),
            "http_status": if good { 200 } else { 503 },
            "network_status": "ok",
            "match": good,
            "response_seconds": 0.02 + random.unit() * 0.4,
            "tstamp": TIME_MARK,
        }),
    }
}

/// Somebody opened a link of a catalogue.
pub(super) fn link_use(random: &mut Random) -> Content {
    let link = random.skewed(300);
    Content {
        topic: "org.example.prod.usage.click".to_owned(),
        msg: json!({
            "link": format!("tool-{link}"), "user": user(random), "title": format!("Tool number {link}"),
            "url": format!("https://tools.example.org/{link}"), "referrer": text(random, 6),
        }),
    }
}

/// A member's report from a city.
pub(super) fn membership(random: &mut Random) -> Content {
    Content {
        topic: "org.example.prod.membership.report".to_owned(),
        msg: json!({
            "group": format!("group-{}", random.below(80)), "user": user(random),
            "city": format!("City {}", random.skewed(400)), "note": text(random, 12),
        }),
    }
}

/// Statistics of a project, as GitLab names them.
pub(super) fn storage(random: &mut Random) -> Content {
    let project = random.below(3000);
    let path = format!("root{}/team{}/project{project}", project % 6, project % 40);
    let sizes = [0; 5].map(|_| random.below(1 << 30));
    Content {
        topic: "org.example.prod.storage.project".to_owned(),
        msg: json!({
            "id": project, "path_with_namespace": path, "default_branch": "main", "visibility": "internal",
            "http_url_to_repo": format!("https://git.example.org/{path}.git"), "description": text(random, 15),
            "last_commit": hex(random, 40), "star_count": random.below(50), "forks_count": random.below(9),
            "statistics": {
                "commit_count": random.below(9000), "storage_size": sizes.iter().sum::<u64>(),
                "repository_size": sizes[0], "wiki_size": sizes[1], "lfs_objects_size": sizes[2],
                "job_artifacts_size": sizes[3], "packages_size": sizes[4],
            },
        }),
    }
}
