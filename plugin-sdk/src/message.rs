//! What plugins are given.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    abi::{AbiMessage, FieldValue, borrowed::MessageData},
    declare::Field,
    error::PluginError,
    fields,
    json::Json,
    time::Timestamp,
};

/// One message of the bus, borrowed for the length of a call.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Message<'a>(MessageData<'a>);

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = (self.topic(), self.id(), self.time(), self.body());
        write!(f, "Message{message:?}")
    }
}

impl<'a> Message<'a> {
    /// Puts one together; `fields` are the raw values of the declared fields, in order.
    pub fn new(topic: &'a str, id: &'a str, time: Timestamp, body: &'a str, fields: &'a [FieldValue<'a>]) -> Self {
        Self(MessageData::new(topic, id, time, body, fields))
    }

    /// The message as it crosses the boundary; valid as long as this one.
    pub fn as_abi(&self) -> &AbiMessage {
        self.0.as_abi()
    }

    /// Topic, such as `org.fedoraproject.prod.git.receive`.
    pub fn topic(&self) -> &'a str {
        self.0.topic()
    }

    /// The topic's word at that position, from 0. On a fedmsg bus word 3 is the category.
    pub fn topic_word(&self, position: usize) -> Option<&'a str> {
        self.topic().split('.').nth(position)
    }

    /// Identity: `msg_id` without the `YYYY-` that some publishers put in front, or what the
    /// daemon made up for a message that has none. The same message has the same id on every bus.
    pub fn id(&self) -> &'a str {
        self.0.id()
    }

    /// When it happened: the envelope's `timestamp`, or the time of arrival where it has none.
    pub fn time(&self) -> Timestamp {
        self.0.time()
    }

    /// The whole JSON envelope.
    pub fn body(&self) -> &'a str {
        self.0.body()
    }

    /// A field that was declared.
    #[inline]
    pub fn get(&self, field: Field) -> Json<'a> {
        Json::new(self.0.field(field.0 as usize))
    }

    /// Any place in the body, by JSON pointer. It reads the whole body for each call: declare what
    /// most messages need with [`crate::Declare::field`] instead.
    pub fn pointer(&self, pointer: &str) -> Json<'a> {
        Json::new(fields::find(self.body(), pointer))
    }

    /// The whole envelope as a type of yours.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        Ok(serde_json::from_str(self.body())?)
    }
}
