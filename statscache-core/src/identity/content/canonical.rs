//! One spelling for all that mean the same.
//!
//! A value is a letter and what follows it, so that no two values have the same bytes:
//!
//! | value | bytes |
//! |---|---|
//! | `null`, `true`, `false` | `n`, `t`, `f` |
//! | number that is an integer | `i`, decimal digits, `;` |
//! | other number | `d`, bits of the `f64` (u64) |
//! | number beyond `f64` | `x`, its text, `;` |
//! | string | `s`, length (u32), bytes; half a surrogate pair as three bytes |
//! | array | `[`, values, `]` |
//! | object | `{`, keys and values in the order of the keys' bytes, `}` |
//!
//! Numbers are little-endian. serde_json does not serve: it refuses half a pair, and has no `NaN` and
//! no integers beyond 64 bits.

/// Arrays and objects inside each other: what a stack holds easily.
const DEPTH_MAX: u32 = 128;

/// What a body says: `m` and its `msg`, `w` and the whole where there is none, `r` and the bytes
/// where it cannot be read.
pub(super) fn canonical(body: &str) -> Vec<u8> {
    read(body, |parser| parser.msg())
        .or_else(|| read(body, |parser| parser.tagged(b'w')))
        .unwrap_or_else(|| [b"r", body.as_bytes()].concat())
}

/// What is found in a body that has nothing behind it.
fn read(body: &str, find: impl FnOnce(&mut Parser<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut parser = Parser { text: body, at: 0 };
    let found = find(&mut parser)?;
    (parser.peek().is_none()).then_some(found)
}

/// At a place of a text. Where the text is not as it should be, methods return `None`, and the place
/// means nothing any more.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    /// The last `msg` of an object.
    fn msg(&mut self) -> Option<Vec<u8>> {
        let (mut found, mut rest) = (None, Vec::new());
        self.items((b'{', b'}'), |parser| {
            rest.clear();
            parser.string(&mut rest)?;
            parser.expect(b':')?;
            if rest[STRING_HEAD..] == *b"msg" {
                found = Some(parser.tagged(b'm')?);
                return Some(());
            }
            parser.value(&mut rest, 1)
        })?;
        found
    }

    fn tagged(&mut self, tag: u8) -> Option<Vec<u8>> {
        let mut out = vec![tag];
        self.value(&mut out, 0)?;
        Some(out)
    }

    fn value(&mut self, out: &mut Vec<u8>, depth: u32) -> Option<()> {
        const WORDS: [(&str, u8); 6] =
            [("null", b'n'), ("true", b't'), ("false", b'f'), ("NaN", b'n'), ("Infinity", b'n'), ("-Infinity", b'n')];
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'"' => self.string(out),
            b'{' => self.object(out, depth),
            b'[' => {
                out.push(b'[');
                self.items((b'[', b']'), |parser| parser.value(out, depth + 1))?;
                out.push(b']');
                Some(())
            }
            _ => {
                let rest = &self.text[self.at..];
                let Some((word, letter)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) else {
                    return self.number(out);
                };
                self.at += word.len();
                out.push(*letter);
                Some(())
            }
        }
    }

    /// What `each` reads, between brackets and separated by commas.
    fn items(&mut self, (open, close): (u8, u8), mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(open)?;
        if self.peek()? == close {
            return self.expect(close);
        }
        loop {
            each(self)?;
            if self.peek()? == close {
                return self.expect(close);
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, depth: u32) -> Option<()> {
        out.push(b'{');
        let first = out.len();
        // Where each key, its value and the next key begin, from the first one on.
        let mut members: Vec<[u32; 3]> = Vec::new();
        self.items((b'{', b'}'), |parser| {
            let key = out.len();
            parser.peek()?;
            parser.string(out)?;
            parser.expect(b':')?;
            let value = out.len();
            parser.value(out, depth + 1)?;
            members.push([(key - first) as u32, (value - first) as u32, (out.len() - first) as u32]);
            Some(())
        })?;
        sort_members(out, first, &mut members);
        out.push(b'}');
        Some(())
    }

    /// A number as its value. What is no number at all is not as it should be.
    fn number(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let text = &rest[..rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len())];
        self.at += text.len();
        if !text.contains(['.', 'e', 'E']) {
            return integer(text, out);
        }
        // Integers that a machine word holds are exact as `f64` and as `i128`.
        let number: f64 = text.parse().ok()?;
        if number.fract() == 0.0 && (i64::MIN as f64..u64::MAX as f64).contains(&number) {
            return integer(&(number as i128).to_string(), out);
        }
        match number.is_finite() {
            true => {
                out.push(b'd');
                out.extend(number.to_bits().to_le_bytes());
            }
            false => put_text(b'x', text, out),
        }
        Some(())
    }

    fn string(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.expect(b'"')?;
        out.extend(b"s\0\0\0\0");
        let start = out.len();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let len = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            out.extend(&rest[..len]);
            self.at += len + 1;
            if rest[len] == b'"' {
                break;
            }
            self.escape(out)?;
        }
        let len = u32::try_from(out.len() - start).ok()?;
        out[start - size_of::<u32>()..start].copy_from_slice(&len.to_le_bytes());
        Some(())
    }

    /// What stands behind a backslash.
    fn escape(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let letter = *self.text.as_bytes().get(self.at)?;
        self.at += 1;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.hex()?;
                put_code(self.with_low_half(unit), out);
                return Some(());
            }
            _ => return None,
        };
        out.push(byte);
        Some(())
    }

    /// The character of which this code unit is the upper half, if the lower follows; else the unit itself.
    fn with_low_half(&mut self, unit: u32) -> u32 {
        let is_high = (0xd800..0xdc00).contains(&unit);
        if !is_high || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return unit;
        }
        let start = self.at;
        self.at += 2;
        match self.hex() {
            Some(low) if (0xdc00..0xe000).contains(&low) => 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
            _ => {
                self.at = start;
                unit
            }
        }
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len());
        self.at += blanks;
        rest.get(blanks).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

/// Bytes of a string before its text.
const STRING_HEAD: usize = 5;

/// Brings an object's members, which begin at `first` and are the last of `out`, into the order of their
/// keys. Of equal keys the last stays.
fn sort_members(out: &mut Vec<u8>, first: usize, members: &mut Vec<[u32; 3]>) {
    let bytes = &out[first..];
    let key = |[key, value, _]: &[u32; 3]| &bytes[*key as usize..*value as usize];
    if members.is_sorted_by(|a, b| key(a) < key(b)) {
        return;
    }
    members.sort_by(|a, b| key(a).cmp(key(b)));
    members.dedup_by(|next, last| {
        let is_equal = key(next) == key(last);
        if is_equal {
            *last = *next;
        }
        is_equal
    });
    let sorted: Vec<u8> =
        members.iter().flat_map(|[start, _, end]| &bytes[*start as usize..*end as usize]).copied().collect();
    out.truncate(first);
    out.extend(sorted);
}

/// An integer: `-0` is `0`, and one beyond 64 bits its text.
fn integer(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if let Ok(number) = text.parse::<i64>() {
        put_text(b'i', &number.to_string(), out);
    } else if text.bytes().any(|byte| byte.is_ascii_digit()) {
        put_text(b'i', text, out);
    } else {
        return None;
    }
    Some(())
}

fn put_text(letter: u8, text: &str, out: &mut Vec<u8>) {
    out.push(letter);
    out.extend(text.as_bytes());
    out.push(b';');
}

/// As UTF-8, and half a pair as if it were a character.
fn put_code(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(character) => out.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        None => out.extend([0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]),
    }
}
