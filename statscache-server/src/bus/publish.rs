//! Publishing, for `statscache publish`, the demo and tests: a PUB socket of the `zeromq` crate, fedmsg's two
//! frames.
//!
//! As with any PUB socket, what is sent before a subscriber's subscription has arrived is not sent to it. The crate
//! also drops what is sent while 100,000 messages wait for its one task that hands them to subscribers, uncounted, and
//! `send` says that all is well; what it keeps for a slow subscriber can be much more. Whoever waits for
//! [`Publisher::room`] before each message comes near neither.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

// That of the `bytes` crate, as the zeromq crate has it.
use ::zeromq::{PubSocket, Socket, SocketEvent, SocketSend, ZmqError, ZmqMessage};
use axum::body::Bytes;
use tokio::sync::Notify;

use super::{Endpoint, Transport};

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The address is in use, or not ours.
    #[error("cannot bind {address}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: ZmqError,
    },
    /// The crate is built for TCP only, and would panic.
    #[error("cannot bind {address}: publishing is over tcp:// only")]
    NotTcp {
        /// The address.
        address: String,
    },
    /// The socket failed.
    #[error("cannot send")]
    Send {
        /// Why.
        source: ZmqError,
    },
}

/// A bound PUB socket. Dropped, it closes its port; what was just sent may be lost then (see
/// [`Publisher::close`]).
pub struct Publisher {
    socket: PubSocket,
    address: String,
    subscribers: Arc<AtomicUsize>,
    flight: Arc<Flight>,
}

/// What was sent and not yet written out to every subscriber: the crate drops a message's frames just then.
#[derive(Default)]
struct Flight {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    left: Notify,
}

impl Flight {
    /// Well below the 100,000 messages at which the crate drops; it waits for nobody.
    const MESSAGES_MAX: usize = 10_000;
    const BYTES_MAX: usize = 32 << 20;
    /// Messages that leave before who waits is woken. The last one wakes as well.
    const WAKE_EVERY: usize = 256;

    fn has_room(&self) -> bool {
        self.messages.load(Ordering::Acquire) < Self::MESSAGES_MAX
            && self.bytes.load(Ordering::Acquire) < Self::BYTES_MAX
    }

    async fn wait(&self, until: impl Fn(&Self) -> bool) {
        while !until(self) {
            // Remembers one wake-up, so none is lost between the look and the wait.
            self.left.notified().await;
        }
    }
}

/// The last frame of a message.
struct Passenger {
    frame: Vec<u8>,
    flight: Arc<Flight>,
}

impl Passenger {
    fn board(frame: Vec<u8>, flight: &Arc<Flight>) -> Bytes {
        flight.messages.fetch_add(1, Ordering::AcqRel);
        flight.bytes.fetch_add(frame.len(), Ordering::AcqRel);
        Bytes::from_owner(Self { frame, flight: Arc::clone(flight) })
    }
}

impl AsRef<[u8]> for Passenger {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        self.flight.bytes.fetch_sub(self.frame.len(), Ordering::AcqRel);
        let left = self.flight.messages.fetch_sub(1, Ordering::AcqRel) - 1;
        if left.is_multiple_of(Flight::WAKE_EVERY) {
            self.flight.left.notify_one();
        }
    }
}

impl Publisher {
    /// Binds to a TCP address; the endpoint's mode does not matter. Needs a tokio runtime.
    pub async fn bind(endpoint: &Endpoint) -> Result<Self, PublishError> {
        if !matches!(endpoint.transport, Transport::Tcp { .. }) {
            return Err(PublishError::NotTcp { address: endpoint.address() });
        }
        let mut socket = PubSocket::new();
        let mut events = socket.monitor();
        let address = endpoint.address();
        let bound = socket.bind(&address).await.map_err(|source| PublishError::Bind { address, source })?;
        let subscribers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&subscribers);
        // Ends with the socket, which holds the other end of the channel.
        tokio::spawn(async move {
            // A set, because the crate may report a departure twice.
            let mut peers = HashSet::new();
            while let Ok(event) = events.recv().await {
                match event {
                    SocketEvent::Accepted(_, peer) => drop(peers.insert(peer)),
                    SocketEvent::Disconnected(peer) => drop(peers.remove(&peer)),
                    _ => {}
                }
                count.store(peers.len(), Ordering::Relaxed);
            }
        });
        Ok(Self { socket, address: bound.to_string(), subscribers, flight: Arc::default() })
    }

    /// The address bound, with the port that was chosen where it was `*` or 0.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Subscribers connected. One just connected may not have subscribed to anything yet: the crate does not tell.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Whether [`Publisher::room`] would return at once.
    pub fn has_room(&self) -> bool {
        self.flight.has_room()
    }

    /// Returns when the slowest subscriber is not so far behind that the next message might be dropped. One that
    /// stops reading is waited for until its connection ends.
    pub async fn room(&self) {
        self.flight.wait(Flight::has_room).await;
    }

    /// Returns when all that was sent is written out, but for what the crate and the operating system still buffer.
    pub async fn drained(&self) {
        self.flight.wait(|flight| flight.messages.load(Ordering::Acquire) == 0).await;
    }

    /// Sends one message, two frames. Does not wait for anybody to receive it, nor for [`Publisher::room`].
    pub async fn send(&mut self, topic: &str, body: &[u8]) -> Result<(), PublishError> {
        self.send_frames(&[topic.as_bytes(), body]).await
    }

    /// Sends one message of any frames, for tests of what is not fedmsg. No frames: nothing is sent.
    pub async fn send_frames(&mut self, frames: &[&[u8]]) -> Result<(), PublishError> {
        let Some((last, others)) = frames.split_last() else { return Ok(()) };
        let mut message = ZmqMessage::from(Passenger::board(last.to_vec(), &self.flight));
        for frame in others.iter().rev() {
            message.push_front(frame.to_vec().into());
        }
        self.socket.send(message).await.map_err(|source| PublishError::Send { source })
    }

    /// Closes the socket after `linger`, in which the crate's tasks write out what was sent. After
    /// [`Publisher::drained`] they have little left to do, but do not tell when they have done it.
    pub async fn close(self, linger: Duration) {
        tokio::time::sleep(linger).await;
    }
}

#[cfg(test)]
mod tests {
    use ::zeromq::{SocketRecv, SubSocket};

    use super::*;

    const MESSAGES: usize = 250_000;

    /// More messages than the crate keeps, to a subscriber that begins to read late: none is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_waits_for_room_loses_nothing() {
        let mut publisher =
            Publisher::bind(&"bind tcp://127.0.0.1:0".parse().expect("an address")).await.expect("bound");
        let mut subscriber = SubSocket::new();
        subscriber.connect(publisher.address()).await.expect("connected");
        subscriber.subscribe("").await.expect("subscribed");
        // The crate does not tell when a subscription has arrived: one frame is a knock, and no message.
        let (heard, knocking) = tokio::sync::oneshot::channel::<()>();
        let reader = tokio::spawn(async move {
            subscriber.recv().await.expect("a knock");
            drop(heard);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut number = 0_usize;
            while number < MESSAGES {
                let message = subscriber.recv().await.expect("a message");
                if message.len() == 2 {
                    let body = message.get(1).expect("a body");
                    assert_eq!(body.as_ref(), number.to_string().as_bytes(), "the next one, and no other");
                    number += 1;
                }
            }
        });
        tokio::pin!(knocking);
        while tokio::time::timeout(Duration::from_millis(5), &mut knocking).await.is_err() {
            publisher.send_frames(&[b"knock"]).await.expect("sent");
        }
        for number in 0..MESSAGES {
            publisher.room().await;
            publisher.send("a.b", number.to_string().as_bytes()).await.expect("sent");
        }
        publisher.drained().await;
        assert_eq!(publisher.flight.bytes.load(Ordering::Relaxed), 0);
        tokio::time::timeout(Duration::from_secs(60), reader).await.expect("all arrive").expect("in order");
    }

    /// Nobody is subscribed, nobody is waited for.
    #[tokio::test]
    async fn without_subscribers_there_is_always_room() {
        let mut publisher =
            Publisher::bind(&"bind tcp://127.0.0.1:0".parse().expect("an address")).await.expect("bound");
        for _ in 0..2 * Flight::MESSAGES_MAX {
            publisher.send("a.b", b"{}").await.expect("sent");
            assert!(publisher.has_room());
        }
        publisher.drained().await;
    }
}
