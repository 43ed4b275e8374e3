//! The merged file, where rows are encoded anew.

use std::fmt::Display;
use std::path::Path;

use otlake_base::disk::Writer;
use otlake_base::{Error, Result, Table};

use super::window::Window;
use crate::WriteOptions;
use crate::write::{FileWriter, file_writer, io};

/// Bytes after which what is written so far is synced: one large sync at the end would hold up
/// those of the log.
pub(super) const SYNC_BYTES: usize = 4 * 1024 * 1024;

/// The file that is written.
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
