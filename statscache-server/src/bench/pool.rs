//! Messages ready to be sent: in the bytes of the wire, with the places that are new each time they are sent.

use std::{io, net::TcpStream, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{mix, wire};

/// Different messages of the invented bus.
pub const MIX_MESSAGES: u64 = 10_000;
/// Written at a time.
const WRITE_BYTES: usize = 256 << 10;
const TIME_DIGITS: usize = 10;
/// Bytes of messages that are kept from a file; what is beyond is not sent.
const POOL_BYTES_MAX: usize = 512 << 20;

/// Messages one after the other, to be sent round and round.
pub struct Pool {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// The next to be sent.
    next: usize,
    /// Number that the next one gets.
    number: u64,
}

/// Where a message ends, and what is written anew in it.
struct Place {
    end: usize,
    id: Option<usize>,
    times: Vec<usize>,
}

impl Pool {
    /// Those of a file, a JSON object with a `topic` a line, or of the invented bus; of them those whose topic begins
    /// with one of the prefixes.
    pub fn new(file: Option<&Path>, prefixes: &[String]) -> anyhow::Result<Self> {
        let is_wanted = |topic: &str| prefixes.iter().any(|prefix| topic.starts_with(&**prefix));
        let mut pool = Self { bytes: Vec::new(), places: Vec::new(), next: 0, number: 0 };
        let mut seen = 0_u64;
        let mut add = |topic: &str, envelope: &Value| {
            seen += 1;
            if is_wanted(topic) && pool.bytes.len() < POOL_BYTES_MAX {
                pool.add(topic, &envelope.to_string());
            }
        };
        match file {
            Some(file) => read(file, &mut add)?,
            None => (0..MIX_MESSAGES).map(mix::message).for_each(|(topic, envelope)| add(&topic, &envelope)),
        }
        match (pool.places.is_empty(), seen) {
            (false, _) => Ok(pool),
            (true, 0) => bail!("there are no messages in {}", file.unwrap_or(Path::new("")).display()),
            (true, _) => bail!(
                "none of {seen} messages has a topic that [bus] subscribe asks for ({}); give some with --messages",
                prefixes.join(", ")
            ),
        }
    }

    fn add(&mut self, topic: &str, body: &str) {
        wire::frame(&mut self.bytes, topic.as_bytes(), true);
        let header = if body.len() > usize::from(u8::MAX) { 9 } else { 2 };
        let start = self.bytes.len() + header;
        wire::frame(&mut self.bytes, body.as_bytes(), false);
        let time = mix::TIME_MARK.to_string();
        self.places.push(Place {
            end: self.bytes.len(),
            id: body.find(mix::ID_MARK).map(|at| start + at),
            times: body.match_indices(&time).map(|(at, _)| start + at).collect(),
        });
    }

    /// How many messages.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Mean size on the wire.
    pub fn mean_bytes(&self) -> usize {
        self.bytes.len() / self.places.len()
    }

    /// Sends so many at most, as if they happened in this second since 1970: what fits in one write. Says how many.
    pub fn send(&mut self, peer: &mut TcpStream, most: u64, second: i64) -> io::Result<u64> {
        let start = self.end_before(self.next);
        let second = format!("{second:0TIME_DIGITS$}");
        let mut sent = 0;
        while sent < most && self.next < self.places.len() && self.end_before(self.next) - start < WRITE_BYTES {
            self.stamp(&second);
            sent += 1;
        }
        let end = self.end_before(self.next);
        io::Write::write_all(peer, &self.bytes[start..end])?;
        if self.next == self.places.len() {
            self.next = 0;
        }
        Ok(sent)
    }

    fn end_before(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.places[before].end)
    }

    /// Makes the next message a new one.
    fn stamp(&mut self, second: &str) {
        let place = &self.places[self.next];
        if let Some(id) = place.id {
            let width = mix::ID_MARK.len();
            self.bytes[id..id + width].copy_from_slice(format!("{:0width$}", self.number).as_bytes());
        }
        for time in &place.times {
            self.bytes[*time..time + TIME_DIGITS].copy_from_slice(second.as_bytes());
        }
        self.number += 1;
        self.next += 1;
    }
}

/// Hands over the messages of a file, each with the marks of what is new at each sending.
fn read(file: &Path, each: &mut impl FnMut(&str, &Value)) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}:{}", file.display(), number + 1);
        let mut envelope: Value = serde_json::from_str(line).with_context(|| format!("{}: not JSON", place()))?;
        // Archives wrap what was on the bus.
        if envelope.get("topic").is_none()
            && let Some(inner) = envelope.get_mut("message").map(Value::take)
        {
            envelope = inner;
        }
        let Some(topic) = envelope.get("topic").and_then(Value::as_str).map(str::to_owned) else {
            bail!("{}: no `topic` in it, or not a text; each line is one message, a JSON object", place());
        };
        envelope["msg_id"] = mix::msg_id().into();
        envelope["timestamp"] = mix::TIME_MARK.into();
        each(&topic, &envelope);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn everything() -> Vec<String> {
        vec![String::new()]
    }

    /// What a reader gets of the first so many messages, frames as texts.
    fn sent(pool: &mut Pool, messages: u64, second: i64) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (mut reader, _) = listener.accept().expect("accepted");
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("read");
            bytes
        });
        let mut left = messages;
        while left > 0 {
            left -= pool.send(&mut peer, left, second).expect("sent");
        }
        drop(peer);
        frames(&reader.join().expect("no panic"))
    }

    fn frames(mut bytes: &[u8]) -> Vec<String> {
        let mut frames = Vec::new();
        while let [flag, rest @ ..] = bytes {
            let (len, rest) = match flag & 2 {
                0 => (usize::from(rest[0]), &rest[1..]),
                _ => (u64::from_be_bytes(rest[..8].try_into().expect("eight")) as usize, &rest[8..]),
            };
            frames.push(String::from_utf8(rest[..len].to_vec()).expect("UTF-8"));
            bytes = &rest[len..];
        }
        frames
    }

    #[test]
    fn each_sending_is_a_new_message_of_the_present() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("messages.jsonl");
        let long = "x".repeat(300);
        std::fs::write(
            &file,
            format!(
                "{{\"topic\": \"a.b\", \"msg\": {{\"n\": 1, \"pad\": \"{long}\"}}, \"timestamp\": 5, \"msg_id\": \"1\"}}\n\n\
                 {{\"message\": {{\"topic\": \"a.c\", \"msg\": {{}}}}, \"id\": 3}}\n{{\"topic\": \"b\", \"msg\": 1}}\n"
            ),
        )
        .expect("written");
        let mut pool = Pool::new(Some(&file), &["a.".to_owned()]).expect("messages");
        assert_eq!(pool.count(), 2);
        let frames = sent(&mut pool, 5, 1_700_000_001);
        let topics: Vec<&str> = frames.iter().step_by(2).map(String::as_str).collect();
        assert_eq!(topics, ["a.b", "a.c", "a.b", "a.c", "a.b"]);
        let bodies: Vec<Value> =
            frames.iter().skip(1).step_by(2).map(|body| serde_json::from_str(body).expect("JSON")).collect();
        for (number, body) in bodies.iter().enumerate() {
            assert_eq!(body["timestamp"], 1_700_000_001);
            assert!(body["msg_id"].as_str().is_some_and(|id| id.ends_with(&format!("-{number:012}"))), "{body}");
        }
    }

    #[test]
    fn the_invented_bus_is_json() {
        let mut pool = Pool::new(None, &everything()).expect("messages");
        let frames = sent(&mut pool, 300, 1_700_000_002);
        assert_eq!(frames.len(), 600);
        for pair in frames.chunks(2) {
            let body: Value = serde_json::from_str(&pair[1]).expect("JSON");
            assert_eq!(body["topic"], pair[0].as_str());
            assert_eq!(body["timestamp"], 1_700_000_002);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("messages.jsonl");
        let problem = |text: &str, prefix: &str| {
            std::fs::write(&file, text).expect("written");
            let error = Pool::new(Some(&file), &[prefix.to_owned()]).map(|pool| pool.count()).expect_err("refused");
            format!("{error:#}")
        };
        assert!(problem("{\"topic\": \"a\"}\n{", "").contains("messages.jsonl:2: not JSON"));
        assert!(problem("{\"msg\": 1}", "").contains("messages.jsonl:1: no `topic`"));
        assert!(problem("\n", "").contains("no messages in"));
        assert!(problem("{\"topic\": \"a\"}", "b.").contains("none of 1 messages has a topic"));
        let missing = Pool::new(Some(Path::new("nowhere.jsonl")), &everything()).map(|_| ()).expect_err("refused");
        assert!(format!("{missing:#}").contains("cannot read nowhere.jsonl"));
    }
}
