//! What the interop tests are written with: a subscriber that remembers what it heard, publishers of both
//! libraries behind one handle, and waiting for events with a deadline.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use statscache_server::bus::{
    BatchSender, Endpoint, EndpointState, EndpointStatus, NowFn, Publisher, Recv, Rejects, Source, WhenFull,
    ZeromqConfig, ZeromqSource, ZmtpConfig, ZmtpSource, queue,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

/// For anything that should happen at once; long, because the machine may be busy.
pub const SOON: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Own,
    Zeromq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Zeromq,
    Libzmq,
}

pub type Message = (String, Vec<u8>);

/// A clock that begins at some time in 2026: nothing here depends on the real one.
pub fn now() -> NowFn {
    let started = Instant::now();
    Arc::new(move || 1_780_000_000_000_000 + started.elapsed().as_micros() as i64)
}

pub fn endpoint(address: &str) -> Endpoint {
    address.parse().expect("a valid endpoint")
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

pub fn tcp(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

/// Sources of one kind with a collecting thread at the end of their queue.
pub struct Subscriber {
    heard: Arc<Heard>,
    pub status: Vec<Arc<EndpointStatus>>,
    pub rejects: Arc<Rejects>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Message>>,
    more: Notify,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().expect("no panic while collecting")
    }
}

impl Subscriber {
    pub fn start(client: Client, addresses: &[String], subscriptions: &[&str]) -> Self {
        let rejects = Arc::new(Rejects::new());
        let sources = addresses.iter().map(|address| -> Box<dyn Source> {
            match client {
                Client::Own => {
                    let mut config = ZmtpConfig::new(endpoint(address), now());
                    config.subscriptions = subscriptions.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
                    Box::new(ZmtpSource::new(config, Arc::clone(&rejects)))
                }
                Client::Zeromq => {
                    let mut config = ZeromqConfig::new(endpoint(address), now());
                    config.subscriptions = subscriptions.iter().map(|prefix| (*prefix).to_owned()).collect();
                    Box::new(ZeromqSource::new(config, Arc::clone(&rejects)))
                }
            }
        });
        Self::collect(sources.collect(), rejects)
    }

    /// One endpoint with our own client, configured by `change`.
    pub fn own(address: &str, change: impl FnOnce(&mut ZmtpConfig)) -> Self {
        let rejects = Arc::new(Rejects::new());
        let mut config = ZmtpConfig::new(endpoint(address), now());
        change(&mut config);
        let source = ZmtpSource::new(config, Arc::clone(&rejects));
        Self::collect(vec![Box::new(source)], rejects)
    }

    fn collect(sources: Vec<Box<dyn Source>>, rejects: Arc<Rejects>) -> Self {
        let heard = Arc::new(Heard::default());
        let (sender, mut receiver) = queue(64 << 20, WhenFull::Wait);
        let collected = Arc::clone(&heard);
        std::thread::spawn(move || {
            loop {
                match receiver.recv_timeout(Duration::from_secs(60)) {
                    Recv::Batch(batch) => {
                        let owned = |(topic, body): (&[u8], &[u8])| {
                            (String::from_utf8_lossy(topic).into_owned(), body.to_vec())
                        };
                        collected.lock().extend(batch.iter().map(owned));
                        collected.more.notify_waiters();
                        receiver.recycle(batch);
                    }
                    Recv::Timeout => {}
                    Recv::Closed => return,
                }
            }
        });
        Self::spawn(sources, rejects, sender, heard)
    }

    fn spawn(sources: Vec<Box<dyn Source>>, rejects: Arc<Rejects>, sender: BatchSender, heard: Arc<Heard>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let status = sources.iter().map(|source| source.status()).collect();
        let run = |source: Box<dyn Source>| tokio::spawn(source.run(sender.clone(), stopped.clone()));
        let tasks = sources.into_iter().map(run).collect();
        Self { heard, status, rejects, stop, tasks }
    }

    /// Waits until what was heard satisfies `enough`; gives how long it took. Fails with all that is known.
    pub async fn hears(&self, what: &str, deadline: Duration, enough: impl Fn(&[Message]) -> bool) -> Duration {
        let started = Instant::now();
        loop {
            let mut more = std::pin::pin!(self.heard.more.notified());
            more.as_mut().enable();
            if enough(&self.heard.lock()) {
                return started.elapsed();
            }
            let left = deadline.saturating_sub(started.elapsed());
            if tokio::time::timeout(left, more).await.is_err() {
                panic!("{what}: not heard within {deadline:?}\n{}", self.state());
            }
        }
    }

    pub async fn hears_topic(&self, topic: &str) -> Duration {
        self.hears(topic, SOON, |messages| messages.iter().any(|message| message.0 == topic)).await
    }

    /// Waits until the first endpoint's status satisfies `enough`.
    pub async fn shows(&self, what: &str, enough: impl Fn(&EndpointStatus) -> bool) {
        let started = Instant::now();
        while !enough(&self.status[0]) {
            assert!(started.elapsed() < SOON, "{what}: not within {SOON:?}\n{}", self.state());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn shows_error(&self, part: &str) {
        self.shows(part, |status| status.last_error().is_some_and(|error| error.contains(part))).await;
    }

    pub async fn shows_state(&self, state: EndpointState) {
        self.shows(state.as_str(), |status| status.state() == state).await;
    }

    pub fn messages(&self) -> Vec<Message> {
        self.heard.lock().clone()
    }

    pub fn forget(&self) {
        self.heard.lock().clear();
    }

    /// Stops all sources; fails when one does not.
    pub async fn stop(self) {
        self.stop.send(true).expect("sources hold the other end");
        for (task, status) in self.tasks.into_iter().zip(&self.status) {
            let ended = tokio::time::timeout(SOON, task).await;
            ended.unwrap_or_else(|_| panic!("{} did not stop", status.endpoint())).expect("no panic");
            assert_eq!(status.state(), EndpointState::Stopped);
        }
    }

    fn state(&self) -> String {
        let heard = self.heard.lock();
        let last: Vec<_> = heard.iter().rev().take(5).map(|(topic, body)| (topic, body.len())).collect();
        let status: Vec<_> = self.status.iter().map(|status| status.snapshot()).collect();
        format!("{} messages, the last {last:?}\n{status:#?}\nrejects: {:?}", heard.len(), self.rejects.last())
    }
}

/// A publisher that says ("pump", number) every 5 ms, so that whoever subscribed hears something soon, and what it
/// is told to.
pub enum Pump {
    Zeromq { task: JoinHandle<()>, commands: mpsc::UnboundedSender<Vec<Vec<u8>>> },
    Libzmq { child: Child, stdin: ChildStdin },
}

impl Pump {
    pub async fn start(library: Library, address: &str) -> Self {
        match library {
            Library::Zeromq => Self::start_zeromq(address).await,
            Library::Libzmq => Self::start_libzmq(address, &[]),
        }
    }

    async fn start_zeromq(address: &str) -> Self {
        let started = Instant::now();
        let mut publisher = loop {
            match Publisher::bind(&endpoint(address)).await {
                Ok(publisher) => break publisher,
                // The last owner of the port may not have been closed yet.
                Err(_) if started.elapsed() < SOON => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}: {address}"),
            }
        };
        let (commands, mut inbox) = mpsc::unbounded_channel::<Vec<Vec<u8>>>();
        let task = tokio::spawn(async move {
            for number in 1u64.. {
                tokio::select! {
                    frames = inbox.recv() => {
                        let Some(frames) = frames else { return };
                        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                        publisher.send_frames(&frames).await.expect("sent");
                    }
                    () = tokio::time::sleep(Duration::from_millis(5)) => {
                        publisher.send("pump", number.to_string().as_bytes()).await.expect("sent");
                    }
                }
            }
        });
        Self::Zeromq { task, commands }
    }

    pub fn start_libzmq(address: &str, options: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", include_str!("pub.py"), address])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs: it was asked for its zmq before");
        let stdin = child.stdin.take().expect("piped");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
        assert!(line.starts_with("bound"), "pub.py {address}: {line:?}");
        Self::Libzmq { child, stdin }
    }

    /// Publishes one message.
    pub fn send(&mut self, frames: &[&[u8]]) {
        match self {
            Self::Zeromq { commands, .. } => {
                commands.send(frames.iter().map(|frame| frame.to_vec()).collect()).expect("the publisher lives");
            }
            Self::Libzmq { stdin, .. } => {
                let hex = |frame: &&[u8]| match frame.len() {
                    0 => "-".to_owned(),
                    _ => frame.iter().map(|byte| format!("{byte:02x}")).collect(),
                };
                let words: Vec<String> = frames.iter().map(hex).collect();
                writeln!(stdin, "frames {}", words.join(" ")).expect("the publisher lives");
            }
        }
    }

    /// Publishes a body of `len` times `x`.
    pub fn send_big(&mut self, topic: &str, len: usize) {
        match self {
            Self::Zeromq { .. } => self.send(&[topic.as_bytes(), &vec![b'x'; len]]),
            Self::Libzmq { stdin, .. } => {
                let hex: String = topic.bytes().map(|byte| format!("{byte:02x}")).collect();
                writeln!(stdin, "big {hex} {len}").expect("the publisher lives");
            }
        }
    }

    /// Sends the publisher's process a signal. Only libzmq has one.
    pub fn signal(&self, name: &str) {
        let Self::Libzmq { child, .. } = self else { panic!("not a process") };
        let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Ends it as a crash would: no farewell.
    pub async fn kill(mut self) {
        match &mut self {
            Self::Zeromq { task, .. } => {
                task.abort();
                let _ = task.await;
            }
            Self::Libzmq { child, .. } => {
                child.kill().expect("it is ours");
                child.wait().expect("it is ours");
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        match self {
            Self::Zeromq { task, .. } => task.abort(),
            Self::Libzmq { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// The publishers there are on this machine. Says loudly what is left out, and fails when that was forbidden.
pub fn libraries() -> &'static [Library] {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let asked = Command::new("python3").args(["-c", "import zmq"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    if found {
        return &[Library::Zeromq, Library::Libzmq];
    }
    let required = std::env::var_os("STATSCACHE_REQUIRE_PYZMQ").is_some_and(|value| value == "1");
    assert!(!required, "STATSCACHE_REQUIRE_PYZMQ=1, and python3 cannot import zmq");
    // Not println: the test harness would swallow it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: pyzmq not found: nothing was tested against libzmq");
    &[Library::Zeromq]
}

/// Shown whether the test passes or not.
pub fn note(text: impl Debug) {
    let _ = writeln!(std::io::stderr(), "interop: {text:?}");
}
