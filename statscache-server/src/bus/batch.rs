//! Messages that were read together, in one allocation.
//!
//! Topic and body bytes are copied out of the read buffer, so that a batch pins what it holds and nothing else
//! (keeping slices of read buffers pinned 202 MB for 3 MB of messages).

use std::sync::Arc;

use statscache_core::engine::Incoming;

use super::EndpointStatus;

/// Memory for payload that an emptied batch keeps.
pub(super) const KEEP_BYTES_MAX: usize = 512 * 1024;

/// Complete messages of one endpoint, read together: at most about 256 KiB, or one larger message.
#[derive(Debug)]
pub struct Batch {
    /// topic, body, topic, body, …, contiguous.
    data: Vec<u8>,
    /// Lengths of topic and body, a pair a message, in order.
    index: Vec<(usize, usize)>,
    endpoint: Arc<EndpointStatus>,
    received_us: i64,
}

impl Batch {
    /// An empty batch of an endpoint.
    pub fn new(endpoint: Arc<EndpointStatus>) -> Self {
        Self { data: Vec::new(), index: Vec::new(), endpoint, received_us: 0 }
    }

    pub(super) fn from_parts(
        mut data: Vec<u8>,
        mut index: Vec<(usize, usize)>,
        endpoint: Arc<EndpointStatus>,
        received_us: i64,
    ) -> Self {
        data.clear();
        index.clear();
        Self { data, index, endpoint, received_us }
    }

    /// Appends a message; copies both.
    #[inline]
    pub fn push(&mut self, topic: &[u8], body: &[u8]) {
        self.data.reserve(topic.len() + body.len());
        self.data.extend_from_slice(topic);
        self.data.extend_from_slice(body);
        self.index.push((topic.len(), body.len()));
    }

    /// (topic, body) of each message, in the order of arrival.
    pub fn iter(&self) -> Messages<'_> {
        Messages { data: &self.data, index: self.index.iter() }
    }

    /// For the engine, which takes the bytes and leaves memory to fill again.
    pub fn incoming(&mut self) -> Incoming<'_> {
        Incoming { data: &mut self.data, index: &self.index }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of all topics and bodies.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// The endpoint that all its messages came from.
    pub fn endpoint(&self) -> &Arc<EndpointStatus> {
        &self.endpoint
    }

    /// When it was read, µs since the epoch: the arrival time of all its messages.
    pub fn received_us(&self) -> i64 {
        self.received_us
    }

    /// Sets [`Batch::received_us`].
    pub fn set_received_us(&mut self, at_us: i64) {
        self.received_us = at_us;
    }

    /// Forgets the messages and keeps the memory, unless one large message made it large.
    pub fn clear(&mut self) {
        self.data.clear();
        self.data.shrink_to(KEEP_BYTES_MAX);
        self.index.clear();
    }

    /// Memory held, which is what a queue charges.
    pub(super) fn memory(&self) -> usize {
        self.data.capacity() + self.index.capacity() * size_of::<(usize, usize)>() + size_of::<Self>()
    }

    /// Whether most of the memory held is unused.
    pub(super) fn is_sparse(&self) -> bool {
        self.data.len() < self.data.capacity() / 2
    }

    /// A copy that holds no more memory than it needs.
    pub(super) fn compact_copy(&self) -> Self {
        Self {
            data: self.data.as_slice().to_vec(),
            index: self.index.as_slice().to_vec(),
            endpoint: Arc::clone(&self.endpoint),
            received_us: self.received_us,
        }
    }

    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<(usize, usize)>) {
        (self.data, self.index)
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Messages<'a>;

    fn into_iter(self) -> Messages<'a> {
        self.iter()
    }
}

/// The messages of a [`Batch`]: (topic, body).
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    data: &'a [u8],
    index: std::slice::Iter<'a, (usize, usize)>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &(topic_len, body_len) = self.index.next()?;
        let (topic, rest) = self.data.split_at(topic_len);
        let (body, rest) = rest.split_at(body_len);
        self.data = rest;
        Some((topic, body))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.index.size_hint()
    }
}

impl ExactSizeIterator for Messages<'_> {}
