//! Frames of a multipart message to (topic, body). Pure.
//!
//! fedmsg sends two frames: topic, body. txZMQ's form is taken too: one frame, `topic NUL body`, split at the
//! first NUL. A topic is 1 to `topic_bytes_max` bytes of UTF-8. The body is not looked into.

use super::rejects::{RejectKind, RejectedBytes};

/// Bounds on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Longest topic. 1 KiB: the longest in Fedora's archive are under 200 bytes, AMQP's limit is 255.
    pub topic_bytes_max: usize,
    /// Longest body. 16 MiB: a hundred times the largest known; each endpoint may buffer one of them.
    pub body_bytes_max: usize,
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self { topic_bytes_max: 1024, body_bytes_max: 16 * 1024 * 1024 }
    }
}

/// The frames of one message; only the first two are at hand, the others are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames<'a> {
    /// How many there are.
    pub count: usize,
    /// Bytes in all of them.
    pub bytes: u64,
    /// The first; empty when there is none.
    pub first: &'a [u8],
    /// The second; empty when there is none.
    pub second: &'a [u8],
}

impl<'a> FromIterator<&'a [u8]> for Frames<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(frames: I) -> Self {
        let mut all = Self::default();
        for frame in frames {
            match all.count {
                0 => all.first = frame,
                1 => all.second = frame,
                _ => {}
            }
            all.count += 1;
            all.bytes += frame.len() as u64;
        }
        all
    }
}

impl<'a> Frames<'a> {
    /// As much of them as a reject record can show.
    pub fn rejected_bytes(&self) -> RejectedBytes<'a> {
        let topic_len = self.first.len() as u64;
        RejectedBytes {
            topic: self.first,
            topic_len,
            body: self.second,
            body_len: self.bytes.saturating_sub(topic_len),
        }
    }
}

/// Topic and body of a message, or why it is rejected. The first reason found is given: count, topic, then body.
#[inline]
pub fn decode<'a>(frames: &Frames<'a>, limits: &MessageLimits) -> Result<(&'a [u8], &'a [u8]), RejectKind> {
    let (topic, body) = match frames.count {
        2 => (frames.first, frames.second),
        1 => split_at_nul(frames.first)?,
        _ => return Err(RejectKind::FrameCount),
    };
    if topic.is_empty() {
        return Err(RejectKind::EmptyTopic);
    }
    if topic.len() > limits.topic_bytes_max {
        return Err(RejectKind::TopicTooLong);
    }
    if std::str::from_utf8(topic).is_err() {
        return Err(RejectKind::TopicNotUtf8);
    }
    if body.len() > limits.body_bytes_max {
        return Err(RejectKind::BodyTooLong);
    }
    Ok((topic, body))
}

fn split_at_nul(frame: &[u8]) -> Result<(&[u8], &[u8]), RejectKind> {
    let nul = frame.iter().position(|&byte| byte == 0).ok_or(RejectKind::NoSeparator)?;
    Ok((&frame[..nul], &frame[nul + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frames: &[&[u8]], expect: Result<(&str, &str), RejectKind>) {
        let limits = MessageLimits { topic_bytes_max: 8, body_bytes_max: 10 };
        let frames: Frames<'_> = frames.iter().copied().collect();
        let got = decode(&frames, &limits);
        assert_eq!(got, expect.map(|(topic, body)| (topic.as_bytes(), body.as_bytes())), "{frames:?}");
    }

    #[test]
    fn two_frames_are_topic_and_body() {
        check(&[b"a.b", b"{}"], Ok(("a.b", "{}")));
        check(&[b"a.b", b""], Ok(("a.b", "")));
        check(&[b"a.b", b"\0\0"], Ok(("a.b", "\0\0")));
        check(&["é.b".as_bytes(), b"{}"], Ok(("é.b", "{}")));
    }

    #[test]
    fn one_frame_is_split_at_the_first_nul() {
        check(&[b"a.b\0{}"], Ok(("a.b", "{}")));
        check(&[b"a.b\0x\0y"], Ok(("a.b", "x\0y")));
        check(&[b"a.b\0"], Ok(("a.b", "")));
        check(&[b"a.b{}"], Err(RejectKind::NoSeparator));
        check(&[b""], Err(RejectKind::NoSeparator));
    }

    #[test]
    fn other_counts_are_rejected() {
        check(&[], Err(RejectKind::FrameCount));
        check(&[b"a", b"b", b"c"], Err(RejectKind::FrameCount));
        check(&[b"", b"b", b"c", b"d"], Err(RejectKind::FrameCount));
    }

    #[test]
    fn topics_are_checked_at_the_boundary() {
        check(&[b"12345678", b"{}"], Ok(("12345678", "{}")));
        check(&[b"123456789", b"{}"], Err(RejectKind::TopicTooLong));
        check(&[b"", b"{}"], Err(RejectKind::EmptyTopic));
        check(&[b"\0{}"], Err(RejectKind::EmptyTopic));
        check(&[b"a\xff", b"{}"], Err(RejectKind::TopicNotUtf8));
        check(&[b"a\xff\0{}"], Err(RejectKind::TopicNotUtf8));
    }

    #[test]
    fn bodies_are_checked_at_the_boundary() {
        check(&[b"a", b"1234567890"], Ok(("a", "1234567890")));
        check(&[b"a", b"12345678901"], Err(RejectKind::BodyTooLong));
        check(&[b"a\x0012345678901"], Err(RejectKind::BodyTooLong));
    }

    #[test]
    fn a_topic_may_hold_a_nul_when_it_has_a_frame_of_its_own() {
        check(&[b"a\0b", b"{}"], Ok(("a\0b", "{}")));
    }
}
