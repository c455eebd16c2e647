//! One question to a REP socket and its answer, on a connection of its own, as a REQ socket would ask it.
//!
//! Nothing the peer does costs more than is allowed: one deadline for all of it, from the look-up of the name to the
//! last byte; every limit is checked from a frame's header, before anything is kept for it.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Mechanism;
use super::transport;
use super::wire::{self, GREETING_LEN, Greeting, ProtocolError};
use crate::bus::Transport;

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// Longest command.
const COMMAND_BYTES_MAX: u64 = 8 * 1024;
/// Commands before the answer is complete; a heartbeat now and then is all there should be.
const COMMANDS_MAX: usize = 100;

/// Bounds on one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskLimits {
    /// For all of it.
    pub deadline: Duration,
    /// All frames of the answer together.
    pub bytes_max: usize,
    /// Frames of the answer.
    pub frames_max: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    #[error("the protocol was broken")]
    Protocol(#[from] ProtocolError),
    #[error("the peer asks for the {0} mechanism; only NULL is supported")]
    Mechanism(String),
    #[error("the peer is a {0} socket, nobody who answers (REP or ROUTER)")]
    NotAReplier(String),
    #[error("the peer refused us: {0}")]
    Refused(String),
    #[error("{0} came where it must not")]
    Unexpected(&'static str),
    #[error("the answer is longer than {} bytes or {} frames", .0.bytes_max, .0.frames_max)]
    TooLong(AskLimits),
}

/// Connects, asks and gives the frames of the answer, without the empty one in front; at least one.
pub async fn ask(to: &Transport, question: &[u8], limits: &AskLimits) -> Result<Vec<Vec<u8>>, AskError> {
    match timeout(limits.deadline, exchange(to, question, limits)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::Deadline(limits.deadline)),
    }
}

async fn exchange(to: &Transport, question: &[u8], limits: &AskLimits) -> Result<Vec<Vec<u8>>, AskError> {
    let mut stream = transport::dial(to, limits.deadline).await.map_err(AskError::Connect)?;
    let mut out = Vec::new();
    wire::put_greeting(&mut out, (3, 1), Mechanism::Null);
    let mut asking = Asking::new(question, *limits);
    let mut chunk = vec![0; READ_BYTES];
    loop {
        stream.write_all(&out).await?;
        out.clear();
        let len = stream.read(&mut chunk).await?;
        if len == 0 {
            return Err(AskError::Closed);
        }
        if asking.take(&chunk[..len], &mut out)? {
            return Ok(asking.frames);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ready,
    Delimiter,
    Answer,
    Complete,
}

/// The rules, without I/O.
struct Asking<'q> {
    question: &'q [u8],
    limits: AskLimits,
    stage: Stage,
    /// What came and has not been understood yet: at most a frame.
    unread: Vec<u8>,
    frames: Vec<Vec<u8>>,
    bytes: usize,
    commands: usize,
}

impl<'q> Asking<'q> {
    fn new(question: &'q [u8], limits: AskLimits) -> Self {
        let (unread, frames) = (Vec::new(), Vec::new());
        Self { question, limits, stage: Stage::Greeting, unread, frames, bytes: 0, commands: 0 }
    }

    /// Takes bytes in; whether the answer is complete. What is to be sent is appended to `out`.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, AskError> {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut at = 0;
        while self.stage != Stage::Complete {
            match self.step(&unread[at..], out)? {
                0 => break,
                len => at += len,
            }
        }
        self.unread = unread;
        self.unread.drain(..at);
        Ok(self.stage == Stage::Complete)
    }

    /// Understands the next frame (or the greeting) and says how long it is; 0 when more bytes are needed.
    fn step(&mut self, unread: &[u8], out: &mut Vec<u8>) -> Result<usize, AskError> {
        if self.stage == Stage::Greeting {
            let Some(greeting) = wire::parse_greeting(unread)? else { return Ok(0) };
            greeted(&greeting, out)?;
            self.stage = Stage::Ready;
            return Ok(GREETING_LEN);
        }
        let Some((header, start)) = wire::parse_header(unread)? else { return Ok(0) };
        if header.command {
            if header.len > COMMAND_BYTES_MAX || self.commands >= COMMANDS_MAX {
                return Err(AskError::Unexpected("a command that is too long, or one too many"));
            }
        } else {
            self.check_frame(header.len)?;
        }
        // No overflow: it is below a limit.
        let end = start + header.len as usize;
        let Some(body) = unread.get(start..end) else { return Ok(0) };
        if header.command {
            self.commands += 1;
            self.command(body, out)?;
        } else {
            self.frame(body, header.more)?;
        }
        Ok(end)
    }

    fn check_frame(&self, len: u64) -> Result<(), AskError> {
        let room = (self.limits.bytes_max - self.bytes) as u64;
        match self.stage {
            Stage::Greeting | Stage::Ready => Err(AskError::Unexpected("a message before READY")),
            Stage::Delimiter if len > 0 => Err(AskError::Unexpected("a frame that should be empty and is not")),
            Stage::Answer if len > room || self.frames.len() >= self.limits.frames_max => {
                Err(AskError::TooLong(self.limits))
            }
            Stage::Delimiter | Stage::Answer | Stage::Complete => Ok(()),
        }
    }

    fn frame(&mut self, body: &[u8], more: bool) -> Result<(), AskError> {
        if self.stage == Stage::Delimiter {
            self.stage = Stage::Answer;
            return if more { Ok(()) } else { Err(AskError::Unexpected("an answer without a frame")) };
        }
        self.bytes += body.len();
        self.frames.push(body.to_vec());
        if !more {
            self.stage = Stage::Complete;
        }
        Ok(())
    }

    fn command(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), AskError> {
        match (wire::split_command(body)?, self.stage) {
            ((b"ERROR", data), _) => return Err(AskError::Refused(wire::error_reason(data))),
            ((b"READY", data), Stage::Ready) => {
                match wire::ready_socket_type(data)? {
                    Some(b"REP" | b"ROUTER") => {}
                    other => {
                        let name = other.unwrap_or(b"nameless").escape_ascii().to_string();
                        return Err(AskError::NotAReplier(name));
                    }
                }
                wire::put_frame(out, b"", true);
                wire::put_frame(out, self.question, false);
                self.stage = Stage::Delimiter;
            }
            ((_, _), Stage::Ready) => return Err(AskError::Unexpected("a command other than READY")),
            ((b"READY", _), _) => return Err(AskError::Unexpected("READY")),
            ((b"PING", data), _) => wire::put_pong(out, wire::ping_context(data)?),
            _ => {}
        }
        Ok(())
    }
}

fn greeted(greeting: &Greeting, out: &mut Vec<u8>) -> Result<(), AskError> {
    let mechanism = greeting.mechanism_name();
    if mechanism != Mechanism::Null.as_str() {
        return Err(AskError::Mechanism(mechanism));
    }
    wire::put_ready(out, "REQ");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AskLimits = AskLimits { deadline: Duration::from_secs(1), bytes_max: 300, frames_max: 3 };

    /// A server's bytes up to its READY.
    fn introduction(socket_type: &str) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_greeting(&mut out, (3, 0), Mechanism::Null);
        wire::put_ready(&mut out, socket_type);
        out
    }

    fn answer(frames: &[&[u8]]) -> Vec<u8> {
        let mut out = introduction("REP");
        wire::put_frame(&mut out, b"", !frames.is_empty());
        for (i, frame) in frames.iter().enumerate() {
            wire::put_frame(&mut out, frame, i + 1 < frames.len());
        }
        out
    }

    type Taken = Result<Option<Vec<Vec<u8>>>, AskError>;

    /// What the bytes come to, cut into pieces of that length; and what is sent.
    fn taken(bytes: &[u8], piece: usize) -> (Taken, Vec<u8>) {
        let (mut asking, mut out) = (Asking::new(b"{}", LIMITS), Vec::new());
        for piece in bytes.chunks(piece) {
            match asking.take(piece, &mut out) {
                Ok(true) => return (Ok(Some(asking.frames)), out),
                Ok(false) => {}
                Err(error) => return (Err(error), out),
            }
        }
        (Ok(None), out)
    }

    #[test]
    fn an_answer_is_the_same_however_it_is_cut() {
        let mut question = Vec::new();
        wire::put_ready(&mut question, "REQ");
        question.extend_from_slice(b"\x01\0\0\x02{}");
        for piece in [1, 2, 7, 64, 1000] {
            let (frames, sent) = taken(&answer(&[b"one", &[b'x'; 290], b""]), piece);
            assert_eq!(frames.ok().flatten(), Some(vec![b"one".to_vec(), vec![b'x'; 290], Vec::new()]), "{piece}");
            assert_eq!(sent, question, "{piece}");
        }
        let whole = answer(&[b"one"]);
        assert!(matches!(taken(&whole[..whole.len() - 1], 5).0, Ok(None)));
    }

    #[test]
    fn limits_are_checked_before_anything_comes() {
        assert!(matches!(taken(&answer(&[&[b'x'; 300]]), 50).0, Ok(Some(_))));
        assert!(matches!(taken(&answer(&[b"x", &[b'x'; 300]]), 50).0, Err(AskError::TooLong(_))));
        assert!(matches!(taken(&answer(&[b"1", b"2", b"3", b"4"]), 50).0, Err(AskError::TooLong(_))));
        let mut claim = introduction("REP");
        claim.extend_from_slice(b"\x01\0\x02\x7f\xff\xff\xff\xff\xff\xff\xff");
        assert!(matches!(taken(&claim, 50).0, Err(AskError::TooLong(_))));
        let mut flood = introduction("REP");
        (0..COMMANDS_MAX).for_each(|_| wire::put_ping(&mut flood));
        assert!(matches!(taken(&flood, 50).0, Err(AskError::Unexpected(_))));
    }

    #[test]
    fn whoever_is_no_replier_is_left() {
        assert!(matches!(taken(&introduction("PUB"), 50).0, Err(AskError::NotAReplier(name)) if name == "PUB"));
        assert!(matches!(taken(b"HTTP/1.1 400 Bad Request", 50).0, Err(AskError::Protocol(_))));
        assert!(matches!(taken(&answer(&[]), 50).0, Err(AskError::Unexpected(_))));
        let mut greedy = introduction("ROUTER");
        wire::put_frame(&mut greedy, b"no delimiter", false);
        assert!(matches!(taken(&greedy, 50).0, Err(AskError::Unexpected(_))));
        let mut early = introduction("REP");
        early.truncate(GREETING_LEN);
        wire::put_frame(&mut early, b"", true);
        assert!(matches!(taken(&early, 50).0, Err(AskError::Unexpected(_))));
    }

    #[test]
    fn a_ping_is_answered() {
        let mut bytes = introduction("REP");
        wire::put_command(&mut bytes, b"PING", b"\0\0ctx");
        let (_, sent) = taken(&bytes, 500);
        assert!(sent.ends_with(b"\x04\x08\x04PONGctx"), "{}", sent.escape_ascii());
    }

    #[tokio::test]
    async fn a_socket_of_the_zeromq_crate_answers() {
        use zeromq::{RepSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

        let mut socket = RepSocket::new();
        let bound = socket.bind("tcp://127.0.0.1:0").await.expect("a port");
        let port = bound.to_string().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let server = tokio::spawn(async move {
            let question = socket.recv().await.expect("a question");
            let answer: Vec<_> = [question.get(0).expect("a frame").clone(), vec![b'x'; 400_000].into()].into();
            socket.send(ZmqMessage::try_from(answer).expect("frames")).await.expect("sent");
            socket
        });
        let limits = AskLimits { deadline: Duration::from_secs(20), bytes_max: 500_000, frames_max: 2 };
        let to = Transport::Tcp { host: "127.0.0.1".to_owned(), port };
        let frames = ask(&to, b"{}", &limits).await.expect("an answer");
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [2, 400_000]);
        drop(server.await);
    }
}
