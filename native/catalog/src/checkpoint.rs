//! Checkpoints of a table's log, and the entries before them that are deleted.

use std::io;
use std::path::Path;
use std::sync::Arc;

use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use otlake_base::disk::Disk;
use otlake_base::metrics::by_table;

use crate::columns::{CHECKPOINT_INTERVAL, LOG_RETENTION};
use crate::handle::DeltaTableHandle;
use crate::integrity::{Kind, version_of};

impl DeltaTableHandle {
    /// A checkpoint each so many commits, and the log before it trimmed.
    pub(crate) async fn checkpoint(&self, delta: &mut DeltaTable) {
        let due = delta
            .version()
            .is_some_and(|version| version % CHECKPOINT_INTERVAL == 0);
        if due {
            self.try_checkpoint(delta).await;
        }
    }

    /// As `checkpoint_now`. Its failure costs time at the next open, nothing else: it is counted,
    /// and the next one is tried when it is due.
    pub(crate) async fn try_checkpoint(&self, delta: &mut DeltaTable) -> usize {
        match self.checkpoint_now(delta).await {
            Ok(deleted) => deleted,
            Err(error) => {
                let failures = &self.metrics.checkpoint_failures;
                failures.get_or_create(&by_table(self.table)).inc();
                tracing::warn!(
                    target: "otlake::catalog", table = self.table.name(), "no checkpoint: {error}"
                );
                0
            }
        }
    }

    /// Writes a checkpoint, and deletes the entries of the log that have expired before the last
    /// one; how many. Not those up to the new one: were that damaged, the table would have to be
    /// read without it.
    async fn checkpoint_now(&self, delta: &mut DeltaTable) -> Result<usize, DeltaTableError> {
        checkpoints::create_checkpoint(delta, None).await?;
        let Some(version) = delta.version() else {
            return Ok(0);
        };
        let store = delta.log_store();
        let log = self.root.join("_delta_log");
        let disk = Arc::clone(&self.disk);
        let previous = tokio::task::spawn_blocking(move || previous(&*disk, &log, version));
        let previous = previous.await.map_err(io::Error::other)??;
        let deleted = match previous {
            None => 0,
            Some(keep) => {
                let expired = self.millis() - LOG_RETENTION.as_millis() as i64;
                checkpoints::cleanup_expired_logs_for(keep, store.as_ref(), expired, None).await?
            }
        };
        // A state that grew commit by commit replays them all on each further one; read
        // anew it stands on the checkpoint. At this very version: one that others have
        // added since is for the next commit to find.
        delta.state = Some(DeltaTableState::try_new(store.as_ref(), Some(version)).await?);
        Ok(deleted)
    }
}

/// The newest checkpoint before `version`.
fn previous(disk: &dyn Disk, log: &Path, version: u64) -> io::Result<Option<u64>> {
    let entries = disk.list(log)?;
    let checkpoints = entries.iter().filter_map(|entry| {
        let path = log.join(&entry.name);
        let is_checkpoint = path.to_str().and_then(Kind::of) == Some(Kind::Checkpoint);
        is_checkpoint.then(|| version_of(&entry.name)).flatten()
    });
    Ok(checkpoints.filter(|of| *of < version).max())
}
