//! Removes what a crash left and nothing refers to.
//!
//! Only names that this product gives are touched, so that another writer's unfinished work
//! is safe; and only when the snapshot was read without fault.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;

/// Deletes `<uuid>.parquet` that is not in `known` and `.<uuid>.tmp` in the partition folders
/// of a table. Returns how many; a file that cannot be deleted is passed over.
pub(crate) fn sweep(root: &Path, known: &HashSet<String>) -> io::Result<usize> {
    let mut deleted = 0;
    for folder in partitions(root)? {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !is_ours(&name) || known.contains(&format!("{folder}/{name}")) {
                continue;
            }
            match fs::remove_file(entry.path()) {
                Ok(()) => deleted += 1,
                Err(error) => tracing::warn!(
                    target: "otlake::catalog",
                    path = %entry.path().display(), "an orphan stays: {error}"
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
pub(crate) fn partitions(root: &Path) -> io::Result<Vec<String>> {
    let mut partitions = Vec::new();
    for tenant in folders(root, "tenant=")? {
        let days = folders(&root.join(&tenant), "day=")?;
        partitions.extend(days.into_iter().map(|day| format!("{tenant}/{day}")));
    }
    Ok(partitions)
}

fn folders(dir: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.starts_with(prefix)
            && entry.file_type()?.is_dir()
        {
            names.push(name);
        }
    }
    Ok(names)
}
