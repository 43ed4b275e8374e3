//! Checksums of files by block, so that any part of a file can be checked without the rest (I6).

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Range;

/// Bytes that one checksum covers: small beside what a query reads at once, and a sum costs 8
/// characters in a table's log.
pub const BLOCK_BYTES: u64 = 64 * 1024;

/// The CRC-32C of each block of a file, in order; the last block may be short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockSums(Vec<u32>);

impl BlockSums {
    /// Of a whole file's bytes.
    pub fn of(bytes: &[u8]) -> BlockSums {
        let blocks = bytes.chunks(BLOCK_BYTES as usize);
        BlockSums(blocks.map(crc32c::crc32c).collect())
    }

    /// The smallest range of whole blocks around `range`, in a file of `size` bytes.
    pub fn around(range: &Range<u64>, size: u64) -> Range<u64> {
        let start = range.start - range.start % BLOCK_BYTES;
        let end = range.end.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        start..end.min(size)
    }

    /// The first damaged block of `bytes`, which begin at `offset`, a multiple of
    /// [`BLOCK_BYTES`], and end at a block's end or the file's. A file that goes on behind its
    /// last checksum is damaged there.
    pub fn first_damaged(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let first = offset / BLOCK_BYTES;
        let is_damaged = |(block, bytes): &(u64, &[u8])| {
            let known = usize::try_from(*block)
                .ok()
                .and_then(|block| self.0.get(block));
            known != Some(&crc32c::crc32c(bytes))
        };
        let blocks = (first..).zip(bytes.chunks(BLOCK_BYTES as usize));
        blocks.into_iter().find(is_damaged).map(|(block, _)| block)
    }

    /// Whether a file of `size` bytes has this many blocks.
    pub fn fits(&self, size: u64) -> bool {
        size.div_ceil(BLOCK_BYTES) == self.0.len() as u64
    }

    /// Eight hex digits for each block.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(8 * self.0.len());
        for sum in &self.0 {
            let _ = write!(text, "{sum:08x}");
        }
        text
    }

    /// Reads what `to_text` wrote; none where it is something else.
    pub fn from_text(text: &str) -> Option<BlockSums> {
        if !text.len().is_multiple_of(8) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let digits = |at: usize| u32::from_str_radix(&text[at..at + 8], 16).ok();
        let sums: Option<Vec<u32>> = (0..text.len()).step_by(8).map(digits).collect();
        sums.map(BlockSums)
    }
}

/// What checking one file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Every byte is what was written.
    Whole,
    /// Another writer left it without checksums.
    NoChecksum,
    /// It went between the listing and the check, as superseded files do.
    Gone,
    /// What is wrong with it.
    Damaged(String),
}

/// A writer that sums what goes through it.
pub struct Summing<W> {
    inner: W,
    sums: Vec<u32>,
    current: u32,
    filled: u64,
}

impl<W> Summing<W> {
    /// Sums what is written to `inner`, which is at its start.
    pub fn new(inner: W) -> Summing<W> {
        Summing {
            inner,
            sums: Vec::new(),
            current: 0,
            filled: 0,
        }
    }

    /// The writer. What is written to it past this one is not summed.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    /// The writer, and the sums of all that it took.
    pub fn finish(mut self) -> (W, BlockSums) {
        if self.filled > 0 {
            self.sums.push(self.current);
        }
        (self.inner, BlockSums(self.sums))
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (BLOCK_BYTES - self.filled) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current = crc32c::crc32c_append(self.current, now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK_BYTES {
                self.sums.push(std::mem::take(&mut self.current));
                self.filled = 0;
            }
            bytes = later;
        }
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.add(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 7 % 251) as u8).collect()
    }

    #[test]
    fn a_summing_writer_agrees_with_the_sums_of_the_whole() {
        let block = BLOCK_BYTES as usize;
        for length in [0, 1, block - 1, block, block + 1, 3 * block + 17] {
            let bytes = bytes(length);
            let mut writer = Summing::new(Vec::new());
            for part in bytes.chunks(1_000) {
                writer.write_all(part).expect("memory takes it");
            }
            let (written, sums) = writer.finish();
            assert_eq!(written, bytes);
            assert_eq!(sums, BlockSums::of(&bytes), "{length} bytes");
            assert!(sums.fits(length as u64));
            assert!(!sums.fits(length as u64 + BLOCK_BYTES));
            assert_eq!(BlockSums::from_text(&sums.to_text()), Some(sums));
        }
    }

    #[test]
    fn i6_any_changed_byte_and_any_other_length_is_found() {
        let whole = bytes(2 * BLOCK_BYTES as usize + 100);
        let sums = BlockSums::of(&whole);
        let size = whole.len() as u64;
        assert_eq!(sums.first_damaged(0, &whole), None);
        for at in [0, 65_535, 65_536, 131_072, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let block = at as u64 / BLOCK_BYTES;
            assert_eq!(sums.first_damaged(0, &damaged), Some(block));
            let around = BlockSums::around(&(at as u64..at as u64 + 1), size);
            let part = &damaged[around.start as usize..around.end as usize];
            assert_eq!(sums.first_damaged(around.start, part), Some(block));
        }
        assert!(sums.first_damaged(0, &whole[..whole.len() - 1]).is_some());
        let longer = [whole, vec![0; BLOCK_BYTES as usize]].concat();
        assert!(sums.first_damaged(0, &longer).is_some());
    }

    #[test]
    fn text_that_is_no_sum_is_told() {
        for text in ["1234567", "xyzxyzxy", "+1234567", "ä234567"] {
            assert_eq!(BlockSums::from_text(text), None, "{text}");
        }
        assert_eq!(BlockSums::from_text(""), Some(BlockSums::default()));
    }
}
