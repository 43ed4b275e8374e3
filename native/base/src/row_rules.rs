//! The port between storage and the rules that rows go through on their way in (docs/processing.md).

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::Table;

/// Rows of one record that are of one table and one tenant: a record that rules route rows of has several
/// of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRows {
    /// The table.
    pub table: Table,
    /// Whose rows they are; their column `tenant` says the same.
    pub tenant: Arc<str>,
    /// Rows in the table's whole schema.
    pub rows: RecordBatch,
}

impl TableRows {
    /// The rows of a record, all of which are the tenant's.
    pub fn all_of(tenant: &Arc<str>, tables: Vec<(Table, RecordBatch)>) -> Vec<TableRows> {
        let of = |(table, rows)| TableRows {
            table,
            tenant: Arc::clone(tenant),
            rows,
        };
        tables.into_iter().map(of).collect()
    }
}

/// Rules over decoded rows. The same rows always come out the same: what the log holds is decoded
/// and ruled again after a crash, and by whichever node takes a stream over.
pub trait RowRules: Debug + Send + Sync + 'static {
    /// The rows of one request that `tenant` sent, by table in the tables' whole schemas, as they are to
    /// be kept: at most once each table and tenant, and what has no rows left is absent. It never fails:
    /// rows that a rule cannot be decided or computed of stay as they are, which is counted.
    fn apply(&self, tenant: &Arc<str>, rows: Vec<(Table, RecordBatch)>) -> Vec<TableRows>;
}
