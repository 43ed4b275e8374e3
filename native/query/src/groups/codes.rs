//! Texts and their numbers.

use std::collections::HashMap;

use arrow::array::{Array, StringViewArray, StringViewBuilder};
use arrow::buffer::{Buffer, NullBuffer};
use datafusion::execution::memory_pool::MemoryReservation;

/// Different groups at most; with more of them, their numbers are found as slowly as they themselves.
pub(super) const MOST_GROUPS: usize = 16 * 1024;
/// Bytes of different texts at most.
pub(super) const MOST_BYTES: usize = 4 * 1024 * 1024;
/// What a text takes beside its bytes, twice its handle and its number; and two pairs.
const ENTRY_BYTES: usize = 96;
/// Of a batch's rows one in so many may be looked up by its text, or else the views tell too little.
const LOOKED_UP_SHARE: usize = 8;
/// Batches have to have so many rows for that to count.
const ROWS_THAT_TELL: usize = 1024;
/// The number of no text.
const NULL: u32 = 0;

/// Why there are no numbers for a batch: it takes more than there may be.
#[derive(Debug)]
pub(super) struct TooMany;

/// The numbers of what was seen last, by a few bits of it.
struct Memo<K> {
    keys: Box<[K]>,
    numbers: Box<[u32]>,
}

const MEMO_BITS: u32 = 10;

impl<K: Copy + Eq> Memo<K> {
    /// `none` is a key that there is not.
    fn new(none: K) -> Memo<K> {
        let places = 1 << MEMO_BITS;
        Memo {
            keys: vec![none; places].into(),
            numbers: vec![0; places].into(),
        }
    }
}

/// Any key's place: the highest bits of its product with an odd number that has many bits set.
fn place(key: u64) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    (key.wrapping_mul(ODD) >> (u64::BITS - MEMO_BITS)) as usize
}

/// No view has such a length.
const NO_VIEW: u128 = u128::MAX;
/// There are fewer numbers than that.
const NO_PAIR: u64 = u64::MAX;

/// The texts of one column.
struct Texts {
    numbers: HashMap<Box<str>, u32>,
    /// By number; none is at `NULL`.
    texts: Vec<Option<Box<str>>>,
    bytes: usize,
    views: Memo<u128>,
    /// What the views are of.
    buffers: Vec<Buffer>,
}

impl Texts {
    fn new() -> Texts {
        Texts {
            numbers: HashMap::new(),
            texts: vec![None],
            bytes: 0,
            views: Memo::new(NO_VIEW),
            buffers: Vec::new(),
        }
    }

    /// The number of each row's text, in `numbers`.
    fn number(&mut self, array: &StringViewArray, numbers: &mut Vec<u32>) -> Result<(), TooMany> {
        let buffers = array.data_buffers();
        let are_same = buffers.len() == self.buffers.len();
        if !are_same || !buffers.iter().zip(&self.buffers).all(|(a, b)| a.ptr_eq(b)) {
            // The same view is of another text now.
            self.views.keys.fill(NO_VIEW);
            self.buffers = buffers.to_vec();
        }
        numbers.clear();
        numbers.reserve(array.len());
        let mut looked_up = 0;
        for (row, view) in array.views().iter().enumerate() {
            // The length and the first bytes, with the rest or where that is.
            let place = place((*view as u64) ^ ((*view >> 64) as u64).rotate_left(32));
            if self.views.keys[place] != *view {
                self.views.numbers[place] = self.look_up(array.value(row))?;
                self.views.keys[place] = *view;
                looked_up += 1;
            }
            numbers.push(self.views.numbers[place]);
        }
        if array.len() >= ROWS_THAT_TELL && looked_up > array.len() / LOOKED_UP_SHARE {
            return Err(TooMany);
        }
        if let Some(nulls) = array.nulls() {
            without(nulls, numbers);
        }
        Ok(())
    }

    fn look_up(&mut self, text: &str) -> Result<u32, TooMany> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let bytes = self.bytes + 2 * text.len() + ENTRY_BYTES;
        if self.texts.len() >= MOST_GROUPS || bytes > MOST_BYTES {
            return Err(TooMany);
        }
        let number = self.texts.len() as u32;
        self.bytes = bytes;
        self.texts.push(Some(text.into()));
        self.numbers.insert(text.into(), number);
        Ok(number)
    }
}

/// What is null has some view, too.
fn without(nulls: &NullBuffer, numbers: &mut [u32]) {
    for (number, is_text) in numbers.iter_mut().zip(nulls) {
        if !is_text {
            *number = NULL;
        }
    }
}

/// The numbers of two numbers.
struct Pairs {
    numbers: HashMap<u64, u32>,
    pairs: Vec<u64>,
    seen: Memo<u64>,
}

impl Pairs {
    fn new() -> Pairs {
        Pairs {
            numbers: HashMap::new(),
            pairs: Vec::new(),
            seen: Memo::new(NO_PAIR),
        }
    }

    /// Puts the number of a pair in its left one's place.
    fn number(&mut self, left: &mut [u32], right: &[u32]) -> Result<(), TooMany> {
        for (left, right) in left.iter_mut().zip(right) {
            let pair = u64::from(*left) << u32::BITS | u64::from(*right);
            let place = place(pair);
            if self.seen.keys[place] != pair {
                self.seen.numbers[place] = self.look_up(pair)?;
                self.seen.keys[place] = pair;
            }
            *left = self.seen.numbers[place];
        }
        Ok(())
    }

    fn look_up(&mut self, pair: u64) -> Result<u32, TooMany> {
        if let Some(number) = self.numbers.get(&pair) {
            return Ok(*number);
        }
        if self.pairs.len() >= MOST_GROUPS {
            return Err(TooMany);
        }
        let number = self.pairs.len() as u32;
        self.pairs.push(pair);
        self.numbers.insert(pair, number);
        Ok(number)
    }
}

/// Numbers for the texts of some columns together.
pub(super) struct Codes {
    texts: Vec<Texts>,
    /// Of the first two columns, of that and the third, and so on.
    pairs: Vec<Pairs>,
    right: Vec<u32>,
    memory: MemoryReservation,
}

impl Codes {
    /// For so many columns, at least one.
    pub(super) fn new(columns: usize, memory: MemoryReservation) -> Codes {
        Codes {
            texts: (0..columns).map(|_| Texts::new()).collect(),
            pairs: (1..columns).map(|_| Pairs::new()).collect(),
            right: Vec::new(),
            memory,
        }
    }

    /// The number of each row.
    pub(super) fn number(&mut self, columns: &[&StringViewArray]) -> Result<Vec<u32>, TooMany> {
        let mut numbers = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let texts = &mut self.texts[place];
            match place.checked_sub(1) {
                None => texts.number(column, &mut numbers)?,
                Some(pair) => {
                    texts.number(column, &mut self.right)?;
                    self.pairs[pair].number(&mut numbers, &self.right)?;
                }
            }
        }
        let texts: usize = self.texts.iter().map(|texts| texts.bytes).sum();
        let pairs = self
            .pairs
            .iter()
            .map(|pairs| pairs.pairs.len() * ENTRY_BYTES);
        let bytes = texts + pairs.sum::<usize>();
        self.memory.try_resize(bytes).map_err(|_| TooMany)?;
        Ok(numbers)
    }

    /// The columns that these numbers are of.
    pub(super) fn texts(&self, numbers: &[u32]) -> Vec<StringViewArray> {
        let mut left = numbers.to_vec();
        let mut columns = Vec::with_capacity(self.texts.len());
        for place in (0..self.texts.len()).rev() {
            let own = match place.checked_sub(1) {
                None => std::mem::take(&mut left),
                Some(pair) => {
                    let pairs = left
                        .iter()
                        .map(|number| self.pairs[pair].pairs[*number as usize]);
                    let (lefts, rights) = pairs
                        .map(|pair| ((pair >> u32::BITS) as u32, pair as u32))
                        .unzip();
                    left = lefts;
                    rights
                }
            };
            let mut texts = StringViewBuilder::with_capacity(own.len()).with_deduplicate_strings();
            for number in own {
                texts.append_option(self.texts[place].texts[number as usize].as_deref());
            }
            columns.push(texts.finish());
        }
        columns.reverse();
        columns
    }
}
