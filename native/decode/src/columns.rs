//! Column builders that can be cut back to an earlier length, so that a refused record leaves
//! nothing behind.
//!
//! All text of a batch lies in one arena; a text column is 16-byte views into it (Arrow's
//! `Utf8View`), so that a resource's text stands once however many rows repeat it.

use std::sync::Arc;

use arrow::array::builder::make_view;
use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringViewArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, Field, Fields, TimestampMicrosecondType,
};
use otlake_base::{Code, Error, Result};

use crate::notes::Notes;
use crate::rejections::is_id;
use crate::request::Request;
use crate::zeros::{all_null, zero_bytes, zeros};

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
        let view = make_view(&self.0[start..], 0, start as u32);
        if self.0.len() - start <= INLINE {
            self.0.truncate(start);
        }
        view
    }

    /// Copies text in, where it does not stand in the view itself.
    #[inline]
    pub fn text(&mut self, text: &str) -> u128 {
        if text.len() <= INLINE {
            return make_view(text.as_bytes(), 0, 0);
        }
        let start = self.0.len();
        self.0.extend_from_slice(text.as_bytes());
        make_view(text.as_bytes(), 0, start as u32)
    }

    /// The view of text that stands in the arena already, at `at`.
    #[inline(always)]
    pub fn view_of(text: &str, at: usize) -> u128 {
        make_view(text.as_bytes(), 0, at as u32)
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

/// Texts of the request that were copied into the arena lately: the next record often has one of
/// them again.
#[derive(Default)]
pub struct Lately<'a>([(&'a str, u128); LATELY]);

/// A text's place is told by its length.
const LATELY: usize = 16;

impl<'a> Lately<'a> {
    /// As `Arena::text`; copies nothing where the text stands in the arena already.
    #[inline(always)]
    pub fn text(&mut self, text: &'a str, arena: &mut Arena) -> u128 {
        let (known, view) = &mut self.0[text.len() % LATELY];
        if *known != text || text.is_empty() {
            (*known, *view) = (text, arena.text(text));
        }
        *view
    }

    /// What was copied was cut off again, maybe.
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
    views: Vec<u128>,
}

impl Texts {
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
        push_at(&mut self.views, row, view, NULL);
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

/// Adds the value of a row; those before it that have none get `unset`.
#[inline(always)]
fn push_at<T: Copy>(values: &mut Vec<T>, row: usize, value: T, unset: T) {
    if values.len() < row {
        fill(values, row, unset);
    }
    values.push(value);
}

#[cold]
#[inline(never)]
fn fill<T: Copy>(values: &mut Vec<T>, rows: usize, unset: T) {
    values.resize(rows, unset);
}

/// Gives back room that is a good part of the whole: the rows are kept until they are written.
fn fit<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() - values.len() > values.len() / 8 {
        values.shrink_to_fit();
    }
    values
}

/// Numbers to an array.
pub fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(
        ScalarBuffer::from(fit(values)),
        None,
    ))
}

/// Nanoseconds to a timestamp in microseconds.
pub fn micros(nanos: &[i64]) -> ArrayRef {
    let values: Vec<i64> = nanos.iter().map(|nanos| nanos.div_euclid(1000)).collect();
    let array = PrimitiveArray::<TimestampMicrosecondType>::new(ScalarBuffer::from(values), None);
    Arc::new(array.with_timezone("UTC"))
}

/// Numbers of which many are zero. The rows behind the last that is not need no memory.
#[derive(Default)]
pub struct Numbers<T> {
    rows: usize,
    values: Vec<T>,
}

impl<T: ArrowNativeType> Numbers<T> {
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        if value != T::default() {
            push_at(&mut self.values, self.rows, value, T::default());
        }
        self.rows += 1;
    }

    /// Adds rows of one value.
    pub fn repeat(&mut self, value: T, rows: usize) {
        self.rows += rows;
        if value != T::default() {
            self.values.resize(self.rows - rows, T::default());
            self.values.resize(self.rows, value);
        }
    }

    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.values.truncate(rows);
    }

    pub fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> ArrayRef {
        Arc::new(PrimitiveArray::<A>::new(self.buffer(), None))
    }

    fn buffer(mut self) -> ScalarBuffer<T> {
        if self.values.is_empty() {
            return zeros(self.rows);
        }
        self.values.resize(self.rows, T::default());
        ScalarBuffer::from(fit(self.values))
    }
}

/// Values of which some are absent. The rows behind the last that is not need no memory.
#[derive(Default)]
pub struct Optional<T> {
    rows: usize,
    values: Vec<T>,
    /// Rows among the values that are absent, in order.
    absent: Vec<u32>,
}

impl<T: Copy + Default> Optional<T> {
    #[inline(always)]
    pub fn push(&mut self, value: Option<T>) {
        if let Some(value) = value {
            self.set(self.rows, value);
        }
        self.rows += 1;
    }

    /// As `Texts::set`.
    #[inline(always)]
    pub fn set(&mut self, row: usize, value: T) {
        if self.values.len() < row {
            self.fill(row);
        }
        self.values.push(value);
    }

    /// Whether a row was set.
    #[inline(always)]
    pub fn has(&self, row: usize) -> bool {
        row < self.values.len()
    }

    pub fn of_rows(self, rows: usize) -> Self {
        Self { rows, ..self }
    }

    /// Fills up the rows that are absent.
    #[cold]
    #[inline(never)]
    fn fill(&mut self, rows: usize) {
        self.absent.extend(self.values.len() as u32..rows as u32);
        self.values.resize(rows, T::default());
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.values.truncate(rows);
        let kept = self
            .absent
            .partition_point(|absent| (*absent as usize) < rows);
        self.absent.truncate(kept);
    }

    /// The values, and which are null; no values where all are.
    fn parts(mut self) -> (Vec<T>, Option<NullBuffer>) {
        let rows = self.rows;
        if self.values.is_empty() && rows > 0 {
            return (Vec::new(), Some(all_null(rows)));
        }
        if self.values.len() < rows {
            self.fill(rows);
        }
        let nulls = (!self.absent.is_empty()).then(|| {
            let mut bits = vec![u8::MAX; rows.div_ceil(8)];
            for row in &self.absent {
                bits[*row as usize / 8] &= !(1 << (row % 8));
            }
            NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))
        });
        (fit(self.values), nulls)
    }
}

impl<T: ArrowNativeType> Optional<T> {
    pub fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> ArrayRef {
        let rows = self.rows;
        let (values, nulls) = self.parts();
        let values = match values.is_empty() {
            true => zeros(rows),
            false => ScalarBuffer::from(values),
        };
        Arc::new(PrimitiveArray::<A>::new(values, nulls))
    }
}

/// Ids of `N` bytes.
#[derive(Default)]
pub struct Ids<const N: usize>(Optional<Id<N>>);

#[derive(Clone, Copy)]
struct Id<const N: usize>([u8; N]);

impl<const N: usize> Default for Id<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Ids<N> {
    /// Adds an id; one of another length is null.
    #[inline(always)]
    pub fn push(&mut self, id: &[u8]) {
        self.0.push(id.try_into().ok().map(Id));
    }

    pub fn reserve(&mut self, rows: usize) {
        self.0.values.reserve(rows);
    }

    /// Adds an id that OTLP allows to be absent: one of another length, or all zero, is noted
    /// and passed over.
    #[inline(always)]
    pub fn push_known(&mut self, id: &[u8], request: &Request<'_>, note: Notes) {
        if is_id::<N>(id) {
            self.push(id);
            return;
        }
        if !id.is_empty() {
            request.note(note);
        }
        self.push(&[]);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }

    pub fn finish(self) -> ArrayRef {
        let rows = self.0.len();
        let (ids, nulls) = self.0.parts();
        let bytes = match ids.is_empty() {
            true => zero_bytes(rows * N),
            false => {
                let ids: Vec<[u8; N]> = ids.into_iter().map(|id| id.0).collect();
                Buffer::from_vec(ids.into_flattened())
            }
        };
        Arc::new(FixedSizeBinaryArray::new(N as i32, bytes, nulls))
    }
}

/// Where each row's elements end in a list's child columns. The rows behind the last that has
/// elements need no memory.
#[derive(Default)]
pub struct Offsets {
    rows: usize,
    ends: Vec<i32>,
}

impl Offsets {
    /// Ends a row: its list goes up to `end`.
    #[inline(always)]
    pub fn push(&mut self, end: usize) {
        let last = self.last();
        if end as i32 != last {
            push_at(&mut self.ends, self.rows, end as i32, last);
        }
        self.rows += 1;
    }

    /// Ends a row without elements.
    #[inline(always)]
    pub fn push_none(&mut self) {
        self.rows += 1;
    }

    #[inline(always)]
    fn last(&self) -> i32 {
        self.ends.last().map_or(0, |end| *end)
    }

    /// Elements in all rows so far.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.last() as usize
    }

    pub fn truncate(&mut self, rows: usize) {
        self.rows = self.rows.min(rows);
        self.ends.truncate(rows);
    }

    pub fn finish(mut self, element: ArrayRef, present: Option<Vec<bool>>) -> ArrayRef {
        let field = Arc::new(Field::new("element", element.data_type().clone(), false));
        let offsets = if self.ends.is_empty() {
            zeros(self.rows + 1)
        } else {
            let last = self.last();
            self.ends.resize(self.rows, last);
            self.ends.insert(0, 0);
            ScalarBuffer::from(fit(self.ends))
        };
        let nulls = present
            .map(NullBuffer::from)
            .filter(|nulls| nulls.null_count() > 0);
        Arc::new(ListArray::new(
            field,
            OffsetBuffer::new(offsets),
            element,
            nulls,
        ))
    }

    pub fn finish_structs(self, fields: Vec<Field>, columns: Vec<ArrayRef>) -> ArrayRef {
        let elements = Arc::new(StructArray::new(Fields::from(fields), columns, None));
        self.finish(elements, None)
    }
}
