//! Checksums that a file carries inside: the CRC-32 of all of its bytes, with eight zeros where the checksum stands.
//!
//! Neither Parquet nor JSON notices a flipped bit by itself. The checksum is optional to a reader: a file without one
//! (of another tool, of an older version) is taken as it is.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::{Error, Result};
use crate::version::KEY_CHECKSUM;

/// What stands in a file while its checksum is computed.
pub(crate) const ZEROS: &str = "00000000";

/// The member of a JSON file that its checksum is in.
const JSON_MEMBER: &str = "checksum";
const JSON_KEY: &str = "\"checksum\": \"";
/// Footers are a few KiB; the checksum is looked for in no more than this.
const MAX_FOOTER_BYTES: u64 = 16 << 20;

fn digits(crc: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(crc >> (28 - at * 4) & 15) as usize];
    }
    digits
}

/// A file that is summed up while it is written.
#[derive(Debug)]
pub(crate) struct SummedFile {
    file: File,
    crc: crc32fast::Hasher,
}

impl SummedFile {
    /// Makes the file, or empties it.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { file, crc: crc32fast::Hasher::new() })
    }

    /// Waits until what was written so far is on the disk.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Puts the checksum into the Parquet footer that has been written, where its zeros stand.
    pub(crate) fn finish(self) -> io::Result<File> {
        if let Some(at) = checksum_place(&self.file)? {
            self.file.write_all_at(&digits(self.crc.finalize()), at)?;
        }
        Ok(self.file)
    }
}

impl Write for SummedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Where in a Parquet file the digits of its checksum stand; `None` if it has none.
fn checksum_place(file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut tail = [0; 8];
    let Some(end) = length.checked_sub(tail.len() as u64) else { return Ok(None) };
    file.read_exact_at(&mut tail, end)?;
    let footer_bytes = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if footer_bytes > end.min(MAX_FOOTER_BYTES) {
        return Ok(None);
    }
    let mut footer = vec![0; footer_bytes as usize];
    file.read_exact_at(&mut footer, end - footer_bytes)?;
    // The key, then in Thrift's compact form: next field, text, of eight bytes.
    let key = [KEY_CHECKSUM.as_bytes(), &[0x18, ZEROS.len() as u8]].concat();
    let found = footer.windows(key.len()).rposition(|window| window == key);
    Ok(found.map(|at| end - footer_bytes + (at + key.len()) as u64))
}

/// Checks a Parquet file against the checksum in its footer, if there is one. False if `goes_on` said so in between:
/// nothing is known then.
pub(crate) fn verify_parquet(
    file: &mut File,
    path: &Path,
    mut goes_on: impl FnMut() -> bool,
) -> Result<bool> {
    let reading = |error| Error::io("reading", path)(error);
    let Some(place) = checksum_place(file).map_err(reading)? else { return Ok(true) };
    let mut crc = crc32fast::Hasher::new();
    let mut stored = [0; 8];
    let mut at = 0;
    file.seek(SeekFrom::Start(0)).map_err(reading)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(reading)?;
        if count == 0 {
            break;
        }
        if !goes_on() {
            return Ok(false);
        }
        // The digits may lie across two blocks.
        for (number, digit) in (place..).zip(&mut stored) {
            if let Some(byte) = number.checked_sub(at).and_then(|i| buffer[..count].get_mut(i as usize)) {
                *digit = std::mem::replace(byte, b'0');
            }
        }
        crc.update(&buffer[..count]);
        at += count as u64;
    }
    if stored == digits(crc.finalize()) {
        Ok(true)
    } else {
        let advice = "move it away to read the rest of the trace (a tool that rewrites parts must drop their checksum)";
        Err(Error::Checksum { advice, path: path.to_owned() })
    }
}

/// Adds its checksum to a pretty-printed JSON object, as the last member.
pub(crate) fn sum_json(text: &mut Vec<u8>) {
    let Some(body) = text.strip_suffix(b"\n}\n").map(<[u8]>::len) else { return };
    text.truncate(body);
    text.extend_from_slice(format!(",\n  {JSON_KEY}").as_bytes());
    let at = text.len();
    text.extend_from_slice(format!("{ZEROS}\"\n}}\n").as_bytes());
    let digits = digits(crc32fast::hash(text));
    text[at..at + digits.len()].copy_from_slice(&digits);
}

/// Checks a JSON file, `value` once parsed, against its checksum, if it has one.
pub(crate) fn verify_json(text: &[u8], value: &serde_json::Value, path: &Path) -> Result<()> {
    if value.get(JSON_MEMBER).is_none() {
        return Ok(());
    }
    let found = text.windows(JSON_KEY.len()).rposition(|window| window == JSON_KEY.as_bytes());
    let Some(at) = found.map(|at| at + JSON_KEY.len()).filter(|at| at + ZEROS.len() <= text.len()) else {
        return Ok(());
    };
    let mut zeroed = text.to_vec();
    zeroed[at..at + ZEROS.len()].copy_from_slice(ZEROS.as_bytes());
    if text[at..at + ZEROS.len()] == digits(crc32fast::hash(&zeroed)) {
        Ok(())
    } else {
        let advice = "take its line `checksum` out if it was changed on purpose";
        Err(Error::Checksum { advice, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_file_notices_every_flipped_bit_and_every_cut() {
        let mut text = b"{\n  \"ended\": \"clean\",\n  \"dropped\": 17\n}\n".to_vec();
        sum_json(&mut text);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&value["dropped"], value["checksum"].as_str().unwrap().len()), (&17.into(), 8));
        let reads_as_before = |text: &[u8]| {
            serde_json::from_slice::<serde_json::Value>(text)
                .is_ok_and(|read| read["ended"] == value["ended"] && read["dropped"] == value["dropped"])
        };
        let accepted = |text: &[u8]| {
            serde_json::from_slice(text).is_ok_and(|value| verify_json(text, &value, Path::new("a")).is_ok())
        };
        assert!(accepted(&text));
        for bit in 0..text.len() * 8 {
            let mut damaged = text.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Where the key itself is hit there is no checksum any more, and nothing else is wrong.
            assert!(!accepted(&damaged) || reads_as_before(&damaged), "bit {bit}");
        }
        for cut in 0..text.len() - 1 {
            assert!(!accepted(&text[..cut]), "cut at {cut}");
        }
    }
}
