//! Row groups one after the other, copied as they are encoded.

use std::fmt::Display;
use std::path::Path;

use otlake_base::Result;
use otlake_base::checksum::BlockSums;
use otlake_base::disk::Writer;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::output::{Output, SYNC_BYTES};
use super::source::{Source, corrupt};
use super::{MergeFailure, MergeOptions};
use crate::encoding::RUNS_KEY;
use crate::stats::Stats;
use crate::write::{Buffered, io};

/// Whether the row groups of a file are large enough, and all there is to know of their pages
/// in its footer, to be copied.
pub(super) fn can_copy(source: &Source, options: &MergeOptions) -> bool {
    let metadata = source.footer.metadata();
    let groups = metadata.num_row_groups();
    groups > 0
        && source.rows() / groups >= options.copy_group_rows
        && metadata.column_index().is_some()
        && metadata.offset_index().is_some()
}

/// Copies the row groups of all sources behind what was encoded, and ends the file: its writer,
/// checksums and statistics, and how many rows it has.
pub(super) fn finish(
    out: Output<'_>,
    sources: &[&Source],
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<(Writer, BlockSums, Stats, usize), MergeFailure> {
    let (table, path) = (out.table, out.path);
    let failed = |error: &dyn Display| io("cannot write", path, error);
    let copied: usize = sources.iter().map(|source| source.rows()).sum();
    let rows = out.rows + copied;
    let (mut writer, _) = out
        .writer
        .into_serialized_writer()
        .map_err(|error| failed(&error))?;
    let mut runs = vec![writer.flushed_row_groups().len()];
    let mut synced = writer.bytes_written();
    for source in sources {
        for group in 0..source.footer.metadata().num_row_groups() {
            let bytes = copy_group(source, group, &mut writer, path)?;
            pace(2 * bytes)?;
            if writer.bytes_written() >= synced + SYNC_BYTES {
                synced = writer.bytes_written();
                let file = writer.inner_mut().get_mut().get_mut();
                let done = file.0.sync();
                done.map_err(|error| io("cannot sync", path, error))?;
            }
        }
        runs.extend(source.runs.iter().map(Vec::len));
    }
    if !sources.is_empty() {
        let runs = runs.iter().filter(|groups| **groups > 0);
        let runs: Vec<String> = runs.map(usize::to_string).collect();
        writer.append_key_value_metadata(KeyValue::new(RUNS_KEY.to_owned(), runs.join(",")));
    }
    let mut stats = Stats::default();
    stats
        .add(table, writer.schema_descr(), writer.flushed_row_groups())
        .map_err(|error| failed(&error))?;
    let buffered = writer.into_inner().map_err(|error| failed(&error))?;
    let summing = buffered
        .into_inner()
        .map_err(|error| failed(error.error()))?;
    let (file, sums) = summing.finish();
    Ok((file, sums, stats, rows))
}

/// Copies one row group with its page index and filters; how many bytes it has.
fn copy_group(
    source: &Source,
    group: usize,
    writer: &mut SerializedFileWriter<Buffered>,
    path: &Path,
) -> Result<u64, MergeFailure> {
    let failed = |error: ParquetError| io("cannot write", path, error);
    let metadata = source.footer.metadata();
    let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
        return Err(corrupt(&source.path, "it has no page index"));
    };
    let columns = &columns[group];
    let from = metadata.row_group(group);
    let mut to = writer.next_row_group().map_err(failed)?;
    let mut bytes = 0;
    for (number, chunk) in from.columns().iter().enumerate() {
        let bloom_filter = Sbbf::read_from_column_chunk(chunk, &source.chunks)
            .map_err(|error| corrupt(&source.path, error))?;
        bytes += chunk.compressed_size() as u64;
        let close = ColumnCloseResult {
            bytes_written: chunk.compressed_size() as u64,
            rows_written: from.num_rows() as u64,
            metadata: chunk.clone(),
            bloom_filter,
            column_index: columns.get(number).cloned(),
            offset_index: offsets[group].get(number).cloned(),
        };
        to.append_column(&source.chunks, close).map_err(failed)?;
    }
    to.close().map_err(failed)?;
    Ok(bytes)
}
