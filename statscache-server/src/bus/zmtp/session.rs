//! The rules of one session that need no socket: what each command obliges us to, and when silence or slowness has
//! lasted too long. Sans-I/O: time is an argument, what is to be sent is appended to `out`.

use std::time::Duration;

use tokio::time::Instant;

use super::wire::{self, Greeting, ProtocolError};
use super::{Mechanism, ZmtpConfig};

/// Commands in one second before it is a flood. Heartbeats come at most a few a second.
const COMMANDS_PER_SECOND_MAX: u32 = 1000;
/// A message that is under way must come at least this fast, after its `message_deadline`.
const MESSAGE_BYTES_PER_SECOND_MIN: u64 = 16 * 1024;

/// Why a connection, or the attempt at one, ended.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("cannot bind")]
    Bind(#[source] std::io::Error),
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the publisher closed the connection")]
    Closed,
    #[error("the peer did not introduce itself within {0:?}")]
    Handshake(Duration),
    #[error("the protocol was broken")]
    Protocol(#[from] ProtocolError),
    #[error("the peer asks for the {0} mechanism; only NULL is supported")]
    Mechanism(String),
    #[error("the peer is a {0} socket, not a publisher (PUB or XPUB)")]
    NotAPublisher(String),
    #[error("the peer refused us: {0}")]
    Refused(String),
    #[error("{0} came where it must not")]
    Unexpected(&'static str),
    #[error("a message was begun and not completed: {bytes} bytes in {after:?}")]
    Stalled { bytes: u64, after: Duration },
    #[error("nothing came for {0:?}, a PING included")]
    NoPong(Duration),
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("more than {COMMANDS_PER_SECOND_MAX} commands in a second")]
    CommandFlood,
    #[error("the peer does not read: a write took longer than {0:?}")]
    WriteStalled(Duration),
    #[error("nobody takes the messages any more")]
    QueueClosed,
}

/// Checks a greeting and answers with READY.
pub fn greeted(greeting: &Greeting, out: &mut Vec<u8>) -> Result<(), Disconnect> {
    let mechanism = greeting.mechanism_name();
    match Mechanism::Null {
        Mechanism::Null if mechanism == Mechanism::Null.as_str() => {
            wire::put_ready(out, "SUB");
            Ok(())
        }
        _ => Err(Disconnect::Mechanism(mechanism)),
    }
}

/// Handles a command of the handshake; whether it completed it, subscriptions included.
pub fn introduced(
    greeting: &Greeting,
    name: &[u8],
    data: &[u8],
    config: &ZmtpConfig,
    out: &mut Vec<u8>,
) -> Result<bool, Disconnect> {
    match name {
        b"READY" => match wire::ready_socket_type(data)? {
            Some(b"PUB" | b"XPUB") => {}
            other => return Err(Disconnect::NotAPublisher(other.unwrap_or(b"nameless").escape_ascii().to_string())),
        },
        b"ERROR" => return Err(Disconnect::Refused(wire::error_reason(data))),
        _ => return Err(Disconnect::Unexpected("a command other than READY")),
    }
    if config.subscriptions.is_empty() {
        wire::put_subscribe(out, greeting.version, b"");
    }
    for prefix in &config.subscriptions {
        wire::put_subscribe(out, greeting.version, prefix);
    }
    Ok(true)
}

/// Watches one session after its handshake.
#[derive(Debug)]
pub struct Watch {
    /// The peer is known to understand PING.
    pings: bool,
    heard_at: Instant,
    ping_sent_at: Option<Instant>,
    /// Since when, and after how many bytes of the session, a message has been under way.
    partial: Option<(Instant, u64)>,
    bytes: u64,
    commands: u32,
    commands_since: Instant,
}

impl Watch {
    /// The session began now.
    pub fn new(greeting: &Greeting, now: Instant) -> Self {
        Self {
            pings: greeting.version >= (3, 1),
            heard_at: now,
            ping_sent_at: None,
            partial: None,
            bytes: 0,
            commands: 0,
            commands_since: now,
        }
    }

    /// Bytes came.
    pub fn heard(&mut self, now: Instant, bytes: usize) {
        self.heard_at = now;
        self.ping_sent_at = None;
        self.bytes += bytes as u64;
    }

    /// For a while we did not read, by our own choice: what is pending starts anew.
    pub fn resume(&mut self, now: Instant) {
        self.heard_at = now;
        self.ping_sent_at = None;
        self.partial = self.partial.map(|(_, bytes)| (now, bytes));
    }

    /// All that came has been looked at: does it end within a message, and did at least one end since the last
    /// call?
    pub fn drained(&mut self, now: Instant, is_partial: bool, progress: bool) {
        if !is_partial {
            self.partial = None;
        } else if progress || self.partial.is_none() {
            self.partial = Some((now, self.bytes));
        }
    }

    /// Handles a command after the handshake.
    pub fn command(&mut self, now: Instant, name: &[u8], data: &[u8], out: &mut Vec<u8>) -> Result<(), Disconnect> {
        if now.duration_since(self.commands_since) >= Duration::from_secs(1) {
            (self.commands, self.commands_since) = (0, now);
        }
        self.commands += 1;
        if self.commands > COMMANDS_PER_SECOND_MAX {
            return Err(Disconnect::CommandFlood);
        }
        match name {
            b"PING" => {
                self.pings = true;
                wire::put_pong(out, wire::ping_context(data)?);
            }
            b"ERROR" => return Err(Disconnect::Refused(wire::error_reason(data))),
            b"READY" => return Err(Disconnect::Unexpected("READY")),
            // PONG has done its work by being heard; what else there is (SUBSCRIBE, of later versions) is not for
            // a SUB.
            _ => {}
        }
        Ok(())
    }

    /// Looks at the clock: an error when the session must end, else whether the peer is to be shown as silent.
    /// May append a PING.
    pub fn check(&mut self, now: Instant, config: &ZmtpConfig, out: &mut Vec<u8>) -> Result<bool, Disconnect> {
        if let Some((since, before)) = self.partial {
            let (after, bytes) = (now.duration_since(since), self.bytes - before);
            let earned = Duration::from_millis(bytes.saturating_mul(1000) / MESSAGE_BYTES_PER_SECOND_MIN);
            if after >= config.message_deadline.saturating_add(earned) {
                return Err(Disconnect::Stalled { bytes, after });
            }
        }
        let silence = now.duration_since(self.heard_at);
        if config.reconnect_after.is_some_and(|limit| silence >= limit) {
            return Err(Disconnect::Silent(silence));
        }
        let mut overdue = false;
        match self.ping_sent_at {
            Some(at) if now.duration_since(at) >= config.ping_deadline => return Err(Disconnect::NoPong(silence)),
            Some(at) => overdue = now.duration_since(at) >= config.ping_deadline / 2,
            None if self.pings && silence >= config.ping_after => {
                wire::put_ping(out);
                self.ping_sent_at = Some(now);
            }
            None => {}
        }
        Ok(overdue || silence >= config.silent_after)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    fn config() -> ZmtpConfig {
        ZmtpConfig::new("tcp://127.0.0.1:1".parse().expect("valid"), Arc::new(|| 0))
    }

    fn watch(version: (u8, u8), now: Instant) -> Watch {
        Watch::new(&Greeting { version, mechanism: *b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" }, now)
    }

    fn ping() -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_ping(&mut out);
        out
    }

    #[test]
    fn silence_is_asked_about_and_then_ended() {
        let (config, start) = (config(), Instant::now());
        let mut watch = watch((3, 1), start);
        let mut out = Vec::new();
        let mut check = |watch: &mut Watch, after| {
            out.clear();
            watch.check(start + after, &config, &mut out).map(|silent| (silent, out.clone()))
        };
        let asked = config.ping_after;
        assert_eq!(check(&mut watch, asked - TICK).ok(), Some((false, vec![])));
        assert_eq!(check(&mut watch, asked).ok(), Some((false, ping())));
        assert_eq!(check(&mut watch, asked + config.ping_deadline / 2).ok(), Some((true, vec![])), "once, and overdue");
        assert_eq!(check(&mut watch, asked + config.ping_deadline - TICK).ok(), Some((true, vec![])));
        assert!(matches!(check(&mut watch, asked + config.ping_deadline), Err(Disconnect::NoPong(_))));
        watch.heard(start + asked * 2, 1);
        assert_eq!(check(&mut watch, asked * 3 - TICK).ok(), Some((false, vec![])), "heard: it begins anew");
        assert_eq!(check(&mut watch, asked * 3).ok(), Some((false, ping())));
    }

    #[test]
    fn a_peer_of_version_3_0_is_asked_only_after_it_has_asked_itself() {
        let (config, start) = (config(), Instant::now());
        let mut watch = watch((3, 0), start);
        let mut out = Vec::new();
        assert!(matches!(watch.check(start + config.silent_after - TICK, &config, &mut out), Ok(false)));
        assert!(matches!(watch.check(start + config.silent_after, &config, &mut out), Ok(true)));
        assert!(out.is_empty());
        watch.command(start, b"PING", b"\0\0", &mut out).expect("valid");
        out.clear();
        watch.check(start + config.ping_after, &config, &mut out).expect("well");
        assert_eq!(out, ping());
    }

    #[test]
    fn a_message_must_get_on() {
        let (config, start) = (config(), Instant::now());
        let mut watch = watch((3, 1), start);
        let stalled = |watch: &mut Watch, after| {
            let checked = watch.check(start + after, &config, &mut Vec::new());
            matches!(checked, Err(Disconnect::Stalled { .. }))
        };
        watch.drained(start, true, false);
        let allowed = config.message_deadline;
        watch.heard(start + allowed, 10);
        watch.drained(start + allowed, true, false);
        assert!(!stalled(&mut watch, allowed - TICK));
        assert!(stalled(&mut watch, allowed));
        // A second more for what came, and no more.
        watch.heard(start + allowed, 16 * 1024 - 10);
        let longer = allowed + Duration::from_secs(1);
        assert!(!stalled(&mut watch, longer - TICK));
        assert!(stalled(&mut watch, longer));
        // The message ended and another began, or we paused: it begins anew.
        watch.drained(start + longer, true, true);
        assert!(!stalled(&mut watch, longer + allowed - TICK));
        watch.resume(start + longer + allowed);
        assert!(!stalled(&mut watch, longer + allowed));
        watch.drained(start + longer + allowed, false, false);
        watch.heard(start + longer * 5, 1);
        assert!(!stalled(&mut watch, longer * 5));
    }

    #[test]
    fn commands_are_rationed_by_the_second() {
        let start = Instant::now();
        let mut watch = watch((3, 1), start);
        let mut out = Vec::new();
        for second in 0..3 {
            let now = start + Duration::from_secs(second);
            for _ in 0..COMMANDS_PER_SECOND_MAX {
                watch.command(now, b"PONG", b"", &mut out).expect("within the ration");
            }
        }
        assert!(matches!(
            watch.command(start + Duration::from_secs(2), b"PONG", b"", &mut out),
            Err(Disconnect::CommandFlood)
        ));
        assert!(out.is_empty());
    }
}
