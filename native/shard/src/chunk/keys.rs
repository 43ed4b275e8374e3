//! Numbers the values of a column: the place of each in the chunk's dictionary, in the order of
//! first sight.

use std::collections::HashMap;

use arrow::array::{AsArray, ByteView, StringViewArray};
use foldhash::fast::RandomState;

use super::column::{BLOCK_ROWS, Column};
use super::levels::Levels;
use super::value::Number;

/// Bytes of text that a view holds itself (Arrow's columnar format, "Variable-size Binary View").
const INLINE_BYTES: u32 = 12;
/// Long texts of which it is known where they lie.
const PLACES: usize = 8192;
/// Texts that are found by their marks, short ones and long ones each.
const SEEN: usize = 512;
/// No text has such a view: it would be longer than texts are.
const NO_VIEW: u128 = u128::MAX;
/// No text has it: a dictionary has fewer.
const NO_KEY: u32 = u32::MAX;
/// Odd numbers with bits that look random (the fractions of the golden ratio and of the root of 2).
const ODD_BITS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909];

/// A column as places in a dictionary.
pub(super) struct Keys<V> {
    pub(super) levels: Levels,
    /// One for each row that is not null.
    pub(super) indices: Vec<u32>,
    /// The dictionary.
    pub(super) values: Vec<V>,
}

impl<V> Keys<V> {
    fn null() -> Keys<V> {
        Keys {
            levels: Levels::All(0),
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Whether all rows are the same.
    pub(super) fn are_equal(&self) -> bool {
        self.values.len() <= 1 && self.levels.are_equal()
    }
}

impl<'a> Column<'a> {
    /// Keys of a text column; `None` where its dictionary would take more than `limit` bytes.
    pub(super) fn texts(&self, limit: usize) -> Option<Keys<&'a str>> {
        if self.is_null() {
            return Some(Keys::null());
        }
        let arrays: Vec<_> = self
            .arrays
            .iter()
            .map(|array| Views::of(array.as_string_view()))
            .collect();
        let mut texts = Texts::new(limit);
        let mut indices = Vec::with_capacity(self.rows.len());
        let levels = self.each_block(|rows| texts.keys(&arrays, rows, &mut indices))?;
        Some(Keys {
            levels,
            indices,
            values: texts.values,
        })
    }

    /// Keys of a column of numbers; `None` where there are more than `limit` different ones.
    pub(super) fn numbers<T: Number>(&self, limit: usize) -> Option<Keys<T::Native>> {
        if self.is_null() {
            return Some(Keys::null());
        }
        let arrays: Vec<&[T::Native]> = self
            .arrays
            .iter()
            .map(|array| array.as_primitive::<T>().values().as_ref())
            .collect();
        let mut known: HashMap<T::Native, u32, RandomState> = HashMap::default();
        let mut values: Vec<T::Native> = Vec::new();
        let mut indices = Vec::with_capacity(self.rows.len());
        let mut last = None;
        let mut block = [T::Native::default(); BLOCK_ROWS];
        let levels = self.each_block(|rows| {
            for (value, (batch, row)) in block.iter_mut().zip(rows) {
                *value = arrays[*batch][*row];
            }
            for value in block.iter().take(rows.len()).copied() {
                let key = match last {
                    Some((seen, key)) if seen == value => key,
                    _ => {
                        let next = values.len() as u32;
                        let key = *known.entry(value).or_insert(next);
                        if key == next {
                            values.push(value);
                        }
                        last = Some((value, key));
                        key
                    }
                };
                indices.push(key);
            }
            (values.len() <= limit).then_some(())
        })?;
        Some(Keys {
            levels,
            indices,
            values,
        })
    }
}

/// A text column and where its buffers lie.
struct Views<'a> {
    array: &'a StringViewArray,
    views: &'a [u128],
    buffers: Vec<usize>,
}

impl<'a> Views<'a> {
    fn of(array: &'a StringViewArray) -> Views<'a> {
        let buffers = array.data_buffers().iter();
        Views {
            array,
            views: array.views(),
            buffers: buffers.map(|buffer| buffer.as_ptr() as usize).collect(),
        }
    }
}

/// The same for the same text, and seldom for another: made of its length, its first and its last bytes.
fn mark(text: &[u8]) -> u64 {
    let first = text
        .first_chunk()
        .map_or(0, |first| u64::from_le_bytes(*first));
    let last = text
        .last_chunk()
        .map_or(0, |last| u64::from_le_bytes(*last));
    mixed(first ^ text.len() as u64, last)
}

fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ ODD_BITS[0]) * u128::from(b ^ ODD_BITS[1]);
    product as u64 ^ (product >> u64::BITS) as u64
}

/// The texts of one dictionary.
struct Texts<'a> {
    /// Short ones, by their view, which is the whole text.
    short: HashMap<u128, u32, RandomState>,
    long: HashMap<&'a str, u32, RandomState>,
    /// Views and keys of some of the short ones, by their marks.
    short_seen: Vec<(u128, u32)>,
    /// Marks and keys of some of the long ones.
    long_seen: Vec<(u64, u32)>,
    /// Where some of the long ones lie: address, length, key.
    places: Vec<(usize, u32, u32)>,
    values: Vec<&'a str>,
    /// Bytes by which the dictionary may grow.
    left: usize,
}

impl<'a> Texts<'a> {
    fn new(limit: usize) -> Texts<'a> {
        Texts {
            short: HashMap::default(),
            long: HashMap::default(),
            short_seen: vec![(NO_VIEW, 0); SEEN],
            long_seen: vec![(0, NO_KEY); SEEN],
            places: vec![(0, 0, 0); PLACES],
            values: Vec::new(),
            left: limit,
        }
    }

    /// The keys of `BLOCK_ROWS` rows at most; all their views are loaded before the first is looked at.
    fn keys(
        &mut self,
        columns: &[Views<'a>],
        rows: &[(usize, usize)],
        keys: &mut Vec<u32>,
    ) -> Option<()> {
        let mut views = [0; BLOCK_ROWS];
        for (view, (batch, row)) in views.iter_mut().zip(rows) {
            *view = columns[*batch].views[*row];
        }
        for (view, (batch, row)) in views.iter().zip(rows) {
            let column = &columns[*batch];
            // The low 32 bits are the length.
            let key = match *view as u32 <= INLINE_BYTES {
                true => self.short(column, *row, *view)?,
                false => self.long(column, *row, ByteView::from(*view))?,
            };
            keys.push(key);
        }
        Some(())
    }

    fn short(&mut self, column: &Views<'a>, row: usize, view: u128) -> Option<u32> {
        let place = mixed(view as u64, (view >> u64::BITS) as u64) as usize % SEEN;
        let (seen, key) = self.short_seen[place];
        if seen == view {
            return Some(key);
        }
        let key = match self.short.get(&view) {
            Some(key) => *key,
            None => {
                let key = self.push(column.array.value(row))?;
                self.short.insert(view, key);
                key
            }
        };
        self.short_seen[place] = (view, key);
        Some(key)
    }

    /// Rows of one resource share its text, and the same place is the same text: the buffers stay
    /// as they are while the columns are written. Others have it somewhere else.
    fn long(&mut self, column: &Views<'a>, row: usize, view: ByteView) -> Option<u32> {
        let address = column.buffers[view.buffer_index as usize] + view.offset as usize;
        let place = (address ^ (address / PLACES)) % PLACES;
        let (seen, length, key) = self.places[place];
        if seen == address && length == view.length {
            return Some(key);
        }
        let key = self.text(column.array.value(row))?;
        self.places[place] = (address, view.length, key);
        Some(key)
    }

    fn text(&mut self, text: &'a str) -> Option<u32> {
        let mark = mark(text.as_bytes());
        let place = mark as usize % SEEN;
        let (seen, key) = self.long_seen[place];
        if seen == mark && self.values.get(key as usize) == Some(&text) {
            return Some(key);
        }
        let key = match self.long.get(text) {
            Some(key) => *key,
            None => {
                let key = self.push(text)?;
                self.long.insert(text, key);
                key
            }
        };
        self.long_seen[place] = (mark, key);
        Some(key)
    }

    fn push(&mut self, text: &'a str) -> Option<u32> {
        self.left = self.left.checked_sub(size_of::<u32>() + text.len())?;
        self.values.push(text);
        Some(self.values.len() as u32 - 1)
    }
}
