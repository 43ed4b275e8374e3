//! Decoded rows, by the rules of this node: as they are kept, wherever their record comes from.

use std::sync::Arc;

use otlake_base::{Result, RowRules, Signal, TableRows};
use otlake_decode::Tables;

/// The rules, where there are any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ruled(pub(crate) Option<Arc<dyn RowRules>>);

impl Ruled {
    /// The rows of what a tenant sent as they are kept, perhaps by others.
    pub(crate) fn rows(&self, tenant: &Arc<str>, decoded: Tables) -> Vec<TableRows> {
        match &self.0 {
            Some(rules) => rules.apply(tenant, decoded),
            None => TableRows::all_of(tenant, decoded),
        }
    }

    /// The rows of a record that the log keeps.
    ///
    /// # Errors
    /// As `otlake_decode::replay`.
    pub(crate) fn replay(
        &self,
        signal: Signal,
        logged: &bytes::Bytes,
        tenant: &Arc<str>,
    ) -> Result<Vec<TableRows>> {
        let decoded = otlake_decode::replay(signal, logged, tenant)?;
        Ok(self.rows(tenant, decoded.tables))
    }
}
