//! Publishers: one in this process that says what it is told to, and the real `publish` command.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use statscache_server::bus::{Endpoint, Publisher};
use tokio::runtime::Runtime;

use super::{BINARY, Message, SOON, TestDaemon, look};

/// A PUB socket of this process.
pub struct TestPublisher {
    runtime: Runtime,
    publisher: Option<Publisher>,
    pub address: String,
}

impl TestPublisher {
    /// Binds a free port.
    pub fn start() -> Self {
        Self::bind("tcp://127.0.0.1:0")
    }

    pub fn bind(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let endpoint: Endpoint = format!("bind {address}").parse().expect("a valid address");
        // The last owner of the port may not have been closed yet.
        let publisher = look(SOON, || runtime.block_on(Publisher::bind(&endpoint)).ok());
        let publisher = publisher.unwrap_or_else(|| panic!("{address} cannot be bound"));
        let address = publisher.address().to_owned();
        Self { runtime, publisher: Some(publisher), address }
    }

    fn publisher(&mut self) -> &mut Publisher {
        self.publisher.as_mut().expect("only drop takes it")
    }

    /// Sends any frames.
    pub fn send_frames(&mut self, frames: &[&[u8]]) {
        let publisher = self.publisher.as_mut().expect("only drop takes it");
        self.runtime.block_on(publisher.send_frames(frames)).expect("sent");
    }

    /// Sends topic and body.
    pub fn send_body(&mut self, topic: &str, body: &str) {
        self.send_frames(&[topic.as_bytes(), body.as_bytes()]);
    }

    pub fn send(&mut self, message: &Message) {
        self.send_body(&message.topic, &message.body());
    }

    pub fn send_all(&mut self, messages: &[Message]) {
        messages.iter().for_each(|message| self.send(message));
    }

    pub fn subscribers(&mut self) -> usize {
        self.publisher().subscribers()
    }

    /// Returns when the daemon hears this publisher.
    pub fn reaches(&mut self, daemon: &TestDaemon) {
        self.is_heard(|| daemon.json("/bus"));
    }

    /// Returns when whoever answers `/bus` like this hears this publisher. ZeroMQ does not tell when a subscription has
    /// arrived, so this says something without a topic, which a daemon rejects and counts, until it does.
    pub fn is_heard(&mut self, bus: impl Fn() -> Value) {
        let address = self.address.clone();
        let heard = look(SOON, || {
            self.send_frames(&[b"", b"knock"]);
            let endpoints = bus()["endpoints"].as_array().cloned().unwrap_or_default();
            let mut this = endpoints.iter().filter(|endpoint| endpoint["endpoint"] == address.as_str());
            this.any(|endpoint| endpoint["rejected"].as_u64().unwrap_or(0) > 0).then_some(())
        });
        assert!(heard.is_some(), "nobody hears the publisher: {:#}", bus());
    }
}

impl Drop for TestPublisher {
    fn drop(&mut self) {
        // The crate's tasks end with their runtime.
        let _inside = self.runtime.enter();
        drop(self.publisher.take());
    }
}

/// `statscache publish` as a process.
pub struct PublishProcess {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    pub address: String,
}

impl PublishProcess {
    /// Publishes a file on a free port; it waits for a subscriber by itself.
    pub fn start(file: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .arg("publish")
            .arg(file)
            .args(["--endpoint", "tcp://127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        stderr.read_line(&mut said).expect("UTF-8");
        let address = said.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(said.starts_with("publishing ") && address.starts_with("tcp://"), "{said:?}");
        Self { child, stderr, said, address }
    }

    /// Waits for its end; gives what it said. It must be content.
    pub fn finish(mut self) -> String {
        let status = look(Duration::from_secs(60), || self.child.try_wait().expect("it is ours"));
        let _ = self.child.kill();
        let mut line = String::new();
        while self.stderr.read_line(&mut line).is_ok_and(|len| len > 0) {
            self.said.push_str(&line);
            line.clear();
        }
        assert!(status.is_some_and(|status| status.success()), "publish: {status:?}\n{}", self.said);
        std::mem::take(&mut self.said)
    }
}

impl Drop for PublishProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
