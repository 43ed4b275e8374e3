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

    /// As `text`; copies nothing where the text stands in the arena already, at `at`.
    #[inline]
    pub fn text_at(&mut self, text: &str, at: Option<usize>) -> u128 {
        match at {
            Some(at) if text.len() > INLINE => {
                debug_assert_eq!(&self.0[at..at + text.len()], text.as_bytes());
                make_view(text.as_bytes(), 0, at as u32)
            }
            _ => self.text(text),
        }
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
    // SAFETY: each view was made by `Arena` over checked UTF-8, with an offset and a length
    // within the arena, which only grows or is cut back together with its views.
    let array = unsafe {
        StringViewArray::new_unchecked(ScalarBuffer::from(views), vec![arena.clone()], nulls)
    };
    Arc::new(array)
}

/// Numbers to an array.
pub fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), None))
}

/// Nanoseconds to a timestamp in microseconds.
pub fn micros(nanos: &[i64]) -> ArrayRef {
    let values: Vec<i64> = nanos.iter().map(|nanos| nanos.div_euclid(1000)).collect();
    let array = PrimitiveArray::<TimestampMicrosecondType>::new(ScalarBuffer::from(values), None);
    Arc::new(array.with_timezone("UTC"))
}

/// Numbers of which some are absent.
#[derive(Default)]
pub struct Optional<T> {
    values: Vec<T>,
    present: Vec<bool>,
}

impl<T: ArrowNativeType> Optional<T> {
    #[inline]
    pub fn push(&mut self, value: Option<T>) {
        self.values.push(value.unwrap_or_default());
        self.present.push(value.is_some());
    }

    pub fn truncate(&mut self, length: usize) {
        self.values.truncate(length);
        self.present.truncate(length);
    }

    pub fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> ArrayRef {
        let nulls = NullBuffer::from(self.present);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Arc::new(PrimitiveArray::<A>::new(
            ScalarBuffer::from(self.values),
            nulls,
        ))
    }
}

/// Ids of `N` bytes.
#[derive(Default)]
pub struct Ids<const N: usize> {
    bytes: Vec<u8>,
    present: Vec<bool>,
}

impl<const N: usize> Ids<N> {
    /// Adds an id; an empty one is null.
    #[inline]
    pub fn push(&mut self, id: &[u8]) {
        match id.first_chunk::<N>() {
            Some(id) => self.bytes.extend_from_slice(id),
            None => self.bytes.extend_from_slice(&[0; N]),
        }
        self.present.push(id.len() == N);
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
        self.present.len()
    }

    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length * N);
        self.present.truncate(length);
    }

    pub fn finish(self) -> ArrayRef {
        let nulls = NullBuffer::from(self.present);
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        Arc::new(FixedSizeBinaryArray::new(
            N as i32,
            Buffer::from_vec(self.bytes),
            nulls,
        ))
    }
}

/// Where each row's elements end in a list's child columns.
pub struct Offsets(Vec<i32>);

impl Default for Offsets {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Offsets {
    /// Ends a row: its list goes up to `end`.
    #[inline]
    pub fn push(&mut self, end: usize) {
        self.0.push(end as i32);
    }

    /// Elements in all rows so far.
    pub fn end(&self) -> usize {
        self.0.last().map_or(0, |end| *end as usize)
    }

    pub fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows + 1);
    }

    pub fn finish(self, element: ArrayRef, present: Option<Vec<bool>>) -> ArrayRef {
        let field = Arc::new(Field::new("element", element.data_type().clone(), false));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.0));
        let nulls = present
            .map(NullBuffer::from)
            .filter(|nulls| nulls.null_count() > 0);
        Arc::new(ListArray::new(field, offsets, element, nulls))
    }

    pub fn finish_structs(self, fields: Vec<Field>, columns: Vec<ArrayRef>) -> ArrayRef {
        let elements = Arc::new(StructArray::new(Fields::from(fields), columns, None));
        self.finish(elements, None)
    }
}
