//! Removes what a crash left and nothing refers to.
//!
//! Only names that this product gives are touched, so that another writer's unfinished work
//! is safe; and only when the snapshot was read without fault.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use otlake_base::disk::Disk;
use otlake_base::{Result, Table};
use uuid::Uuid;

use crate::handle::storage;
use crate::snapshot::Snapshot;

/// Deletes what neither the newest version names nor a removed file of an older one is.
pub(crate) async fn sweep_orphans(
    table: Table,
    disk: &Arc<dyn Disk>,
    snapshot: &Snapshot,
    tombstones: Vec<String>,
) -> Result<()> {
    let mut known: HashSet<String> = snapshot
        .files
        .iter()
        .map(|file| file.path.clone())
        .collect();
    // A removed file is another reader's until it is vacuumed.
    known.extend(tombstones);
    let (disk, root) = (Arc::clone(disk), snapshot.root.clone());
    let deleted = tokio::task::spawn_blocking(move || sweep(&*disk, &root, &known))
        .await
        .map_err(|error| storage(table, "cannot sweep", error))?
        .map_err(|error| storage(table, "cannot sweep", error))?;
    if deleted > 0 {
        tracing::info!(target: "otlake::catalog", table = table.name(), deleted, "swept orphans");
    }
    Ok(())
}

/// Deletes `<uuid>.parquet` that is not in `known` and `.<uuid>.tmp` in the partition folders
/// of a table. Returns how many; a file that cannot be deleted is passed over.
fn sweep(disk: &dyn Disk, root: &Path, known: &HashSet<String>) -> io::Result<usize> {
    let mut deleted = 0;
    for folder in partitions(disk, root)? {
        let dir = root.join(&folder);
        for entry in disk.list(&dir)? {
            let name = entry.name;
            if !is_ours(&name) || known.contains(&format!("{folder}/{name}")) {
                continue;
            }
            let path = dir.join(&name);
            match disk.remove(&path) {
                Ok(()) => deleted += 1,
                Err(error) => tracing::warn!(
                    target: "otlake::catalog",
                    path = %path.display(), "an orphan stays: {error}"
                ),
            }
        }
    }
    Ok(deleted)
}

/// Whether it is a name that this product gives, to a data file or to one being written.
pub(crate) fn is_ours(name: &str) -> bool {
    let id = match name.strip_suffix(".tmp") {
        Some(staged) => staged.strip_prefix('.'),
        None => name.strip_suffix(".parquet"),
    };
    id.is_some_and(|id| Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id))
}

/// The folders of a table's partitions, below its own: `tenant=…/day=…`.
pub(crate) fn partitions(disk: &dyn Disk, root: &Path) -> io::Result<Vec<String>> {
    let mut partitions = Vec::new();
    for tenant in folders(disk, root, "tenant=")? {
        let days = folders(disk, &root.join(&tenant), "day=")?;
        partitions.extend(days.into_iter().map(|day| format!("{tenant}/{day}")));
    }
    Ok(partitions)
}

fn folders(disk: &dyn Disk, dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let entries = disk.list(dir)?.into_iter();
    let ours = entries.filter(|entry| entry.folder && entry.name.starts_with(prefix));
    Ok(ours.map(|entry| entry.name).collect())
}
