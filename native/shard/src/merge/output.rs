//! The merged file, where rows are encoded anew.

use std::fmt::Display;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use otlake_base::checksum::Summing;
use otlake_base::disk::Writer;
use otlake_base::{Error, Result, Table};
use otlake_decode::schema::file_schema;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};

use super::window::Window;
use crate::WriteOptions;
use crate::encoding::properties;
use crate::write::{FILE_BUFFER_BYTES, io};

/// Bytes after which what is written so far is synced: one large sync at the end would hold up
/// those of the log.
pub(super) const SYNC_BYTES: usize = 4 * 1024 * 1024;

/// A file that is written through a buffer and summed.
pub(super) type Buffered = BufWriter<Summing<Writer>>;
/// The writer of a table's files.
pub(super) type FileWriter = ArrowWriter<Buffered>;

/// A writer of row groups of `rows` rows at most to an empty file.
pub(super) fn file_writer(
    table: Table,
    file: Writer,
    rows: usize,
    options: &WriteOptions,
    path: &Path,
) -> Result<FileWriter> {
    let schema = file_schema(table);
    let leaves = ArrowSchemaConverter::new()
        .convert(&schema)
        .map_err(|error| io("cannot write", path, error))?;
    let group_rows = options.row_group_rows.max(1);
    let properties = properties(table, &schema, &leaves, group_rows.min(rows), options)?;
    ArrowWriter::try_new_with_options(
        BufWriter::with_capacity(FILE_BUFFER_BYTES, Summing::new(file)),
        Arc::clone(&schema),
        // As `write`: a hint of ours would give readers views.
        ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true),
    )
    .map_err(|error| io("cannot write", path, error))
}

/// The file that is written, and its statistics.
pub(super) struct Output<'a> {
    pub(super) table: Table,
    pub(super) path: &'a Path,
    pub(super) writer: FileWriter,
    synced: usize,
    pub(super) rows: usize,
}

impl<'a> Output<'a> {
    pub(super) fn create(
        table: Table,
        file: Writer,
        rows: usize,
        options: &WriteOptions,
        path: &'a Path,
    ) -> Result<Output<'a>> {
        Ok(Output {
            table,
            path,
            writer: file_writer(table, file, rows, options, path)?,
            synced: 0,
            rows: 0,
        })
    }

    pub(super) fn failed(&self, error: impl Display) -> Error {
        io("cannot write", self.path, error)
    }

    /// Encodes the window's rows and takes them out of it.
    pub(super) fn write(&mut self, window: &mut Window) -> Result<()> {
        let Some(batch) = window.take().map_err(|error| self.failed(error))? else {
            return Ok(());
        };
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
}
