//! The permutation that sorts rows and parts them by tenant and day.
//!
//! Keys are sorted, not rows: the text a table is sorted by is ranked first, so that a key is
//! a few integers and comparing two of them reads no text. The rows themselves move once, in
//! `gather`.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{Date32Type, Int64Type};
use otlake_base::{Code, Error, Result, Table};

/// A tenant and a day, and where its rows stand in the order.
pub(crate) struct Partition {
    pub tenant: String,
    pub day: i32,
    pub rows: Range<usize>,
}

/// Rows as (batch, row), sorted within partitions that follow each other.
pub(crate) struct Order {
    pub rows: Vec<(usize, usize)>,
    pub partitions: Vec<Partition>,
}

/// The columns that a table's files are sorted by, the first one text.
pub(crate) fn sort_columns(table: Table) -> &'static [&'static str] {
    match table {
        Table::Spans => &["service_name", "start_time_unix_nano"],
        Table::Logs => &["service_name", "time_unix_nano"],
        _ => &["name", "series_id", "time_unix_nano"],
    }
}

/// Partition and rank of the text, then up to two numbers, then the row's place, which makes
/// the order of equal rows the one they came in.
type Key = (u64, i64, i64, u32, u32);

/// Numbers for texts, in the order of first sight; `sorted_ranks` turns them into ranks.
#[derive(Default)]
struct Texts<'a> {
    numbers: HashMap<Option<&'a str>, u32>,
}

impl<'a> Texts<'a> {
    /// The number of each row's text. Rows of one resource share one view, so that a row
    /// whose view is that of the row before costs one comparison.
    fn number(&mut self, column: &'a StringViewArray, numbers: &mut Vec<u32>) {
        let mut last: Option<(u128, u32)> = None;
        for (row, view) in column.views().iter().enumerate() {
            let text = column.is_valid(row).then(|| column.value(row));
            if let (Some((seen, number)), Some(_)) = (last, text)
                && seen == *view
            {
                numbers.push(number);
                continue;
            }
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry(text).or_insert(next);
            numbers.push(number);
            last = text.map(|_| (*view, number));
        }
    }

    /// By number: the place among all texts in byte order, absent text first.
    fn sorted_ranks(&self) -> Vec<u32> {
        let mut texts: Vec<(Option<&str>, u32)> = self
            .numbers
            .iter()
            .map(|(text, number)| (*text, *number))
            .collect();
        texts.sort_unstable();
        let mut ranks = vec![0; texts.len()];
        for (rank, (_, number)) in texts.into_iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        ranks
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch
        .column_by_name(name)
        .map(AsRef::as_ref)
        .ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::new(
        Code::Internal,
        format!("a batch lacks the column `{name}` in its right type"),
    )
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringViewArray> {
    column(batch, name)?
        .as_string_view_opt()
        .ok_or_else(|| missing(name))
}

fn longs<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64]> {
    let array = column(batch, name)?.as_primitive_opt::<Int64Type>();
    Ok(array.ok_or_else(|| missing(name))?.values())
}

/// The order of the rows of all batches, as (batch, row): by tenant and day in the order these
/// are first seen, then by the table's sort columns.
///
/// # Errors
/// `INTERNAL` for batches that are not of the table's schema, or too many.
pub fn sort_rows(table: Table, batches: &[RecordBatch]) -> Result<Vec<(usize, usize)>> {
    Ok(sort(table, batches)?.rows)
}

/// Sorts the rows of all batches.
pub(crate) fn sort(table: Table, batches: &[RecordBatch]) -> Result<Order> {
    let columns = sort_columns(table);
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if batches.len() > u32::MAX as usize || total > u32::MAX as usize {
        return Err(Error::new(Code::Internal, "too many rows for one write"));
    }

    let mut texts = Texts::default();
    let mut tenants = Texts::default();
    let mut text_numbers = Vec::with_capacity(total);
    let mut tenant_numbers = Vec::with_capacity(total);
    for batch in batches {
        texts.number(text(batch, columns[0])?, &mut text_numbers);
        tenants.number(text(batch, "tenant")?, &mut tenant_numbers);
    }
    let text_ranks = texts.sorted_ranks();

    // Partitions are numbered as they are first seen; a flush has few of them.
    let mut partition_numbers: HashMap<(u32, i32), u32> = HashMap::new();
    let mut keys: Vec<Key> = Vec::with_capacity(total);
    for (batch_number, batch) in batches.iter().enumerate() {
        let days = column(batch, "day")?
            .as_primitive_opt::<Date32Type>()
            .ok_or_else(|| missing("day"))?
            .values();
        let second = longs(batch, columns[1])?;
        let third = columns.get(2).map(|name| longs(batch, name)).transpose()?;
        let mut last: Option<((u32, i32), u32)> = None;
        for row in 0..batch.num_rows() {
            let place = keys.len();
            let partition = (tenant_numbers[place], days[row]);
            let number = match last {
                Some((seen, number)) if seen == partition => number,
                _ => {
                    let next = partition_numbers.len() as u32;
                    *partition_numbers.entry(partition).or_insert(next)
                }
            };
            last = Some((partition, number));
            let rank = text_ranks[text_numbers[place] as usize];
            keys.push((
                u64::from(number) << 32 | u64::from(rank),
                second[row],
                third.map_or(0, |values| values[row]),
                batch_number as u32,
                row as u32,
            ));
        }
    }
    keys.sort_unstable();

    let tenant_names: HashMap<u32, Option<&str>> = tenants
        .numbers
        .iter()
        .map(|(name, number)| (*number, *name))
        .collect();
    let by_number: HashMap<u32, (u32, i32)> = partition_numbers
        .into_iter()
        .map(|(partition, number)| (number, partition))
        .collect();
    let mut partitions = Vec::new();
    let mut start = 0;
    for group in keys.chunk_by(|a, b| a.0 >> 32 == b.0 >> 32) {
        let (tenant, day) = by_number[&((group[0].0 >> 32) as u32)];
        // Delta reads an empty partition value as null, which the column does not allow.
        let tenant = tenant_names[&tenant]
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Error::new(Code::Internal, "a row without a tenant"))?;
        let end = start + group.len();
        partitions.push(Partition {
            tenant: tenant.to_owned(),
            day,
            rows: start..end,
        });
        start = end;
    }
    let rows = keys
        .into_iter()
        .map(|key| (key.3 as usize, key.4 as usize))
        .collect();
    Ok(Order { rows, partitions })
}
