//! The commit that removes files and adds others in their place.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deltalake_core::DeltaTable;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::{Action, Remove};
use deltalake_core::protocol::DeltaOperation;
use otlake_base::{Code, DataFile, Error, Result};
use otlake_shard::Written;

use crate::catalog::Sharing;
use crate::commit::{COMMIT_ATTEMPTS, add, is_conflict};
use crate::handle::{DeltaTableHandle, storage};
use crate::snapshot::Snapshot;

/// Files to remove and files to add, at once.
pub(super) struct Change {
    pub removed: Vec<DataFile>,
    pub added: Vec<Written>,
    pub operation: DeltaOperation,
    /// Whether a reader of changes has anything to read: false where the same rows stand in
    /// other files.
    pub data_change: bool,
}

impl DeltaTableHandle {
    /// Commits the change against whatever version is the newest, as long as that one has every
    /// file to be removed. None where it has not: another writer was there, nothing is committed
    /// and the added files are deleted.
    ///
    /// # Errors
    /// `TABLE_IO`; `TABLE_CONFLICT` when other writers were faster time and again.
    pub(super) async fn replace(&self, change: &Change) -> Result<Option<Arc<Snapshot>>> {
        let mut delta = self.committer.lock().await;
        let mut last = None;
        for attempt in 0..COMMIT_ATTEMPTS {
            let now = self.up_to_date(&mut delta).await?;
            let held: HashSet<&str> = now.files.iter().map(|file| file.path.as_str()).collect();
            let holds = |file: &DataFile| held.contains(file.path.as_str());
            if !change.removed.iter().all(holds) {
                // An attempt that was reported as failed may have landed all the same.
                let landed = attempt > 0
                    && !change.removed.iter().any(holds)
                    && change.added.iter().all(|written| holds(&written.file));
                if landed {
                    return Ok(Some(now));
                }
                self.discard(&now, &change.added).await?;
                return Ok(None);
            }
            match self.attempt_change(&mut delta, &now, change).await {
                Ok(snapshot) => {
                    self.synced(snapshot.version);
                    self.publish(Arc::clone(&snapshot));
                    self.checkpoint(&mut delta).await;
                    return Ok(Some(snapshot));
                }
                Err(error) => {
                    let conflict = is_conflict(&error);
                    let now = self.refresh_delta(&mut delta).await?;
                    let unchanged = now.files.iter().any(|file| {
                        change
                            .removed
                            .iter()
                            .any(|removed| removed.path == file.path)
                    });
                    if !conflict && unchanged {
                        self.let_go(&now, &change.added).await?;
                        return Err(storage(self.table, "cannot commit", error));
                    }
                    last = Some(error);
                }
            }
        }
        let now = self.snapshot();
        self.let_go(&now, &change.added).await?;
        let last = last.map(|error| error.to_string()).unwrap_or_default();
        let message = format!(
            "{}: {COMMIT_ATTEMPTS} commits met others: {last}",
            self.table.name()
        );
        Err(Error::new(Code::TableConflict, message))
    }

    /// A commit that failed may land yet where a server is on its way to the folder: then its files
    /// are deleted only once they are old and no version names them.
    async fn let_go(&self, now: &Arc<Snapshot>, added: &[Written]) -> Result<()> {
        match self.sharing {
            Sharing::Alone => self.discard(now, added).await,
            Sharing::Shared => {
                self.forget(added);
                Ok(())
            }
        }
    }

    async fn attempt_change(
        &self,
        delta: &mut DeltaTable,
        now: &Snapshot,
        change: &Change,
    ) -> std::result::Result<Arc<Snapshot>, DeltaTableError> {
        let millis = self.millis();
        let removes = change
            .removed
            .iter()
            .map(|file| Action::Remove(remove(file, change.data_change, millis)));
        let adds = change.added.iter().map(|written| {
            let mut add = add(written, millis);
            add.data_change = change.data_change;
            Action::Add(add)
        });
        let actions = removes.chain(adds).collect();
        let operation = change.operation.clone();
        let version = self.send(delta, actions, Vec::new(), operation).await?;
        let removed: HashSet<&str> = change
            .removed
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        let kept = now.files.iter();
        let mut files: Vec<DataFile> = kept
            .filter(|file| !removed.contains(file.path.as_str()))
            .cloned()
            .collect();
        files.extend(change.added.iter().map(|written| written.file.clone()));
        let mut snapshot = now.clone();
        snapshot.version = version;
        snapshot.files = Arc::new(files);
        Ok(Arc::new(snapshot))
    }
}

fn remove(file: &DataFile, data_change: bool, millis: i64) -> Remove {
    let day = file
        .path
        .split('/')
        .find_map(|part| part.strip_prefix("day="));
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(millis),
        extended_file_metadata: Some(true),
        partition_values: Some(HashMap::from([
            ("tenant".to_owned(), Some(file.tenant.clone())),
            ("day".to_owned(), day.map(str::to_owned)),
        ])),
        size: Some(i64::try_from(file.size).unwrap_or(i64::MAX)),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
    }
}
