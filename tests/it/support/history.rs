//! `statscache history` as a process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{BINARY, SOON, look, signal};

/// A history service on a port of its own.
pub struct HistoryProcess {
    child: Child,
    pub address: SocketAddr,
    /// Messages that it began with.
    pub messages: u64,
}

impl HistoryProcess {
    /// Starts it over `--jsonl` or `--journal` of a path, and waits until it serves.
    pub fn start(option: &str, path: &str) -> Self {
        Self::start_at(option, path, "127.0.0.1:0")
    }

    /// The same, at an address.
    pub fn start_at(option: &str, path: &str, listen: &str) -> Self {
        let mut child = Command::new(BINARY)
            .args(["history", option, path, "--listen", listen])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let log = lines.clone();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let all = || lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        match look(SOON, || all().lines().find_map(served)) {
            Some((messages, address)) => Self { child, address, messages },
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it does not serve\n{}", all());
            }
        }
    }

    /// Ends it as a service manager would; it must be content.
    pub fn terminate(mut self) {
        signal(self.child.id(), "TERM");
        let status = look(SOON, || self.child.try_wait().expect("it is ours"));
        assert_eq!(status.and_then(|status| status.code()), Some(0), "after SIGTERM: {status:?}");
    }
}

impl Drop for HistoryProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn served(line: &str) -> Option<(u64, SocketAddr)> {
    let (messages, address) = line.strip_prefix("serving ")?.split_once(" messages at http://")?;
    Some((messages.parse().ok()?, address.strip_suffix("/raw")?.parse().ok()?))
}
