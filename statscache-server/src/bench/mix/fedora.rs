//! Messages of the services on Fedora's bus, with the members that its consumers read. Names and texts are invented.

use serde_json::{Value, json};

use super::{
    Content, Random,
    words::{hex, package, text, user, version},
};

const ARCHES: [&str; 4] = ["x86_64", "aarch64", "ppc64le", "s390x"];
const RELEASES: [&str; 5] = ["f44", "f43", "f42", "epel9", "epel10"];

fn fedora(topic: &str, msg: Value) -> Content {
    Content { topic: format!("org.fedoraproject.prod.{topic}"), msg }
}

fn nvr(random: &mut Random) -> String {
    format!("{}-{}-{}.fc43", package(random), version(random), 1 + random.below(9))
}

fn person(random: &mut Random) -> Value {
    let name = user(random);
    json!({"fullname": format!("{name} Example"), "url_path": format!("user/{name}"), "name": name,
           "email": format!("{}@example.org", hex(random, 6)), "avatar": format!("https://avatars.example.org/{}", hex(random, 32))})
}

/// A task of the build system; a few are images that release engineering makes.
pub(super) fn koji_task(random: &mut Random) -> Content {
    let srpm = format!("{}.src.rpm", nvr(random));
    let (method, owner) = match random.below(40) {
        0 => ("livecd", "masher".to_owned()),
        1 => ("appliance", "masher".to_owned()),
        _ => ("build", user(random)),
    };
    let children: Vec<Value> = ARCHES
        .iter()
        .take(1 + random.below(4) as usize)
        .map(|arch| {
            json!({"id": random.below(1 << 27), "method": "buildArch", "arch": arch, "label": arch, "weight": 1.5,
                   "channel_id": 1, "priority": 25, "state": random.below(6), "awaited": false, "host_id": random.below(900)})
        })
        .collect();
    let info = json!({"parent": null, "children": children, "result": "finished",
                      "request": [format!("cli-build/{}/{srpm}", hex(random, 8)), random.pick(&RELEASES), {"scratch": true}]});
    fedora(
        "buildsys.task.state.change",
        json!({"attribute": "state", "old": "FREE", "new": random.pick(&["OPEN", "CLOSED", "FAILED", "CANCELED"]),
               "instance": "primary", "id": random.below(1 << 27), "method": method, "owner": owner, "srpm": srpm,
               "info": info}),
    )
}

/// A build changed its state.
pub(super) fn koji_build(random: &mut Random) -> Content {
    let name = package(random);
    let children: Vec<Value> =
        ARCHES.iter().map(|arch| json!({"method": "buildArch", "arch": arch, "label": arch})).collect();
    fedora(
        "buildsys.build.state.change",
        json!({"attribute": "state", "old": 0, "new": random.pick(&[0, 1, 3, 4]), "instance": "primary",
               "version": version(random), "release": "1.fc43", "epoch": null, "build_id": random.below(3_000_000),
               "task_id": random.below(1 << 27), "owner": user(random),
               "task": {"method": "build", "host": format!("builder-{}.example.org", random.below(60)), "children": children},
               "request": [format!("git+https://src.example.org/rpms/{name}.git#{}", hex(random, 40)), "f43-build", {}],
               "name": name}),
    )
}

/// A build got a tag or lost one.
pub(super) fn koji_tag(random: &mut Random) -> Content {
    let tags = ["f44-updates-candidate", "f44-signing-pending", "f43-updates-testing", "epel9-testing", "f43-updates"];
    let msg = json!({"instance": "primary", "name": package(random), "version": version(random), "release": "1.fc43",
                     "tag": random.pick(&tags), "tag_id": random.below(9000), "owner": user(random),
                     "user": user(random), "build_id": random.below(3_000_000)});
    fedora(random.pick(&["buildsys.tag", "buildsys.tag", "buildsys.untag"]), msg)
}

/// A repository of the build system, or packages signed there.
pub(super) fn koji_repository(random: &mut Random) -> Content {
    if random.below(2) == 0 {
        let release = random.pick(&RELEASES);
        let msg = json!({"instance": "primary", "repo_id": random.below(7_000_000), "tag": format!("{release}-build"),
                         "tag_id": random.below(9000)});
        return fedora(random.pick(&["buildsys.repo.init", "buildsys.repo.done"]), msg);
    }
    let name = package(random);
    let rpms: Vec<Value> = ARCHES
        .iter()
        .map(|arch| {
            json!({"name": name, "arch": arch, "nvr": nvr(random), "size": random.below(1 << 24), "id": random.below(1 << 25),
                   "payloadhash": hex(random, 32), "buildtime": 1_768_000_000, "external_repo_name": "INTERNAL"})
        })
        .collect();
    fedora(
        "buildsys.rpm.sign",
        json!({"instance": "primary", "sigkey": hex(random, 8), "sighash": hex(random, 32), "rpms": rpms,
               "build": {"name": name, "owner_name": user(random), "nvr": nvr(random), "id": random.below(3_000_000)}}),
    )
}

/// A build of somebody's own repository.
pub(super) fn copr_build(random: &mut Random) -> Content {
    let (owner, name, build) = (user(random), package(random), random.below(9_000_000));
    let chroot = format!("fedora-{}-{}", 40 + random.below(5), random.pick(&ARCHES));
    let msg = json!({"build": build, "chroot": chroot, "copr": format!("project{}", random.below(500)), "ip": "192.0.2.7",
                     "pid": random.below(65_536), "pkg": name, "version": version(random), "status": random.below(9),
                     "user": user(random), "who": format!("backend.worker-rpm_build_worker:{build}-{chroot}"),
                     "what": format!("build end: user:{owner} build:{build} {}", text(random, 8)), "owner": owner,
                     "results": format!("https://copr.example.org/results/{build:08}-{name}/")});
    fedora(random.pick(&["copr.build.start", "copr.build.end", "copr.chroot.start"]), msg)
}

/// A test of a build or a change.
pub(super) fn ci_test(random: &mut Random) -> Content {
    let kinds = ["koji-build", "dist-git-pr", "fedora-update", "productmd-compose"];
    let states = ["queued", "running", "complete", "error"];
    let topic = format!("org.centos.prod.ci.{}.test.{}", random.pick(&kinds), random.pick(&states));
    let run = format!("https://ci.example.org/job/{}/{}", package(random), random.below(90_000));
    let artifact = json!({"type": "koji-build", "id": random.below(1 << 27), "issuer": user(random), "nvr": nvr(random),
                          "component": package(random), "scratch": true, "source": format!("git+https://src.example.org/{}", hex(random, 40))});
    let msg = json!({"contact": {"name": "CI", "team": "ci", "docs": "https://docs.example.org", "email": "ci@example.org"},
                     "run": {"url": run, "log": format!("{run}/console"), "debug": text(random, 20)}, "artifact": artifact,
                     "pipeline": {"id": hex(random, 32), "name": "dist-git-pr"}, "system": [{"os": "fedora-43", "provider": "beaker"}],
                     "test": {"type": "functional", "category": "functional", "namespace": "fedora-ci.dist-git-pr",
                              "result": random.pick(&["passed", "failed"]), "note": text(random, 30), "xunit": hex(random, 400)},
                     "generated_at": "2026-01-15T08:00:00Z", "version": "1.1.14"});
    Content { topic, msg }
}

/// An update: what became of it, and what people say of it.
pub(super) fn bodhi_update(random: &mut Random) -> Content {
    let builds: Vec<Value> = (0..1 + random.below(6))
        .map(|_| json!({"nvr": nvr(random), "epoch": 0, "signed": true, "type": "rpm", "release_id": 60}))
        .collect();
    let comments: Vec<Value> = (0..random.below(8))
        .map(|id| {
            json!({"id": id, "text": text(random, 15), "karma": 1, "author": user(random), "user": person(random),
                         "timestamp": "2026-01-15 08:00:00", "bug_feedback": [], "testcase_feedback": []})
        })
        .collect();
    let release = random.pick(&RELEASES);
    let update = json!({"alias": format!("FEDORA-2026-{}", hex(random, 10)), "title": nvr(random), "builds": builds,
                        "notes": text(random, 60), "karma": 2, "status": "testing", "request": null, "critpath": false,
                        "release": {"name": release, "long_name": format!("Fedora {release}"), "branch": release, "state": "current"},
                        "user": person(random), "comments": comments, "stable_days": 7, "suggest": "unspecified",
                        "bugs": [{"bug_id": random.below(2_500_000), "title": text(random, 8), "security": false}]});
    match random.below(4) {
        0 => {
            let comment = json!({"author": user(random), "user": person(random), "text": text(random, 25), "karma": 1,
                                 "update": update, "update_id": random.below(400_000)});
            fedora("bodhi.update.comment", json!({"comment": comment, "agent": user(random)}))
        }
        1 => fedora(
            "bodhi.updates.fedora.sync",
            json!({"release": release, "repo": "updates-testing", "bytes": "1G", "agent": "masher"}),
        ),
        _ => {
            let event = random.pick(&[
                "request.testing",
                "request.stable",
                "edit",
                "complete.stable",
                "eject",
                "karma.threshold",
            ]);
            fedora(&format!("bodhi.update.{event}"), json!({"update": update, "agent": user(random)}))
        }
    }
}

/// A package does or does not build any more.
pub(super) fn koschei_state(random: &mut Random) -> Content {
    fedora(
        "koschei.package.state.change",
        json!({"name": package(random), "old": "ok", "new": random.pick(&["ok", "failing", "unresolved"]), "repo": "f44",
               "groups": ["critpath", "base"], "collection": "f44", "collection_name": "Fedora Rawhide",
               "koji_instance": "primary"}),
    )
}

/// A change of a package's sources.
pub(super) fn git_receive(random: &mut Random) -> Content {
    let name = package(random);
    let files: serde_json::Map<String, Value> = (0..1 + random.below(12))
        .map(|n| {
            (
                format!("file{n}-{}.patch", hex(random, 6)),
                json!({"additions": random.below(90), "deletions": 1, "lines": 91}),
            )
        })
        .collect();
    let commit = json!({"username": user(random), "agent": user(random), "name": "Someone", "email": "someone@example.org",
                        "repo": name, "namespace": "rpms", "branch": random.pick(&RELEASES), "rev": hex(random, 40), "seen": false,
                        "path": format!("/srv/git/repositories/rpms/{name}.git"), "summary": text(random, 8),
                        "message": text(random, 40),
                        "stats": {"files": files, "total": {"additions": 12, "deletions": 3, "files": 2, "lines": 15}}});
    fedora("git.receive", json!({"commit": commit}))
}

/// A test of a whole system.
pub(super) fn openqa_job(random: &mut Random) -> Content {
    let msg = json!({"ARCH": "x86_64", "BUILD": format!("Fedora-Rawhide-2026{}", random.below(1231)), "FLAVOR": "Server-dvd-iso",
                     "ISO": format!("{}.iso", hex(random, 12)), "MACHINE": "64bit", "TEST": text(random, 3), "id": random.below(4_000_000),
                     "newbuild": null, "remaining": random.below(200), "result": random.pick(&["passed", "failed", "softfailed"])});
    fedora(random.pick(&["openqa.job.create", "openqa.job.done", "openqa.jobs.restart"]), msg)
}

/// Issues, changes and projects on a forge.
pub(super) fn pagure_event(random: &mut Random) -> Content {
    let project = format!("project{}", random.skewed(900));
    let about = json!({"name": project, "fullname": project, "namespace": null, "id": random.below(9000), "user": person(random),
                       "description": text(random, 10), "tags": [], "parent": null, "priorities": {}, "milestones": {},
                       "access_users": {"owner": [user(random)], "admin": [], "commit": [user(random)], "ticket": []}});
    let thread = json!({"id": random.below(3000), "title": text(random, 6), "content": text(random, 40), "user": person(random),
                        "status": "Open", "private": false, "tags": ["bug"], "assignee": null, "project": about,
                        "comments": [{"comment": text(random, 30), "user": person(random), "id": random.below(99_999), "edited_on": null}]});
    let event = random.pick(&[
        "issue.new",
        "issue.comment.added",
        "issue.edit",
        "issue.tag.added",
        "pull-request.new",
        "pull-request.comment.added",
        "pull-request.closed",
        "pull-request.flag.added",
        "git.receive",
        "project.new",
        "project.edit",
    ]);
    let what = if event.starts_with("pull") { "pullrequest" } else { "issue" };
    let msg = match event {
        "git.receive" => json!({"agent": user(random), "repo": about, "branch": "main", "authors": [person(random)],
                                "total_commits": 2, "start_commit": hex(random, 40), "end_commit": hex(random, 40)}),
        _ => json!({"agent": user(random), "project": about, what: thread}),
    };
    Content { topic: format!("io.pagure.prod.pagure.{event}"), msg }
}

/// The same on another one.
pub(super) fn github_event(random: &mut Random) -> Content {
    let login = user(random);
    let event = random.pick(&[
        "push",
        "issue.opened",
        "issue.comment",
        "issue.closed",
        "pull_request.opened",
        "pull_request.closed",
        "status",
        "star",
        "create",
        "delete",
        "fork",
        "check_run",
        "release",
    ]);
    let repository = json!({"full_name": format!("organisation/{}", package(random)), "id": random.below(1 << 28), "fork": false,
                            "html_url": "https://github.example.org/organisation", "description": text(random, 10),
                            "owner": {"login": "organisation", "id": 7, "type": "Organization"}});
    let msg = json!({"sender": {"login": login, "id": random.below(1 << 24), "type": "User"}, "repository": repository,
                     "fas_usernames": {login: user(random)}, "action": "created", "comment": {"body": text(random, 60), "id": random.below(1 << 28)}});
    fedora(&format!("github.{event}"), msg)
}

/// Upstream made a new version.
pub(super) fn new_version(random: &mut Random) -> Content {
    let name = package(random);
    let message = json!({"agent": "anitya", "upstream_version": version(random), "old_version": version(random), "odd_change": false,
                         "packages": [{"distro": "Fedora", "package_name": name}], "project": {"name": name, "id": random.below(90_000)},
                         "versions": (0..20).map(|_| version(random)).collect::<Vec<_>>()});
    Content {
        topic: "org.release-monitoring.prod.anitya.project.version.update".to_owned(),
        msg: json!({"distro": null, "message": message, "project": {"name": name, "homepage": "https://example.org", "backend": "GitHub"}}),
    }
}

/// Somebody was given a badge.
pub(super) fn badge(random: &mut Random) -> Content {
    let badge = json!({"name": text(random, 3), "badge_id": text(random, 2), "description": text(random, 14), "image_url": "https://badges.example.org/x.png"});
    let event = random.pick(&["badge.award", "person.rank.advance", "person.login.first"]);
    fedora(
        &format!("fedbadges.{event}"),
        json!({"badge": badge, "user": {"username": user(random), "badges_user_id": random.below(90_000)}}),
    )
}

/// A page of the wiki changed.
pub(super) fn wiki_edit(random: &mut Random) -> Content {
    fedora(
        random.pick(&["wiki.article.edit", "wiki.upload.complete"]),
        json!({"title": text(random, 3), "user": user(random), "minor_edit": false, "summary": text(random, 9),
               "url": format!("https://wiki.example.org/w/index.php?oldid={}", random.below(700_000))}),
    )
}

/// An account or a group changed.
pub(super) fn account(random: &mut Random) -> Content {
    let event = random.pick(&["user.create", "user.update", "group.member.sponsor", "group.member.remove"]);
    fedora(
        &format!("fas.{event}"),
        json!({"agent": user(random), "user": user(random), "group": "packager", "fields": ["email"]}),
    )
}

/// A step of a compose.
pub(super) fn compose(random: &mut Random) -> Content {
    let (branch, step, state) = (
        random.pick(&["rawhide", "branched"]),
        random.pick(&["", ".mash", ".pungify", ".rsync"]),
        random.pick(&["start", "complete"]),
    );
    fedora(
        &format!("compose.{branch}{step}.{state}"),
        json!({"arch": random.pick(&ARCHES), "branch": branch, "log": state}),
    )
}

/// Many services say little: most topics of a bus are theirs.
pub(super) fn rare_service(random: &mut Random) -> Content {
    let services =
        ["mailman", "planet", "meetbot", "mdapi", "hotness", "fedimg", "nuancier", "kerneltest", "elections", "mbs"];
    let events =
        ["receive", "post.new", "meeting.complete", "repo.update", "update.drop", "image.upload", "vote", "run.done"];
    let topic = format!("{}.{}", random.pick(&services), random.pick(&events));
    fedora(
        &topic,
        json!({"agent": user(random), "name": package(random), "subject": text(random, 9), "body": text(random, 50)}),
    )
}
