//! Numbers as bytes: the one place that knows how. Variable-length numbers are LEB128, signed
//! ones zigzag-coded before (as in Protocol Buffers); fixed ones in keys are big-endian.

/// What was read is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged bytes: {0}")]
pub struct Corrupt(pub &'static str);

/// Appends an unsigned number, 1 to 10 bytes.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number, 1 to 10 bytes.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    put_u64(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Appends bytes with their length in front.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes yet to be read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what [`put_u64`] wrote.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Corrupt("a number ends early"))?;
            self.0 = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if shift == 63 && byte > 1 { Err(Corrupt("a number is too large")) } else { Ok(n) };
            }
        }
        Err(Corrupt("a number is too long"))
    }

    /// Reads what [`put_i64`] wrote.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Corrupt> {
        let n = self.u64()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// Reads an unsigned number that fits 32 bits.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.u64()?).map_err(|_| Corrupt("a number is too large"))
    }

    /// Takes that many bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Corrupt("bytes end early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads what [`put_bytes`] wrote.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let len = usize::try_from(self.u64()?).map_err(|_| Corrupt("a length is too large"))?;
        self.take(len)
    }

    /// Reads a text written with [`put_bytes`].
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Corrupt("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(a: u64, b: i64, text: Vec<u8>) {
            let mut out = Vec::new();
            put_u64(&mut out, a);
            put_i64(&mut out, b);
            put_bytes(&mut out, &text);
            let mut input = Input(&out);
            prop_assert_eq!((input.u64(), input.i64(), input.bytes()), (Ok(a), Ok(b), Ok(&text[..])));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut input = Input(&bytes);
            while !input.is_empty() && input.u64().is_ok() && input.bytes().is_ok() {}
        }
    }
}
