//! What is counted of the rules that rows go through on their way in (docs/processing.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::Names;

/// What can become of a row that a rule applies to.
pub const OUTCOMES: [&str; 3] = ["dropped", "changed", "routed"];

/// Every figure of the rules. Each field is a handle.
pub struct RuleMetrics {
    /// Rows that rules dropped, changed or made another tenant's, by `rule` and `outcome` (dropped, changed,
    /// routed); what is sent or replayed again counts again.
    pub rows: Family<Names, Counter>,
    /// Rows that a rule left as they were because an expression of it failed on them, by `rule`.
    pub failed: Family<Names, Counter>,
}

impl RuleMetrics {
    /// Registers all.
    pub(crate) fn new(registry: &mut Registry) -> RuleMetrics {
        let rows = Family::<Names, Counter>::default();
        registry.register(
            "rule_rows",
            "Rows that rules dropped, changed or routed to another tenant on their way in",
            rows.clone(),
        );
        let failed = Family::<Names, Counter>::default();
        registry.register(
            "rule_failed_rows",
            "Rows that a rule left as they were because an expression failed on them",
            failed.clone(),
        );
        RuleMetrics { rows, failed }
    }

    /// The counters of a rule, at zero: dropped, changed, routed and failed rows.
    pub fn of(&self, rule: &str) -> [Counter; 4] {
        let rows = OUTCOMES.map(|outcome| {
            let labels = vec![("rule", rule.to_owned()), ("outcome", outcome.to_owned())];
            self.rows.get_or_create(&labels).clone()
        });
        let [dropped, changed, routed] = rows;
        let labels = vec![("rule", rule.to_owned())];
        let failed = self.failed.get_or_create(&labels).clone();
        [dropped, changed, routed, failed]
    }
}
