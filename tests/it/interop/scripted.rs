//! Peers that follow a script: a publisher's side of ZMTP, byte by byte.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use statscache_server::bus::zmtp::codec::{CodecLimits, Decoder, Event};
use statscache_server::bus::zmtp::wire::{Mechanism, put_command, put_frame, put_greeting, put_ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::support::tcp;

/// Listens, and does to everybody who connects what `script` says.
pub struct Hostile {
    pub address: String,
    pub connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Hostile {
    pub async fn start<F: Future<Output = std::io::Result<()>> + Send + 'static>(
        script: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = tcp(listener.local_addr().expect("bound").port());
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut scripts = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                scripts.spawn(script(stream));
            }
        });
        Self { address, connections, task }
    }

    pub async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A publisher's side of the introduction, up to and with the first subscription.
pub async fn introduce(stream: &mut TcpStream, version: (u8, u8)) -> std::io::Result<Decoder> {
    let mut out = Vec::new();
    put_greeting(&mut out, version, Mechanism::Null);
    put_ready(&mut out, "PUB");
    stream.write_all(&out).await?;
    let mut decoder = Decoder::new(CodecLimits::default());
    loop {
        match decoder.next_event() {
            Ok(Some(Event::Command { name: b"SUBSCRIBE", .. } | Event::Message(_))) => return Ok(decoder),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => panic!("the client does not speak ZMTP: {error}"),
        }
        match stream.read(decoder.space()).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            len => decoder.filled(len),
        }
    }
}

pub fn message(topic: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, topic.as_bytes(), true);
    put_frame(&mut out, body, false);
    out
}

pub fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_command(&mut out, name.as_bytes(), data);
    out
}

pub fn long_header(flags: u8, len: u64) -> Vec<u8> {
    [&[flags][..], &len.to_be_bytes()].concat()
}

pub async fn for_ever() -> std::io::Result<()> {
    std::future::pending().await
}
