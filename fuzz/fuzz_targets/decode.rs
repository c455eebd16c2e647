//! Any frames: no panic, and what is accepted keeps its bytes and its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statscache_server::bus::decode::{Frames, MessageLimits, decode};

fuzz_target!(|data: (Vec<Vec<u8>>, u8, u16)| {
    let (frames, topic_bytes_max, body_bytes_max) = data;
    let limits = MessageLimits { topic_bytes_max: topic_bytes_max.into(), body_bytes_max: body_bytes_max.into() };
    let all: Frames<'_> = frames.iter().map(Vec::as_slice).collect();
    let Ok((topic, body)) = decode(&all, &limits) else { return };
    assert!(!topic.is_empty() && topic.len() <= limits.topic_bytes_max && body.len() <= limits.body_bytes_max);
    assert!(std::str::from_utf8(topic).is_ok());
    match &frames[..] {
        [one] => assert_eq!(&[topic, body].join(&0), one),
        [first, second] => assert_eq!((topic, body), (&first[..], &second[..])),
        other => panic!("{} frames were accepted", other.len()),
    }
});
