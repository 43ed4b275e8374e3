//! What other writers have committed: read commit by commit, from the version that is known.
//!
//! ```text
//!  newest here: 7 --> 00…08.json --> 00…09.json --> 00…10.json is not there: 9 is the newest
//! ```
//!
//! A look costs one attempt to open a file, and each further commit the reading of it. Only where
//! that cannot go on, because a commit changes more than files and watermarks or the log's entries
//! have expired meanwhile, is the table read as a whole.
//!
//! Readers follow beside the committer, which has a state of its own for the versions that it
//! commits against, and may be behind; neither waits for the other.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalake_core::DeltaTable;
use deltalake_core::kernel::Action;
use otlake_base::disk::{self, Disk};
use otlake_base::{Code, DataFile, Error, Result, Table};
use serde_json::Value;

use crate::commit::COMMIT_ATTEMPTS;
use crate::handle::{DeltaTableHandle, load, storage};
use crate::integrity::{Verdict, check_commit};
use crate::snapshot::{Snapshot, of_add};
use crate::watermarks::Marks;

/// Commits that are read one by one before the table is read as a whole instead.
const STEPS: i64 = 1_000;

/// How far the commits could be followed.
enum Followed {
    /// The newest version, or the one that was asked for.
    Newest(Arc<Snapshot>),
    /// Only a load of the whole table tells what comes next.
    Lost,
}

impl DeltaTableHandle {
    /// The newest version, of whichever writer, as of a moment after the call.
    ///
    /// # Errors
    /// `TABLE_IO`; `TABLE_CORRUPT` for a damaged commit.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>> {
        let _following = self.following.lock().await;
        let known = self.snapshot();
        match self.follow(&known, i64::MAX).await? {
            Followed::Newest(snapshot) => {
                if snapshot.version > known.version {
                    self.publish(snapshot);
                }
            }
            Followed::Lost => self.reload().await?,
        }
        Ok(self.snapshot())
    }

    /// This version or a later one, as another node has told of it.
    ///
    /// # Errors
    /// `TABLE_IO`, also where the version is not there; `TABLE_CORRUPT` for a damaged commit.
    pub async fn refresh_to(&self, version: i64) -> Result<Arc<Snapshot>> {
        let known = self.snapshot();
        if known.version >= version {
            return Ok(known);
        }
        let mut reached = self.refresh().await?;
        if reached.version < version {
            // The log's entries between the two may have expired.
            self.reload().await?;
            reached = self.snapshot();
        }
        if reached.version >= version {
            return Ok(reached);
        }
        let what = format!("it is at version {}", reached.version);
        let wanted = format!("version {version} is not to be seen");
        Err(storage(self.table, &wanted, what))
    }

    /// The newest version that is known, once its name is durable: what a writer may let go of its
    /// rows for (I2). Versions that were read for queries alone need not be.
    ///
    /// # Errors
    /// `TABLE_IO`.
    pub async fn durable(&self) -> Result<Arc<Snapshot>> {
        let now = self.snapshot();
        if !self.is_synced(now.version) {
            self.sync_log().await?;
            self.synced(now.version);
        }
        Ok(now)
    }

    async fn sync_log(&self) -> Result<()> {
        let (disk, log) = (Arc::clone(&self.disk), self.root.join("_delta_log"));
        tokio::task::spawn_blocking(move || disk.sync_folder(&log))
            .await
            .map_err(|error| storage(self.table, "cannot sync its log", error))?
            .map_err(|error| storage(self.table, "cannot sync its log", error))
    }

    /// Reads the whole table.
    async fn reload(&self) -> Result<()> {
        let mut delta = self.committer.lock().await;
        self.refresh_delta(&mut delta).await.map(|_| ())
    }

    /// Reads the table again, as others may have left it, and publishes what it is. A version that
    /// is new here can be one of ours whose last sync failed, and what the committer publishes is
    /// built on: batches leave the log, replaced files the disk. So its name is made durable first
    /// (I2). Gives the version that `delta` is at then.
    pub(crate) async fn refresh_delta(&self, delta: &mut DeltaTable) -> Result<Arc<Snapshot>> {
        let again = |error| storage(self.table, "cannot read the table again", error);
        for _ in 0..COMMIT_ATTEMPTS {
            delta.update_state().await.map_err(again)?;
            let version = delta.version().map_or(-1, |version| version as i64);
            let known = self.snapshot();
            if version < known.version {
                // Readers have seen one that came after this look.
                continue;
            }
            if !self.is_synced(version) {
                self.sync_log().await?;
                self.synced(version);
            }
            let followed = match version - known.version <= STEPS {
                true => self.follow(&known, version).await?,
                false => Followed::Lost,
            };
            let snapshot = match followed {
                Followed::Newest(snapshot) if snapshot.version == version => snapshot,
                _ => Arc::new(load(self.table, &self.root, delta).await?),
            };
            if version > known.version {
                self.publish(Arc::clone(&snapshot));
            }
            return Ok(snapshot);
        }
        let message = format!("{}: versions come too fast to read", self.table.name());
        Err(Error::new(Code::TableConflict, message))
    }

    /// The newest version, which `delta` is at. A refresh that failed, or was given up, midway has
    /// left it ahead: a commit upon that could repeat what the version in between holds (I3).
    pub(crate) async fn up_to_date(&self, delta: &mut DeltaTable) -> Result<Arc<Snapshot>> {
        let now = self.snapshot();
        if delta.version() == Some(now.version as u64) {
            return Ok(now);
        }
        self.refresh_delta(delta).await
    }

    /// The versions after `known`, up to `last`.
    async fn follow(&self, known: &Arc<Snapshot>, last: i64) -> Result<Followed> {
        let (table, disk, known) = (self.table, Arc::clone(&self.disk), Arc::clone(known));
        let read = tokio::task::spawn_blocking(move || follow(table, &*disk, &known, last));
        let read = read
            .await
            .map_err(|error| storage(table, "cannot read its log", error))?;
        if read
            .as_ref()
            .is_err_and(|error| error.code == Code::TableCorrupt)
        {
            self.metrics.damaged("commit");
        }
        read
    }
}

fn follow(table: Table, disk: &dyn Disk, known: &Arc<Snapshot>, last: i64) -> Result<Followed> {
    let log = known.root.join("_delta_log");
    let io = |error: io::Error| storage(table, "cannot read its log", error);
    let mut reached = Arc::clone(known);
    while reached.version < last {
        if reached.version - known.version >= STEPS {
            return Ok(Followed::Lost);
        }
        let version = reached.version + 1;
        let path = log.join(format!("{version:020}.json"));
        let commit = match disk::read(disk, &path) {
            Ok(commit) => commit,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_newest = checkpointed(disk, &log).is_none_or(|of| of <= reached.version);
                return Ok(match is_newest {
                    true => Followed::Newest(reached),
                    // What lies between has expired.
                    false => Followed::Lost,
                });
            }
            Err(error) => return Err(io(error)),
        };
        if let Verdict::Damaged(what) = check_commit(&commit) {
            let message = format!("{}: {what}", path.display());
            return Err(Error::new(Code::TableCorrupt, message));
        }
        let Some(next) = applied(table, &reached, version, &commit)? else {
            return Ok(Followed::Lost);
        };
        reached = Arc::new(next);
    }
    Ok(Followed::Newest(reached))
}

/// The version of the newest checkpoint, by the hint; none where nothing can be told.
fn checkpointed(disk: &dyn Disk, log: &Path) -> Option<i64> {
    let hint: PathBuf = log.join("_last_checkpoint");
    let hint = disk::read(disk, &hint).ok()?;
    let hint: Value = serde_json::from_slice(&hint).ok()?;
    hint["version"].as_i64()
}

/// The version after a commit; none where the commit changes more than files and watermarks.
fn applied(
    table: Table,
    before: &Snapshot,
    version: i64,
    commit: &[u8],
) -> Result<Option<Snapshot>> {
    let broken = |error: serde_json::Error| {
        let message = format!("{}: version {version}: {error}", table.name());
        Error::new(Code::TableCorrupt, message)
    };
    let mut gone: HashSet<String> = HashSet::new();
    let mut added: Vec<DataFile> = Vec::new();
    let mut marks = Marks {
        watermarks: before.watermarks.clone(),
        taken_over: before.taken_over.clone(),
    };
    let lines = commit.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with(b"{\"commitInfo\"") {
            continue;
        }
        if line.starts_with(b"{\"txn\"") {
            let action: Value = serde_json::from_slice(line).map_err(broken)?;
            let txn = &action["txn"];
            if let (Some(id), Some(version)) = (txn["appId"].as_str(), txn["version"].as_u64()) {
                marks.take(id, version);
            }
            continue;
        }
        match serde_json::from_slice::<Action>(line).map_err(broken)? {
            Action::Add(add) => {
                gone.insert(add.path.clone());
                added.push(of_add(table, &add)?);
            }
            Action::Remove(remove) => {
                gone.insert(remove.path);
            }
            Action::Txn(_) | Action::CommitInfo(_) => {}
            _ => return Ok(None),
        }
    }
    let kept = before.files.iter();
    let mut files: Vec<DataFile> = kept
        .filter(|file| !gone.contains(&file.path))
        .cloned()
        .collect();
    files.extend(added);
    Ok(Some(Snapshot {
        version,
        files: Arc::new(files),
        watermarks: marks.watermarks,
        taken_over: marks.taken_over,
        root: before.root.clone(),
    }))
}
