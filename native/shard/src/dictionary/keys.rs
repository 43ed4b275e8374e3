//! Numbers the values of a column: the place of each in the chunk's dictionary, in the order of
//! first sight.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, ByteView, StringViewArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use foldhash::fast::RandomState;

use super::hybrid;
use super::value::Number;

/// Bytes of text that a view holds itself (Arrow's columnar format, "Variable-size Binary View").
const INLINE_BYTES: u32 = 12;
/// Long texts of which it is known where they lie.
const PLACES: usize = 1024;
/// Bits of a definition level of a column that is not nested.
const LEVEL_BITS: u8 = 1;

/// Which rows of a nullable column have a value.
enum Levels {
    /// The same for all rows.
    All(u32),
    /// One for each row: 1 where it has a value, 0 where it is null.
    Mixed(Vec<u32>),
}

/// A column as places in a dictionary.
pub(super) struct Keys<V> {
    levels: Levels,
    /// One for each row that is not null.
    pub(super) indices: Vec<u32>,
    /// The dictionary.
    pub(super) values: Vec<V>,
}

/// Some rows that follow each other.
pub(super) struct Part<'a> {
    pub(super) rows: usize,
    /// Those of the rows that are not null.
    pub(super) indices: &'a [u32],
    levels: &'a Levels,
    first: usize,
}

impl Part<'_> {
    /// Appends the definition levels, as a data page of the first version has them.
    pub(super) fn levels(&self, page: &mut Vec<u8>) {
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

impl<V> Keys<V> {
    fn null() -> Keys<V> {
        Keys {
            levels: Levels::All(0),
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Parts of `limit` rows. A column that is the same in all rows is one part: a page of it is
    /// some bytes, however many rows it has.
    pub(super) fn parts(&self, rows: usize, limit: usize) -> impl Iterator<Item = Part<'_>> {
        let constant = self.values.len() <= 1 && matches!(self.levels, Levels::All(_));
        let limit = if constant { rows } else { limit }.max(1);
        let mut taken = 0;
        (0..rows).step_by(limit).map(move |first| {
            let rows = limit.min(rows - first);
            let valid = match &self.levels {
                Levels::All(level) => rows * *level as usize,
                Levels::Mixed(levels) => levels[first..first + rows].iter().sum::<u32>() as usize,
            };
            let indices = &self.indices[taken..taken + valid];
            taken += valid;
            Part {
                rows,
                indices,
                levels: &self.levels,
                first,
            }
        })
    }
}

/// A column of several batches, and the rows of it in order, as (batch, row).
pub(super) struct Column<'a> {
    arrays: Vec<&'a ArrayRef>,
    rows: &'a [(usize, usize)],
}

impl<'a> Column<'a> {
    pub(super) fn new(arrays: Vec<&'a ArrayRef>, rows: &'a [(usize, usize)]) -> Column<'a> {
        Column { arrays, rows }
    }

    pub(super) fn data_type(&self) -> Option<&DataType> {
        self.arrays.first().map(|array| array.data_type())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

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
        let (levels, indices) = self.number(|batch, row| texts.key(&arrays[batch], row))?;
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
        let mut last = None;
        let (levels, indices) = self.number(|batch, row| {
            let value = arrays[batch][row];
            if let Some((seen, key)) = last
                && seen == value
            {
                return Some(key);
            }
            let next = values.len() as u32;
            let key = *known.entry(value).or_insert(next);
            if key == next {
                values.push(value);
            }
            last = Some((value, key));
            (values.len() <= limit).then_some(key)
        })?;
        Some(Keys {
            levels,
            indices,
            values,
        })
    }

    /// Whether no row of any batch has a value.
    fn is_null(&self) -> bool {
        self.arrays
            .iter()
            .all(|array| array.null_count() == array.len())
    }

    /// The key of each row that is not null; `None` as soon as `key` gives none.
    fn number(
        &self,
        mut key: impl FnMut(usize, usize) -> Option<u32>,
    ) -> Option<(Levels, Vec<u32>)> {
        let nulls: Vec<Option<&NullBuffer>> = self
            .arrays
            .iter()
            .map(|array| array.nulls().filter(|nulls| nulls.null_count() > 0))
            .collect();
        let mut indices = Vec::with_capacity(self.rows.len());
        if nulls.iter().all(Option::is_none) {
            for (batch, row) in self.rows {
                indices.push(key(*batch, *row)?);
            }
            return Some((Levels::All(1), indices));
        }
        let mut levels = Vec::with_capacity(self.rows.len());
        for (batch, row) in self.rows {
            let valid = nulls[*batch].is_none_or(|nulls| nulls.is_valid(*row));
            levels.push(u32::from(valid));
            if valid {
                indices.push(key(*batch, *row)?);
            }
        }
        let levels = match indices.len() {
            0 => Levels::All(0),
            valid if valid == levels.len() => Levels::All(1),
            _ => Levels::Mixed(levels),
        };
        Some((levels, indices))
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
