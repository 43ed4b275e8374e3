//! Loads a table whose log may be damaged: what the commits still tell is rebuilt from them.

use std::io;
use std::path::Path;

use deltalake_core::{DeltaTable, DeltaTableError};
use futures::future::BoxFuture;
use otlake_base::disk::Disk;
use otlake_base::{Code, Error, Result, Table};

use crate::catalog::Sharing;
use crate::durable_store::{Damage, DurableStore};
use crate::integrity::{Kind, sums_name};
use crate::rebuild::{InLog, obstacle};

/// Damaged files that one load sets aside; a log holds few checkpoints.
const SET_ASIDE: usize = 8;

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
/// renamed to `….damaged`, and the version is made from the commits before and after it. So is a
/// damaged newest commit whose work can be done again, by what `in_log` says is in the log; the
/// version is then the one before. Not so in a shared folder: other nodes may have read the commit
/// while it was whole, and what they commit next would stand on it.
///
/// # Errors
/// `TABLE_CORRUPT` for another damaged commit, or where commits that the checkpoint stood for are
/// gone; `TABLE_IO`; what `read` fails with.
pub(crate) async fn load_newest<T>(
    table: Table,
    root: &Path,
    delta: &mut DeltaTable,
    store: &DurableStore,
    in_log: &InLog,
    sharing: Sharing,
    read: impl for<'a> Fn(&'a DeltaTable) -> BoxFuture<'a, Result<T>>,
) -> Result<T> {
    for _ in 0..SET_ASIDE {
        store.take_damage();
        let loaded = match delta.load().await {
            Ok(()) => read(delta).await,
            Err(error) => Err(unreadable(table, error)),
        };
        let error = match loaded {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let Some(damage) = store.take_damage() else {
            return Err(error);
        };
        if damage.kind == Kind::Commit {
            let obstacle = match sharing {
                Sharing::Shared => Ok(Some("other nodes may have built on it")),
                Sharing::Alone => obstacle(table, root, delta, store.disk(), &damage, in_log).await,
            };
            // The version before may be damaged, too.
            let obstacle = obstacle.map_err(|error| match store.take_damage() {
                Some(before) => before.error,
                None => error,
            })?;
            if let Some(why) = obstacle {
                let text = format!("{}; it cannot be made again: {why}", damage.error.message);
                return Err(Error::new(Code::TableCorrupt, text));
            }
        }
        set_aside(store.disk(), &damage).map_err(|failure| {
            let text = format!("{}: cannot set a file aside: {failure}", table.name());
            Error::new(Code::TableIo, text)
        })?;
        tracing::warn!(
            target: "otlake::catalog", table = table.name(), path = %damage.path.display(),
            "a damaged file of the table's log is set aside: {}",
            match damage.kind {
                Kind::Commit => "the table is at the version before, and what it did is done again",
                _ => "the table is read from its commits",
            }
        );
    }
    let message = format!("{}: its log is damaged in too many places", table.name());
    Err(Error::new(Code::TableCorrupt, message))
}

fn set_aside(disk: &dyn Disk, damage: &Damage) -> io::Result<()> {
    let path = &damage.path;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match disk.rename(path, aside.as_ref()) {
        // Another node has set it aside.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The hint may lead to a checkpoint; a reader finds what is there without one. And the sums
    // would stand in the way of the checkpoint's being written anew.
    let mut names = vec!["_last_checkpoint".to_owned(), sums_name("_last_checkpoint")];
    if let (Kind::Checkpoint, Some(name)) = (damage.kind, path.file_name()) {
        names.push(sums_name(&name.to_string_lossy()));
    }
    for name in names {
        match disk.remove(&path.with_file_name(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    path.parent()
        .map_or(Ok(()), |folder| disk.sync_folder(folder))
}
