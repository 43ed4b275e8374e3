//! Rules that decoded rows go through on their way in (docs/processing.md): rows are dropped or go to
//! another tenant, and columns and attributes are redacted, renamed and set, where an SQL condition holds. Each rule is planned
//! once for each of its tables and works on a batch's columns; what it does not change is not copied.
//!
//! ```text
//!  decoded batch --> when? --> rows --+--> drop: filter
//!                     |               |--> route: the column `tenant`; at the end, a batch for each
//!                     |               `--> redact, rename, set: those columns --> what follows from them
//!                     `-- fails on some rows: these stay as they are, and are counted
//! ```
//!
//! - `config`: rules as they are written.
//! - `rule_set`: all rules, in order; the port that storage calls.
//! - `rule`: one rule, planned for one table.
//! - `plan`: a rule as it is written to one that can be applied.
//! - `target`: what a rule can change.
//! - `evaluate`: expressions, with the rows that they fail on told apart.
//! - `object`: the JSON text of attributes, edited.
//! - `texts`: columns of text, edited where rows change.
//! - `redaction`: what a value becomes.
//! - `route`: rows that become another tenant's.
//! - `follow`: columns that say what attributes say, and ids of series.
//! - `compact`: the memory of text that dropped rows had.

mod compact;
mod config;
mod evaluate;
mod follow;
mod object;
mod plan;
mod redaction;
mod route;
mod rule;
mod rule_set;
mod target;
mod texts;

pub use config::{Action, Redaction, RuleConfig};
pub use rule_set::RuleSet;

#[cfg(test)]
mod config_test;
#[cfg(test)]
mod cost_test;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod route_test;
#[cfg(test)]
mod rule_set_test;
#[cfg(test)]
mod testing;
