//! What crashes and expired checkpoints leave in a table's folders, besides data files.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::vacuum::ORPHAN_AGE;
use crate::sweep::partitions;

/// Files of the log that mean nothing any more: checksums of a file that is gone
/// (`.NAME.crc32c`), and files that never got their name (`NAME#digits`); old enough that
/// nobody is about to write the rest. `now` is since 1970.
pub(super) fn log_leftovers(root: &Path, now: Duration) -> io::Result<Vec<PathBuf>> {
    let log = root.join("_delta_log");
    let mut leftovers = Vec::new();
    for entry in fs::read_dir(&log)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let of = name
            .strip_prefix('.')
            .and_then(|name| name.strip_suffix(".crc32c"));
        let lost = match of {
            Some(of) => !log.join(of).try_exists()?,
            None => is_staged(&name),
        };
        if lost && is_old(&entry, now)? {
            leftovers.push(entry.path());
        }
    }
    Ok(leftovers)
}

/// Partitions' folders that hold nothing, as long ago as that.
pub(super) fn empty_folders(root: &Path, now: Duration) -> io::Result<Vec<PathBuf>> {
    let mut empty = Vec::new();
    for folder in partitions(root)? {
        let path = root.join(folder);
        if fs::read_dir(&path)?.next().is_none() && is_old_folder(&path, now)? {
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

fn is_old(entry: &DirEntry, now: Duration) -> io::Result<bool> {
    match entry.metadata() {
        Ok(metadata) => Ok(aged(metadata.modified()?, now)),
        // Renamed or deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_old_folder(path: &Path, now: Duration) -> io::Result<bool> {
    Ok(aged(fs::metadata(path)?.modified()?, now))
}

fn aged(modified: SystemTime, now: Duration) -> bool {
    let since = modified.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default() + ORPHAN_AGE <= now
}
