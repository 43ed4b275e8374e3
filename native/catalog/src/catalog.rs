//! Opens the tables, makes those that are absent.

use std::path::Path;
use std::sync::Arc;

use futures::future::try_join_all;
use otlake_base::{Clock, Metrics, Result, Table};

use crate::handle::DeltaTableHandle;

/// The seven tables of a data folder, whose lock the caller holds.
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
        let handles = try_join_all(Table::ALL.map(|table| {
            let root = tables_dir.join(table.name());
            DeltaTableHandle::open(table, root, Arc::clone(&clock), Arc::clone(&metrics))
        }))
        .await?;
        Ok(Catalog {
            handles: handles.into_iter().map(Arc::new).collect(),
        })
    }

    /// One table.
    pub fn table(&self, table: Table) -> Arc<DeltaTableHandle> {
        Arc::clone(&self.handles[table as usize])
    }
}
