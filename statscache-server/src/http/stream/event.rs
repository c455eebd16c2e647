//! The text of events.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Bytes that go out one after another.
pub(super) type Frames = VecDeque<Bytes>;

/// The first that a client gets: how long it waits before it comes back, milliseconds.
pub(super) const HELLO: &str = "retry: 3000\n\n";

/// Something that no client sees, so that nobody on the way takes the connection for dead.
pub(super) const HEARTBEAT: &str = ":\n\n";

/// An event. `data` is JSON in one line; it is not copied.
pub(super) fn event(kind: &str, id: &str, data: Bytes) -> Frames {
    let head = format!("event: {kind}\nid: {id}\ndata: ");
    Frames::from([Bytes::from(head), data, Bytes::from_static(b"\n\n")])
}

/// An event about one question of several: what it is, as JSON, beside what there is to say.
pub(super) fn named_event(kind: &str, id: &str, question: &str, data: Bytes) -> Frames {
    let head = format!("event: {kind}\nid: {id}\ndata: {{\"q\":{question},\"{kind}\":");
    Frames::from([Bytes::from(head), data, Bytes::from_static(b"}\n\n")])
}

/// Text that is no event.
pub(super) fn text(text: &'static str) -> Frames {
    Frames::from([Bytes::from_static(text.as_bytes())])
}
