//! Who and what there is. All of it is invented.

use super::{DAY, Random};

/// People; the first ones do most.
pub(super) const PEOPLE: [&str; 20] = [
    "aiko", "bram", "celeste", "dmitri", "esi", "farah", "gustav", "hana", "ines", "jomar", "katja", "leif", "mirela",
    "nuru", "oriol", "petra", "quill", "rosa", "sami", "tove",
];

/// Packages of the distribution.
pub(super) const PACKAGES: [&str; 30] = [
    "lanternd",
    "quillfs",
    "mossgrep",
    "tidepool-libs",
    "python-harrow",
    "rust-ember",
    "perl-Text-Sparrow",
    "golang-kiln",
    "cobalt-session",
    "nimbus-fonts",
    "oxbow",
    "velvet-theme",
    "ferryman",
    "python-tinder",
    "sextant",
    "gravelpit",
    "brambledb",
    "larkspur",
    "millrace",
    "ruby-thistle",
    "python-wicker",
    "hazelnut",
    "driftwood",
    "rust-sluice",
    "juniper-vm",
    "slatectl",
    "copperline",
    "kestrel-mail",
    "marlin-gui",
    "yarrow",
];

/// Projects of the forge.
pub(super) const PROJECTS: [&str; 8] = [
    "docs-harvest",
    "release-kettle",
    "lantern-infra",
    "packager-almanac",
    "mirror-census",
    "badge-oven",
    "test-orchard",
    "wiki-barge",
];

/// Links of the catalogue: path, title.
pub(super) const LINKS: [(&str, &str); 15] = [
    ("/mail", "Mail"),
    ("/calendar", "Calendar"),
    ("/wiki", "Wiki"),
    ("/builds", "Build farm"),
    ("/tickets", "Tickets"),
    ("/payroll", "Payroll"),
    ("/travel", "Travel requests"),
    ("/lunch", "Lunch menu"),
    ("/oncall", "On-call roster"),
    ("/dashboards", "Dashboards"),
    ("/training", "Training"),
    ("/rooms", "Meeting rooms"),
    ("/library", "Library"),
    ("/bikes", "Bicycle pool"),
    ("/archive", "Archive"),
];

/// Clubs, and how many people may be seen in each.
pub(super) const CLUBS: [(&str, u64); 10] = [
    ("choir", 60),
    ("chess", 40),
    ("running", 900),
    ("cycling", 500),
    ("gardening", 120),
    ("film", 250),
    ("robotics", 80),
    ("sailing", 35),
    ("hiking", 700),
    ("baking", 180),
];

/// Where they live.
pub(super) const CITIES: [&str; 16] = [
    "Aldermoor",
    "Brackwater",
    "Caldport",
    "Dunmere",
    "Eastwick Sound",
    "Fennhaven",
    "Glimmerford",
    "Harrowgate Bay",
    "Isenfall",
    "Juniper Falls",
    "Kestrel Point",
    "Larkhollow",
    "Mosswick",
    "Northmarsh",
    "Old Quarry",
    "Pinecrest",
];

/// Somebody who is there that week: everyone is on holiday now and then.
pub(super) fn person(random: &mut Random, time: i64) -> &'static str {
    let week = time.div_euclid(7 * DAY);
    let is_away = |name: &str| Random::of(name, week).chance(0.12);
    let someone = *random.favour(&PEOPLE);
    if is_away(someone) { random.favour::<&str>(&PEOPLE) } else { someone }
}

/// A few words of a comment.
pub(super) fn words(random: &mut Random, count: u64) -> String {
    const WORDS: [&str; 24] = [
        "after", "the", "update", "it", "starts", "faster", "please", "rebuild", "tested", "on", "three", "machines",
        "works", "for", "me", "größer", "naïve", "branch", "merged", "thanks", "see", "notes", "looks", "good",
    ];
    let words: Vec<&str> = (0..count).map(|_| *random.pick(&WORDS)).collect();
    words.join(" ")
}

/// A version number.
pub(super) fn version(random: &mut Random) -> String {
    format!("{}.{}.{}", random.below(10), random.below(20), random.below(9))
}
