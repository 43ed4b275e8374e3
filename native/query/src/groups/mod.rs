//! Groups by texts, of which there are few: services, names, hosts. A text of a row group comes as a view into
//! the dictionary that all its rows share, so that two rows with the same view have the same text, and nobody
//! has to look at it. Each view gets a number once, and rows are grouped by these numbers, which is what
//! DataFusion does fastest.
//!
//! ```text
//!  rows --> numbers of their texts --> AggregateExec by number --> the texts again --> partial groups
//!             `--(too many of them, or too little alike)--> AggregateExec by text --^
//! ```
//!
//! - `exec`: the operator, and which aggregations it takes the place of.
//! - `codes`: texts and their numbers.

mod codes;
mod exec;

#[cfg(test)]
mod groups_test;

pub(crate) use exec::by_codes;
