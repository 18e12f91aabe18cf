//! Records of TensorBoard's event files: length, its checksum, data, its checksum.

use std::io::{self, Write};

/// What a checksum is turned by and added to: data that holds checksums of itself would be weakly protected otherwise.
const MASK_ROTATION: u32 = 15;
const MASK_DELTA: u32 = 0xa282_ead8;

/// Writes a record.
pub(super) fn write_record(out: &mut dyn Write, data: &[u8]) -> io::Result<()> {
    let length = (data.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked_checksum(&length).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked_checksum(data).to_le_bytes())
}

/// CRC-32C, masked.
fn masked_checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(MASK_ROTATION).wrapping_add(MASK_DELTA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_framed_as_tensorflow_does() {
        let mut out = Vec::new();
        write_record(&mut out, b"abc").unwrap();
        assert_eq!(out[..8], 3u64.to_le_bytes());
        assert_eq!(&out[12..15], b"abc");
        assert_eq!(out.len(), 8 + 4 + 3 + 4);
        // That of CRC-32C's check value, 0xE3069283: turned it is 0x2507C60D.
        assert_eq!(masked_checksum(b"123456789"), 0xc78a_b0e5);
    }
}
