//! Text columns. All text of a batch lies in one arena; a column is 16-byte views into it (Arrow's
//! `Utf8View`), so that a resource's text stands once however many rows repeat it.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use otlake_base::{Code, Error, Result};

use crate::columns::{fit, push_at};
use crate::zeros::{all_null, zeros};

/// The view of a null: longer than any text can be.
pub const NULL: u128 = u128::MAX;
/// Text up to this length stands in the view itself.
const INLINE: usize = 12;

/// The text of a batch.
#[derive(Default)]
pub struct Arena(pub Vec<u8>);

impl Arena {
    /// The view of what was written from `start` to the end. It must be UTF-8.
    #[inline]
    pub fn view_from(&mut self, start: usize) -> u128 {
        let view = view(&self.0[start..], start);
        if self.0.len() - start <= INLINE {
            self.0.truncate(start);
        }
        view
    }

    /// Copies text in, where it does not stand in the view itself.
    #[inline]
    pub fn text(&mut self, text: &str) -> u128 {
        if text.len() <= INLINE {
            return short_view(text.as_bytes());
        }
        let start = self.0.len();
        self.0.extend_from_slice(text.as_bytes());
        view(text.as_bytes(), start)
    }

    /// The view of text that stands in the arena already, at `at`.
    #[inline(always)]
    pub fn view_of(text: &str, at: usize) -> u128 {
        view(text.as_bytes(), at)
    }

    /// As `text`, but null where it is empty.
    #[inline]
    pub fn optional(&mut self, text: &str) -> u128 {
        if text.is_empty() {
            NULL
        } else {
            self.text(text)
        }
    }

    /// The arena as a buffer that arrays share.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE` where views, which count in 32 bits, cannot reach all of it.
    pub fn finish(self) -> Result<Buffer> {
        if u32::try_from(self.0.len()).is_err() {
            return Err(Error::new(
                Code::OtlpTooLarge,
                "the text of a request's rows is longer than 4 GiB",
            ));
        }
        Ok(Buffer::from_vec(self.0))
    }
}

/// The view of text that stands at `at`: its length, then either its first four bytes, the number
/// of the buffer, which is 0, and `at`; or, where it is short, all of it.
#[inline(always)]
pub fn view(text: &[u8], at: usize) -> u128 {
    match text.first_chunk() {
        Some(first) if text.len() > INLINE => {
            let start = u128::from(u32::from_le_bytes(*first));
            text.len() as u128 | start << 32 | (at as u128) << 96
        }
        _ => short_view(text),
    }
}

/// The view of text that stands in it. The text's two ends are taken, which overlap.
#[inline(always)]
fn short_view(text: &[u8]) -> u128 {
    let length = text.len();
    let (first, last) = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => return tiny_view(text),
    };
    let shift = 32 + (length - 8) * 8;
    length as u128 | u128::from(first) << 32 | u128::from(last) << shift
}

/// The same of less than eight bytes.
#[inline(always)]
fn tiny_view(text: &[u8]) -> u128 {
    let length = text.len();
    let bits = match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) => {
            let first = u64::from(u32::from_le_bytes(*first));
            first | u64::from(u32::from_le_bytes(*last)) << ((length - 4) * 8)
        }
        _ => match text {
            [] => 0,
            [one] => u64::from(*one),
            [one, .., last] => {
                let middle = u64::from(text[length / 2]) << (length / 2 * 8);
                u64::from(*one) | middle | u64::from(*last) << ((length - 1) * 8)
            }
        },
    };
    length as u128 | u128::from(bits) << 32
}

/// Texts of the request that are in the arena, those that were there lately: the next record often has one
/// of them again. A view of the same place then says that it is the same text, and nobody who reads the batch has
/// to look at it.
pub struct Lately<'a>([(&'a str, u128); LATELY]);

/// Texts that are remembered; a power of two.
const LATELY: usize = 64;
/// An odd number with bits that look random (the fraction of the golden ratio).
const ODD_BITS: u64 = 0x9e37_79b9_7f4a_7c15;

impl Default for Lately<'_> {
    fn default() -> Self {
        Self([("", 0); LATELY])
    }
}

impl<'a> Lately<'a> {
    /// As `Arena::text`; copies nothing where the text stands in the arena already.
    #[inline(always)]
    pub fn text(&mut self, text: &'a str, arena: &mut Arena) -> u128 {
        self.view(text, |text| arena.text(text))
    }

    /// The view of a text that stands in the arena at `at`, and maybe before.
    #[inline(always)]
    pub fn view_of(&mut self, text: &'a str, at: usize) -> u128 {
        self.view(text, |text| Arena::view_of(text, at))
    }

    #[inline(always)]
    fn view(&mut self, text: &'a str, mut make: impl FnMut(&str) -> u128) -> u128 {
        let (known, view) = match (text.len() > INLINE, text.as_bytes().last_chunk()) {
            // Its end tells most from each other, with its length.
            (true, Some(last)) => {
                let end = u64::from_le_bytes(*last) ^ text.len() as u64;
                let place = end.wrapping_mul(ODD_BITS) >> (u64::BITS - LATELY.ilog2());
                &mut self.0[place as usize]
            }
            _ => return short_view(text.as_bytes()),
        };
        if *known != text {
            (*known, *view) = (text, make(text));
        }
        *view
    }

    /// What was in the arena was cut off again, maybe.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Views to an array; the views must come from the arena that became `arena`.
pub fn texts(mut views: Vec<u128>, arena: &Buffer) -> ArrayRef {
    let nulls = views.contains(&NULL).then(|| {
        let present = BooleanBuffer::collect_bool(views.len(), |row| views[row] != NULL);
        for view in &mut views {
            if *view == NULL {
                *view = 0;
            }
        }
        NullBuffer::new(present)
    });
    view_array(ScalarBuffer::from(fit(views)), arena, nulls)
}

/// Rows of one text, or of none.
pub fn same_texts(view: u128, rows: usize, arena: &Buffer) -> ArrayRef {
    if view == NULL {
        return view_array(zeros(rows), arena, Some(all_null(rows)));
    }
    view_array(ScalarBuffer::from(vec![view; rows]), arena, None)
}

fn view_array(views: ScalarBuffer<u128>, arena: &Buffer, nulls: Option<NullBuffer>) -> ArrayRef {
    // SAFETY: each view was made by `Arena` over checked UTF-8, with an offset and a length
    // within the arena, which only grows or is cut back together with its views; or it is 0.
    let array = unsafe { StringViewArray::new_unchecked(views, vec![arena.clone()], nulls) };
    Arc::new(array)
}

/// Text of which much is absent. The rows behind the last that has some need no memory.
#[derive(Default)]
pub struct Texts {
    rows: usize,
    expected: usize,
    views: Vec<u128>,
}

impl Texts {
    /// So many more rows follow.
    pub fn expect(&mut self, more: usize) {
        self.expected = self.rows + more;
    }

    #[inline(always)]
    pub fn push(&mut self, view: u128) {
        if view != NULL {
            self.set(self.rows, view);
        }
        self.rows += 1;
    }

    /// Gives a row its text, which no row behind it has yet. Who sets says at the end how many
    /// rows there are.
    #[inline(always)]
    pub fn set(&mut self, row: usize, view: u128) {
        push_at(&mut self.views, row, view, NULL, self.expected);
    }

    /// Adds rows of one text, or of none.
    pub fn repeat(&mut self, view: u128, rows: usize) {
        self.rows += rows;
        if view != NULL {
            self.views.resize(self.rows - rows, NULL);
            self.views.resize(self.rows, view);
        }
    }

    /// Whether a row was set.
    #[inline(always)]
    pub fn has(&self, row: usize) -> bool {
        row < self.views.len()
    }

    /// Gives the row that was set last another text.
    pub fn replace_last(&mut self, view: u128) {
        if let Some(last) = self.views.last_mut() {
            *last = view;
        }
    }

    pub fn of_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.views.truncate(rows);
    }

    pub fn finish(mut self, arena: &Buffer) -> ArrayRef {
        if self.views.is_empty() {
            return same_texts(NULL, self.rows, arena);
        }
        self.views.resize(self.rows, NULL);
        texts(self.views, arena)
    }
}
