//! A replay endpoint: a REP socket, byte by byte, that does what it is told to.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use serde_json::Value;
use statscache_server::bus::zmtp::{
    codec::{CodecLimits, Decoder, Event},
    wire::{Mechanism, put_frame, put_greeting, put_ready},
};

/// What is done about a question.
pub enum Reply {
    /// These frames are the answer; none of them stands for one without any.
    Frames(Vec<Vec<u8>>),
    /// These bytes are sent as they are.
    Bytes(Vec<u8>),
    /// Nothing, for as long as the other side waits.
    Silence,
}

/// Answers the questions of everybody who connects.
pub struct TestReplier {
    pub address: String,
    questions: Arc<Mutex<Vec<Value>>>,
    stopping: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl TestReplier {
    pub fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("tcp://{}", listener.local_addr().expect("bound"));
        let (questions, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (asked, stop, answer) = (questions.clone(), stopping.clone(), Arc::new(answer));
        let listening = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (asked, answer) = (asked.clone(), answer.clone());
                // Ends when the other side leaves, which is all that an error here says.
                thread::spawn(move || {
                    let _ = converse(stream, &asked, &*answer);
                });
            }
        });
        Self { address, questions, stopping, listening: Some(listening) }
    }

    /// All questions so far.
    pub fn questions(&self) -> Vec<Value> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TestReplier {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address.trim_start_matches("tcp://"));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn converse(mut stream: TcpStream, asked: &Mutex<Vec<Value>>, answer: &dyn Fn(&Value) -> Reply) -> io::Result<()> {
    let mut out = Vec::new();
    put_greeting(&mut out, (3, 0), Mechanism::Null);
    put_ready(&mut out, "REP");
    stream.write_all(&out)?;
    let mut decoder = Decoder::new(CodecLimits::default());
    loop {
        let question = match decoder.next_event().map_err(io::Error::other)? {
            Some(Event::Message(frames)) => {
                assert!(frames.count == 2 && frames.first.is_empty(), "a REQ socket sends an empty frame and another");
                serde_json::from_slice::<Value>(frames.second).expect("a question is JSON")
            }
            Some(_) => continue,
            None => match stream.read(decoder.space())? {
                0 => return Ok(()),
                len => {
                    decoder.filled(len);
                    continue;
                }
            },
        };
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(question.clone());
        match answer(&question) {
            Reply::Frames(frames) => {
                let mut out = Vec::new();
                put_frame(&mut out, b"", !frames.is_empty());
                for (i, frame) in frames.iter().enumerate() {
                    put_frame(&mut out, frame, i + 1 < frames.len());
                }
                stream.write_all(&out)?;
            }
            Reply::Bytes(bytes) => stream.write_all(&bytes)?,
            Reply::Silence => {}
        }
    }
}
