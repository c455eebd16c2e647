//! Whether a library's file is all there. The system's loader maps what the file's headers promise, and the process
//! dies of SIGBUS when the file ends before: half a copy has to be refused before it is opened.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// Headers further behind than this are not looked at; linkers put them at the beginning.
const HEADERS_BYTES_MAX: u64 = 64 * 1024;
/// `PT_LOAD`: a part of the file that is mapped.
const LOAD: u32 = 1;

/// Why this file must not be handed to the loader, if so. What is not ELF of 64 bits in this machine's byte order, the
/// loader itself refuses or understands better.
pub(super) fn fault(path: &Path) -> io::Result<Option<&'static str>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Some("it is no regular file"));
    }
    let mut headers = Vec::new();
    File::open(path)?.take(HEADERS_BYTES_MAX).read_to_end(&mut headers)?;
    Ok((mapped_len(&headers) > metadata.len()).then_some("it ends in the middle; copy it again"))
}

/// How long the file must be for the loader to map it; 0 where these are no such headers.
fn mapped_len(headers: &[u8]) -> u64 {
    const CLASS_64: u8 = 2;
    const DATA: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
    if headers.get(..6) != Some(&[0x7f, b'E', b'L', b'F', CLASS_64, DATA]) {
        return 0;
    }
    let first = u64_at(headers, 32).unwrap_or(0) as usize;
    let (size, count) = (u16_at(headers, 54).unwrap_or(0), u16_at(headers, 56).unwrap_or(0));
    let mut mapped_len = 0;
    for number in 0..usize::from(count) {
        let at = first.saturating_add(number * usize::from(size));
        let header = headers.get(at..).unwrap_or_default();
        if u32_at(header, 0) == Some(LOAD)
            && let (Some(offset), Some(len)) = (u64_at(header, 8), u64_at(header, 32))
        {
            mapped_len = mapped_len.max(offset.saturating_add(len));
        }
    }
    mapped_len
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_program_is_whole_and_any_beginning_of_it_is_not() {
        let program = fs::read(std::env::current_exe().expect("it has a file")).expect("readable");
        let headers = &program[..program.len().min(HEADERS_BYTES_MAX as usize)];
        let needed = mapped_len(headers);
        assert!((headers.len() as u64..=program.len() as u64).contains(&needed), "{needed} of {}", program.len());
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.so");
        for (len, whole) in [(needed - 1, false), (needed, true), (5000, false)] {
            fs::write(&path, &program[..len as usize]).expect("written");
            assert_eq!(fault(&path).expect("readable").is_none(), whole, "{len} bytes of {needed}");
        }
    }

    #[test]
    fn anything_else_is_left_to_the_loader() {
        for headers in [&b""[..], b"\x7fELF", b"text", &[0x7f, b'E', b'L', b'F', 2, 1], &[0xff; 4096]] {
            assert_eq!(mapped_len(headers), 0, "{headers:?}");
        }
        let mut odd = vec![0xff; 4096];
        odd[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        assert_eq!(mapped_len(&odd), 0, "headers beyond any file");
    }
}
