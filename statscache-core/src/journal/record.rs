//! What the journal keeps of one message, and for whom.

/// One message as the journal keeps it, or a mark. By default, nothing, for everyone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was received, µs UTC. Retention by age goes by this.
    pub received: i64,
    /// When it happened, µs UTC.
    pub time: i64,
    /// What makes two messages the same.
    pub identity: u128,
    /// Who folds it.
    pub audience: Audience,
    /// The message says itself when it happened; otherwise `time` is that of its arrival.
    pub is_stamped: bool,
    /// It is no message but a note of the engine's to those who read: the topic is empty, the body
    /// the engine's own.
    pub is_mark: bool,
    /// Its topic.
    pub topic: &'a [u8],
    /// Its body.
    pub body: &'a [u8],
}

/// The namespaces whose instances fold a record: a range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// The first of them.
    pub first: u32,
    /// The last of them. Lower than `first`: nobody.
    pub last: u32,
}

impl Audience {
    /// Every namespace there is and will be.
    pub const EVERYONE: Self = Self { first: 0, last: u32::MAX };

    /// Whether instances of this namespace fold the record.
    pub fn has(self, namespace: u32) -> bool {
        (self.first..=self.last).contains(&namespace)
    }

    /// Whether no namespace is left out.
    pub fn is_everyone(self) -> bool {
        self == Self::EVERYONE
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self::EVERYONE
    }
}
