//! Open prepared statements: a bounded number, the longest unused given up first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::ScalarValue;
use otlake_base::Clock;
use parking_lot::Mutex;
use tonic::Status;
use uuid::Uuid;

/// Prepared statements open at once.
const MAX_STATEMENTS: usize = 1024;
/// A prepared statement that is unused for this long is closed.
const EXPIRY: Duration = Duration::from_secs(30 * 60);

/// A statement and the values bound to it.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<ScalarValue>,
    /// Whose it is: another tenant's handle is unknown.
    pub(super) tenant: Option<String>,
    used: Duration,
}

/// The open statements.
pub(super) struct Statements {
    open: Mutex<HashMap<String, Statement>>,
    clock: Arc<dyn Clock>,
}

impl Statements {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            open: Mutex::new(HashMap::new()),
            clock,
        }
    }

    /// Opens a statement; gives its handle.
    pub(super) fn create(&self, sql: String, tenant: Option<String>) -> String {
        let now = self.clock.monotonic();
        let handle = Uuid::new_v4().to_string();
        let mut open = self.open.lock();
        open.retain(|_, statement| now.saturating_sub(statement.used) < EXPIRY);
        if open.len() >= MAX_STATEMENTS {
            let oldest = open.iter().min_by_key(|(_, statement)| statement.used);
            if let Some(oldest) = oldest.map(|(handle, _)| handle.clone()) {
                open.remove(&oldest);
            }
        }
        let statement = Statement {
            sql,
            parameters: Vec::new(),
            tenant,
            used: now,
        };
        open.insert(handle.clone(), statement);
        handle
    }

    /// Runs `work` on an open statement of the tenant.
    pub(super) fn with<T>(
        &self,
        handle: &[u8],
        tenant: &Option<String>,
        work: impl FnOnce(&mut Statement) -> T,
    ) -> Result<T, Status> {
        let unknown = || Status::not_found("the prepared statement is closed or has expired");
        let handle = std::str::from_utf8(handle).map_err(|_| unknown())?;
        let now = self.clock.monotonic();
        let mut open = self.open.lock();
        let statement = open
            .get_mut(handle)
            .filter(|statement| statement.tenant == *tenant)
            .filter(|statement| now.saturating_sub(statement.used) < EXPIRY)
            .ok_or_else(unknown)?;
        statement.used = now;
        Ok(work(statement))
    }

    /// Closes a statement; an unknown one is closed already.
    pub(super) fn close(&self, handle: &[u8], tenant: &Option<String>) {
        if self.with(handle, tenant, |_| ()).is_ok()
            && let Ok(handle) = std::str::from_utf8(handle)
        {
            self.open.lock().remove(handle);
        }
    }
}
