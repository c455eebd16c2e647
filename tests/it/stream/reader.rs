//! A reader of server-sent events over a plain connection.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use serde_json::Value;

use crate::support::{SOON, TestDaemon};

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: String,
    pub id: String,
    pub data: Value,
}

/// Reads a stream.
pub struct EventReader {
    connection: TcpStream,
    /// Status line and headers.
    pub head: String,
    /// What came and is not read yet, in chunks.
    chunked: Vec<u8>,
    /// What came out of the chunks and is not read yet.
    text: String,
    /// How long to wait before coming back, as the daemon wants it.
    pub retry: Option<u64>,
    is_ended: bool,
}

impl EventReader {
    /// Opens a stream, which must work.
    pub fn open(daemon: &TestDaemon, path: &str, headers: &[(&str, &str)]) -> Self {
        let reader = Self::ask(daemon, path, headers);
        assert!(reader.head.starts_with("HTTP/1.1 200 "), "{path}: {}", reader.head);
        assert!(reader.head.contains("transfer-encoding: chunked\r\n"), "{path}: {}", reader.head);
        reader
    }

    /// What an attempt to open it gives.
    pub fn status(daemon: &TestDaemon, path: &str) -> u16 {
        Self::ask(daemon, path, &[]).head[9..12].parse().expect("a number")
    }

    fn ask(daemon: &TestDaemon, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = TcpStream::connect(daemon.address()).expect("connected");
        connection.set_read_timeout(Some(SOON)).expect("a timeout");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").expect("sent");
        let (head, retry) = (String::new(), None);
        let mut reader = Self { connection, head, chunked: Vec::new(), text: String::new(), retry, is_ended: false };
        let end = loop {
            if let Some(end) = reader.chunked.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            reader.read();
        };
        let head: Vec<u8> = reader.chunked.drain(..end).collect();
        reader.head = String::from_utf8(head).expect("ASCII");
        if reader.head.contains("chunked") {
            reader.take_chunks();
        }
        reader
    }

    /// Waits for the next event.
    pub fn next(&mut self) -> Event {
        let started = Instant::now();
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = self.event(&block) {
                    return event;
                }
            }
            assert!(!self.is_ended, "the stream has ended");
            assert!(started.elapsed() < SOON, "no event");
            self.read();
            self.take_chunks();
        }
    }

    /// Reads until it ends, which it must in order.
    pub fn read_to_end(mut self) {
        while !self.is_ended {
            self.read();
            self.take_chunks();
        }
    }

    fn event(&mut self, block: &str) -> Option<Event> {
        let field = |name: &str| {
            let mut values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let value = values.next();
            assert!(values.next().is_none(), "{name} twice in {block}");
            value
        };
        self.retry = self.retry.or(field("retry").map(|retry| retry.parse().expect("milliseconds")));
        let data = serde_json::from_str(field("data")?).expect("JSON");
        Some(Event { kind: field("event")?.to_owned(), id: field("id")?.to_owned(), data })
    }

    /// Takes what is whole out of its chunks.
    fn take_chunks(&mut self) {
        while let Some(at) = self.chunked.windows(2).position(|window| window == b"\r\n") {
            let len = std::str::from_utf8(&self.chunked[..at]).expect("ASCII");
            let len = usize::from_str_radix(len, 16).expect("the length of a chunk");
            let (begin, end) = (at + 2, at + 2 + len);
            if self.chunked.len() < end + 2 {
                return;
            }
            assert_eq!(self.chunked[end..end + 2], *b"\r\n", "the end of a chunk");
            self.text.push_str(std::str::from_utf8(&self.chunked[begin..end]).expect("whole characters"));
            self.chunked.drain(..end + 2);
            self.is_ended = len == 0;
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let len = self.connection.read(&mut buffer).expect("something comes");
        assert!(len > 0, "the stream is cut off");
        self.chunked.extend_from_slice(&buffer[..len]);
    }
}
