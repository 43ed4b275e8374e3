//! All rules, in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use otlake_base::limits::{PROCESSING_RULES, PROCESSING_TENANTS};
use otlake_base::metrics::Counter;
use otlake_base::{Code, Error, Metrics, Result, RowRules, Table, TableRows};
use otlake_query::RowExpressions;

use crate::compact::compact;
use crate::config::{Action, RuleConfig};
use crate::route::by_tenant;
use crate::rule::{Applied, Rule};

/// What is left of a batch is copied out of it when rows were this many times as many.
const COMPACT_AT: usize = 2;

/// The rules of a node.
#[derive(Debug)]
pub struct RuleSet([Vec<Named>; 7]);

/// A rule for one table, and how it counts.
#[derive(Debug)]
struct Named {
    name: Arc<str>,
    rule: Rule,
    dropped: Counter,
    changed: Counter,
    routed: Counter,
    failed: Counter,
    /// Whether the log has been told that it fails.
    told: AtomicBool,
}

impl RuleSet {
    /// Plans rules; none where there are none.
    ///
    /// # Errors
    /// `CONFIG_INVALID`, with the rule and what is wrong with it.
    pub fn plan(rules: &[RuleConfig], metrics: &Metrics) -> Result<Option<Arc<dyn RowRules>>> {
        let invalid =
            |what: String| Error::new(Code::ConfigInvalid, format!("`processing.rules`: {what}"));
        if rules.is_empty() {
            return Ok(None);
        }
        if rules.len() > PROCESSING_RULES {
            return Err(invalid(format!(
                "there are {}; write {PROCESSING_RULES} at most",
                rules.len()
            )));
        }
        let mut tenants: Vec<&str> = rules
            .iter()
            .filter_map(|rule| match &rule.action {
                Action::Route(tenant) => Some(&**tenant),
                _ => None,
            })
            .collect();
        tenants.sort_unstable();
        tenants.dedup();
        if tenants.len() > PROCESSING_TENANTS {
            return Err(invalid(format!(
                "they route rows to {} tenants; route to {PROCESSING_TENANTS} at most",
                tenants.len()
            )));
        }
        let expressions = RowExpressions::new()?;
        let mut set = RuleSet(Default::default());
        for (at, config) in rules.iter().enumerate() {
            let name = &config.name;
            if rules[..at].iter().any(|other| other.name == *name) {
                return Err(invalid(format!("two rules have the name `{name}`")));
            }
            if config.tables.is_empty() {
                return Err(invalid(format!("rule `{name}`: it has no table")));
            }
            let [dropped, changed, routed, failed] = metrics.rules.of(name);
            for table in &config.tables {
                let rule = Rule::plan(config, *table, &expressions).map_err(|error| {
                    let others = match config.tables.len() {
                        1 => "",
                        _ => " (`tables` can name fewer tables)",
                    };
                    let table = table.name();
                    invalid(format!("rule `{name}`, table `{table}`{others}: {error}"))
                })?;
                set.0[*table as usize].push(Named {
                    name: name.as_str().into(),
                    rule,
                    dropped: dropped.clone(),
                    changed: changed.clone(),
                    routed: routed.clone(),
                    failed: failed.clone(),
                    told: AtomicBool::new(false),
                });
            }
        }
        Ok(Some(Arc::new(set)))
    }

    /// The rows of one table that are left.
    fn rule(&self, table: Table, tenant: &Arc<str>, rows: RecordBatch) -> Vec<TableRows> {
        let before = rows.num_rows();
        let (mut left, mut is_routed) = (rows, false);
        for named in &self.0[table as usize] {
            if left.num_rows() == 0 {
                return Vec::new();
            }
            let routed;
            (left, routed) = named.apply(left);
            is_routed |= routed;
        }
        if left.num_rows() == 0 {
            return Vec::new();
        }
        if left.num_rows() * COMPACT_AT <= before {
            left = compact(&left).unwrap_or(left);
        }
        match is_routed {
            true => by_tenant(table, left),
            false => TableRows::all_of(tenant, vec![(table, left)]),
        }
    }
}

impl RowRules for RuleSet {
    fn apply(&self, tenant: &Arc<str>, rows: Vec<(Table, RecordBatch)>) -> Vec<TableRows> {
        let tables = rows.into_iter().filter(|(_, rows)| rows.num_rows() > 0);
        tables
            .flat_map(|(table, rows)| self.rule(table, tenant, rows))
            .collect()
    }
}

impl Named {
    /// The rows that are left, and whether some have become another tenant's.
    fn apply(&self, rows: RecordBatch) -> (RecordBatch, bool) {
        let count = rows.num_rows() as u64;
        // What the log holds is ruled again at each start, so a panic here would keep a node from it.
        let applied = catch_unwind(AssertUnwindSafe(|| self.rule.apply(&rows)));
        let error = match applied {
            Ok(Ok(applied)) => return self.counted(applied),
            Ok(Err(error)) => Error::new(Code::Internal, error),
            Err(_) => Error::new(Code::Internal, "it panicked"),
        };
        self.count_failed(count, &error);
        (rows, false)
    }

    fn counted(&self, applied: Applied) -> (RecordBatch, bool) {
        self.dropped.inc_by(applied.dropped);
        self.changed.inc_by(applied.changed);
        self.routed.inc_by(applied.routed);
        if let Some((rows, error)) = &applied.failed {
            self.count_failed(*rows, error);
        }
        (applied.batch, applied.routed > 0)
    }

    fn count_failed(&self, rows: u64, error: &Error) {
        self.failed.inc_by(rows);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "otlake::rules", rule = &*self.name, rows,
                "a rule left rows as they were, and counts them from now on: {error}"
            );
        }
    }
}
