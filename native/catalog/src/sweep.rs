//! Removes what a crash left and nothing refers to.
//!
//! Only names that this product gives are touched, so that another writer's unfinished work
//! is safe; and only when the snapshot was read without fault.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use otlake_base::disk::Disk;
use uuid::Uuid;

/// Deletes `<uuid>.parquet` that is not in `known` and `.<uuid>.tmp` in the partition folders
/// of a table. Returns how many; a file that cannot be deleted is passed over.
pub(crate) fn sweep(disk: &dyn Disk, root: &Path, known: &HashSet<String>) -> io::Result<usize> {
    let mut deleted = 0;
    for tenant in folders(disk, root, "tenant=")? {
        for day in folders(disk, &root.join(&tenant), "day=")? {
            let dir = root.join(&tenant).join(&day);
            for entry in disk.list(&dir)? {
                let name = entry.name;
                let orphan = if let Some(id) = name.strip_suffix(".parquet") {
                    is_ours(id) && !known.contains(&format!("{tenant}/{day}/{name}"))
                } else if let Some(id) = name.strip_suffix(".tmp") {
                    id.strip_prefix('.').is_some_and(is_ours)
                } else {
                    false
                };
                if !orphan {
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
    }
    Ok(deleted)
}

fn is_ours(id: &str) -> bool {
    Uuid::try_parse(id).is_ok_and(|uuid| uuid.hyphenated().to_string() == id)
}

fn folders(disk: &dyn Disk, dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let entries = disk.list(dir)?.into_iter();
    let ours = entries.filter(|entry| entry.folder && entry.name.starts_with(prefix));
    Ok(ours.map(|entry| entry.name).collect())
}
