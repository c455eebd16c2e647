//! What plugins are given.

use serde::de::DeserializeOwned;

use crate::{declare::Field, error::PluginError, fields, json::Json, time::Timestamp};

/// One message of the bus, borrowed for the length of a call.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) id: &'a str,
    pub(crate) time: Timestamp,
    pub(crate) body: &'a str,
    pub(crate) fields: Slots<'a>,
}

/// Where the values of the declared fields are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slots<'a> {
    Borrowed(&'a [Option<&'a str>]),
    Abi(crate::abi::AbiSlots<'a>),
}

impl<'a> Message<'a> {
    /// Puts one together; `slots` are the raw values of the declared fields, in order.
    pub fn new(topic: &'a str, id: &'a str, time: Timestamp, body: &'a str, slots: &'a [Option<&'a str>]) -> Self {
        Self { topic, id, time, body, fields: Slots::Borrowed(slots) }
    }

    /// Topic, such as `org.fedoraproject.prod.git.receive`.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The topic's word at that position, from 0. On a fedmsg bus word 3 is the category.
    pub fn topic_word(&self, position: usize) -> Option<&'a str> {
        self.topic.split('.').nth(position)
    }

    /// Identity: `msg_id` without the `YYYY-` that some publishers put in front, or what the
    /// daemon made up for a message that has none. The same message has the same id on every bus.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// When it happened: the envelope's `timestamp`, or the time of arrival where it has none.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The whole JSON envelope.
    pub fn body(&self) -> &'a str {
        self.body
    }

    /// A field that was declared.
    pub fn get(&self, field: Field) -> Json<'a> {
        Json::new(match self.fields {
            Slots::Borrowed(slots) => slots.get(field.0 as usize).copied().flatten(),
            Slots::Abi(slots) => slots.get(field.0 as usize),
        })
    }

    /// The raw values of all declared fields, in order; for hosts.
    pub fn fields(&self) -> impl Iterator<Item = Option<&'a str>> {
        let (slots, abi) = match self.fields {
            Slots::Borrowed(slots) => (slots, None),
            Slots::Abi(abi) => (&[][..], Some(abi)),
        };
        let abi = abi.into_iter().flat_map(|abi| (0..abi.len()).map(move |slot| abi.get(slot)));
        slots.iter().copied().chain(abi)
    }

    /// Any place in the body, by JSON pointer. It reads the whole body for each call: declare what
    /// most messages need with [`crate::Declare::field`] instead.
    pub fn pointer(&self, pointer: &str) -> Json<'a> {
        Json::new(fields::find(self.body, pointer))
    }

    /// The whole envelope as a type of yours.
    pub fn to<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        Ok(serde_json::from_str(self.body)?)
    }
}
