//! What crashes and expired checkpoints leave in a table's folders, besides data files.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otlake_base::disk::{Disk, Status};

use crate::sweep::partitions;

/// Files of the log that mean nothing any more: checksums of a file that is gone
/// (`.NAME.crc32c`), and files that never got their name (`NAME#digits`); old enough that
/// nobody is about to write the rest. `now` is since 1970.
pub(super) fn log_leftovers(
    disk: &dyn Disk,
    root: &Path,
    now: Duration,
    age: Duration,
) -> io::Result<Vec<PathBuf>> {
    let log = root.join("_delta_log");
    let entries = disk.list_with_status(&log)?;
    let names: HashSet<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let mut leftovers = Vec::new();
    for (name, status) in &entries {
        let of = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".crc32c"));
        let lost = match of {
            // One that came since the folder was listed came with sums that are not old.
            Some(of) => !names.contains(of),
            None => is_staged(name),
        };
        if lost && is_old(status, now, age) {
            leftovers.push(log.join(name));
        }
    }
    Ok(leftovers)
}

/// Partitions' folders that hold nothing, as long ago as that.
pub(super) fn empty_folders(
    disk: &dyn Disk,
    root: &Path,
    now: Duration,
    age: Duration,
) -> io::Result<Vec<PathBuf>> {
    let mut empty = Vec::new();
    for folder in partitions(disk, root)? {
        let path = root.join(folder);
        if !disk.list(&path)?.is_empty() {
            continue;
        }
        match disk.status(&path) {
            Ok(status) if is_old(&status, now, age) => empty.push(path),
            // Deleted meanwhile.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(empty)
}

fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_old(status: &Status, now: Duration, age: Duration) -> bool {
    Duration::from_nanos(status.modified_unix_nano) + age <= now
}
