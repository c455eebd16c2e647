//! The stream that ingest is measured with: 50,000 different fedmsg-style messages of about 1.6 kB
//! on 30 topics, encoded for the wire beforehand, so that sending costs one write.

use std::{
    io::{BufRead, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::json;
pub(super) use statscache_server::bench::frame;
use statscache_server::bench::greet;

const DISTINCT: u64 = 50_000;
/// Digits in `msg_id` that are counted up from pass to pass.
const ID_DIGITS: usize = 12;
const WRITE_BYTES: usize = 1 << 20;
/// How often a paced publisher sends what is due.
const PACE: Duration = Duration::from_millis(2);
/// When the first of the messages happened; a hundred of them in each second.
pub(super) const FIRST_SECS: u64 = 1_700_000_000;
/// When the last of them did, and a little later.
pub(super) const END_SECS: u64 = FIRST_SECS + DISTINCT / 100;

/// Binds a port, prints it, and sends so many messages to whoever subscribes. A PUB socket as far
/// as a subscriber can tell (ZMTP 3.0, NULL), but one that waits instead of dropping.
pub(super) fn publish(messages: &str) -> anyhow::Result<()> {
    let messages: u64 = messages.parse().context("number of messages")?;
    let mut stream = Stream::encode();
    let mut peer = subscriber()?;
    let mut sent = 0;
    while sent < messages {
        stream.stamp(sent);
        let pass = (messages - sent).min(DISTINCT);
        let bytes = stream.bytes_of(pass);
        for part in bytes.chunks(WRITE_BYTES) {
            peer.write_all(part)?;
        }
        sent += pass;
    }
    // Stays connected until the case is over.
    let mut end = [0];
    let _ = std::io::stdin().read(&mut end);
    Ok(())
}

/// Binds a port, prints it, and sends what it is told to: of each line of standard input, `RATE MESSAGES`, so many
/// at so many a second. Prints a line when they are sent.
pub(super) fn publish_paced() -> anyhow::Result<()> {
    let mut stream = Stream::encode();
    let mut peer = subscriber()?;
    let mut sent = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (rate, messages) = line.split_once(' ').context("RATE MESSAGES")?;
        let rate: f64 = rate.parse()?;
        let (start, first, end) = (Instant::now(), sent, sent + messages.parse::<u64>()?);
        while sent < end {
            let due = first + (start.elapsed().as_secs_f64() * rate) as u64 + 1;
            sent = stream.send(&mut peer, sent, due.min(end))?;
            thread::sleep(PACE);
        }
        println!("sent");
    }
    Ok(())
}

/// Prints the port of a socket, and waits for the one who subscribes there.
pub(super) fn subscriber() -> anyhow::Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (mut peer, _) = listener.accept()?;
    greet(&mut peer)?;
    Ok(peer)
}

struct Stream {
    bytes: Vec<u8>,
    /// End of each message, and where its id's digits are.
    marks: Vec<(usize, usize)>,
}

impl Stream {
    fn encode() -> Self {
        let mut stream = Self { bytes: Vec::new(), marks: Vec::new() };
        for number in 0..DISTINCT {
            let topic = topic(number % 30);
            let body = body(&topic, number);
            frame(&mut stream.bytes, topic.as_bytes(), true);
            let start = stream.bytes.len();
            frame(&mut stream.bytes, body.as_bytes(), false);
            let id = find(&stream.bytes[start..], b"-4000-8000-").expect("every body has an id") + start + 11;
            stream.marks.push((stream.bytes.len(), id));
        }
        stream
    }

    /// Gives every message an id of its own, counted from here.
    fn stamp(&mut self, first: u64) {
        for (number, (_, id)) in (first..).zip(&self.marks) {
            self.bytes[*id..id + ID_DIGITS].copy_from_slice(id_digits(number).as_bytes());
        }
    }

    fn bytes_of(&self, messages: u64) -> &[u8] {
        &self.bytes[..self.end_of(messages)]
    }

    /// Where the first so many messages end.
    fn end_of(&self, messages: u64) -> usize {
        match messages {
            0 => 0,
            n => self.marks[n as usize - 1].0,
        }
    }

    /// Sends the messages of these numbers, to the end of a pass at most; says how far it came.
    fn send(&mut self, peer: &mut TcpStream, from: u64, to: u64) -> anyhow::Result<u64> {
        let pass = from - from % DISTINCT;
        if from == pass {
            self.stamp(pass);
        }
        let to = to.min(pass + DISTINCT);
        peer.write_all(&self.bytes[self.end_of(from - pass)..self.end_of(to - pass)])?;
        Ok(to)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn topic(number: u64) -> String {
    // Two of thirty are for the release engineering plugin, about what a real bus carries.
    match number {
        0 => "org.fedoraproject.prod.compose.rawhide.mash.complete".to_owned(),
        1 => "org.fedoraproject.prod.bodhi.updates.fedora.sync".to_owned(),
        n => format!("org.fedoraproject.prod.service{:02}.object.event{n:02}", n % 12),
    }
}

fn body(topic: &str, number: u64) -> String {
    let envelope = json!({
        "username": "apache",
        "i": number,
        "timestamp": FIRST_SECS + number / 100,
        "msg_id": format!("2023-{number:08x}-0000-4000-8000-{number:012}"),
        "crypto": "x509",
        "topic": topic,
        "headers": {},
        "signature": format!("{number:064x}").repeat(5),
        "source_version": "0.9.1",
        "msg": {
            "agent": format!("user{}", number % 997),
            "arch": "x86_64", "branch": "rawhide", "log": "done", "release": "f40", "repo": "updates-testing",
            "update": {
                "alias": format!("FEDORA-2023-{number:010x}"),
                "builds": [{"nvr": format!("package{}-1.2.{number}-3.fc40", number % 4001), "epoch": 0, "signed": true}],
                "notes": "Rebuilt for the new release; fixes the start of the service after an upgrade.\n".repeat(4),
                "karma": 3, "status": "testing", "suggest": "unspecified", "critpath": false, "stable_days": 7,
                "user": {"name": format!("user{}", number % 997), "id": number % 997, "email": "someone@example.org",
                         "groups": ["packager", "provenpackager", "qa", "infra-sig"]},
                "bugs": [{"bug_id": 2_000_000 + number, "title": "service does not start", "security": false}],
                "comments": [{"text": "works for me", "karma": 1, "timestamp": "2023-11-14 22:13:20"},
                             {"text": "no regressions noted", "karma": 1, "timestamp": "2023-11-14 23:13:20"}],
            },
        },
    });
    envelope.to_string()
}

/// Different messages of the stream, topic and body, and where in the body the digits of the id are.
pub(super) fn messages(count: u64) -> Vec<(String, String, usize)> {
    let message = |number: u64| {
        let topic = topic(number % 30);
        let body = body(&topic, number);
        let id = body.find("-4000-8000-").expect("every body has an id") + 11;
        (topic, body, id)
    };
    (0..count).map(message).collect()
}

/// The digits of the id of a message.
pub(super) fn id_digits(number: u64) -> String {
    format!("{number:0width$}", width = ID_DIGITS)
}

/// Mean size of a message: topic and body, bytes.
pub(super) fn mean_bytes() -> anyhow::Result<u64> {
    let sizes: u64 = (0..300).map(|n| (topic(n % 30).len() + body(&topic(n % 30), n).len()) as u64).sum();
    let mean = sizes / 300;
    ensure!((1500..1700).contains(&mean), "messages should be of about 1.6 kB and are of {mean} bytes");
    Ok(mean)
}
