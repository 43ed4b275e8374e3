//! Deletes files that no version names any more, and the log's expired entries.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use otlake_base::disk::{self, Disk};
use otlake_base::{Error, Result};
use serde_json::Value;

use super::leftovers::{empty_folders, log_leftovers};
use super::{JobContext, JobStep, Urgency, worker};
use crate::catalog::Sharing;
use crate::handle::{DeltaTableHandle, state, storage};
use crate::recover::unreadable;
use crate::sweep::{is_ours, partitions};

/// A file that no version ever named is somebody's unfinished work until it is this old…
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// … or this, where other nodes write to the folder: what they wait to commit cannot be asked for,
/// their clocks differ, and one that was paused goes on where it was. A writer gives up a file that
/// has waited for half of it (`DeltaTableHandle::waiting_age`).
const SHARED_ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);
/// Commits since the last checkpoint that make vacuum write one.
const CHECKPOINT_COMMITS: u64 = 10;
/// Files that are deleted before the pace is asked.
const PACE_FILES: u64 = 32;

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Data files.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files of the log: entries that expired, and what stood beside files that are gone.
    pub log_files: u64,
}

/// A file that may be deleted, unless someone holds it.
struct Candidate {
    name: String,
    path: PathBuf,
    bytes: u64,
}

impl DeltaTableHandle {
    /// Deletes the files that were removed more than `removed_age` ago, those that a crashed
    /// write left, and the log's entries that have expired and that a checkpoint holds. Never a
    /// file that the newest version has, that a version being read has, or that waits for its
    /// commit. A full disk stops none of it.
    ///
    /// # Errors
    /// `TABLE_IO`, `TABLE_CORRUPT`, what the context says. What was deleted before stays so.
    pub async fn vacuum(&self, removed_age: Duration, context: &JobContext) -> Result<Vacuumed> {
        let table = self.table();
        let now = self.clock.unix_nano();
        let (removed, mut log_files) = {
            let mut delta = self.committer.lock().await;
            // A commit that landed but was reported as failed must be known here.
            self.refresh_delta(&mut delta).await?;
            let log_files = self.shorten_log(&mut delta).await;
            let store = delta.log_store();
            let removed: HashMap<String, i64> = state(table, &delta)?
                .all_tombstones(store.as_ref())
                .map_ok(|removed| {
                    let at = removed.deletion_timestamp().unwrap_or_default();
                    (removed.path().into_owned(), at)
                })
                .try_collect()
                .await
                .map_err(|error| unreadable(table, error))?;
            (removed, log_files)
        };
        let (root, now) = (self.root.clone(), Duration::from_nanos(now));
        let orphan_age = match self.sharing() {
            Sharing::Alone => ORPHAN_AGE,
            Sharing::Shared => SHARED_ORPHAN_AGE,
        };
        let disk = Arc::clone(&self.disk);
        let looked = worker::run(context, Urgency::Whenever, move || {
            let candidates = candidates(&*disk, &root, &removed, now, (removed_age, orphan_age))?;
            Ok((
                candidates,
                log_leftovers(&*disk, &root, now, orphan_age)?,
                empty_folders(&*disk, &root, now, orphan_age)?,
            ))
        });
        let (candidates, leftovers, folders) = looked
            .await?
            .map_err(|error: io::Error| storage(table, "cannot look for files to delete", error))?;
        // Asked after the folders were read: what was written since is not among the
        // candidates, and what was committed since is in the newest version.
        let held = self.held();
        let candidates: Vec<Candidate> = candidates
            .into_iter()
            .filter(|candidate| !held.contains(&candidate.name))
            .collect();
        let (disk, step_context) = (Arc::clone(&self.disk), context.clone());
        let deleted = worker::run(context, Urgency::Whenever, move || {
            let mut deleted = Vacuumed::default();
            let delete = |path: &Path| match disk.remove(path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => {
                    let what = format!("cannot delete {}", path.display());
                    Err(storage(table, &what, error))
                }
            };
            for path in leftovers {
                deleted.log_files += u64::from(delete(&path)?);
            }
            for folder in folders {
                // One that has become somebody's meanwhile is not empty, and stays.
                let _ = disk.remove_folder(&folder);
            }
            for candidate in candidates {
                if delete(&candidate.path)? {
                    deleted.files += 1;
                    deleted.bytes += candidate.bytes;
                }
                step_context.step(JobStep::Deleted(table))?;
                if deleted.files.is_multiple_of(PACE_FILES) {
                    step_context.pace.spend(0, Urgency::Whenever)?;
                }
            }
            Ok::<_, Error>(deleted)
        })
        .await??;
        log_files += deleted.log_files;
        Ok(Vacuumed {
            log_files,
            ..deleted
        })
    }

    /// Writes a checkpoint where the last one lies some commits back, and deletes the entries
    /// of the log that have expired; how many. A disk with no room for a checkpoint is one that
    /// the deletions which follow are to make room on (I10): that one is for the next run.
    async fn shorten_log(&self, delta: &mut deltalake_core::DeltaTable) -> u64 {
        let last = self.root.join("_delta_log/_last_checkpoint");
        let disk = Arc::clone(&self.disk);
        let read = tokio::task::spawn_blocking(move || disk::read(&*disk, &last).ok());
        let last = read
            .await
            .ok()
            .flatten()
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .and_then(|hint| hint["version"].as_u64())
            .unwrap_or(0);
        if delta.version().unwrap_or(0) < last + CHECKPOINT_COMMITS {
            return 0;
        }
        self.try_checkpoint(delta).await as u64
    }
}

/// The files below `root` that are removed or lost for long enough; times since 1970.
fn candidates(
    disk: &dyn Disk,
    root: &Path,
    removed: &HashMap<String, i64>,
    now: Duration,
    (removed_age, orphan_age): (Duration, Duration),
) -> io::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for folder in partitions(disk, root)? {
        let dir = root.join(&folder);
        for (own_name, status) in disk.list_with_status(&dir)? {
            let path = dir.join(&own_name);
            let name = format!("{folder}/{own_name}");
            let (since, age) = match removed.get(&name) {
                Some(at) => (
                    Duration::from_millis(u64::try_from(*at).unwrap_or(0)),
                    removed_age,
                ),
                None if is_ours(&own_name) => (
                    Duration::from_nanos(status.modified_unix_nano),
                    orphan_age.max(removed_age),
                ),
                None => continue,
            };
            if !status.folder && since + age <= now {
                candidates.push(Candidate {
                    path,
                    bytes: status.bytes,
                    name,
                });
            }
        }
    }
    Ok(candidates)
}
