//! Column builders that can be cut back to an earlier length, so that a refused record leaves
//! nothing behind. `texts.rs` has those of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, ListArray, PrimitiveArray, StructArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Fields, TimestampMicrosecondType,
};

use crate::notes::Notes;
use crate::rejections::is_id;
use crate::request::Request;
use crate::schema::Element;
use crate::zeros::{all_null, zero_bytes, zeros};

/// Adds the value of a row; those before it that have none get `unset`. There is room for as
/// many as are expected from the first on.
#[inline(always)]
pub fn push_at<T: Copy>(values: &mut Vec<T>, row: usize, value: T, unset: T, expected: usize) {
    if values.len() < row || values.len() == values.capacity() {
        make_room(values, row, unset, expected);
    }
    values.push(value);
}

#[cold]
#[inline(never)]
fn make_room<T: Copy>(values: &mut Vec<T>, row: usize, unset: T, expected: usize) {
    values.reserve(expected.max(row).saturating_sub(values.len()));
    values.resize(row, unset);
}

/// Gives back room that is a good part of the whole: the rows are kept until they are written.
pub fn fit<T>(mut values: Vec<T>) -> Vec<T> {
    if values.capacity() - values.len() > values.len() / 8 {
        values.shrink_to_fit();
    }
    values
}

/// Numbers to an array.
pub fn numbers<T: ArrowPrimitiveType>(values: Vec<T::Native>) -> ArrayRef {
    kept_numbers::<T>(&fit(values).into())
}

/// The same of numbers that something else needs, too.
pub fn kept_numbers<T: ArrowPrimitiveType>(values: &ScalarBuffer<T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.clone(), None))
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
    expected: usize,
    values: Vec<T>,
}

impl<T: ArrowNativeType> Numbers<T> {
    /// So many more rows follow.
    pub fn expect(&mut self, more: usize) {
        self.expected = self.rows + more;
    }

    #[inline(always)]
    pub fn push(&mut self, value: T) {
        if value != T::default() {
            push_at(
                &mut self.values,
                self.rows,
                value,
                T::default(),
                self.expected,
            );
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
    expected: usize,
    values: Vec<T>,
    /// Rows among the values that are absent, in order.
    absent: Vec<u32>,
}

impl<T: Copy + Default> Optional<T> {
    /// So many more rows follow.
    pub fn expect(&mut self, more: usize) {
        self.expected = self.rows + more;
    }

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
        if self.values.len() < row || self.values.len() == self.values.capacity() {
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
        make_room(&mut self.values, rows, T::default(), self.expected);
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

    pub fn expect(&mut self, more: usize) {
        self.0.expect(more);
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
    expected: usize,
    /// Behind a zero, as Arrow has it.
    ends: Vec<i32>,
}

impl Offsets {
    /// So many more rows follow.
    pub fn expect(&mut self, more: usize) {
        self.expected = self.rows + more + 1;
    }

    /// Ends a row: its list goes up to `end`.
    #[inline(always)]
    pub fn push(&mut self, end: usize) {
        let (end, last) = (end as i32, self.last());
        self.rows += 1;
        if end != last {
            push_at(&mut self.ends, self.rows, end, last, self.expected);
        }
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
        self.ends.truncate(rows + 1);
    }

    /// The column of lists of `values`, each an `element`.
    pub fn finish(
        mut self,
        element: &Element,
        values: ArrayRef,
        present: Option<Vec<bool>>,
    ) -> ArrayRef {
        let offsets = if self.ends.is_empty() {
            zeros(self.rows + 1)
        } else {
            let last = self.last();
            self.ends.resize(self.rows + 1, last);
            ScalarBuffer::from(fit(self.ends))
        };
        let nulls = present
            .map(NullBuffer::from)
            .filter(|nulls| nulls.null_count() > 0);
        let offsets = OffsetBuffer::new(offsets);
        Arc::new(ListArray::new(Arc::clone(element), offsets, values, nulls))
    }

    /// The column of lists of structures that have these columns.
    pub fn finish_structs(self, element: &Element, columns: Vec<ArrayRef>) -> ArrayRef {
        let fields = match element.data_type() {
            DataType::Struct(fields) => fields.clone(),
            _ => Fields::empty(),
        };
        let structures = Arc::new(StructArray::new(fields, columns, None));
        self.finish(element, structures, None)
    }
}
