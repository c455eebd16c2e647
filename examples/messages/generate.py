#!/usr/bin/env python3
"""Writes demo.jsonl: two hours of an invented bus, one fedmsg-style envelope per line.

    python3 generate.py > demo.jsonl

The same seed gives the same bytes. Shapes are those of Fedora's bus; people, packages, projects
and texts are made up.
"""

import json
import random
import uuid

SEED = 20260115
START = 1_768_464_000  # 2026-01-15T08:00:00Z
HOURS = 2

rng = random.Random(SEED)
pick = rng.choice

PEOPLE = "aiko bram celeste dmitri esi farah gustav hana ines jomar katja leif mirela nuru oriol petra".split()
PACKAGES = (
    "lanternd quillfs mossgrep tidepool-libs python-harrow rust-ember perl-Text-Sparrow golang-kiln "
    "cobalt-session nimbus-fonts oxbow velvet-theme ferryman python-tinder sextant gravelpit"
).split()
PROJECTS = "docs-harvest release-kettle lantern-infra packager-almanac mirror-census".split()
WORDS = (
    "after the update it starts faster and no longer asks twice please rebuild with new flags tested on "
    "three machines works for me crash in settings dialog is gone translation is missing one line branch "
    "merged thanks for the patch see upstream notes before pushing to stable release candidate looks good "
    "größer naïve déjà 日本語"
).split()
RELEASES = {"f43": "43", "f42": "42", "epel9": "9"}
ARCHES = ["x86_64", "aarch64", "ppc64le", "s390x"]


def words(low, high):
    """A text of so many words."""
    return " ".join(pick(WORDS) for _ in range(rng.randint(low, high)))


def digits(n):
    return "".join(pick("0123456789abcdef") for _ in range(n))


def version():
    return f"{rng.randint(0, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 9)}"


def person(name):
    return {
        "name": name,
        "fullname": f"{name.title()} Example",
        "url_path": f"user/{name}",
        "avatar": f"https://avatars.example.org/{digits(32)}?s=24",
    }


# One function per family. Each returns (topic, operating system user, msg).


def build():
    package = pick(PACKAGES)
    old, new = pick([(None, 0), (0, 1), (0, 1), (0, 3), (0, 4)])
    return "org.fedoraproject.prod.buildsys.build.state.change", "apache", {
        "attribute": "state", "old": old, "new": new, "instance": "primary", "name": package,
        "version": version(), "release": f"{rng.randint(1, 9)}.fc43", "epoch": None,
        "build_id": rng.randint(2_700_000, 2_800_000), "task_id": rng.randint(120_000_000, 130_000_000),
        "task": {"method": "build", "host": f"builder-{rng.randint(1, 40)}.example.org", "arch": "noarch", "parent": None,
                 "children": [{"method": "buildArch", "arch": arch, "label": arch} for arch in ARCHES]},
        "owner": pick(PEOPLE), "request": [f"git+https://src.example.org/rpms/{package}.git#{digits(40)}", "f43-build", {}],
    }


def tag():
    topic = pick(["tag", "tag", "tag", "untag"])
    tag = pick(["f43-updates-candidate", "f43-signing-pending", "f43-updates-testing", "f42-updates", "epel9-testing"])
    return f"org.fedoraproject.prod.buildsys.{topic}", "apache", {
        "instance": "primary", "name": pick(PACKAGES), "version": version(), "release": "1.fc43", "tag": tag,
        "tag_id": rng.randint(1000, 9000), "owner": pick(PEOPLE), "user": pick(["bodhi", "autosign"] + PEOPLE),
        "build_id": rng.randint(2_700_000, 2_800_000),
    }


def repo():
    topic = pick(["init", "done"])
    return f"org.fedoraproject.prod.buildsys.repo.{topic}", "apache", {
        "instance": "primary", "repo_id": rng.randint(6_000_000, 6_100_000), "tag": pick(["f43-build", "f42-build"]),
        "tag_id": rng.randint(1000, 9000),
    }


def task():
    package = pick(PACKAGES)
    srpm = f"{package}-{version()}-1.fc43.src.rpm"
    return "org.fedoraproject.prod.buildsys.task.state.change", "apache", {
        "attribute": "state", "old": "FREE", "new": pick(["OPEN", "CLOSED", "FAILED", "CANCELED"]),
        "instance": "primary", "id": rng.randint(120_000_000, 130_000_000), "method": "build", "owner": pick(PEOPLE),
        "srpm": srpm,
        "info": {"parent": None, "request": [f"cli-build/{digits(8)}/{srpm}", "f43", {"scratch": True}], "children": [
            {"id": rng.randint(120_000_000, 130_000_000), "method": "buildArch", "arch": arch, "weight": 1.5,
             "channel_id": 1, "label": arch, "priority": 25, "state": 2} for arch in rng.sample(ARCHES, rng.randint(1, 4))
        ]},
    }


def image_task():
    method, name, arch = pick([("livecd", "Fedora-Live-Slate", "x86_64"), ("livecd", "Fedora-Live-Pebble", "i686"),
                               ("appliance", "Fedora-Minimal", "armhfp")])
    options = {"release": "20260115.n.0", "repo": ["https://composes.example.org/rawhide/"]}
    if method == "appliance":
        options["format"] = "raw"
    return "org.fedoraproject.prod.buildsys.task.state.change", "apache", {
        "attribute": "state", "old": "OPEN", "new": pick(["OPEN", "CLOSED", "CLOSED", "FAILED"]),
        "instance": "primary", "id": rng.randint(120_000_000, 130_000_000), "method": method, "owner": "masher",
        "srpm": f"{name}-{arch}",
        "info": {"request": [name, "rawhide", arch, "rawhide", f"{name.lower()}.ks", options],
                 "children": [{"id": rng.randint(120_000_000, 130_000_000)}], "result": "finished"},
    }


def git_receive():
    name, package = pick(PEOPLE), pick(PACKAGES)
    files = {pick(["sources", f"{package}.spec", ".gitignore", f"fix-{digits(4)}.patch", "changelog"]):
             {"additions": rng.randint(1, 90), "deletions": rng.randint(0, 40), "lines": rng.randint(1, 130)}
             for _ in range(rng.randint(1, 5))}
    return "org.fedoraproject.prod.git.receive", "apache", {"commit": {
        "agent": name, "name": f"{name.title()} Example", "username": name, "email": f"{name}@example.org",
        "repo": package, "namespace": "rpms", "path": f"/srv/git/rpms/{package}.git", "branch": pick(["rawhide", "f43", "f42"]),
        "rev": digits(40), "seen": False, "summary": words(3, 8), "message": words(10, 160),
        "stats": {"files": files, "total": {"additions": 1, "deletions": 1, "files": len(files), "lines": 2}},
    }}


def bodhi_update(builds):
    release = pick(list(RELEASES))
    return {
        "alias": f"FEDORA-2026-{digits(10)}", "status": pick(["testing", "pending"]), "request": None,
        "type": pick(["bugfix", "enhancement", "security"]), "severity": "low", "karma": rng.randint(-1, 3),
        "notes": words(10, 400), "autokarma": True, "stable_karma": 3, "unstable_karma": -3, "critpath": False,
        "release": {"name": release.upper(), "version": RELEASES[release], "branch": release, "state": "current",
                    "long_name": f"Release {RELEASES[release]}"},
        "user": {"name": pick(PEOPLE), "groups": [{"name": group} for group in ["packager", "testers"]]},
        "builds": [{"nvr": f"{pick(PACKAGES)}-{version()}-1.{release}", "signed": True, "type": "rpm", "epoch": 0}
                   for _ in range(builds)],
        "bugs": [{"bug_id": rng.randint(2_300_000, 2_400_000), "title": words(4, 10), "security": False}
                 for _ in range(rng.randint(0, 4))],
        "date_submitted": "2026-01-14 19:20:11",
    }


def bodhi_comment():
    return "org.fedoraproject.prod.bodhi.update.comment", "bodhi", {"comment": {
        "id": rng.randint(4_000_000, 4_100_000), "karma": pick([-1, 0, 1, 1]), "text": words(2, 50),
        "user": {"name": pick(PEOPLE), "groups": []}, "timestamp": "2026-01-15 08:00:00",
        "update": bodhi_update(rng.randint(1, 16)),
    }}


def bodhi_request():
    state = pick(["testing", "testing", "stable"])
    return f"org.fedoraproject.prod.bodhi.update.request.{state}", "bodhi", {
        "agent": pick(PEOPLE), "update": bodhi_update(rng.randint(1, 6)),
    }


def bodhi_sync():
    distro, release = pick([("fedora", "43"), ("fedora", "42"), ("epel", "9")])
    return f"org.fedoraproject.prod.bodhi.updates.{distro}.sync", "ftpsync", {
        "release": release, "repo": pick(["updates", "updates-testing"]) if distro == "fedora" else "epel",
        "bytes": f"{rng.randint(1, 9)} GiB", "raw_bytes": str(rng.randint(1, 9) << 30), "deleted": str(rng.randint(0, 900)),
    }


def copr():
    event = pick(["build.start", "build.end", "build.end", "chroot.start"])
    name, package, chroot = pick(PEOPLE), pick(PACKAGES), f"fedora-43-{pick(ARCHES)}"
    build = rng.randint(9_000_000, 9_100_000)
    return f"org.fedoraproject.prod.copr.{event}", "copr", {
        "user": name, "owner": name, "copr": pick(["nightly", "experiments", "backports"]), "pkg": package,
        "version": f"{version()}-1", "build": build, "chroot": chroot, "pid": rng.randint(1000, 60_000),
        "status": 3 if event != "build.end" else pick([0, 1]), "ip": f"192.0.2.{rng.randint(1, 254)}",
        "what": f"{event}: user:{name} copr:nightly build:{build} ip:192.0.2.1 pid:{rng.randint(1000, 60_000)}",
        "who": f"backend.worker-rpm_build_worker:{build}-{chroot}",
        "results": f"https://copr.example.org/results/{name}/{chroot}/{build:08}-{package}/",
        "source": f"https://copr.example.org/srpms/{build:08}-{package}/{package}.src.rpm?digest={digits(64)}",
    }


def pagure_project():
    name = pick(PROJECTS)
    return {"id": rng.randint(1, 900), "name": name, "fullname": name, "namespace": None, "url_path": name,
            "description": words(4, 9), "tags": ["infra"], "user": person(pick(PEOPLE)), "parent": None,
            "date_created": "1600000000", "milestones": {}, "close_status": ["Fixed", "Invalid", "Duplicate"]}


def pagure():
    event = pick(["issue.new", "issue.comment.added", "issue.comment.added", "pull-request.new",
                  "pull-request.comment.added", "pull-request.closed", "git.receive"])
    agent, project = pick(PEOPLE), pagure_project()
    if event == "git.receive":
        msg = {"agent": agent, "repo": project, "branch": "main", "start_commit": digits(40), "end_commit": digits(40),
               "forced": False, "total_commits": rng.randint(1, 5), "authors": [person(agent)]}
    else:
        thing = {"id": rng.randint(1, 400), "title": words(3, 9), "content": words(5, 60), "status": "Open",
                 "private": False, "tags": [], "user": person(pick(PEOPLE)), "assignee": None, "comments": [
                     {"id": rng.randint(1, 90_000), "comment": words(3, 40), "user": person(pick(PEOPLE)), "parent": None}
                     for _ in range(rng.randint(0, 4))]}
        if event.startswith("issue"):
            msg = {"agent": agent, "issue": thing, "project": project}
        else:
            msg = {"agent": agent, "pullrequest": {**thing, "project": project, "branch": "main", "branch_from": "patch-1"}}
    return f"io.pagure.prod.pagure.{event}", "git", msg


def fedimg():
    version = pick(["rawhide", "43"])
    region = pick(["us-east-1", "eu-west-1", "ap-southeast-2"])
    status = pick(["started", "completed", "completed", "failed"])
    extra = {"id": f"ami-{digits(8)}", "virt_type": "hvm", "vol_type": "gp2"} if status == "completed" else {}
    return f"org.fedoraproject.prod.fedimg.image.{pick(['upload', 'upload', 'test'])}", "fedimg", {
        "image_name": f"Fedora-Cloud-Base-{version}-20260115.x86_64", "destination": f"EC2 ({region})", "status": status,
        "extra": extra, "image_url": "https://composes.example.org/20260115/Cloud/x86_64/base.raw.xz",
    }


def fas():
    name = pick(PEOPLE)
    if rng.random() < 0.5:
        return "org.fedoraproject.prod.fas.user.update", "apache", {
            "agent": name, "user": name, "fields": rng.sample(["locale", "timezone", "ssh_key", "comments"], 2)}
    return "org.fedoraproject.prod.fas.group.member.apply", "apache", {
        "agent": name, "user": name, "group": pick(["packager", "docs", "testers"])}


def wiki():
    return "org.fedoraproject.prod.wiki.article.edit", "apache", {
        "title": pick(["Release Notes", "Test Day", "Packaging:Tips", "Infrastructure/Notes"]), "user": pick(PEOPLE).title(),
        "minor_edit": rng.random() < 0.3, "summary": words(0, 12), "page_url": "https://wiki.example.org/wiki/Page",
        "revision": rng.randint(600_000, 700_000), "url": f"https://wiki.example.org/w?diff={rng.randint(600_000, 700_000)}",
    }


def planet():
    name = pick(PEOPLE)
    return "org.fedoraproject.prod.planet.post.new", "planet", {"username": name, "face": f"{name}.png", "post": {
        "title": words(3, 8), "link": f"https://{name}.example.org/{digits(6)}", "author": f"{name.title()} Example",
        "summary": words(40, 700), "published": "Thu, 15 Jan 2026 08:00:00 +0000"}}


def askbot():
    return "org.fedoraproject.prod.askbot.post.edit", "apache", {
        "agent": pick(PEOPLE), "created": rng.random() < 0.5, "timestamp": "2026-01-15 08:00:00", "topmost_post_id": 41_000,
        "diff": words(5, 120), "post": {"post_type": pick(["question", "answer", "comment"]), "text": words(10, 300),
                                        "author": pick(PEOPLE), "vote_up_count": rng.randint(0, 9)},
        "thread": {"title": words(4, 9), "tagnames": ["boot", "fonts"], "view_count": rng.randint(1, 900)},
    }


def anitya():
    name = pick(PACKAGES)
    new, old = version(), version()
    return "org.release-monitoring.prod.anitya.project.version.update", "anitya", {
        "distro": None, "project": {"name": name, "id": rng.randint(1, 300_000), "homepage": f"https://{name}.example.org",
                                    "backend": "custom", "version": new, "versions": [new, old]},
        "message": {"agent": "anitya", "upstream_version": new, "old_version": old, "packages": [
            {"distro": "Fedora", "package_name": name}], "odd_change": False, "versions": [new, old]},
    }


def koschei():
    old, new = pick([("ok", "failing"), ("failing", "ok"), ("unknown", "ok")])
    return "org.fedoraproject.prod.koschei.package.state.change", "koschei", {
        "name": pick(PACKAGES), "old": old, "new": new, "koji_instance": "primary", "collection": "f44",
        "collection_name": "Rawhide", "groups": [], "repo": "f44"}


def badge():
    return "org.fedoraproject.prod.fedbadges.badge.award", "fedmsg", {
        "user": {"username": pick(PEOPLE), "badges_user_id": rng.randint(1, 9000)},
        "badge": {"name": words(2, 4).title(), "badge_id": rng.randint(1, 500), "description": words(6, 14),
                  "image_url": "https://badges.example.org/pngs/badge.png"}}


def openqa():
    return "org.fedoraproject.prod.openqa.job.done", "geekotest", {
        "id": rng.randint(3_000_000, 3_100_000), "TEST": pick(["install_default", "base_services", "desktop_login"]),
        "ARCH": pick(ARCHES), "BUILD": "Fedora-Rawhide-20260115.n.0", "FLAVOR": "universal", "MACHINE": "64bit",
        "result": pick(["passed", "passed", "softfailed", "failed"]), "newbuild": None, "remaining": rng.randint(0, 90)}


def meeting():
    return "org.fedoraproject.prod.meetbot.meeting.complete", "supybot", {
        "channel": "#lantern-meeting", "meeting_topic": words(2, 4), "owner": pick(PEOPLE), "attendees": {
            name: rng.randint(1, 80) for name in rng.sample(PEOPLE, 6)}, "url": "https://meetings.example.org/2026-01-15"}


def bugzilla():
    return "/topic/VirtualTopic.eng.bugzilla.bug.modify", None, {
        "bug": {"id": rng.randint(2_300_000, 2_400_000), "summary": words(4, 10), "component": pick(PACKAGES),
                "status": pick(["NEW", "ASSIGNED", "CLOSED"]), "product": "Example"}, "event": {"user": pick(PEOPLE)}}


def compose(branch, step, status):
    return f"org.fedoraproject.prod.compose.{branch}{step}.{status}", "releng", {
        "log": "start" if status == "start" else "done", "branch": branch, "arch": "",
        "compose_id": f"Fedora-{branch.title()}-20260115.n.0", "short": "Fedora"}


FAMILIES = {
    build: 52, tag: 40, repo: 18, task: 20, image_task: 8, git_receive: 42, bodhi_comment: 26, bodhi_request: 18,
    bodhi_sync: 6, copr: 62, pagure: 40, fedimg: 12, fas: 9, wiki: 10, planet: 5, askbot: 6, anitya: 9, koschei: 8,
    badge: 8, openqa: 9, meeting: 2, bugzilla: 3,
}


def messages():
    """(time, topic, user, msg), in order of time."""
    end = START + HOURS * 3600
    for family, weight in FAMILIES.items():
        for _ in range(weight):
            yield (rng.randrange(START, end), *family())
    for branch, begin in [("rawhide", START + 300), ("branched", START + 1500)]:
        for order, step in enumerate(["", ".mash", ".pungify", ".rsync"]):
            yield (begin + order * 1200, *compose(branch, step, "start"))
            yield (begin + (5100 if step == "" else order * 1200 + 1140), *compose(branch, step, "complete"))


def main():
    counters = {}
    for time, topic, user, msg in sorted(messages(), key=lambda message: message[0]):
        envelope = {"topic": topic, "msg": msg, "timestamp": time}
        if user is None:
            # Born on another bus: no counter, no user, an id of another form.
            envelope["msg_id"] = f"ID:broker.example.org-{rng.randint(30_000, 60_000)}-{time}-1:1:1:1:1"
            envelope["headers"] = {"destination": topic, "esbMessageType": "bugzillaNotification"}
        else:
            counters[user] = counters.get(user, 0) + 1
            envelope |= {"i": counters[user], "username": user}
            envelope["msg_id"] = f"2026-{uuid.UUID(int=rng.getrandbits(128), version=4)}"
        print(json.dumps(envelope, sort_keys=True))


if __name__ == "__main__":
    main()
