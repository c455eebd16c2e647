//! The sending half of ZMTP 3.0 with the NULL mechanism, as far as a measurement needs it: one subscriber, to
//! everything. Unlike a PUB socket it waits for who reads slowly, so that what is lost was lost by the reader.
//! <https://rfc.zeromq.org/spec/23/>

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

/// Greeting, READY, then the peer's READY and subscription.
pub fn greet(peer: &mut TcpStream) -> io::Result<()> {
    let mut greeting = [0_u8; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    peer.write_all(&greeting)?;
    peer.read_exact(&mut greeting)?;
    let ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB";
    peer.write_all(&[4, ready.len() as u8])?;
    peer.write_all(ready)?;
    // READY, then one subscription to everything.
    for _ in 0..2 {
        let mut header = [0_u8; 2];
        peer.read_exact(&mut header)?;
        let mut body = vec![0_u8; usize::from(header[1])];
        peer.read_exact(&mut body)?;
    }
    Ok(())
}

/// Adds a frame as it is on the wire; `more`: of the same message follow more.
pub fn frame(out: &mut Vec<u8>, bytes: &[u8], more: bool) {
    let flag = u8::from(more);
    match u8::try_from(bytes.len()) {
        Ok(len) => out.extend([flag, len]),
        Err(_) => {
            out.push(flag | 2);
            out.extend((bytes.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}
