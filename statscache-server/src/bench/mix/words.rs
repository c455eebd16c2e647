//! Names and texts: how many different ones there are decides how large a plugin's state gets.

use super::Random;

const USERS: u64 = 2000;
const PACKAGES: u64 = 6000;
const WORDS: [&str; 40] = [
    "after",
    "update",
    "starts",
    "faster",
    "rebuild",
    "flags",
    "tested",
    "machines",
    "works",
    "crash",
    "settings",
    "dialog",
    "translation",
    "missing",
    "branch",
    "merged",
    "thanks",
    "patch",
    "upstream",
    "notes",
    "pushing",
    "stable",
    "release",
    "candidate",
    "looks",
    "good",
    "größer",
    "naïve",
    "kernel",
    "driver",
    "session",
    "broken",
    "dependency",
    "symbol",
    "version",
    "package",
    "review",
    "request",
    "closes",
    "\"quoted\"",
];
const SYLLABLES: [&str; 16] =
    ["ba", "ko", "li", "mer", "tan", "vo", "rus", "del", "pim", "qua", "sor", "wyn", "xel", "yor", "zim", "gra"];
const STEMS: [&str; 6] = ["python-", "rust-", "perl-", "golang-", "nodejs-", ""];

/// A user's name.
pub(super) fn user(random: &mut Random) -> String {
    name(random.skewed(USERS))
}

/// A package's name.
pub(super) fn package(random: &mut Random) -> String {
    let number = random.skewed(PACKAGES);
    format!("{}{}", STEMS[(number % 6) as usize], name(number))
}

/// Three syllables at least; different for different numbers.
fn name(mut number: u64) -> String {
    let mut name = String::new();
    for _ in 0..2 {
        name.push_str(SYLLABLES[(number % 16) as usize]);
        number /= 16;
    }
    while number > 0 {
        name.push_str(SYLLABLES[(number % 16) as usize]);
        number /= 16;
    }
    name
}

/// A version.
pub(super) fn version(random: &mut Random) -> String {
    format!("{}.{}.{}", random.below(9), random.below(30), random.below(10))
}

/// Text of so many words.
pub(super) fn text(random: &mut Random, words: u64) -> String {
    (0..words).map(|_| random.pick(&WORDS)).collect::<Vec<_>>().join(" ")
}

/// So many hexadecimal digits.
pub(super) fn hex(random: &mut Random, digits: usize) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    (0..digits).map(|_| char::from(random.pick(DIGITS))).collect()
}

/// So many bytes in base64, without padding, in lines as Python writes them.
pub(super) fn certificate(random: &mut Random, bytes: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes * 4 / 3 + bytes / 40);
    for at in 0..bytes * 4 / 3 {
        if at > 0 && at % 76 == 0 {
            out.push('\n');
        }
        out.push(char::from(random.pick(DIGITS)));
    }
    out
}
