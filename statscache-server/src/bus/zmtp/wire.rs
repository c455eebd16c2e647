//! The bytes of ZMTP 3.0 (RFC 23) and 3.1 (RFC 37): greeting, frame headers, commands. Pure; no state.

/// Length of a ZMTP 3 greeting.
pub const GREETING_LEN: usize = 64;
/// Longest frame header: flags and a 64-bit length.
pub const HEADER_LEN_MAX: usize = 9;
/// Longest context of a PING that is echoed (RFC 37).
const PING_CONTEXT_LEN_MAX: usize = 16;

const FLAG_MORE: u8 = 1;
const FLAG_LONG: u8 = 2;
const FLAG_COMMAND: u8 = 4;

/// How a peer broke the protocol, or went beyond a limit. The stream has no meaning after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first bytes are no ZMTP signature.
    #[error("the peer does not speak ZMTP 3: its first bytes are {first:02x?}; is this a ZeroMQ port?")]
    NotZmtp {
        /// The bytes.
        first: Vec<u8>,
    },
    /// ZMTP 1.0 (libzmq 2).
    #[error("the peer speaks ZMTP 1.0 (libzmq 2.x); at least ZMTP 3.0 (libzmq 4.0) is needed")]
    Zmtp1,
    /// ZMTP 2.0 (libzmq 3).
    #[error(
        "the peer speaks ZMTP 2.0 (libzmq 3.x, revision byte {revision}); at least ZMTP 3.0 (libzmq 4.0) is needed"
    )]
    Zmtp2 {
        /// What stands where ZMTP 3 has its major version.
        revision: u8,
    },
    /// Bits that must be zero are not: most often not a frame header at all.
    #[error("no frame header: flags {flags:#04x}")]
    BadFlags {
        /// The byte.
        flags: u8,
    },
    /// A command that claims to be longer than the limit.
    #[error("a command of {bytes} bytes; {max} is the limit")]
    CommandTooLong {
        /// Claimed.
        bytes: u64,
        /// Allowed.
        max: usize,
    },
    /// A message that is, or claims to be, too long even to be skipped.
    #[error("a message of {bytes} bytes or more; {max} is the most that is skipped")]
    MessageTooLong {
        /// Claimed.
        bytes: u64,
        /// Allowed.
        max: u64,
    },
    /// Endless multipart.
    #[error("a message of more than {max} frames")]
    TooManyParts {
        /// Allowed.
        max: usize,
    },
    /// A flood of commands in the middle of a message.
    #[error("more than {max} commands in the middle of a message")]
    CommandsInMessage {
        /// Allowed.
        max: u32,
    },
    /// A command whose parts do not add up.
    #[error("a malformed {command} command")]
    MalformedCommand {
        /// Its name, as far as known.
        command: &'static str,
    },
}

/// What a peer says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Major and minor version. The major is at least 3.
    pub version: (u8, u8),
    /// Security mechanism, zero-padded.
    pub mechanism: [u8; 20],
}

impl Greeting {
    /// The mechanism's name without padding, for people.
    pub fn mechanism_name(&self) -> String {
        let name = self.mechanism.split(|&byte| byte == 0).next().unwrap_or_default();
        name.escape_ascii().to_string()
    }
}

/// Security mechanisms we speak. PLAIN and CURVE would be added here, with their handshake commands in
/// `connection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Mechanism {
    /// None: what fedmsg uses.
    #[default]
    Null,
}

impl Mechanism {
    /// As in the greeting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Null => "NULL",
        }
    }
}

/// Reads a greeting; `None` when more bytes are needed. Refuses as early as the bytes allow: a peer of an older
/// version waits for ours and would never complete its 64.
pub fn parse_greeting(bytes: &[u8]) -> Result<Option<Greeting>, ProtocolError> {
    match bytes.first() {
        None => return Ok(None),
        Some(0xff) => {}
        // ZMTP 1.0 begins with the identity as a frame: length, flags 0.
        Some(1..) if bytes.get(1) == Some(&0) => return Err(ProtocolError::Zmtp1),
        Some(_) if bytes.len() < 2 => return Ok(None),
        Some(_) => return Err(ProtocolError::NotZmtp { first: bytes[..bytes.len().min(8)].to_vec() }),
    }
    match bytes.get(9) {
        None => return Ok(None),
        Some(end) if end & 1 == 0 => return Err(ProtocolError::Zmtp1),
        Some(_) => {}
    }
    match bytes.get(10) {
        None => return Ok(None),
        Some(&revision) if revision < 3 => return Err(ProtocolError::Zmtp2 { revision }),
        Some(_) => {}
    }
    if bytes.len() < GREETING_LEN {
        return Ok(None);
    }
    let mut mechanism = [0; 20];
    mechanism.copy_from_slice(&bytes[12..32]);
    Ok(Some(Greeting { version: (bytes[10], bytes[11]), mechanism }))
}

/// What stands before a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// A command, not a part of a message.
    pub command: bool,
    /// Another frame of the message follows.
    pub more: bool,
    /// Claimed, not believed.
    pub len: u64,
}

/// Reads a frame header and says how long it is; `None` when more bytes are needed.
#[inline]
pub fn parse_header(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    let Some(&flags) = bytes.first() else { return Ok(None) };
    let command = flags & FLAG_COMMAND != 0;
    let more = flags & FLAG_MORE != 0;
    if flags & !(FLAG_MORE | FLAG_LONG | FLAG_COMMAND) != 0 || (command && more) {
        return Err(ProtocolError::BadFlags { flags });
    }
    if flags & FLAG_LONG == 0 {
        let Some(&len) = bytes.get(1) else { return Ok(None) };
        return Ok(Some((FrameHeader { command, more, len: u64::from(len) }, 2)));
    }
    let Some(len) = bytes.get(1..HEADER_LEN_MAX).and_then(|len| <[u8; 8]>::try_from(len).ok()) else { return Ok(None) };
    Ok(Some((FrameHeader { command, more, len: u64::from_be_bytes(len) }, HEADER_LEN_MAX)))
}

/// Name and data of a command's body.
pub fn split_command(body: &[u8]) -> Result<(&[u8], &[u8]), ProtocolError> {
    let malformed = ProtocolError::MalformedCommand { command: "nameless" };
    match body.split_first() {
        Some((&len, rest)) if len > 0 && usize::from(len) <= rest.len() => Ok(rest.split_at(usize::from(len))),
        _ => Err(malformed),
    }
}

/// The `Socket-Type` in the data of a READY command.
pub fn ready_socket_type(mut data: &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
    let mut found = None;
    while !data.is_empty() {
        let (name, value, rest) = split_property(data).ok_or(ProtocolError::MalformedCommand { command: "READY" })?;
        if name.eq_ignore_ascii_case(b"Socket-Type") {
            found = Some(value);
        }
        data = rest;
    }
    Ok(found)
}

fn split_property(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&name_len, rest) = data.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(name_len))?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*value_len)).ok()?)?;
    Some((name, value, rest))
}

/// The reason in the data of an ERROR command, printable.
pub fn error_reason(data: &[u8]) -> String {
    let reason = data.split_first().and_then(|(&len, rest)| rest.get(..usize::from(len))).unwrap_or(data);
    reason.escape_ascii().to_string()
}

/// The context to echo from the data of a PING command.
pub fn ping_context(data: &[u8]) -> Result<&[u8], ProtocolError> {
    let context = data.get(2..).ok_or(ProtocolError::MalformedCommand { command: "PING" })?;
    Ok(&context[..context.len().min(PING_CONTEXT_LEN_MAX)])
}

/// Appends our greeting: ZMTP 3.1, not as server.
pub fn put_greeting(out: &mut Vec<u8>, version: (u8, u8), mechanism: Mechanism) {
    let mut greeting = [0; GREETING_LEN];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    (greeting[10], greeting[11]) = version;
    let name = mechanism.as_str().as_bytes();
    greeting[12..12 + name.len()].copy_from_slice(name);
    out.extend_from_slice(&greeting);
}

/// Appends a frame of a message.
pub fn put_frame(out: &mut Vec<u8>, payload: &[u8], more: bool) {
    put_header(out, if more { FLAG_MORE } else { 0 }, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a command.
pub fn put_command(out: &mut Vec<u8>, name: &[u8], data: &[u8]) {
    debug_assert!((1..256).contains(&name.len()), "command names are 1 to 255 bytes");
    put_header(out, FLAG_COMMAND, 1 + name.len() + data.len());
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    out.extend_from_slice(data);
}

fn put_header(out: &mut Vec<u8>, flags: u8, len: usize) {
    match u8::try_from(len) {
        Ok(short) => out.extend_from_slice(&[flags, short]),
        Err(_) => {
            out.push(flags | FLAG_LONG);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a READY command with our socket type.
pub fn put_ready(out: &mut Vec<u8>, socket_type: &str) {
    let mut data = Vec::with_capacity(32);
    data.push(11);
    data.extend_from_slice(b"Socket-Type");
    data.extend_from_slice(&(socket_type.len() as u32).to_be_bytes());
    data.extend_from_slice(socket_type.as_bytes());
    put_command(out, b"READY", &data);
}

/// Appends a subscription in the form that the peer's version has: a command since 3.1, a message before.
pub fn put_subscribe(out: &mut Vec<u8>, peer_version: (u8, u8), prefix: &[u8]) {
    if peer_version >= (3, 1) {
        put_command(out, b"SUBSCRIBE", prefix);
    } else {
        let mut message = Vec::with_capacity(prefix.len() + 1);
        message.push(1);
        message.extend_from_slice(prefix);
        put_frame(out, &message, false);
    }
}

/// Appends a PING without time to live: what we do not hear is our own watchdog's affair.
pub fn put_ping(out: &mut Vec<u8>) {
    put_command(out, b"PING", &[0, 0]);
}

/// Appends a PONG.
pub fn put_pong(out: &mut Vec<u8>, context: &[u8]) {
    put_command(out, b"PONG", context);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: (u8, u8)) -> Vec<u8> {
        let mut out = Vec::new();
        put_greeting(&mut out, version, Mechanism::Null);
        out
    }

    #[test]
    fn greetings_are_read_at_any_length() {
        let bytes = greeting((3, 1));
        for len in 0..GREETING_LEN {
            assert_eq!(parse_greeting(&bytes[..len]), Ok(None), "{len} bytes");
        }
        let read = parse_greeting(&bytes).expect("valid").expect("whole");
        assert_eq!((read.version, read.mechanism_name().as_str()), ((3, 1), "NULL"));
    }

    #[test]
    fn older_versions_are_refused_as_soon_as_they_show() {
        let zmtp2 = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1];
        assert_eq!(parse_greeting(&zmtp2[..10]), Ok(None));
        assert_eq!(parse_greeting(&zmtp2), Err(ProtocolError::Zmtp2 { revision: 1 }));
        assert_eq!(parse_greeting(&[1, 0]), Err(ProtocolError::Zmtp1));
        assert_eq!(parse_greeting(&[0xff, 0, 0, 0, 0, 0, 0, 0, 5, 0]), Err(ProtocolError::Zmtp1));
        assert!(matches!(parse_greeting(b"HTTP/1.1 400"), Err(ProtocolError::NotZmtp { .. })));
        assert!(matches!(parse_greeting(b"SSH-2.0-OpenSSH"), Err(ProtocolError::NotZmtp { .. })));
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        for (len, header_len) in [(0, 2), (255, 2), (256, 9), (70_000, 9)] {
            let mut out = Vec::new();
            put_frame(&mut out, &vec![0; len], true);
            let expect = FrameHeader { command: false, more: true, len: len as u64 };
            assert_eq!(parse_header(&out), Ok(Some((expect, header_len))));
            assert_eq!(parse_header(&out[..header_len - 1]), Ok(None));
        }
        for flags in [0x05, 0x08, 0x40, 0xff] {
            assert_eq!(parse_header(&[flags, 0]), Err(ProtocolError::BadFlags { flags }));
        }
    }

    #[test]
    fn ready_tells_the_socket_type() {
        let mut out = Vec::new();
        put_ready(&mut out, "XPUB");
        let (name, data) = split_command(&out[2..]).expect("a command");
        assert_eq!(name, b"READY");
        assert_eq!(ready_socket_type(data), Ok(Some(&b"XPUB"[..])));
        for cut in 1..data.len() {
            assert!(ready_socket_type(&data[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(ready_socket_type(b""), Ok(None));
    }

    #[test]
    fn subscriptions_take_the_form_of_the_version() {
        let put = |version| {
            let mut out = Vec::new();
            put_subscribe(&mut out, version, b"org.");
            out
        };
        assert_eq!(put((3, 0)), b"\0\x05\x01org.");
        assert_eq!(put((3, 1)), b"\x04\x0e\x09SUBSCRIBEorg.");
        assert_eq!(put((4, 0)), put((3, 1)));
    }

    #[test]
    fn malformed_commands_are_errors() {
        for body in [&b""[..], b"\0", b"\x05PING", b"\xff"] {
            assert!(split_command(body).is_err(), "{body:?}");
        }
        assert!(ping_context(&[0]).is_err());
        assert_eq!(ping_context(&[0, 1]), Ok(&b""[..]));
        assert_eq!(ping_context(&[9; 30]).map(<[u8]>::len), Ok(16));
        assert_eq!(error_reason(b"\x03bad"), "bad");
        assert_eq!(error_reason(b"\xffbad\n"), "\\xffbad\\n");
    }
}
