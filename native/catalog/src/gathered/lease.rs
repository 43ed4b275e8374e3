//! Who commits a table, as far as this node knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use otlake_base::lease::commit_lease;
use otlake_base::{Clock, Lease, Leases, Table};
use parking_lot::Mutex;

use super::Waits;

/// How long another node is taken for the holder without asking again, and nobody is asked where nobody
/// could tell.
const OTHER: Duration = Duration::from_secs(5);

/// What is known of one table's lease.
#[derive(Clone)]
struct Known {
    /// None: this node.
    holder: Option<Arc<str>>,
    until: Duration,
}

/// The leases of all tables.
pub(super) struct Holders {
    leases: Arc<dyn Leases>,
    clock: Arc<dyn Clock>,
    waits: Waits,
    known: Mutex<HashMap<Table, Known>>,
    /// Until when nobody is asked, since nobody could tell a moment ago.
    silent_until: Mutex<Duration>,
}

/// Who commits a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Own,
    Other(Arc<str>),
}

impl Holders {
    pub(super) fn new(leases: Arc<dyn Leases>, clock: Arc<dyn Clock>, waits: Waits) -> Holders {
        Holders {
            leases,
            clock,
            waits,
            known: Mutex::default(),
            silent_until: Mutex::default(),
        }
    }

    /// Who commits the table; none where that cannot be told, and each node does.
    pub(super) async fn of(&self, table: Table) -> Option<Holder> {
        let known = self.known.lock().get(&table).cloned();
        let now = self.clock.monotonic();
        // A lease that ends while additions are gathered is asked for again.
        let is_valid = |known: &Known| now + self.waits.gather < known.until;
        if let Some(known) = known.filter(is_valid) {
            return Some(known.holder.map_or(Holder::Own, Holder::Other));
        }
        // Whoever cannot tell of one table cannot tell of the next, and each is waited for long.
        if now < *self.silent_until.lock() {
            return None;
        }
        let name = commit_lease(table);
        let lease = tokio::time::timeout(self.waits.answer, self.leases.hold(&name)).await;
        let known = match lease {
            Ok(Ok(Lease::Own { until, .. })) => Known {
                holder: None,
                until,
            },
            Ok(Ok(Lease::Other(node))) => Known {
                holder: Some(node),
                until: now + self.waits.gather + OTHER,
            },
            Ok(Err(error)) => {
                tracing::debug!(
                    target: "otlake::catalog", table = table.name(),
                    "who commits for all cannot be told: {error}"
                );
                return self.not_told();
            }
            Err(_) => return self.not_told(),
        };
        self.known.lock().insert(table, known.clone());
        Some(known.holder.map_or(Holder::Own, Holder::Other))
    }

    fn not_told(&self) -> Option<Holder> {
        *self.silent_until.lock() = self.clock.monotonic() + OTHER;
        None
    }

    /// Whether this node commits the table.
    pub(super) async fn is_own(&self, table: Table) -> bool {
        self.of(table).await == Some(Holder::Own)
    }

    /// Asks again the next time.
    pub(super) fn forget(&self, table: Table) {
        self.known.lock().remove(&table);
    }
}
