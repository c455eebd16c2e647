//! Publishing, for `statscache publish`, the demo and tests: a PUB socket of the `zeromq` crate, fedmsg's two
//! frames.
//!
//! As with any PUB socket, what is sent before a subscriber's subscription has arrived is not sent to it, and a
//! subscriber that is 100,000 messages behind loses the next ones, uncounted.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::zeromq::{PubSocket, Socket, SocketEvent, SocketSend, ZmqError, ZmqMessage};

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
        Ok(Self { socket, address: bound.to_string(), subscribers })
    }

    /// The address bound, with the port that was chosen where it was `*` or 0.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Subscribers connected. One just connected may not have subscribed to anything yet: the crate does not tell.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// Sends one message, two frames. Does not wait for anybody to receive it.
    pub async fn send(&mut self, topic: &str, body: &[u8]) -> Result<(), PublishError> {
        self.send_frames(&[topic.as_bytes(), body]).await
    }

    /// Sends one message of any frames, for tests of what is not fedmsg. No frames: nothing is sent.
    pub async fn send_frames(&mut self, frames: &[&[u8]]) -> Result<(), PublishError> {
        let mut frames = frames.iter();
        let Some(first) = frames.next() else { return Ok(()) };
        let mut message = ZmqMessage::from(first.to_vec());
        for frame in frames {
            message.push_back(frame.to_vec().into());
        }
        self.socket.send(message).await.map_err(|source| PublishError::Send { source })
    }

    /// Closes the socket after `linger`, in which the crate's tasks write out what was sent; it does not tell when
    /// they have.
    pub async fn close(self, linger: Duration) {
        tokio::time::sleep(linger).await;
    }
}
