//! Numbers the values of a column: the place of each in the chunk's dictionary, in the order of
//! first sight.

use std::collections::HashMap;

use arrow::array::{AsArray, ByteView, StringViewArray};
use foldhash::fast::RandomState;

use super::column::Column;
use super::levels::Levels;
use super::value::Number;

/// Bytes of text that a view holds itself (Arrow's columnar format, "Variable-size Binary View").
const INLINE_BYTES: u32 = 12;
/// Long texts of which it is known where they lie.
const PLACES: usize = 8192;

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
        let levels = self.each(|batch, row| {
            indices.push(texts.key(&arrays[batch], row)?);
            Some(())
        })?;
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
        let levels = self.each(|batch, row| {
            let value = arrays[batch][row];
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
    buffers: Vec<usize>,
}

impl<'a> Views<'a> {
    fn of(array: &'a StringViewArray) -> Views<'a> {
        let buffers = array.data_buffers().iter();
        Views {
            array,
            buffers: buffers.map(|buffer| buffer.as_ptr() as usize).collect(),
        }
    }
}

/// The texts of one dictionary.
struct Texts<'a> {
    /// Short ones, by their view, which is the whole text.
    short: HashMap<u128, u32, RandomState>,
    long: HashMap<&'a str, u32, RandomState>,
    /// Where some of the long ones lie: address, length, key.
    places: Vec<(usize, u32, u32)>,
    /// The short one before.
    last: Option<(u128, u32)>,
    values: Vec<&'a str>,
    /// Bytes by which the dictionary may grow.
    left: usize,
}

impl<'a> Texts<'a> {
    fn new(limit: usize) -> Texts<'a> {
        Texts {
            short: HashMap::default(),
            long: HashMap::default(),
            places: vec![(0, 0, 0); PLACES],
            last: None,
            values: Vec::new(),
            left: limit,
        }
    }

    fn key(&mut self, column: &Views<'a>, row: usize) -> Option<u32> {
        let view = column.array.views()[row];
        // The low 32 bits are the length.
        if view as u32 > INLINE_BYTES {
            return self.long(column, row, ByteView::from(view));
        }
        if let Some((seen, key)) = self.last
            && seen == view
        {
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
        self.last = Some((view, key));
        Some(key)
    }

    /// Rows of one resource share its text, and the same place is the same text: the buffers stay
    /// as they are while the columns are written.
    fn long(&mut self, column: &Views<'a>, row: usize, view: ByteView) -> Option<u32> {
        let address = column.buffers[view.buffer_index as usize] + view.offset as usize;
        let place = (address ^ (address / PLACES)) % PLACES;
        let (seen, length, key) = self.places[place];
        if seen == address && length == view.length {
            return Some(key);
        }
        let text = column.array.value(row);
        let key = match self.long.get(text) {
            Some(key) => *key,
            None => {
                let key = self.push(text)?;
                self.long.insert(text, key);
                key
            }
        };
        self.places[place] = (address, view.length, key);
        Some(key)
    }

    fn push(&mut self, text: &'a str) -> Option<u32> {
        self.left = self.left.checked_sub(size_of::<u32>() + text.len())?;
        self.values.push(text);
        Some(self.values.len() as u32 - 1)
    }
}
