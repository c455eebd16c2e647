//! The PUB sockets: some that are bound, some that connect. Each has a task that hands messages to it.
//!
//! What waits for subscribers that do not read is bounded; beyond that, messages are dropped and counted. The `zeromq`
//! crate's PUB socket does not connect again by itself, and it does not tell when a subscription has arrived: a task does
//! the one, and waits a moment for the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use hyper::body::Bytes;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use zeromq::{PubSocket, Socket, SocketEvent, SocketSend, ZmqMessage};

/// Messages that wait for subscribers; far below the 100,000 at which the crate drops without a word.
const MESSAGES_MAX: usize = 20_000;
/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a subscription to arrive after its connection.
const SUBSCRIBE_DELAY: Duration = Duration::from_millis(500);
/// Waiting times between attempts to connect: they double from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Time for the last messages to leave, and for what the crate and the system buffer of them.
const LINGER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(500));

/// All sockets.
pub(crate) struct Bus {
    links: Vec<mpsc::Sender<ZmqMessage>>,
    bound: Vec<String>,
    flight: Arc<Flight>,
    dropped: u64,
}

/// Messages that are not written out to every subscriber yet: the crate drops a message's frames just then.
#[derive(Default)]
struct Flight {
    messages: AtomicUsize,
    landed: Notify,
}

/// The last frame of a message.
struct Passenger(Vec<u8>, Arc<Flight>);

impl AsRef<[u8]> for Passenger {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        if self.1.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.1.landed.notify_one();
        }
    }
}

impl Bus {
    /// Binds what is to be bound; connects in the background.
    pub(crate) async fn open(bind: &[String], connect: &[String]) -> anyhow::Result<Self> {
        let mut bus = Self { links: Vec::new(), bound: Vec::new(), flight: Arc::default(), dropped: 0 };
        for address in bind {
            let mut socket = PubSocket::new();
            let bound = socket.bind(address).await;
            let bound = bound.with_context(|| format!("cannot bind {address}; is another program there?"))?;
            bus.bound.push(bound.to_string());
            let mut waiting = bus.link();
            tokio::spawn(async move { hand_over(&mut socket, &mut waiting).await });
        }
        for address in connect {
            let waiting = bus.link();
            tokio::spawn(keep_connected(address.clone(), waiting));
        }
        Ok(bus)
    }

    fn link(&mut self) -> mpsc::Receiver<ZmqMessage> {
        let (link, waiting) = mpsc::channel(MESSAGES_MAX);
        self.links.push(link);
        waiting
    }

    /// Addresses that are bound, with the ports that were chosen where none was given.
    pub(crate) fn bound(&self) -> &[String] {
        &self.bound
    }

    /// Messages that were dropped because subscribers did not read, or were not there to connect to.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Sends to all sockets: two frames, topic and body. Waits for nobody.
    pub(crate) fn send(&mut self, topic: &str, body: Vec<u8>) {
        if self.flight.messages.load(Ordering::Acquire) >= MESSAGES_MAX {
            self.dropped += 1;
            return;
        }
        self.flight.messages.fetch_add(1, Ordering::AcqRel);
        let mut message = ZmqMessage::from(Bytes::from_owner(Passenger(body, Arc::clone(&self.flight))));
        message.push_front(Bytes::copy_from_slice(topic.as_bytes()));
        // Each has room for all that is in flight.
        self.links.iter().for_each(|link| drop(link.try_send(message.clone())));
    }

    /// Returns when all is written out, or after a moment: nobody may be there.
    pub(crate) async fn close(self) {
        let Self { links, flight, .. } = self;
        let written = async {
            while flight.messages.load(Ordering::Acquire) > 0 {
                // Remembers one wake-up, so none is lost between the look and the wait.
                flight.landed.notified().await;
            }
        };
        let _ = timeout(LINGER.0, written).await;
        sleep(LINGER.1).await;
        drop(links);
    }
}

/// Hands messages to a socket until the bus is closed.
async fn hand_over(socket: &mut PubSocket, waiting: &mut mpsc::Receiver<ZmqMessage>) {
    while let Some(message) = waiting.recv().await {
        if let Err(error) = socket.send(message).await {
            eprintln!("cannot send: {error}");
        }
    }
}

/// Connects, again and again, and hands messages over while connected. What comes in between waits.
async fn keep_connected(address: String, mut waiting: mpsc::Receiver<ZmqMessage>) {
    let mut backoff = BACKOFF.0;
    let mut is_told = false;
    loop {
        // A new one each time: what the crate remembers of a lost connection is not to be relied on.
        let mut socket = PubSocket::new();
        let mut events = socket.monitor();
        match timeout(CONNECT_TIMEOUT, socket.connect(&address)).await {
            Ok(Ok(())) => {
                eprintln!("connected to {address}");
                (backoff, is_told) = (BACKOFF.0, false);
                sleep(SUBSCRIBE_DELAY).await;
                let lost = async {
                    while events.recv().await.is_ok_and(|event| !matches!(event, SocketEvent::Disconnected(_))) {}
                };
                tokio::select! {
                    biased;
                    () = lost => eprintln!("{address} has closed the connection; connecting again"),
                    () = hand_over(&mut socket, &mut waiting) => return,
                }
            }
            failed if !is_told => {
                let reason = failed.map_or_else(
                    |_| "no answer".to_owned(),
                    |failed| failed.err().map_or_else(String::new, |error| error.to_string()),
                );
                eprintln!("cannot connect to {address}: {reason}; trying again until it can");
                is_told = true;
            }
            _ => {}
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}
