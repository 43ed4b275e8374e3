//! Reads every file of a table and tells what is damaged, beside a running node or without one.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake_core::DeltaTableBuilder;
use otlake_base::checksum::{BLOCK_BYTES, BlockSums, Checked};
use otlake_base::disk::{Disk, Reader, read};
use otlake_base::{Code, DataFile, Error, Metrics, Result, Table};

use crate::durable_store::{DurableStore, sums_beside};
use crate::handle::location;
use crate::integrity::{self, Kind, Verdict};
use crate::recover::unreadable;
use crate::snapshot::files;

/// The files of a table's log that readers depend on, in the order of their names, with their bytes.
///
/// # Errors
/// `TABLE_IO` where the folder cannot be listed.
pub fn log_files(disk: &dyn Disk, root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let folder = root.join("_delta_log");
    let list = || -> io::Result<Vec<(PathBuf, u64)>> {
        let mut paths = Vec::new();
        for (name, status) in disk.list_with_status(&folder)? {
            let path = folder.join(name);
            if path.to_str().and_then(Kind::of).is_some() {
                paths.push((path, status.bytes));
            }
        }
        paths.sort();
        Ok(paths)
    };
    list().map_err(|error| Error::new(Code::TableIo, format!("{}: {error}", folder.display())))
}

/// The files that the newest version names.
///
/// # Errors
/// `TABLE_CORRUPT`, `TABLE_IO` where the version cannot be read. Nothing is repaired.
pub async fn data_files(disk: Arc<dyn Disk>, table: Table, root: &Path) -> Result<Vec<DataFile>> {
    let io = |error: &dyn std::fmt::Display| {
        Error::new(Code::TableIo, format!("{}: {error}", root.display()))
    };
    let root = disk.canonical(root).map_err(|error| io(&error))?;
    let url = location(&root).ok_or_else(|| io(&"not a folder"))?;
    let store = DurableStore::new(disk, Arc::new(Metrics::new()));
    let backend = Arc::new(store.clone());
    let mut delta = DeltaTableBuilder::from_url(url.clone())
        .map(|builder| builder.with_storage_backend(backend, url))
        .and_then(DeltaTableBuilder::build)
        .map_err(|error| unreadable(table, error))?;
    let loaded = match delta.load().await {
        Ok(()) => delta
            .snapshot()
            .map_err(|error| unreadable(table, error))
            .and_then(|state| files(table, state)),
        Err(error) => Err(unreadable(table, error)),
    };
    loaded.map_err(|error| match store.take_damage() {
        Some(damage) => damage.error,
        None => error,
    })
}

/// Checks one file of a table's log.
///
/// # Errors
/// `TABLE_IO` where it cannot be read.
pub fn check_log_file(disk: &dyn Disk, path: &Path) -> Result<Checked> {
    let Some(kind) = path.to_str().and_then(Kind::of) else {
        return Ok(Checked::NoChecksum);
    };
    let check = || -> io::Result<Checked> {
        let bytes = match read(disk, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checked::Gone),
            read => read?,
        };
        let verdict = match kind {
            Kind::Commit => integrity::check_commit(&bytes),
            Kind::Checkpoint | Kind::Hint => {
                integrity::check_beside(&bytes, sums_beside(disk, path)?.as_deref())
            }
        };
        Ok(match verdict {
            Verdict::Whole => Checked::Whole,
            Verdict::Unknown => Checked::NoChecksum,
            Verdict::Damaged(what) => Checked::Damaged(what.to_owned()),
        })
    };
    check().map_err(|error| Error::new(Code::TableIo, format!("{}: {error}", path.display())))
}

/// Checks every block of a data file below `root`.
///
/// # Errors
/// `TABLE_IO` where it cannot be read.
pub fn check_data_file(disk: &dyn Disk, root: &Path, file: &DataFile) -> Result<Checked> {
    let path = root.join(&file.path);
    let io = |error: io::Error| Error::new(Code::TableIo, format!("{}: {error}", path.display()));
    let opened = match Reader::open(disk, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Checked::Gone),
        opened => opened.map_err(io)?,
    };
    let length = opened.length().map_err(io)?;
    if length != file.size {
        let text = format!("it has {length} bytes instead of {}", file.size);
        return Ok(Checked::Damaged(text));
    }
    let Some(sums) = &file.sums else {
        return Ok(Checked::NoChecksum);
    };
    damaged_block(sums, opened)
        .map_err(io)
        .map(|damaged| match damaged {
            None => Checked::Whole,
            Some(block) => Checked::Damaged(format!(
                "bytes {} to {} are not what was written",
                block * BLOCK_BYTES,
                ((block + 1) * BLOCK_BYTES).min(file.size)
            )),
        })
}

/// The first damaged block of a file, read piece by piece.
fn damaged_block(sums: &BlockSums, mut file: Reader) -> io::Result<Option<u64>> {
    let mut buffer = Vec::with_capacity(BLOCK_BYTES as usize);
    let mut offset = 0;
    loop {
        buffer.clear();
        file.by_ref().take(BLOCK_BYTES).read_to_end(&mut buffer)?;
        if buffer.is_empty() {
            return Ok(None);
        }
        if let Some(block) = sums.first_damaged(offset, &buffer) {
            return Ok(Some(block));
        }
        offset += BLOCK_BYTES;
    }
}
