//! Loads a table whose log may be damaged: what the commits still tell is rebuilt from them.

use std::io;

use deltalake_core::{DeltaTable, DeltaTableError};
use futures::future::BoxFuture;
use otlake_base::disk::Disk;
use otlake_base::{Code, Error, Result, Table};

use crate::durable_store::{Damage, DurableStore};
use crate::integrity::{Kind, sums_name};

/// Damaged checkpoints that one load sets aside; a log holds few.
const CHECKPOINTS_SET_ASIDE: usize = 8;

/// A log that is there but cannot be understood, unless storage itself failed.
pub(crate) fn unreadable(table: Table, error: DeltaTableError) -> Error {
    let code = match &error {
        DeltaTableError::ObjectStore { .. } | DeltaTableError::Io { .. } => Code::TableIo,
        _ => Code::TableCorrupt,
    };
    Error::new(
        code,
        format!("{}: cannot load the table: {error}", table.name()),
    )
}

/// Loads the newest version and has `read` take from it what it needs. A damaged checkpoint is
/// renamed to `….damaged`, and the version is made from the commits before and after it.
///
/// # Errors
/// `TABLE_CORRUPT` for a damaged commit, or where commits that the checkpoint stood for are gone;
/// `TABLE_IO`; what `read` fails with.
pub(crate) async fn load_newest<T>(
    table: Table,
    delta: &mut DeltaTable,
    store: &DurableStore,
    read: impl for<'a> Fn(&'a DeltaTable) -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    for _ in 0..CHECKPOINTS_SET_ASIDE {
        store.take_damage();
        let loaded = match delta.load().await {
            Ok(()) => read(delta).await,
            Err(error) => Err(unreadable(table, error)),
        };
        let error = match loaded {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        match store.take_damage() {
            Some(damage) if damage.kind == Kind::Checkpoint => {
                set_aside(store.disk(), &damage).map_err(|failure| {
                    Error::new(
                        Code::TableIo,
                        format!("{}: cannot set a checkpoint aside: {failure}", table.name()),
                    )
                })?;
                tracing::warn!(
                    target: "otlake::catalog", table = table.name(),
                    path = %damage.path.display(),
                    "a damaged checkpoint is set aside, and the table read from its commits"
                );
            }
            Some(damage) => return Err(damage.error),
            None => return Err(error),
        }
    }
    let message = format!("{}: every checkpoint is damaged", table.name());
    Err(Error::new(Code::TableCorrupt, message))
}

fn set_aside(disk: &dyn Disk, damage: &Damage) -> io::Result<()> {
    let path = &damage.path;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    disk.rename(path, aside.as_ref())?;
    // The hint may lead to it; a reader finds what is there without one.
    for name in ["_last_checkpoint".to_owned(), sums_name("_last_checkpoint")] {
        match disk.remove(&path.with_file_name(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    path.parent()
        .map_or(Ok(()), |folder| disk.sync_folder(folder))
}
