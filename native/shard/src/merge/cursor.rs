//! One file, row by row, in its own order.

use std::cmp::Ordering;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use otlake_base::checksum::BLOCK_BYTES;
use otlake_base::disk::{Disk, DiskFile};
use otlake_base::{Code, DataFile, Error, Result, Table};
use otlake_decode::schema::file_schema;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::MergeFailure;
use super::window::Window;
use crate::encoding::{SCHEMA_VERSION, SCHEMA_VERSION_KEY};
use crate::order::sort_columns;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 2_048;
/// The largest page and the largest dictionary that writers make by default, in bytes.
const PAGE_BYTES: i64 = 1024 * 1024;
/// What is read at once to be checked, in bytes.
const CHECK_BYTES: u64 = 16 * BLOCK_BYTES;
/// What a decoded value takes at least, in bytes: a view of a text.
const VALUE_BYTES: usize = 16;

/// A file that several readers stand in.
#[derive(Clone)]
struct Shared(Arc<Mutex<Box<dyn DiskFile>>>);

impl Shared {
    fn from(&self, at: u64) -> Part {
        Part {
            file: self.clone(),
            at,
        }
    }
}

/// A file from a place on.
struct Part {
    file: Shared,
    at: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.0.lock().read_at(self.at, into)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A file of a disk as Parquet's library reads files.
struct Chunks {
    file: Shared,
    length: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Part>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(self.file.from(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // The place and the length are the file's word, and can be damaged.
        if start.saturating_add(length as u64) > self.length {
            let end = format!("{length} bytes at {start} of {}", self.length);
            return Err(parquet::errors::ParquetError::EOF(end));
        }
        let mut bytes = vec![0; length];
        self.file.from(start).read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The sort columns of the current batch.
struct Keys {
    text: StringViewArray,
    numbers: Vec<ScalarBuffer<i64>>,
}

/// A file that is being merged.
pub(super) struct Cursor {
    path: String,
    number: usize,
    columns: &'static [&'static str],
    reader: ParquetRecordBatchReader,
    memory_bytes: usize,
    keys: Option<Keys>,
    /// The current batch in the window, its rows, and the current one of them.
    batch: usize,
    rows: usize,
    row: usize,
}

impl Cursor {
    pub(super) fn open(
        table: Table,
        disk: &dyn Disk,
        root: &Path,
        input: &DataFile,
        number: usize,
        pace: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Cursor, MergeFailure> {
        let blame = |error: Error| MergeFailure {
            error,
            input: Some(input.path.clone()),
        };
        let corrupt = |what: &dyn std::fmt::Display| {
            blame(Error::new(
                Code::TableCorrupt,
                format!("{}: {what}", input.path),
            ))
        };
        let io = |error: io::Error| {
            let message = format!("{}: {error}", input.path);
            blame(Error::new(Code::TableIo, message))
        };
        let file = disk.open(&root.join(&input.path)).map_err(io)?;
        let file = Shared(Arc::new(Mutex::new(file)));
        // A damaged row must not get good checksums in a new file (I6).
        let whole = is_whole(&file, input, pace)?;
        if !whole.map_err(io)? {
            return Err(corrupt(&"its bytes are not what was written"));
        }
        let options = ArrowReaderOptions::new().with_schema(file_schema(table));
        let length = file.0.lock().length().map_err(io)?;
        let chunks = Chunks { file, length };
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(chunks, options)
            .map_err(|error| corrupt(&error))?;
        let version = SCHEMA_VERSION.to_string();
        let ours = builder
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .is_some_and(|pairs| {
                pairs.iter().any(|pair| {
                    pair.key == SCHEMA_VERSION_KEY && pair.value.as_ref() == Some(&version)
                })
            });
        if !ours {
            return Err(corrupt(&"was not written by this version"));
        }
        let memory_bytes = memory_bytes(builder.metadata());
        let reader = builder
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| corrupt(&error))?;
        Ok(Cursor {
            path: input.path.clone(),
            number,
            columns: sort_columns(table),
            reader,
            memory_bytes,
            keys: None,
            batch: 0,
            rows: 0,
            row: 0,
        })
    }

    /// What reading it holds in memory, in bytes, estimated from its footer.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Puts the next batch into the window; at the end of the file there is none.
    pub(super) fn fill(&mut self, window: &mut Window) -> Result<(), MergeFailure> {
        self.keys = None;
        while let Some(batch) = self.reader.next() {
            let batch = batch.map_err(|error| self.corrupt(error))?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.keys = Some(self.keys_of(&batch)?);
            self.rows = batch.num_rows();
            self.row = 0;
            self.batch = window.hold(batch);
            break;
        }
        Ok(())
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Keys, MergeFailure> {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| self.corrupt(format!("there is no `{name}`")))
        };
        let text = column(self.columns[0])?
            .as_string_view_opt()
            .ok_or_else(|| self.corrupt("a sort column of another type"))?
            .clone();
        let numbers = self.columns[1..]
            .iter()
            .map(|name| {
                let array = column(name)?.as_primitive_opt::<Int64Type>();
                let array = array.ok_or_else(|| self.corrupt("a sort column of another type"))?;
                Ok(array.values().clone())
            })
            .collect::<Result<_, MergeFailure>>()?;
        Ok(Keys { text, numbers })
    }

    fn corrupt(&self, what: impl std::fmt::Display) -> MergeFailure {
        MergeFailure {
            error: Error::new(Code::TableCorrupt, format!("{}: {what}", self.path)),
            input: Some(self.path.clone()),
        }
    }

    /// Whether every row was passed.
    pub(super) fn done(&self) -> bool {
        self.keys.is_none()
    }

    /// The current row, as (batch, row) in the window.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.batch, self.row)
    }

    /// The batch in the window that the cursor stands in.
    pub(super) fn batch_mut(&mut self) -> Option<&mut usize> {
        self.keys.is_some().then_some(&mut self.batch)
    }

    /// The current row's sort key: text, then up to two numbers.
    pub(super) fn key(&self) -> Option<(Option<&str>, i64, i64)> {
        self.keys.as_ref().map(|keys| keys.at(self.row))
    }

    /// Goes to the next row.
    pub(super) fn advance(&mut self, window: &mut Window) -> Result<(), MergeFailure> {
        if self.row + 1 < self.rows {
            self.row += 1;
            let sorted = self
                .keys
                .as_ref()
                .is_none_or(|keys| keys.at(self.row - 1) <= keys.at(self.row));
            if !sorted {
                return Err(self.corrupt("its rows are not sorted"));
            }
            return Ok(());
        }
        let last = self
            .key()
            .map(|(text, first, second)| (text.map(str::to_owned), first, second));
        self.fill(window)?;
        let sorted = match (&last, self.key()) {
            (Some((text, first, second)), Some(key)) => (text.as_deref(), *first, *second) <= key,
            _ => true,
        };
        if sorted {
            Ok(())
        } else {
            Err(self.corrupt("its rows are not sorted"))
        }
    }

    /// The order of the current rows; of equal ones, that of the files.
    pub(super) fn compare(&self, other: &Cursor) -> Ordering {
        self.key()
            .cmp(&other.key())
            .then(self.number.cmp(&other.number))
    }
}

impl Keys {
    fn at(&self, row: usize) -> (Option<&str>, i64, i64) {
        let text = self.text.is_valid(row).then(|| self.text.value(row));
        let number = |index: usize| self.numbers.get(index).map_or(0, |values| values[row]);
        (text, number(0), number(1))
    }
}

/// Whether the file has the bytes that its checksums are of; what has none passes.
fn is_whole(
    file: &Shared,
    input: &DataFile,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<io::Result<bool>> {
    let Some(sums) = &input.sums else {
        return Ok(Ok(true));
    };
    let mut blocks = Vec::with_capacity(CHECK_BYTES as usize);
    let mut offset = 0;
    while offset < input.size {
        blocks.clear();
        if let Err(error) = file.from(offset).take(CHECK_BYTES).read_to_end(&mut blocks) {
            return Ok(Err(error));
        }
        if blocks.is_empty() || sums.first_damaged(offset, &blocks).is_some() {
            return Ok(Ok(false));
        }
        offset += blocks.len() as u64;
        pace(blocks.len() as u64)?;
    }
    Ok(Ok(offset == input.size))
}

/// Of each column a page and a dictionary, and one decoded batch.
fn memory_bytes(metadata: &ParquetMetaData) -> usize {
    let largest = |group: &parquet::file::metadata::RowGroupMetaData| -> usize {
        let pages: i64 = group
            .columns()
            .iter()
            .map(|column| column.uncompressed_size().clamp(0, 2 * PAGE_BYTES))
            .sum();
        let rows = usize::try_from(group.num_rows())
            .unwrap_or(0)
            .min(BATCH_ROWS);
        pages as usize + rows * group.columns().len() * VALUE_BYTES
    };
    metadata.row_groups().iter().map(largest).max().unwrap_or(0)
}
