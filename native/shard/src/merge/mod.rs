//! Several files of one partition into one.
//!
//! ```text
//!  file --run--\                        full row groups, no span twice
//!  file --run---+--> is a span there twice? ------------------------------> copy
//!  file --run--/               |
//!                              v
//!    next row in the table's order --> seen already? --> window --> encoder
//!                                      (spans only)     8,192 rows
//! ```
//!
//! Encoding rows anew costs as much as receiving, storing and flushing them did, so it is done
//! only where it gains something: where row groups are small, or a span has to go. Otherwise
//! row groups are copied with their pages, filters and indexes as they are, and the file says in
//! its metadata which of them form a sorted run each.
//!
//! Equal spans have equal sort keys, so they meet in the order of all rows and are compared
//! there. What is in memory does not grow with the files: of each run a page of every decoded
//! column and one batch, the window, and one encoded row group.
//!
//! - `source`: one file, its bytes checked, its footer, its runs.
//! - `cursor`: one run, row by row, in its own order.
//! - `kway`: the rows of all runs in the order of all.
//! - `repeats`: finds rows that are the same span.
//! - `window`: the rows on their way to the encoder, as indices into the batches they are in.
//! - `output`: the encoder.
//! - `copy`: row groups as they are.

mod copy;
mod cursor;
mod kway;
mod output;
mod repeats;
mod source;
mod window;

use std::path::Path;

use otlake_base::{Code, DataFile, Error, Result, Table};

use crate::write::{Staged, Undo};
use crate::{WriteOptions, Written};
use cursor::Cursor;
use kway::{Sink, each_row};
use output::Output;
use repeats::Repeats;
use source::Source;
use window::Window;

/// Files that one merge reads at once, at most.
pub const MERGE_FILES: usize = 64;
/// The columns that tell whether two spans may be one.
const SPAN_KEYS: [&str; 4] = [
    "service_name",
    "start_time_unix_nano",
    "trace_id",
    "span_id",
];
/// What looking for such spans holds in memory for each run, in bytes: of each of these columns
/// a page and a batch.
const PROBE_RUN_BYTES: usize = 512 * 1024;

/// How a merge is done.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// How the file is written.
    pub write: WriteOptions,
    /// Bytes that reading may hold in memory. Files that do not fit beside the first two are
    /// left for another merge.
    pub memory_bytes: usize,
    /// Files whose row groups have this many rows on average are copied and not encoded anew.
    pub copy_group_rows: usize,
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
    let mut sources = open(table, root, inputs, options, pace)?;
    let twice = table == Table::Spans
        && sources.iter().any(|source| copy::can_copy(source, options))
        && any_twice(&sources, pace)?;
    if twice {
        sources.truncate(fitting(&sources, options, Source::memory_bytes));
    }
    let (whole, anew): (Vec<&Source>, Vec<&Source>) = sources
        .iter()
        .partition(|source| !twice && copy::can_copy(source, options));
    let mut undo = Undo::on(&options.write.disk);
    let first = &inputs[0];
    let (staged, file) = Staged::create(root, &first.tenant, first.day, &mut undo)?;
    let rows = sources.iter().map(Source::rows).sum();
    let mut out = Output::create(table, file, rows, &options.write, &staged.path)?;
    let duplicates = encode(table, &anew, &mut out, pace)?;
    let (mut file, sums, stats, written) = copy::finish(out, &whole, pace)?;
    let inputs = inputs[..sources.len()].to_vec();
    let known: u64 = inputs.iter().map(|input| input.rows).sum();
    if written as u64 + duplicates != known {
        let message = format!("{written} rows were written of files with {known}");
        return Err(Error::new(Code::TableCorrupt, message).into());
    }
    let output = staged.publish(table, &mut file, sums, &stats, written, &mut undo)?;
    undo.paths.clear();
    Ok(Merged {
        inputs,
        output,
        duplicates,
    })
}

/// How many sources, from the first on, fit in memory side by side; two in any case.
fn fitting(
    sources: &[Source],
    options: &MergeOptions,
    memory_bytes: impl Fn(&Source) -> usize,
) -> usize {
    let mut held = 0;
    let fits = |source: &&Source| {
        held += memory_bytes(source);
        held <= options.memory_bytes
    };
    sources.iter().take_while(fits).count().max(2)
}

/// Opens the files that fit in memory side by side, from the first on.
fn open(
    table: Table,
    root: &Path,
    inputs: &[DataFile],
    options: &MergeOptions,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Source>, MergeFailure> {
    let mut sources: Vec<Source> = Vec::new();
    for input in inputs.iter().take(MERGE_FILES) {
        let source = Source::open(table, &*options.write.disk, root, input, pace)?;
        sources.push(source);
        let fit = fitting(&sources, options, |source| {
            if copy::can_copy(source, options) {
                source.runs.len() * PROBE_RUN_BYTES
            } else {
                source.memory_bytes()
            }
        });
        if sources.len() > fit {
            sources.truncate(fit);
            break;
        }
    }
    if sources.len() < 2 {
        return Err(Error::new(Code::Internal, "a merge of fewer than two files").into());
    }
    Ok(sources)
}

/// A cursor for each run of all sources.
fn cursors<'a>(
    table: Table,
    sources: impl IntoIterator<Item = &'a Source>,
    wanted: Option<&[&str]>,
) -> Result<Vec<Cursor>, MergeFailure> {
    let runs = sources
        .into_iter()
        .flat_map(|source| source.runs.iter().map(move |run| (source, run)));
    runs.enumerate()
        .map(|(number, (source, run))| Cursor::open(table, source, run, number, wanted))
        .collect()
}

/// Looks for spans with the same ids and start.
struct Probe<'a> {
    repeats: Repeats,
    found: bool,
    bytes_per_row: u64,
    pace: &'a mut dyn FnMut(u64) -> Result<()>,
}

impl Sink for Probe<'_> {
    fn row(&mut self, cursor: &Cursor, window: &mut Window) {
        self.found |= self.repeats.seen(cursor, window);
    }

    fn part(&mut self, taken: u64, window: &mut Window, cursors: &mut [Cursor]) -> Result<()> {
        window.compact(cursors, Some(&mut self.repeats));
        (self.pace)(taken * self.bytes_per_row)
    }
}

/// Whether two spans have the same ids and start, so that they may be one.
fn any_twice(
    sources: &[Source],
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<bool, MergeFailure> {
    let mut cursors = cursors(Table::Spans, sources, Some(&SPAN_KEYS))?;
    let mut probe = Probe {
        repeats: Repeats::default(),
        found: false,
        bytes_per_row: 32,
        pace,
    };
    each_row(Table::Spans, &mut cursors, &mut probe)?;
    Ok(probe.found)
}

/// Encodes rows, the same span once.
struct Encode<'a, 'b> {
    out: &'a mut Output<'b>,
    repeats: Option<Repeats>,
    duplicates: u64,
    bytes: u64,
    rows: u64,
    pace: &'a mut dyn FnMut(u64) -> Result<()>,
}

impl Sink for Encode<'_, '_> {
    fn row(&mut self, cursor: &Cursor, window: &mut Window) {
        let repeats = self.repeats.as_mut();
        if repeats.is_some_and(|repeats| repeats.seen(cursor, window)) {
            self.duplicates += 1;
        } else {
            window.rows.push(cursor.place());
        }
    }

    fn part(&mut self, taken: u64, window: &mut Window, cursors: &mut [Cursor]) -> Result<()> {
        self.out.write(window)?;
        window.compact(cursors, self.repeats.as_mut());
        let share = u128::from(self.bytes) * u128::from(taken) / u128::from(self.rows.max(1));
        // What is read and what is written are about the same.
        (self.pace)(2 * share as u64)
    }
}

/// Writes the rows of the sources in the order of all; how many spans were there once more.
fn encode(
    table: Table,
    sources: &[&Source],
    out: &mut Output<'_>,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64, MergeFailure> {
    let mut cursors = cursors(table, sources.iter().copied(), None)?;
    let mut sink = Encode {
        out,
        repeats: (table == Table::Spans).then(Repeats::default),
        duplicates: 0,
        bytes: sources.iter().map(|source| source.bytes).sum(),
        rows: sources.iter().map(|source| source.rows() as u64).sum(),
        pace,
    };
    each_row(table, &mut cursors, &mut sink)?;
    Ok(sink.duplicates)
}
