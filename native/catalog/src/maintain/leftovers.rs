//! What crashes and expired checkpoints leave in a table's folders, besides data files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otlake_base::disk::Disk;

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
    let mut leftovers = Vec::new();
    for entry in disk.list(&log)? {
        let of = entry
            .name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".crc32c"));
        let lost = match of {
            Some(of) => !is_there(disk, &log.join(of))?,
            None => is_staged(&entry.name),
        };
        let path = log.join(&entry.name);
        if lost && is_old(disk, &path, now, age)? {
            leftovers.push(path);
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
        if disk.list(&path)?.is_empty() && is_old(disk, &path, now, age)? {
            empty.push(path);
        }
    }
    Ok(empty)
}

fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, digits)| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.status(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_old(disk: &dyn Disk, path: &Path, now: Duration, age: Duration) -> io::Result<bool> {
    match disk.status(path) {
        Ok(status) => Ok(Duration::from_nanos(status.modified_unix_nano) + age <= now),
        // Renamed or deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
