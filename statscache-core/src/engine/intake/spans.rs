//! Where in the bytes of a batch its messages are, as far as they are text.

use super::super::admit::Rejection;

/// Where topic and body of a message are.
pub(super) struct Span {
    /// Position in the batch.
    pub(super) position: usize,
    pub(super) start: usize,
    pub(super) middle: usize,
    pub(super) end: usize,
}

/// Of messages that are text throughout; what ends in the middle of a character is none.
pub(super) fn spans(text: &str, index: &[(usize, usize)]) -> (Vec<Span>, Vec<(usize, Rejection)>) {
    let (mut spans, mut rejected) = (Vec::with_capacity(index.len()), Vec::new());
    let mut start = 0;
    for (position, (topic, body)) in index.iter().enumerate() {
        let (middle, end) = (start + topic, start + topic + body);
        if !text.is_char_boundary(start) || !text.is_char_boundary(middle) {
            rejected.push((position, Rejection::TopicNotUtf8));
        } else if !text.is_char_boundary(end) {
            rejected.push((position, Rejection::BodyNotUtf8));
        } else {
            spans.push(Span { position, start, middle, end });
        }
        start = end;
    }
    (spans, rejected)
}

/// A copy of those messages that are text.
pub(super) fn only_text(data: &[u8], index: &[(usize, usize)]) -> (String, Vec<Span>, Vec<(usize, Rejection)>) {
    let (mut text, mut spans, mut rejected) = (String::with_capacity(data.len()), Vec::new(), Vec::new());
    let mut rest = data;
    for (position, (topic, body)) in index.iter().enumerate() {
        let (message, after) = rest.split_at(topic + body);
        rest = after;
        match (str::from_utf8(&message[..*topic]), str::from_utf8(&message[*topic..])) {
            (Err(_), _) => rejected.push((position, Rejection::TopicNotUtf8)),
            (_, Err(_)) => rejected.push((position, Rejection::BodyNotUtf8)),
            (Ok(topic), Ok(body)) => {
                let start = text.len();
                text.push_str(topic);
                text.push_str(body);
                spans.push(Span { position, start, middle: start + topic.len(), end: text.len() });
            }
        }
    }
    (text, spans, rejected)
}
