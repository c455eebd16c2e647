//! ZMTP 3.0 and 3.1 as seen by a SUB socket, without I/O: bytes in, [`Event`]s out.
//!
//! Promises: the same events however the stream is cut; no panic on any input; every limit is checked from a
//! frame's header, before anything is allocated for it; the buffer grows by doubling, only when it is full of
//! bytes that really came, and never beyond [`Decoder::capacity_max`]. A message above the limit is skipped and
//! reported, not kept.
//!
//! One contiguous buffer: whole messages are handed out as slices of it, so the hot path copies and allocates
//! nothing. It does not know what a greeting or command obliges us to do: that is `connection`.

use super::wire::{self, FrameHeader, GREETING_LEN, Greeting, ProtocolError};
use crate::bus::decode::Frames;

/// Bounds on what a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecLimits {
    /// Size of the read buffer; grows for a message that does not fit.
    pub buffer_bytes: usize,
    /// Longest message kept, all its frames together.
    pub message_bytes_max: usize,
    /// Longest message skipped; a longer one (or a frame that claims to be) is an error.
    pub skip_bytes_max: u64,
    /// Frames in a message; more is an error.
    pub parts_max: usize,
    /// Longest command.
    pub command_bytes_max: usize,
}

impl Default for CodecLimits {
    fn default() -> Self {
        Self {
            buffer_bytes: 256 * 1024,
            message_bytes_max: 16 * 1024 * 1024 + 1024,
            skip_bytes_max: 256 * 1024 * 1024,
            parts_max: 64,
            command_bytes_max: 8 * 1024,
        }
    }
}

/// Commands tolerated between the frames of one message. libzmq does send a PING there; each costs a move of what
/// is buffered.
const COMMANDS_IN_MESSAGE_MAX: u32 = 16;
/// Bytes of a skipped message that are kept to be looked at.
const SAMPLE_BYTES_MAX: usize = 200;

/// What came out of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer's greeting; always the first event, exactly once.
    Greeting(Greeting),
    /// A command, name and data apart. May come between the frames of a message.
    Command {
        /// E.g. `READY`.
        name: &'a [u8],
        /// What follows the name.
        data: &'a [u8],
    },
    /// A whole message.
    Message(Frames<'a>),
    /// A message longer than `message_bytes_max` went by.
    Skipped {
        /// Its frames.
        parts: usize,
        /// Its length.
        bytes: u64,
        /// The beginning of its first frame.
        sample: &'a [u8],
    },
}

/// The receiving half.
#[derive(Debug)]
pub struct Decoder {
    limits: CodecLimits,
    buf: Vec<u8>,
    /// `buf[pos..filled]` is unread.
    pos: usize,
    filled: usize,
    greeted: bool,
    skip: Option<Skip>,
    commands_in_message: u32,
    /// The sample of the message being skipped, or of the last one that was.
    sample: Vec<u8>,
}

/// A message that is being skipped.
#[derive(Debug)]
struct Skip {
    /// Bytes of the current frame still to come.
    remaining: u64,
    more: bool,
    parts: usize,
    bytes: u64,
}

/// What a look at the unread bytes found; offsets are relative to `pos`.
enum Scan {
    NeedMore,
    Message { count: usize, bytes: u64, first: (usize, usize), second: (usize, usize), end: usize },
    Command { start: usize, body: usize, end: usize },
    Skip { header: FrameHeader, header_end: usize, parts: usize, bytes: u64 },
}

impl Decoder {
    /// A decoder that expects a greeting first.
    pub fn new(limits: CodecLimits) -> Self {
        let limits = CodecLimits { buffer_bytes: limits.buffer_bytes.max(2 * GREETING_LEN), ..limits };
        // Zeroed pages cost nothing until they are written to.
        let buf = vec![0; limits.buffer_bytes];
        Self { limits, buf, pos: 0, filled: 0, greeted: false, skip: None, commands_in_message: 0, sample: Vec::new() }
    }

    /// The most that the buffer can ever hold: the longest message with its headers and one command.
    pub fn capacity_max(limits: &CodecLimits) -> usize {
        let message = limits.message_bytes_max + limits.parts_max * wire::HEADER_LEN_MAX;
        let command = limits.command_bytes_max + wire::HEADER_LEN_MAX;
        (message + command).max(limits.buffer_bytes).max(2 * GREETING_LEN)
    }

    /// Memory held by the buffer.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Whether the stream stands in the middle of a greeting, frame or message.
    pub fn is_partial(&self) -> bool {
        self.pos != self.filled || self.skip.is_some()
    }

    /// Where to put what is read next; never empty as long as [`Decoder::next_event`] was called until it gave
    /// `None`.
    pub fn space(&mut self) -> &mut [u8] {
        let unread = self.filled - self.pos;
        let base = self.limits.buffer_bytes;
        if self.buf.len() > base && unread <= base / 2 {
            let mut smaller = vec![0; base];
            smaller[..unread].copy_from_slice(&self.buf[self.pos..self.filled]);
            self.buf = smaller;
            (self.pos, self.filled) = (0, unread);
        } else if self.pos > 0 {
            // A message is moved here at most once: afterwards it begins at 0 until it is whole.
            self.buf.copy_within(self.pos..self.filled, 0);
            (self.pos, self.filled) = (0, unread);
        }
        if self.filled == self.buf.len() {
            let len = (self.buf.len() * 2).min(Self::capacity_max(&self.limits));
            self.buf.resize(len, 0);
        }
        &mut self.buf[self.filled..]
    }

    /// `len` bytes were put at the beginning of [`Decoder::space`].
    pub fn filled(&mut self, len: usize) {
        self.filled = (self.filled + len).min(self.buf.len());
    }

    /// Takes `bytes` in as far as there is room, and says how many. For tests and for streams that are not
    /// sockets.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let len = bytes.len().min(space.len());
        space[..len].copy_from_slice(&bytes[..len]);
        self.filled(len);
        len
    }

    /// The next event in what has been read, `None` when more must be read first.
    /// After an error the stream has no meaning any more: drop the decoder.
    #[inline]
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        if !self.greeted {
            return self.next_greeting();
        }
        loop {
            if self.skip.is_some() && !self.skip_frame() {
                return Ok(None);
            }
            match self.scan()? {
                Scan::NeedMore => return Ok(None),
                Scan::Message { count, bytes, first, second, end } => {
                    let at = self.pos;
                    self.pos += end;
                    self.commands_in_message = 0;
                    if let Some(Skip { parts, bytes, .. }) = self.skip.take() {
                        return Ok(Some(Event::Skipped { parts, bytes, sample: &self.sample }));
                    }
                    let slice = |(start, end): (usize, usize)| &self.buf[at + start..at + end];
                    return Ok(Some(Event::Message(Frames {
                        count,
                        bytes,
                        first: slice(first),
                        second: slice(second),
                    })));
                }
                Scan::Command { start, body, end } => return self.take_command(start, body, end).map(Some),
                Scan::Skip { header, header_end, parts, bytes } => self.skip_from(header, header_end, parts, bytes),
            }
        }
    }

    fn next_greeting(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        let Some(greeting) = wire::parse_greeting(&self.buf[self.pos..self.filled])? else { return Ok(None) };
        self.pos += GREETING_LEN;
        self.greeted = true;
        Ok(Some(Event::Greeting(greeting)))
    }

    /// Looks at the frames from `pos` on, up to the end of a message or a command.
    #[inline]
    fn scan(&self) -> Result<Scan, ProtocolError> {
        if self.skip.is_some() {
            return self.scan_skipped();
        }
        let unread = &self.buf[self.pos..self.filled];
        let (mut at, mut count, mut bytes) = (0, 0, 0u64);
        let (mut first, mut second) = ((0, 0), (0, 0));
        loop {
            let Some((header, header_len)) = wire::parse_header(&unread[at..])? else { return Ok(Scan::NeedMore) };
            let start = at + header_len;
            if header.command {
                return self.scan_command(unread.len(), at, start, header);
            }
            count += 1;
            bytes = self.check_message(count, bytes, header)?;
            if bytes > self.limits.message_bytes_max as u64 {
                return Ok(Scan::Skip { header, header_end: start, parts: count, bytes });
            }
            // No overflow: the length is below message_bytes_max.
            let end = start + header.len as usize;
            if end > unread.len() {
                return Ok(Scan::NeedMore);
            }
            match count {
                1 => first = (start, end),
                2 => second = (start, end),
                _ => {}
            }
            at = end;
            if !header.more {
                return Ok(Scan::Message { count, bytes, first, second, end });
            }
        }
    }

    /// The limits of a message, given its frame number `count` and the `bytes` before it; gives the bytes with it.
    #[inline]
    fn check_message(&self, count: usize, bytes: u64, header: FrameHeader) -> Result<u64, ProtocolError> {
        if count > self.limits.parts_max {
            return Err(ProtocolError::TooManyParts { max: self.limits.parts_max });
        }
        let bytes = bytes.saturating_add(header.len);
        if bytes > self.limits.skip_bytes_max {
            return Err(ProtocolError::MessageTooLong { bytes, max: self.limits.skip_bytes_max });
        }
        Ok(bytes)
    }

    fn scan_command(
        &self,
        unread: usize,
        start: usize,
        body: usize,
        header: FrameHeader,
    ) -> Result<Scan, ProtocolError> {
        if header.len > self.limits.command_bytes_max as u64 {
            return Err(ProtocolError::CommandTooLong { bytes: header.len, max: self.limits.command_bytes_max });
        }
        let end = body + header.len as usize;
        Ok(if end > unread { Scan::NeedMore } else { Scan::Command { start, body, end } })
    }

    /// Hands a command out. One that stands inside a message is cut out of it.
    fn take_command(&mut self, start: usize, body: usize, end: usize) -> Result<Event<'_>, ProtocolError> {
        if start > 0 || self.skip.is_some() {
            self.commands_in_message += 1;
            if self.commands_in_message > COMMANDS_IN_MESSAGE_MAX {
                return Err(ProtocolError::CommandsInMessage { max: COMMANDS_IN_MESSAGE_MAX });
            }
        }
        // [frames of the message][header, command] becomes [header, command][frames of the message].
        let at = self.pos;
        let len = end - start;
        self.buf[at..at + end].rotate_right(len);
        self.pos += len;
        let (name, data) = wire::split_command(&self.buf[at + body - start..at + len])?;
        Ok(Event::Command { name, data })
    }

    /// Begins to skip the message at `pos`, or goes on with its next frame.
    #[cold]
    fn skip_from(&mut self, header: FrameHeader, header_end: usize, parts: usize, bytes: u64) {
        if self.skip.is_none() {
            self.sample.clear();
            let unread = &self.buf[self.pos..self.filled];
            if let Ok(Some((first, start))) = wire::parse_header(unread) {
                let len = first.len.min(SAMPLE_BYTES_MAX as u64) as usize;
                self.sample.extend_from_slice(&unread[start..(start + len).min(unread.len())]);
            }
        }
        self.pos += header_end;
        self.skip = Some(Skip { remaining: header.len, more: header.more, parts, bytes });
    }

    /// Drops what there is of the frame being skipped; whether it is at its end.
    #[cold]
    fn skip_frame(&mut self) -> bool {
        let unread = (self.filled - self.pos) as u64;
        let Some(skip) = &mut self.skip else { return true };
        let len = skip.remaining.min(unread);
        skip.remaining -= len;
        self.pos += len as usize;
        skip.remaining == 0
    }

    /// At the end of a skipped frame: the message's end, its next frame or a command between them.
    #[cold]
    fn scan_skipped(&self) -> Result<Scan, ProtocolError> {
        let Some(skip) = &self.skip else { return Ok(Scan::NeedMore) };
        if !skip.more {
            let (count, bytes) = (skip.parts, skip.bytes);
            return Ok(Scan::Message { count, bytes, first: (0, 0), second: (0, 0), end: 0 });
        }
        let unread = &self.buf[self.pos..self.filled];
        let Some((header, header_end)) = wire::parse_header(unread)? else { return Ok(Scan::NeedMore) };
        if header.command {
            return self.scan_command(unread.len(), 0, header_end, header);
        }
        let parts = skip.parts + 1;
        let bytes = self.check_message(parts, skip.bytes, header)?;
        Ok(Scan::Skip { header, header_end, parts, bytes })
    }
}

#[cfg(test)]
mod tests;
