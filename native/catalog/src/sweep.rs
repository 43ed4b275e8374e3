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
    for tenant in folders(root, "tenant=")? {
        for day in folders(&root.join(&tenant), "day=")? {
            let dir = root.join(&tenant).join(&day);
            for entry in fs::read_dir(&dir)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
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
                match fs::remove_file(entry.path()) {
                    Ok(()) => deleted += 1,
                    Err(error) => tracing::warn!(
                        target: "otlake::catalog",
                        path = %entry.path().display(), "an orphan stays: {error}"
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
