//! Several sorted files of one partition into one: a k-way merge that streams.
//!
//! ```text
//!  file --cursor--\
//!  file --cursor---+--> next row in the table's order --> seen already? --> window --> writer
//!  file --cursor--/                                       (spans only)     8,192 rows
//! ```
//!
//! What is in memory does not grow with the files: of each file a page of every column and one
//! batch, the window, and one encoded row group. Equal spans have equal sort keys, so they meet
//! in the merge and are compared there, column by column.
//!
//! - `cursor`: one file, row by row, in its own order.
//! - `repeats`: finds rows that are the same span.
//! - `window`: the rows on their way to the writer, as indices into the batches they are in.

mod cursor;
mod repeats;
mod window;

use std::fmt::Display;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use otlake_base::checksum::{BlockSums, Summing};
use otlake_base::disk::Writer;
use otlake_base::{Code, DataFile, Error, Result, Table};
use otlake_decode::schema::file_schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};

use crate::encoding::properties;
use crate::stats::{Stats, stats_columns};
use crate::write::{FILE_BUFFER_BYTES, Staged, Undo, io};
use crate::{WriteOptions, Written};
use cursor::Cursor;
use repeats::Repeats;
use window::Window;

/// Rows that go to the writer at once.
const WINDOW_ROWS: usize = 8_192;
/// Bytes after which what is written so far is synced: one large sync at the end would hold up
/// those of the log.
const SYNC_BYTES: usize = 4 * 1024 * 1024;
/// Files that one merge reads at once, at most.
pub const MERGE_FILES: usize = 64;

/// How a merge is done.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// How the file is written.
    pub write: WriteOptions,
    /// Bytes that reading may hold in memory. Files that do not fit beside the first two are
    /// left for another merge.
    pub memory_bytes: usize,
}

/// What a merge came to. Nothing refers to the file yet.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The files whose rows are in `output`; at least two.
    pub inputs: Vec<DataFile>,
    /// The new file, durable.
    pub output: Written,
    /// Spans that were there more than once and were left out.
    pub duplicates: u64,
}

/// Why a merge failed.
#[derive(Debug)]
pub struct MergeFailure {
    /// What happened.
    pub error: Error,
    /// The file that cannot be merged, where one is to blame.
    pub input: Option<String>,
}

impl From<Error> for MergeFailure {
    fn from(error: Error) -> Self {
        Self { error, input: None }
    }
}

/// Merges `inputs`, files of one partition of `table` below `root`, in the order given as far as
/// memory allows. Blocks. `pace` is told of bytes read and written, after every so many rows; it
/// may wait, or end the merge with an error.
///
/// # Errors
/// `TABLE_IO`; `TABLE_CORRUPT` for a file that is damaged, of another schema or not sorted;
/// what `pace` says. What was written is removed.
pub fn merge(
    table: Table,
    root: &Path,
    inputs: &[DataFile],
    options: &MergeOptions,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Merged, MergeFailure> {
    let mut cursors = open(table, root, inputs, options, pace)?;
    let inputs: Vec<DataFile> = inputs[..cursors.len()].to_vec();
    let mut undo = Undo::on(&options.write.disk);
    let (output, duplicates) =
        merge_into(table, root, &inputs, &mut cursors, options, pace, &mut undo)?;
    undo.paths.clear();
    Ok(Merged {
        inputs,
        output,
        duplicates,
    })
}

/// Opens the files that fit in memory side by side, from the first on.
fn open(
    table: Table,
    root: &Path,
    inputs: &[DataFile],
    options: &MergeOptions,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Cursor>, MergeFailure> {
    let mut cursors: Vec<Cursor> = Vec::new();
    let mut held = 0;
    for (number, input) in inputs.iter().take(MERGE_FILES).enumerate() {
        let cursor = Cursor::open(table, &*options.write.disk, root, input, number, pace)?;
        held += cursor.memory_bytes();
        if cursors.len() >= 2 && held > options.memory_bytes {
            break;
        }
        cursors.push(cursor);
    }
    if cursors.len() < 2 {
        return Err(Error::new(Code::Internal, "a merge of fewer than two files").into());
    }
    Ok(cursors)
}

fn merge_into(
    table: Table,
    root: &Path,
    inputs: &[DataFile],
    cursors: &mut [Cursor],
    options: &MergeOptions,
    pace: &mut dyn FnMut(u64) -> Result<()>,
    undo: &mut Undo,
) -> Result<(Written, u64), MergeFailure> {
    let rows: u64 = inputs.iter().map(|input| input.rows).sum();
    let bytes: u64 = inputs.iter().map(|input| input.size).sum();
    let (staged, file) = Staged::create(root, &inputs[0].tenant, inputs[0].day, undo)?;
    let mut out = Output::create(table, file, rows, options, &staged.path)?;
    let mut window = Window::new(table);
    let mut repeats = (table == Table::Spans).then(Repeats::default);
    let mut duplicates = 0;

    for cursor in cursors.iter_mut() {
        cursor.fill(&mut window)?;
    }
    // Cursors by their current row, the least one last.
    let mut order: Vec<usize> = (0..cursors.len())
        .filter(|number| !cursors[*number].done())
        .collect();
    order.sort_by(|a, b| cursors[*b].compare(&cursors[*a]));
    let mut taken: u64 = 0;
    while let Some(least) = order.pop() {
        // The same file is often the least for many rows: it goes on until another is.
        loop {
            let cursor = &mut cursors[least];
            let same = repeats
                .as_mut()
                .is_some_and(|repeats| repeats.seen(cursor, &window));
            if same {
                duplicates += 1;
            } else {
                window.rows.push(cursor.place());
            }
            taken += 1;
            cursor.advance(&mut window)?;
            if taken.is_multiple_of(WINDOW_ROWS as u64) {
                out.write(&mut window)?;
                window.compact(cursors, repeats.as_mut());
                // What is read and what is written are about the same.
                pace(2 * share(bytes, WINDOW_ROWS as u64, rows))?;
            }
            let cursor = &cursors[least];
            if cursor.done() {
                break;
            }
            let next = order.last().map(|next| cursor.compare(&cursors[*next]));
            if next.is_some_and(|ordering| ordering.is_gt()) {
                let at = order.partition_point(|other| cursors[*other].compare(cursor).is_gt());
                order.insert(at, least);
                break;
            }
        }
    }
    out.write(&mut window)?;
    pace(2 * share(bytes, taken % WINDOW_ROWS as u64, rows))?;
    if taken != rows {
        let message = format!("{taken} rows were read of files with {rows}");
        return Err(Error::new(Code::TableCorrupt, message).into());
    }
    let (mut file, sums, stats, written) = out.finish()?;
    let output = staged.publish(table, &mut file, sums, &stats, written, undo)?;
    Ok((output, duplicates))
}

fn share(bytes: u64, rows: u64, all: u64) -> u64 {
    (u128::from(bytes) * u128::from(rows) / u128::from(all.max(1))) as u64
}

/// The file that is written, and its statistics.
struct Output<'a> {
    table: Table,
    path: &'a Path,
    writer: ArrowWriter<BufWriter<Summing<Writer>>>,
    synced: usize,
    stats: Stats,
    rows: usize,
}

impl<'a> Output<'a> {
    fn create(
        table: Table,
        file: Writer,
        rows: u64,
        options: &MergeOptions,
        path: &'a Path,
    ) -> Result<Output<'a>> {
        let schema = file_schema(table);
        let leaves = ArrowSchemaConverter::new()
            .convert(&schema)
            .map_err(|error| io("cannot write", path, error))?;
        let group_rows = options.write.row_group_rows.max(1);
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let properties = properties(
            table,
            &schema,
            &leaves,
            group_rows.min(rows),
            &options.write,
        )?;
        let writer = ArrowWriter::try_new_with_options(
            BufWriter::with_capacity(FILE_BUFFER_BYTES, Summing::new(file)),
            Arc::clone(&schema),
            // As `write`: a hint of ours would give readers views.
            ArrowWriterOptions::new()
                .with_properties(properties)
                .with_skip_arrow_metadata(true),
        )
        .map_err(|error| io("cannot write", path, error))?;
        Ok(Output {
            table,
            path,
            writer,
            synced: 0,
            stats: Stats::default(),
            rows: 0,
        })
    }

    fn failed(&self, error: impl Display) -> Error {
        io("cannot write", self.path, error)
    }

    /// Encodes the window's rows and takes them out of it.
    fn write(&mut self, window: &mut Window) -> Result<()> {
        let Some(batch) = window.take().map_err(|error| self.failed(error))? else {
            return Ok(());
        };
        for name in stats_columns(self.table) {
            if let Some(column) = batch.column_by_name(name) {
                self.stats.add(name, column);
            }
        }
        self.rows += batch.num_rows();
        self.writer
            .write(&batch)
            .map_err(|error| self.failed(error))?;
        if self.writer.bytes_written() >= self.synced + SYNC_BYTES {
            self.synced = self.writer.bytes_written();
            let file = self.writer.inner_mut().get_mut().get_mut();
            file.0
                .sync()
                .map_err(|error| io("cannot sync", self.path, error))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(Writer, BlockSums, Stats, usize)> {
        let path = self.path;
        let failed = |error: &dyn Display| io("cannot write", path, error);
        let buffered = self.writer.into_inner().map_err(|error| failed(&error))?;
        let summing = buffered
            .into_inner()
            .map_err(|error| failed(&error.error()))?;
        let (file, sums) = summing.finish();
        Ok((file, sums, self.stats, self.rows))
    }
}
