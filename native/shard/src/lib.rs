//! From batches of rows to sorted Parquet files on disk.
//!
//! One call takes the batches of one table and leaves one file for each tenant and UTC day,
//! durable before it returns. Nothing refers to a file yet: the catalog commits it.
//!
//! ```text
//! <table>/tenant=<t>/day=<YYYY-MM-DD>/.<uuid>.tmp      while it is written
//! <table>/tenant=<t>/day=<YYYY-MM-DD>/<uuid>.parquet   after fsync and rename
//! ```
//!
//! - `order`: the permutation that sorts rows and parts them by tenant and day.
//! - `gather`: one column's rows in that order.
//! - `chunk`: column chunks of values that repeat, and of ids.
//! - `encoding`: how each column is encoded, compressed, indexed.
//! - `stats`: the figures of a file that let a reader pass it by, in Delta's form.
//! - `write`: puts these together.
//! - `merge`: several files of a partition into one, in the same order and encodings.

mod chunk;
mod encoding;
mod gather;
mod merge;
mod order;
mod stats;
mod write;

pub use encoding::{RUNS_KEY, SCHEMA_VERSION, SCHEMA_VERSION_KEY};
pub use merge::{MERGE_FILES, MergeFailure, MergeOptions, Merged, merge};
pub use order::sort_rows;
pub use stats::stats_columns;
pub use write::{WriteOptions, Written, write};

#[cfg(test)]
mod merge_copy_test;
#[cfg(test)]
mod merge_model_test;
#[cfg(test)]
mod merge_test;
#[cfg(test)]
#[path = "../testing/rows.rs"]
mod rows;
#[cfg(test)]
mod write_test;
