//! What stands beside a copy: its length, when it was written, and what it can be checked by. One
//! line of text:
//!
//! ```text
//! otlake-file 1 <bytes> <modified, ns> <XXH3-128 of it all> <CRC-32C of each 64 KiB> <CRC-32C of the line before>
//! ```

use std::io;

use otlake_base::checksum::{BLOCK_BYTES, BlockSums};
use xxhash_rust::xxh3::Xxh3;

const MARK: &str = "otlake-file 1";

/// What is known of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sheet {
    pub(crate) bytes: u64,
    /// By the clock of who wrote it first; the same on every node.
    pub(crate) modified_unix_nano: u64,
    pub(crate) sum: u128,
    pub(crate) blocks: BlockSums,
}

impl Sheet {
    /// Of a whole content.
    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8], modified_unix_nano: u64) -> Sheet {
        let mut summing = Summing::default();
        summing.add(bytes);
        summing.finish(modified_unix_nano)
    }

    pub(crate) fn to_text(&self) -> String {
        // Of an empty file there are no blocks: a word all the same, so that the line has its fields.
        let blocks = match self.bytes {
            0 => "-".to_owned(),
            _ => self.blocks.to_text(),
        };
        let Sheet {
            bytes,
            modified_unix_nano,
            sum,
            ..
        } = self;
        let line = format!("{MARK} {bytes} {modified_unix_nano} {sum:032x} {blocks}");
        let crc = crc32c::crc32c(line.as_bytes());
        format!("{line} {crc:08x}\n")
    }

    /// Reads what `to_text` wrote.
    pub(crate) fn from_text(text: &str) -> io::Result<Sheet> {
        Self::parsed(text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "what stands beside the file is damaged",
            )
        })
    }

    fn parsed(text: &str) -> Option<Sheet> {
        let (line, crc) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(line.as_bytes()) {
            return None;
        }
        let mut fields = line.strip_prefix(MARK)?.strip_prefix(' ')?.split(' ');
        let bytes: u64 = fields.next()?.parse().ok()?;
        let modified_unix_nano = fields.next()?.parse().ok()?;
        let sum = u128::from_str_radix(fields.next()?, 16).ok()?;
        let blocks = match fields.next()? {
            "-" => BlockSums::default(),
            blocks => BlockSums::from_text(blocks)?,
        };
        let is_whole = fields.next().is_none() && blocks.fits(bytes);
        is_whole.then_some(Sheet {
            bytes,
            modified_unix_nano,
            sum,
            blocks,
        })
    }
}

/// Sums a content as it comes.
pub(crate) struct Summing {
    bytes: u64,
    whole: Xxh3,
    blocks: String,
    current: u32,
}

impl Default for Summing {
    fn default() -> Summing {
        Summing {
            bytes: 0,
            whole: Xxh3::new(),
            blocks: String::new(),
            current: 0,
        }
    }
}

impl Summing {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn add(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let room = (BLOCK_BYTES - self.bytes % BLOCK_BYTES) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current = crc32c::crc32c_append(self.current, now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(BLOCK_BYTES) {
                self.end_block();
            }
            bytes = later;
        }
    }

    fn end_block(&mut self) {
        self.blocks.push_str(&format!("{:08x}", self.current));
        self.current = 0;
    }

    pub(crate) fn finish(mut self, modified_unix_nano: u64) -> Sheet {
        if !self.bytes.is_multiple_of(BLOCK_BYTES) {
            self.end_block();
        }
        Sheet {
            bytes: self.bytes,
            modified_unix_nano,
            sum: self.whole.digest128(),
            blocks: BlockSums::from_text(&self.blocks).unwrap_or_default(),
        }
    }
}
