//! What a table's rows say, so that a row with another content is not taken for the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use otlake_base::limits::RecordLimits;
use otlake_base::{DataFile, Result, Signal, Table};
use otlake_decode::schema::file_schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use xxhash_rust::xxh3::xxh3_64;

use crate::load::{FIRST, request};

/// How often each number is in a table and, where it was asked for, what its rows say.
#[derive(Debug, Default)]
pub struct Rows {
    pub times: BTreeMap<u64, u64>,
    pub contents: Option<Vec<(u64, u64)>>,
}

impl Rows {
    pub fn new(deep: bool) -> Rows {
        Rows {
            times: BTreeMap::new(),
            contents: deep.then(Vec::new),
        }
    }

    /// Adds the rows of a batch.
    pub fn add(&mut self, table: Table, batch: &RecordBatch) -> std::result::Result<(), String> {
        let numbers = numbers_of(table, batch)?;
        for number in &numbers {
            *self.times.entry(*number).or_insert(0) += 1;
        }
        if let Some(known) = &mut self.contents {
            known.extend(numbers.into_iter().zip(contents(table, batch)?));
        }
        Ok(())
    }

    /// Adds the rows of a file, whose bytes are these. `parsed` keeps the numbers of files that were
    /// read before: reading files again and again would be most of a run's work.
    pub fn add_file(
        &mut self,
        table: Table,
        file: &DataFile,
        bytes: Vec<u8>,
        parsed: &mut Parsed,
    ) -> std::result::Result<(), String> {
        let key = xxh3_64(&bytes);
        let numbers = match parsed.get(&key) {
            Some(numbers) if self.contents.is_none() => numbers.clone(),
            _ => {
                let mut numbers = Vec::new();
                for batch in read(table, bytes, self.contents.is_some())? {
                    let of_batch = numbers_of(table, &batch)?;
                    numbers.extend_from_slice(&of_batch);
                    if let Some(known) = &mut self.contents {
                        known.extend(of_batch.into_iter().zip(contents(table, &batch)?));
                    }
                }
                parsed.insert(key, numbers.clone());
                numbers
            }
        };
        if numbers.len() as u64 != file.rows {
            let (rows, said) = (numbers.len(), file.rows);
            return Err(format!("it has {rows} rows, and its commit says {said}"));
        }
        let within = |number: &u64| {
            let time = FIRST.wrapping_add(*number) as i64;
            (file.min_time..=file.max_time).contains(&time)
        };
        if !numbers.iter().all(within) {
            return Err("it has rows outside the times that its commit says".to_owned());
        }
        for number in numbers {
            *self.times.entry(number).or_insert(0) += 1;
        }
        Ok(())
    }
}

/// The numbers of a file's rows, by a hash of its bytes.
pub type Parsed = BTreeMap<u64, Vec<u64>>;

/// A file's rows, with every column or with that of their times alone.
fn read(table: Table, bytes: Vec<u8>, all: bool) -> std::result::Result<Vec<RecordBatch>, String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(text)?;
    if !all {
        let time = [table.time_column()];
        let mask = ProjectionMask::columns(builder.parquet_schema(), time);
        builder = builder.with_projection(mask);
    }
    let batches = builder.build().map_err(text)?;
    batches
        .map(|batch| batch.map_err(|error| error.to_string()))
        .collect()
}

/// The numbers of a batch's rows.
fn numbers_of(table: Table, batch: &RecordBatch) -> std::result::Result<Vec<u64>, String> {
    let times = batch
        .column_by_name(table.time_column())
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or("it has no column of times")?;
    let number = |time: &i64| (*time as u64).wrapping_sub(FIRST);
    Ok(times.values().iter().map(number).collect())
}

/// What each row says, as a number.
fn contents(table: Table, batch: &RecordBatch) -> std::result::Result<Vec<u64>, String> {
    let schema = file_schema(table);
    let options = FormatOptions::new().with_null("(none)");
    let mut texts = vec![String::new(); batch.num_rows()];
    for field in schema.fields() {
        let column = batch
            .column_by_name(field.name())
            .ok_or_else(|| format!("it has no column {}", field.name()))?;
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)
            .map_err(|error| error.to_string())?;
        for (row, text) in texts.iter_mut().enumerate() {
            write!(text, "{}={};", field.name(), formatter.value(row))
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(texts.iter().map(|text| xxh3_64(text.as_bytes())).collect())
}

/// What the rows of a request say in a table, by number.
pub fn expected(signal: Signal, first: u64, count: u64, table: Table) -> Result<Vec<(u64, u64)>> {
    let body = request(signal, first, count);
    let decoded = otlake_decode::decode(signal, &body, "default", &RecordLimits::default())?;
    let mut rows = Rows::new(true);
    for (of, batch) in &decoded.tables {
        if *of == table {
            rows.add(table, batch)
                .map_err(|what| otlake_base::Error::new(otlake_base::Code::Internal, what))?;
        }
    }
    Ok(rows.contents.unwrap_or_default())
}
