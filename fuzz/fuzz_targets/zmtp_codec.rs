//! Any bytes from a peer: no panic, no buffer beyond the bound, and the same events however the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statscache_server::bus::zmtp::codec::{CodecLimits, Decoder};
use statscache_server::bus::zmtp::wire::{Mechanism, put_greeting};

const LIMITS: CodecLimits = CodecLimits {
    buffer_bytes: 128,
    message_bytes_max: 600,
    skip_bytes_max: 3000,
    parts_max: 8,
    command_bytes_max: 64,
};

/// What comes of `bytes` in pieces of `piece`, as text without what depends on the cut.
fn read(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut decoder = Decoder::new(LIMITS);
    let mut got = Vec::new();
    for mut piece in bytes.chunks(piece.max(1)) {
        while !piece.is_empty() {
            let fed = decoder.feed(piece);
            assert!(fed > 0, "no space");
            assert!(decoder.capacity() <= Decoder::capacity_max(&LIMITS));
            piece = &piece[fed..];
            loop {
                match decoder.next_event() {
                    Ok(None) => break,
                    Ok(Some(statscache_server::bus::zmtp::codec::Event::Skipped { parts, bytes, .. })) => {
                        got.push(format!("skipped {parts} {bytes}"));
                    }
                    Ok(Some(event)) => got.push(format!("{event:?}")),
                    Err(error) => {
                        let text = error.to_string();
                        got.push(text.split("first bytes").next().unwrap_or_default().to_owned());
                        return got;
                    }
                }
            }
        }
    }
    got
}

fuzz_target!(|data: &[u8]| {
    let Some((&control, rest)) = data.split_first() else { return };
    // Most runs begin with a valid greeting: what comes after it is where the work is.
    let mut bytes = Vec::new();
    if control & 1 == 0 {
        put_greeting(&mut bytes, (3, 1), Mechanism::Null);
    }
    bytes.extend_from_slice(rest);
    assert_eq!(read(&bytes, usize::MAX), read(&bytes, usize::from(control >> 1)));
});
