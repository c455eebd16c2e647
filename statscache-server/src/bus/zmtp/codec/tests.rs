use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bus::zmtp::wire::{Mechanism, put_command, put_frame, put_greeting};

/// Small, so that growing, skipping and refusing all happen within a few hundred bytes.
const LIMITS: CodecLimits = CodecLimits {
    buffer_bytes: 128,
    message_bytes_max: 1000,
    skip_bytes_max: 4000,
    parts_max: 8,
    command_bytes_max: 64,
};

/// [`Event`] without borrows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Greeting((u8, u8)),
    Command(Vec<u8>, Vec<u8>),
    Message(usize, u64, Vec<u8>, Vec<u8>),
    Skipped(usize, u64),
    Error(String),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Greeting(greeting) => Self::Greeting(greeting.version),
            Event::Command { name, data } => Self::Command(name.to_vec(), data.to_vec()),
            Event::Message(frames) => {
                Self::Message(frames.count, frames.bytes, frames.first.to_vec(), frames.second.to_vec())
            }
            Event::Skipped { parts, bytes, sample } => {
                assert!(sample.len() <= SAMPLE_BYTES_MAX);
                Self::Skipped(parts, bytes)
            }
        }
    }
}

/// What comes out when `bytes` come in pieces of these lengths, round and round. The bounds hold at every step.
fn read(bytes: &[u8], pieces: &[usize]) -> Vec<Got> {
    let mut decoder = Decoder::new(LIMITS);
    let mut got = Vec::new();
    let mut rest = bytes;
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let piece = (*pieces.next().unwrap_or(&1)).clamp(1, rest.len());
        let (mut now, later) = rest.split_at(piece);
        rest = later;
        while !now.is_empty() {
            let fed = decoder.feed(now);
            assert!(fed > 0, "no space, and nothing to do about it");
            assert!(decoder.capacity() <= Decoder::capacity_max(&LIMITS));
            now = &now[fed..];
            loop {
                match decoder.next_event() {
                    Ok(None) => break,
                    Ok(Some(event)) => got.push(event.into()),
                    Err(error @ ProtocolError::NotZmtp { .. }) => {
                        // Its text shows as many bytes as there were.
                        drop(error);
                        got.push(Got::Error("not ZMTP".to_owned()));
                        return got;
                    }
                    Err(error) => {
                        got.push(Got::Error(error.to_string()));
                        return got;
                    }
                }
            }
        }
    }
    got
}

/// Frames, and whether a PING stands before each but the first.
type Message = Vec<(usize, bool)>;

#[derive(Debug, Clone)]
enum Item {
    Message(Message),
    Command(Vec<u8>),
}

fn item() -> impl Strategy<Value = Item> {
    let size = prop_oneof![4 => 0usize..60, 2 => 60usize..400, 1 => 400usize..900];
    let message = vec((size, prop::bool::weighted(0.1)), 1..6).prop_map(Item::Message);
    let command = vec(any::<u8>(), 0..40).prop_map(Item::Command);
    prop_oneof![4 => message, 1 => command]
}

/// The bytes of these items behind a greeting, and what must come of them.
fn write(items: &[Item]) -> (Vec<u8>, Vec<Got>) {
    let (mut bytes, mut expect) = (Vec::new(), vec![Got::Greeting((3, 1))]);
    put_greeting(&mut bytes, (3, 1), Mechanism::Null);
    for (number, item) in items.iter().enumerate() {
        match item {
            Item::Command(data) => {
                put_command(&mut bytes, b"OTHER", data);
                expect.push(Got::Command(b"OTHER".to_vec(), data.clone()));
            }
            Item::Message(sizes) => {
                let frames: Vec<Vec<u8>> = sizes.iter().map(|(size, _)| vec![number as u8; *size]).collect();
                for (at, frame) in frames.iter().enumerate() {
                    if at > 0 && sizes[at].1 {
                        put_command(&mut bytes, b"PING", &[0, at as u8]);
                        expect.push(Got::Command(b"PING".to_vec(), vec![0, at as u8]));
                    }
                    put_frame(&mut bytes, frame, at + 1 < frames.len());
                }
                let sum = frames.iter().map(Vec::len).sum::<usize>();
                expect.push(if sum > LIMITS.message_bytes_max {
                    Got::Skipped(frames.len(), sum as u64)
                } else {
                    Got::Message(
                        frames.len(),
                        sum as u64,
                        frames[0].clone(),
                        frames.get(1).cloned().unwrap_or_default(),
                    )
                });
            }
        }
    }
    (bytes, expect)
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_events(items in vec(item(), 0..20), pieces in vec(1usize..200, 1..8)) {
        let (bytes, expect) = write(&items);
        prop_assert_eq!(read(&bytes, &[usize::MAX]), expect.clone());
        prop_assert_eq!(read(&bytes, &pieces), expect.clone());
        prop_assert_eq!(read(&bytes, &[1]), expect);
    }

    #[test]
    fn arbitrary_bytes_neither_panic_nor_depend_on_the_cut(
        greet in any::<bool>(),
        items in vec(item(), 0..3),
        junk in vec(any::<u8>(), 0..600),
        pieces in vec(1usize..100, 1..5),
    ) {
        let mut bytes = if greet { write(&items).0 } else { Vec::new() };
        bytes.extend_from_slice(&junk);
        prop_assert_eq!(read(&bytes, &[usize::MAX]), read(&bytes, &pieces));
    }

    /// Flags and lengths that nearly make sense reach deeper than noise does.
    #[test]
    fn plausible_headers_neither_panic_nor_depend_on_the_cut(
        frames in vec((0u8..8, prop_oneof![0u64..300, 900u64..5000, any::<u64>()], vec(any::<u8>(), 0..300)), 0..20),
        pieces in vec(1usize..100, 1..5),
    ) {
        let (mut bytes, _) = write(&[]);
        for (flags, len, payload) in frames {
            bytes.push(flags);
            if flags & 2 == 0 { bytes.push(len as u8) } else { bytes.extend_from_slice(&len.to_be_bytes()) }
            bytes.extend_from_slice(&payload);
        }
        prop_assert_eq!(read(&bytes, &[usize::MAX]), read(&bytes, &pieces));
    }
}

/// What comes of `bytes` behind a greeting.
fn check(bytes: &[u8], expect: &[Got]) {
    let (mut all, mut want) = write(&[]);
    all.extend_from_slice(bytes);
    want.extend_from_slice(expect);
    assert_eq!(read(&all, &[usize::MAX]), want);
    assert_eq!(read(&all, &[1]), want);
}

fn error(error: ProtocolError) -> Got {
    Got::Error(error.to_string())
}

fn frame(len: usize, more: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_frame(&mut bytes, &vec![b'f'; len], more);
    bytes
}

#[test]
fn a_message_is_kept_up_to_the_limit_and_skipped_above() {
    let next = Got::Message(1, 1, b"f".to_vec(), vec![]);
    for (first, second, kept) in [(0, 1000, true), (1, 1000, false), (999, 1, true), (1000, 1, false), (1001, 0, false)]
    {
        let bytes = [frame(first, true), frame(second, false), frame(1, false)].concat();
        let sum = (first + second) as u64;
        let expect =
            if kept { Got::Message(2, sum, vec![b'f'; first], vec![b'f'; second]) } else { Got::Skipped(2, sum) };
        check(&bytes, &[expect, next.clone()]);
    }
}

#[test]
fn a_claim_is_refused_before_any_of_it_has_come() {
    for claim in [4001, 1 << 38, 1 << 62, u64::MAX] {
        let mut bytes = vec![2];
        bytes.extend_from_slice(&claim.to_be_bytes());
        check(&bytes, &[error(ProtocolError::MessageTooLong { bytes: claim, max: 4000 })]);
    }
    let skipped = [frame(2000, true), frame(2000, true), frame(0, false)].concat();
    check(&skipped, &[Got::Skipped(3, 4000)]);
    let too_long = [frame(2000, true), frame(2000, true), frame(1, false)].concat();
    check(&too_long, &[error(ProtocolError::MessageTooLong { bytes: 4001, max: 4000 })]);
}

#[test]
fn endless_multipart_ends() {
    let parts = |count: usize| frame(1, true).repeat(count - 1).into_iter().chain(frame(1, false)).collect::<Vec<u8>>();
    check(&parts(8), &[Got::Message(8, 8, b"f".to_vec(), b"f".to_vec())]);
    check(&parts(9), &[error(ProtocolError::TooManyParts { max: 8 })]);
    let skipped = [frame(1001, true), parts(7)].concat();
    check(&skipped, &[Got::Skipped(8, 1008)]);
    check(&[frame(1001, true), parts(8)].concat(), &[error(ProtocolError::TooManyParts { max: 8 })]);
}

#[test]
fn commands_are_bounded() {
    let command = |len: usize| {
        let mut bytes = Vec::new();
        put_command(&mut bytes, b"C", &vec![0; len]);
        bytes
    };
    check(&command(62), &[Got::Command(b"C".to_vec(), vec![0; 62])]);
    check(&command(63), &[error(ProtocolError::CommandTooLong { bytes: 65, max: 64 })]);
    let expect = |count| vec![Got::Command(b"C".to_vec(), vec![]); count];
    let tolerated = [frame(1, true), command(0).repeat(16), frame(1, false)].concat();
    check(&tolerated, &[expect(16), vec![Got::Message(2, 2, b"f".to_vec(), b"f".to_vec())]].concat());
    for first in [1, 1001] {
        let flood = [frame(first, true), command(0).repeat(17)].concat();
        check(&flood, &[expect(16), vec![error(ProtocolError::CommandsInMessage { max: 16 })]].concat());
    }
}

#[test]
fn the_buffer_shrinks_after_a_large_message() {
    let mut decoder = Decoder::new(LIMITS);
    let (greeting, _) = write(&[]);
    decoder.feed(&greeting);
    assert!(matches!(decoder.next_event(), Ok(Some(Event::Greeting(_)))));
    let large = frame(900, false);
    let mut rest = &large[..];
    let mut messages = 0;
    while !rest.is_empty() {
        rest = &rest[decoder.feed(rest)..];
        while let Some(event) = decoder.next_event().expect("valid") {
            assert!(matches!(event, Event::Message(_)));
            messages += 1;
        }
    }
    assert_eq!(messages, 1);
    assert!(decoder.capacity() > LIMITS.buffer_bytes);
    decoder.space();
    assert_eq!(decoder.capacity(), LIMITS.buffer_bytes);
}
