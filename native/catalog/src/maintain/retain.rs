//! Rules of retention, and the days they end.

use std::collections::BTreeSet;

use deltalake_core::protocol::DeltaOperation;
use otlake_base::{DataFile, Result, Signal};

use super::replace::Change;
use super::{JobContext, JobStep};
use crate::handle::DeltaTableHandle;

const NANOS_PER_DAY: u64 = 86_400_000_000_000;
/// Files that one commit removes, at most.
const COMMIT_FILES: usize = 1_000;

/// How long rows are kept. What a rule leaves open it says for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Whose rows; every tenant's where absent.
    pub tenant: Option<String>,
    /// Which signal's; every one's where absent.
    pub signal: Option<Signal>,
    /// For how many days; for ever where absent.
    pub days: Option<u32>,
}

/// All rules. With none, everything is kept for ever.
#[derive(Clone, Debug, Default)]
pub struct Retention(pub Vec<RetentionRule>);

impl Retention {
    /// How long this tenant's rows of this signal are kept, in days; none: for ever. Of the
    /// rules that apply the one decides that says the most: a tenant weighs more than a signal.
    pub fn days(&self, tenant: &str, signal: Signal) -> Option<u32> {
        self.0
            .iter()
            .filter(|rule| rule.tenant.as_deref().is_none_or(|of| of == tenant))
            .filter(|rule| rule.signal.is_none_or(|of| of == signal))
            .max_by_key(|rule| (rule.tenant.is_some(), rule.signal.is_some()))
            .and_then(|rule| rule.days)
    }

    /// Whether every row of the file is older than it is kept, at `today`, in days since 1970.
    /// A day ends when the next begins, so its rows are kept up to a day longer. Rows without a
    /// time stand under the first day of 1970, which never expires.
    fn expired(&self, file: &DataFile, signal: Signal, today: i64) -> bool {
        file.day != 0
            && self
                .days(&file.tenant, signal)
                .is_some_and(|days| i64::from(file.day) + 1 + i64::from(days) <= today)
    }
}

/// What expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Files that the newest version has no more.
    pub files: u64,
    /// Rows of them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl DeltaTableHandle {
    /// Removes the days that have expired from the newest version. Their files stay on disk
    /// until they are vacuumed.
    ///
    /// # Errors
    /// `TABLE_IO`, `TABLE_CONFLICT`; what was committed before stays.
    pub async fn retain(&self, rules: &Retention, context: &JobContext) -> Result<Retained> {
        let signal = self.table().signal();
        let today = (self.clock.unix_nano() / NANOS_PER_DAY) as i64;
        let mut total = Retained::default();
        loop {
            let now = self.snapshot();
            let expired = now.files.iter();
            let removed: Vec<DataFile> = expired
                .filter(|file| rules.expired(file, signal, today))
                .take(COMMIT_FILES)
                .cloned()
                .collect();
            if removed.is_empty() {
                return Ok(total);
            }
            let change = Change {
                operation: DeltaOperation::Delete {
                    predicate: Some(predicate(&removed)),
                },
                removed,
                added: Vec::new(),
                data_change: true,
            };
            // Where another writer was there, the newest version is looked at again: it has
            // fewer of these files.
            if self.replace(&change).await?.is_some() {
                total.files += change.removed.len() as u64;
                total.rows += change.removed.iter().map(|file| file.rows).sum::<u64>();
                total.bytes += change.removed.iter().map(|file| file.size).sum::<u64>();
                context.step(JobStep::Retained(self.table()))?;
            }
        }
    }
}

/// What the history says was deleted.
fn predicate(files: &[DataFile]) -> String {
    let partitions: BTreeSet<String> = files
        .iter()
        .map(|file| {
            let parts = file.path.split('/');
            let day = parts
                .filter_map(|part| part.strip_prefix("day="))
                .next()
                .unwrap_or_default();
            format!("(tenant = '{}' AND day = '{day}')", file.tenant)
        })
        .collect();
    partitions.into_iter().collect::<Vec<_>>().join(" OR ")
}
