//! Row groups one after the other, copied as they are encoded.

use std::path::Path;

use otlake_base::checksum::BlockSums;
use otlake_base::disk::Writer;
use otlake_base::{Result, Table};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::output::{Buffered, SYNC_BYTES, close, file_writer};
use super::source::{Source, corrupt, runs_text};
use super::{MergeFailure, MergeOptions};
use crate::encoding::RUNS_KEY;
use crate::stats::Stats;
use crate::write::io;

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

/// Writes the row groups of all sources to an empty file.
pub(super) fn copy(
    table: Table,
    sources: &[Source],
    file: Writer,
    options: &MergeOptions,
    path: &Path,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<(Writer, BlockSums, Stats, usize), MergeFailure> {
    let failed = |error: ParquetError| io("cannot write", path, error);
    let rows: usize = sources.iter().map(Source::rows).sum();
    let writer = file_writer(table, file, rows, &options.write, path)?;
    let (mut writer, _) = writer.into_serialized_writer().map_err(failed)?;
    let mut synced = 0;
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
    }
    writer.append_key_value_metadata(KeyValue::new(RUNS_KEY.to_owned(), runs_text(sources)));
    Ok(close(table, writer, path, rows)?)
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
