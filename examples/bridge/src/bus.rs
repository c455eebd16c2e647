//! The publishing end: a bounded queue, and a PUB socket that takes from it while somebody listens.
//!
//! A ZeroMQ publisher drops what it sends while nobody is connected, or while its crate has too much waiting, and says
//! nothing. So messages wait here until there is a subscriber, and each takes room that it gives back when its bytes
//! have been written out to all.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use zeromq::{PubSocket, Socket, SocketEvent, SocketSend, ZmqMessage};

use crate::envelope::Envelope;

/// Room for messages that wait or are on their way, in KiB; each takes at least one, so that they are far fewer than
/// the 100,000 at which the crate begins to drop.
const ROOM_KIB: u32 = 32 * 1024;
/// Time for a subscription to arrive after its connection (ZeroMQ does not tell).
const SUBSCRIBE_DELAY: Duration = Duration::from_millis(500);
/// Time at the end for subscribers to take what waits for them.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Takes messages to publish.
#[derive(Clone)]
pub(crate) struct Bus {
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    counts: Arc<Counts>,
    /// How many are connected.
    subscribers: watch::Receiver<usize>,
    address: String,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    sent: AtomicU64,
}

struct Waiting {
    envelope: Envelope,
    room: OwnedSemaphorePermit,
}

/// There is no room now.
#[derive(Debug)]
pub(crate) struct Full;

/// A body on its way; the crate drops it when it is written out to every subscriber.
struct Passenger {
    body: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Passenger {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Bus {
    /// Binds the socket; nothing is sent before the future that comes with it runs.
    pub(crate) async fn bind(endpoint: &str) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>>)> {
        // The crate is built for TCP only, and would panic.
        ensure!(endpoint.starts_with("tcp://"), "--endpoint {endpoint}: write tcp://HOST:PORT");
        let mut socket = PubSocket::new();
        let mut events = socket.monitor();
        let bound = socket.bind(endpoint).await.with_context(|| format!("cannot bind --endpoint {endpoint}"))?;
        let (count, subscribers) = watch::channel(0);
        // Ends with the socket, which holds the other end of the channel.
        tokio::spawn(async move {
            let mut peers = HashSet::new();
            while let Ok(event) = events.recv().await {
                match event {
                    SocketEvent::Accepted(_, peer) => drop(peers.insert(peer)),
                    SocketEvent::Disconnected(peer) => drop(peers.remove(&peer)),
                    _ => {}
                }
                count.send_replace(peers.len());
            }
        });
        let (queue, waiting) = mpsc::channel(ROOM_KIB as usize);
        let room = Arc::new(Semaphore::new(ROOM_KIB as usize));
        let counts = Arc::new(Counts::default());
        let bus =
            Self { queue, room, counts: counts.clone(), subscribers: subscribers.clone(), address: bound.to_string() };
        Ok((bus, publish(socket, waiting, subscribers, counts)))
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Takes a message, as soon as there is room for it.
    pub(crate) async fn take(&self, envelope: Envelope) -> anyhow::Result<()> {
        let room = self.room.clone().acquire_many_owned(envelope.kib()).await.context("the bus is closed")?;
        self.queue.send(Waiting { envelope, room }).await.context("the bus is closed")?;
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a message if there is room for it.
    pub(crate) fn try_take(&self, envelope: Envelope) -> Result<(), Full> {
        let room = self.room.clone().try_acquire_many_owned(envelope.kib()).map_err(|_| Full)?;
        self.queue.try_send(Waiting { envelope, room }).map_err(|_| Full)?;
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Returns when all that was taken is written out.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        let all = self.room.acquire_many(ROOM_KIB).await.context("the bus is closed")?;
        drop(all);
        Ok(())
    }

    /// Publishes while there is work, and behind it what still waits for those who listen; then takes no more.
    pub(crate) async fn publish_during(
        &self,
        publishing: impl Future<Output = anyhow::Result<()>>,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let work = async {
            let ended = work.await;
            self.close().await;
            ended
        };
        tokio::select! {
            ended = work => ended,
            ended = publishing => ended,
        }
    }

    /// Returns when all that was taken is written out, when nobody is there for it, or when they had their time.
    async fn close(&self) {
        let mut subscribers = self.subscribers.clone();
        // Who asks for all of the room has what becomes free, before those who would take more.
        let all = tokio::select! {
            all = self.room.acquire_many(ROOM_KIB) => all.ok(),
            _ = subscribers.wait_for(|count| *count == 0) => None,
            () = tokio::time::sleep(DRAIN_MAX) => None,
        };
        self.room.close();
        drop(all);
    }

    /// What became of the messages.
    pub(crate) fn told(&self) -> Told {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Told { taken: count(&self.counts.taken), sent: count(&self.counts.sent) }
    }
}

/// How many messages were taken and sent.
pub(crate) struct Told {
    taken: u64,
    sent: u64,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages sent", self.sent)?;
        match self.taken.saturating_sub(self.sent) {
            0 => Ok(()),
            waiting => write!(f, "; {waiting} more were waiting for a subscriber and are lost"),
        }
    }
}

/// Sends what is in the queue, for ever.
async fn publish(
    mut socket: PubSocket,
    mut waiting: mpsc::Receiver<Waiting>,
    mut subscribers: watch::Receiver<usize>,
    counts: Arc<Counts>,
) -> anyhow::Result<()> {
    let mut is_heard = false;
    while let Some(Waiting { envelope, room }) = waiting.recv().await {
        while *subscribers.borrow_and_update() == 0 {
            if is_heard {
                eprintln!("the last subscriber is gone; messages wait for the next");
            }
            is_heard = false;
            subscribers.changed().await.context("the socket is closed")?;
        }
        if !is_heard {
            tokio::time::sleep(SUBSCRIBE_DELAY).await;
            is_heard = true;
        }
        let body = Bytes::from_owner(Passenger { body: envelope.body, _room: room });
        let mut message = ZmqMessage::from(body);
        message.push_front(envelope.topic.into_bytes().into());
        socket.send(message).await.context("cannot send")?;
        counts.sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use zeromq::{SocketRecv, SubSocket};

    use super::*;
    use crate::envelope::{Envelopes, Origin};

    /// For what must come.
    const SOON: Duration = Duration::from_secs(30);
    const COUNT: u64 = 100;

    fn take(bus: &Bus) -> Result<(), Full> {
        let envelopes = Envelopes::new("a.b", &[]).expect("a topic");
        let document: Box<RawValue> = serde_json::from_str(r#"{"k": 1}"#).expect("JSON");
        bus.try_take(envelopes.of(&[], &document, Origin { time: 0, key: None }))
    }

    #[tokio::test]
    async fn at_the_end_who_listens_gets_what_waits() {
        let (bus, publishing) = Bus::bind("tcp://127.0.0.1:0").await.expect("a free port");
        let mut subscriber = SubSocket::new();
        subscriber.connect(bus.address()).await.expect("it is there");
        subscriber.subscribe("").await.expect("it subscribes");
        bus.subscribers.clone().wait_for(|count| *count == 1).await.expect("it comes");
        let work = async {
            (0..COUNT).for_each(|_| take(&bus).expect("there is room"));
            Ok(())
        };
        bus.publish_during(publishing, work).await.expect("it ends well");
        assert_eq!(bus.told().to_string(), format!("{COUNT} messages sent"));
        let received = async {
            for _ in 0..COUNT {
                subscriber.recv().await.expect("a message");
            }
        };
        tokio::time::timeout(SOON, received).await.expect("they come");
        assert!(take(&bus).is_err(), "nobody would send it any more");
    }

    #[tokio::test]
    async fn the_end_waits_for_nobody_who_is_not_there() {
        let (bus, publishing) = Bus::bind("tcp://127.0.0.1:0").await.expect("a free port");
        take(&bus).expect("there is room");
        let ended = bus.publish_during(publishing, async { Ok(()) });
        tokio::time::timeout(DRAIN_MAX / 2, ended).await.expect("at once").expect("it ends well");
        assert!(bus.told().to_string().contains("1 more were waiting"), "{}", bus.told());
    }
}
