//! One input of a merge: its bytes checked, its footer read, and the sorted runs in it.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use otlake_base::checksum::BLOCK_BYTES;
use otlake_base::disk::{Disk, DiskFile};
use otlake_base::{Code, DataFile, Error, Result, Table};
use otlake_decode::schema::file_schema;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::reader::{ChunkReader, Length};

use super::MergeFailure;
use crate::encoding::{RUNS_KEY, SCHEMA_VERSION, SCHEMA_VERSION_KEY};

/// Rows that are decoded at once.
pub(super) const BATCH_ROWS: usize = 2_048;
/// The largest page and the largest dictionary that writers make by default, in bytes.
const PAGE_BYTES: i64 = 1024 * 1024;
/// What is read at once to be checked, in bytes.
const CHECK_BYTES: u64 = 16 * BLOCK_BYTES;
/// Bytes that are read at once of what is copied.
const COPY_BYTES: usize = 256 * 1024;
/// What a decoded value takes at least, in bytes: a view of a text.
const VALUE_BYTES: usize = 16;

/// A file that several readers stand in.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Box<dyn DiskFile>>>);

impl Shared {
    fn from(&self, at: u64) -> Part {
        Part {
            file: self.clone(),
            at,
        }
    }
}

/// A file from a place on.
pub(super) struct Part {
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
#[derive(Clone)]
pub(super) struct Chunks {
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
        Ok(BufReader::with_capacity(COPY_BYTES, self.file.from(start)))
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

/// A file that is being merged.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) chunks: Chunks,
    pub(super) footer: ArrowReaderMetadata,
    /// The row groups of each sorted run, in order: a flushed file is one run, and one that was
    /// copied together has those of the files it came from.
    pub(super) runs: Vec<Vec<usize>>,
}

impl Source {
    /// Checks every byte of a file and reads its footer.
    pub(super) fn open(
        table: Table,
        disk: &dyn Disk,
        root: &Path,
        input: &DataFile,
        pace: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Source, MergeFailure> {
        let corrupt = |what: &dyn std::fmt::Display| corrupt(&input.path, what);
        let io = |error: io::Error| MergeFailure {
            error: Error::new(Code::TableIo, format!("{}: {error}", input.path)),
            input: Some(input.path.clone()),
        };
        let file = disk.open(&root.join(&input.path)).map_err(io)?;
        let file = Shared(Arc::new(Mutex::new(file)));
        // A damaged row must not get good checksums in a new file (I6).
        let whole = is_whole(&file, input, pace)?;
        if !whole.map_err(io)? {
            return Err(corrupt(&"its bytes are not what was written"));
        }
        let length = file.0.lock().length().map_err(io)?;
        let chunks = Chunks { file, length };
        let options = ArrowReaderOptions::new()
            .with_schema(file_schema(table))
            .with_page_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(&chunks, options).map_err(|e| corrupt(&e))?;
        let value_of = |key: &str| {
            let pairs = footer.metadata().file_metadata().key_value_metadata()?;
            pairs.iter().find(|pair| pair.key == key)?.value.clone()
        };
        if value_of(SCHEMA_VERSION_KEY) != Some(SCHEMA_VERSION.to_string()) {
            return Err(corrupt(&"was not written by this version"));
        }
        let groups = footer.metadata().num_row_groups();
        let runs = match value_of(RUNS_KEY) {
            None => vec![(0..groups).collect()],
            Some(text) => {
                runs(&text, groups).ok_or_else(|| corrupt(&"its sorted runs are not its groups"))?
            }
        };
        Ok(Source {
            path: input.path.clone(),
            bytes: input.size,
            chunks,
            footer,
            runs,
        })
    }

    /// What decoding all its columns holds in memory, in bytes, estimated from its footer.
    pub(super) fn memory_bytes(&self) -> usize {
        self.runs.len() * memory_bytes(self.footer.metadata())
    }

    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.footer.metadata().file_metadata().num_rows()).unwrap_or(0)
    }
}

pub(super) fn corrupt(path: &str, what: impl std::fmt::Display) -> MergeFailure {
    MergeFailure {
        error: Error::new(Code::TableCorrupt, format!("{path}: {what}")),
        input: Some(path.to_owned()),
    }
}

/// Reads how many row groups each run has.
fn runs(text: &str, groups: usize) -> Option<Vec<Vec<usize>>> {
    let mut next = 0;
    let mut runs = Vec::new();
    for part in text.split(',') {
        let count: usize = part.parse().ok()?;
        let end = next + count;
        if count == 0 || end > groups {
            return None;
        }
        runs.push((next..end).collect());
        next = end;
    }
    (next == groups).then_some(runs)
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
