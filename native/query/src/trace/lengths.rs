//! Where the texts of a page are whose lengths stand before them (the Parquet format's
//! `Encodings.md`, DELTA_LENGTH_BYTE_ARRAY): the lengths as differences in blocks of miniblocks.
//!
//! ```text
//!  values of a block | miniblocks of one | values in all | first
//!  least difference | widths of the miniblocks | miniblock | miniblock …   for each block
//!  text text text …
//! ```

use datafusion::parquet::errors::{ParquetError, Result};

/// The longest number in the variable-length form, in bytes.
const VARINT_BYTES: usize = 10;
/// Values of a miniblock are a multiple of so many.
const MINIBLOCK_STEP: usize = 32;
/// Values of one block at most: what writers take is 128 or 256.
const MAX_BLOCK: usize = 1 << 20;

/// The lengths of the first texts of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) lengths: Vec<u32>,
    /// Where the first text begins.
    pub(super) start: usize,
}

fn wrong(what: &str) -> ParquetError {
    ParquetError::General(format!("lengths of texts: {what}"))
}

/// Reads from the beginning of a page; what there is not is told by none.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn number(&mut self) -> Result<Option<u64>> {
        let mut number = 0;
        for (place, byte) in self.bytes[self.at..].iter().take(VARINT_BYTES).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.at += place + 1;
                return Ok(Some(number));
            }
        }
        match self.bytes.len() - self.at < VARINT_BYTES {
            true => Ok(None),
            false => Err(wrong("a number is too long")),
        }
    }

    fn signed(&mut self) -> Result<Option<i64>> {
        let number = self.number()?;
        Ok(number.map(|number| (number >> 1) as i64 ^ -((number & 1) as i64)))
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }
}

/// A value of `width` bits, at most 32, at a bit of `bytes`.
fn packed(bytes: &[u8], bit: usize, width: usize) -> u32 {
    let mut eight = [0; 8];
    let from = &bytes[bit / 8..];
    match from.first_chunk() {
        Some(whole) => eight = *whole,
        None => eight[..from.len()].copy_from_slice(from),
    }
    let mask = (1_u64 << width) - 1;
    (u64::from_le_bytes(eight) >> (bit % 8) & mask) as u32
}

impl Lengths {
    /// Where the last text ends.
    pub(super) fn end(&self) -> usize {
        let lengths = self.lengths.iter().map(|length| *length as usize);
        lengths.fold(self.start, usize::saturating_add)
    }

    /// The lengths of the first `wanted` texts, out of a page's first bytes; none where these are
    /// too few to tell where the texts begin.
    ///
    /// # Errors
    /// Where the page has fewer texts, or is damaged.
    pub(super) fn of(bytes: &[u8], wanted: usize) -> Result<Option<Lengths>> {
        let mut cursor = Cursor { bytes, at: 0 };
        let header = [cursor.number()?, cursor.number()?, cursor.number()?];
        let ([Some(block), Some(parts), Some(count)], Some(first)) = (header, cursor.signed()?)
        else {
            return Ok(None);
        };
        let [block, parts, count] =
            [block, parts, count].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        let known = (1..=block).contains(&parts) && block <= MAX_BLOCK;
        if !known || !block.is_multiple_of(parts * MINIBLOCK_STEP) {
            return Err(wrong("blocks of no known form"));
        }
        if count < wanted {
            return Err(wrong("the page has fewer than it should"));
        }
        let part = block / parts;
        let mut lengths = Vec::with_capacity(wanted);
        let mut length = first as i32;
        if wanted > 0 {
            lengths.push(length);
        }
        let mut left = count.saturating_sub(1);
        let mut widths = Vec::with_capacity(parts);
        while left > 0 {
            let Some(least) = cursor.signed()? else {
                return Ok(None);
            };
            let Some(told) = cursor.take(parts) else {
                return Ok(None);
            };
            widths.clear();
            widths.extend(told.iter().map(|width| usize::from(*width)));
            for width in &widths {
                if left == 0 {
                    break;
                }
                if *width > u32::BITS as usize {
                    return Err(wrong("a length has more than 32 bits"));
                }
                let Some(values) = cursor.take(width * part / 8) else {
                    return Ok(None);
                };
                let here = part.min(left);
                for value in 0..here.min(wanted - lengths.len()) {
                    let more = packed(values, value * width, *width) as i32;
                    length = length.wrapping_add(least as i32).wrapping_add(more);
                    lengths.push(length);
                }
                left -= here;
            }
        }
        let lengths = lengths.into_iter().map(u32::try_from);
        let lengths: std::result::Result<_, _> = lengths.collect();
        Ok(Some(Lengths {
            lengths: lengths.map_err(|_| wrong("one is negative"))?,
            start: cursor.at,
        }))
    }
}
