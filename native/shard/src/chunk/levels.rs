//! Which rows of a column have a value.

use std::ops::Range;

use super::hybrid;

/// Bits of a definition level of a column that is not nested.
const LEVEL_BITS: u8 = 1;

/// Definition levels: 1 where a row has a value, 0 where it is null.
pub(super) enum Levels {
    /// The same for all rows.
    All(u32),
    /// One for each row.
    Mixed(Vec<u32>),
}

/// Some rows that follow each other.
pub(super) struct Part<'a> {
    pub(super) rows: usize,
    /// Those of the column's values that are in these rows.
    pub(super) values: Range<usize>,
    levels: &'a Levels,
    first: usize,
}

impl Levels {
    /// Those of a column where `valid` of the rows have a value.
    pub(super) fn new(levels: Vec<u32>, valid: usize) -> Levels {
        match valid {
            0 => Levels::All(0),
            all if all == levels.len() => Levels::All(1),
            _ => Levels::Mixed(levels),
        }
    }

    pub(super) fn are_equal(&self) -> bool {
        matches!(self, Levels::All(_))
    }

    /// The rows in parts of `limit` at most.
    pub(super) fn parts(&self, rows: usize, limit: usize) -> impl Iterator<Item = Part<'_>> {
        let mut end = 0;
        (0..rows).step_by(limit.max(1)).map(move |first| {
            let rows = limit.min(rows - first);
            let valid = match self {
                Levels::All(level) => rows * *level as usize,
                Levels::Mixed(levels) => levels[first..first + rows].iter().sum::<u32>() as usize,
            };
            end += valid;
            Part {
                rows,
                values: end - valid..end,
                levels: self,
                first,
            }
        })
    }
}

impl Part<'_> {
    /// Rows without a value.
    pub(super) fn nulls(&self) -> usize {
        self.rows - self.values.len()
    }

    /// Appends the definition levels, as a data page of the format's first version has them.
    pub(super) fn encode_levels(&self, page: &mut Vec<u8>) {
        let start = page.len() + size_of::<u32>();
        page.resize(start, 0);
        match self.levels {
            Levels::All(level) => hybrid::encode_run(*level, self.rows, LEVEL_BITS, page),
            Levels::Mixed(levels) => {
                let levels = &levels[self.first..self.first + self.rows];
                hybrid::encode(levels, LEVEL_BITS, page);
            }
        }
        let length = (page.len() - start) as u32;
        page[start - size_of::<u32>()..start].copy_from_slice(&length.to_le_bytes());
    }
}
