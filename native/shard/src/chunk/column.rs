//! A column of several batches, and the rows of it in order.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::levels::Levels;

/// Rows that are read together. In the order of a file neighbours lie far apart in memory: one after the other,
/// each would wait for its own.
pub(super) const BLOCK_ROWS: usize = 64;

/// Rows of a column, as (batch, row).
pub(super) struct Column<'a> {
    pub(super) arrays: Vec<&'a ArrayRef>,
    pub(super) rows: &'a [(usize, usize)],
}

/// A column of values that have all the same length.
pub(super) struct Fixed {
    pub(super) levels: Levels,
    /// One after the other, without those that are null.
    pub(super) values: Vec<u8>,
}

impl<'a> Column<'a> {
    pub(super) fn data_type(&self) -> Option<&DataType> {
        self.arrays.first().map(|array| array.data_type())
    }

    /// Whether no row of any batch has a value.
    pub(super) fn is_null(&self) -> bool {
        self.arrays
            .iter()
            .all(|array| array.null_count() == array.len())
    }

    /// Calls `take` for the rows that are not null, in order, `BLOCK_ROWS` at most at a time; `None` as soon as
    /// that gives none.
    pub(super) fn each_block(
        &self,
        mut take: impl FnMut(&[(usize, usize)]) -> Option<()>,
    ) -> Option<Levels> {
        let nulls: Vec<Option<&NullBuffer>> = self
            .arrays
            .iter()
            .map(|array| array.nulls().filter(|nulls| nulls.null_count() > 0))
            .collect();
        let mut blocks = self.rows.chunks(BLOCK_ROWS);
        if nulls.iter().all(Option::is_none) {
            blocks.try_for_each(take)?;
            return Some(Levels::All(1));
        }
        let mut levels = Vec::with_capacity(self.rows.len());
        let mut valid = 0;
        let mut block = Vec::with_capacity(BLOCK_ROWS);
        for rows in blocks {
            block.clear();
            for (batch, row) in rows {
                let has_value = nulls[*batch].is_none_or(|nulls| nulls.is_valid(*row));
                levels.push(u32::from(has_value));
                if has_value {
                    block.push((*batch, *row));
                }
            }
            valid += block.len();
            take(&block)?;
        }
        Some(Levels::new(levels, valid))
    }

    /// The values of a column of fixed binary of `width` bytes.
    pub(super) fn fixed(&self, width: usize) -> Option<Fixed> {
        let arrays: Vec<&[u8]> = self
            .arrays
            .iter()
            .map(|array| array.as_fixed_size_binary().value_data())
            .collect();
        let mut values = Vec::with_capacity(self.rows.len() * width);
        let levels = self.each_block(|rows| {
            for (batch, row) in rows {
                values.extend_from_slice(&arrays[*batch][row * width..][..width]);
            }
            Some(())
        })?;
        Some(Fixed { levels, values })
    }
}
