//! Tables on an S3-compatible object store, as a disk.
//!
//! Whoever writes and reads tables does it through the port `otlake_base::Disk`. Here is a disk
//! whose folder `/s3:` is a bucket, and everything else the machine's: the log, the windows of
//! resends and what belongs to one node alone stay local, and the code above knows of no bucket.
//!
//! ```text
//!  create .1f….tmp ──> local spool ──┐
//!  write, sync          (memory, then│ rename ──> PUT, or a multipart upload of 8 MiB parts
//!                        a file)     │ link ────> PUT If-None-Match: *   (a Delta commit)
//!  open ────────────── local spool <─┘ GET        list ──> LIST     remove ──> DELETE
//!  queries ──────────────────────────────────────────────> GET Range
//! ```
//!
//! A file that is being written has no name in the bucket: naming it is what uploads it, whole or
//! not at all, and durable once the store has said so. That is what a sync, a rename and a sync of
//! the folder are on a file system; so here a sync has nothing to do. `link` is the
//! compare-and-swap of commits, and tells an answer that was lost by reading back what is there.
//!
//! - `address`: `s3://bucket/prefix`, and the paths that stand for it.
//! - `bucket`: opens one.
//! - `client`: the client of the store: credentials, time-outs, retries.
//! - `disk`: the bucket as a disk.
//! - `failure`: what the store's refusals mean, and the fix.
//! - `metered`: counts requests and their time.
//! - `mounted`: one tree of the bucket and the machine's disk; the same for queries.
//! - `probe`: refuses a bucket that cannot hold tables, at the start.
//! - `spool`: bytes of one file, in memory or in a local file.
//! - `upload`: large files, in parts or by a store's own way, and what is left of uploads that were cut off.
//! - `waiting`: from threads that block to the client, which does not.

mod address;
mod bucket;
mod client;
mod disk;
mod failure;
mod metered;
mod mounted;
mod probe;
mod spool;
mod upload;
mod waiting;

pub use address::{Address, shown};
pub use bucket::{Bucket, BucketConfig};
pub use upload::LargeFiles;

#[cfg(test)]
mod address_test;
#[cfg(test)]
mod disk_test;
#[cfg(test)]
mod probe_test;
#[cfg(test)]
#[path = "../../shard/testing/records.rs"]
mod records;
#[cfg(test)]
#[path = "../../shard/testing/rows.rs"]
mod rows;
#[cfg(test)]
mod spool_test;
#[cfg(test)]
mod tables_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
#[path = "../../shard/testing/times.rs"]
mod times;
#[cfg(test)]
mod upload_test;
