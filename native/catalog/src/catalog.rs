//! Opens the tables, makes those that are absent.

use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use otlake_base::disk::{Disk, real};
use otlake_base::{Clock, Metrics, Result, Table};

use crate::handle::DeltaTableHandle;
use crate::rebuild::InLog;

/// Who writes to the tables' folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// This process alone: the caller holds a lock.
    #[default]
    Alone,
    /// Other processes and machines too, at any time. What one of them has written and not
    /// committed yet is not told from what a crash left until it is a day old.
    Shared,
}

/// The seven tables of a folder.
pub struct Catalog {
    handles: Vec<Arc<DeltaTableHandle>>,
}

impl Catalog {
    /// Loads all tables below `tables_dir`, makes those that are absent, and removes the files
    /// that a crash left.
    ///
    /// # Errors
    /// `TABLE_IO`; `TABLE_CORRUPT` for a log that cannot be read or is of other columns.
    pub async fn open(
        tables_dir: &Path,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Catalog> {
        let nothing: InLog = Arc::new(|_, _| None);
        let sharing = Sharing::Alone;
        Self::open_on(real(), tables_dir, clock, metrics, &nothing, sharing).await
    }

    /// As `open`, on a given disk. A damaged newest commit is done without where `in_log` says
    /// that the log holds the records whose rows it named; they have to be flushed again. Never in
    /// a shared folder, where others may have built on it.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_on(
        disk: Arc<dyn Disk>,
        tables_dir: &Path,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        in_log: &InLog,
        sharing: Sharing,
    ) -> Result<Catalog> {
        let handles = stream::iter(Table::ALL)
            .map(|table| {
                let root = tables_dir.join(table.name());
                let (clock, metrics) = (Arc::clone(&clock), Arc::clone(&metrics));
                let disk = Arc::clone(&disk);
                DeltaTableHandle::open(table, root, disk, clock, metrics, in_log, sharing)
            })
            .buffered(disk.concurrency())
            .map_ok(Arc::new)
            .try_collect()
            .await?;
        Ok(Catalog { handles })
    }

    /// One table.
    pub fn table(&self, table: Table) -> Arc<DeltaTableHandle> {
        Arc::clone(&self.handles[table as usize])
    }
}
