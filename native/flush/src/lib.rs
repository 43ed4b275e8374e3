//! Live batches, and their way into files.
//!
//! An acknowledged batch lives in memory from the moment its log record is durable until a
//! committed file holds its rows. Queries see both sides without a gap or a double, because
//! they capture the live set first and the snapshot second, and drop from the first what the
//! second's watermark covers.
//!
//! ```text
//!  log thread --insert--> [ batch batch batch | batch batch ... ]   one queue for each signal
//!                           `-- seal ------'    unsealed
//!                                 |
//!               for each table with rows: write files, commit with
//!               watermarks {stream: last sequence of the seal}
//!                                 |
//!               release the log up to the seal's positions, remove the
//!               seal from the queue, give its bytes back to the budget
//! ```
//!
//! - `batch`: one acknowledged request as rows, and what its memory amounts to.
//! - `derive`: the part of a flush of spans that writes what is derived of them.
//! - `tail`: batches for those who follow, within a bound of bytes.
//! - `live`: the live set: insert, capture, seal, remove, follow.
//! - `seal`: when a seal is due, and what it is.
//! - `flusher`: the tasks that write and commit, and try again.
//! - `sample`: the part of a flush of spans that decides which of them are written.
//! - `source`: the capture of one table, as queries ask for it.

mod batch;
mod derive;
mod flusher;
mod live;
mod sample;
mod seal;
mod source;
mod tail;

pub use batch::{LiveBatch, memory_bytes};
pub use flusher::{FIRST_RETRY, Flusher, FlusherParts, OnStep, Step};
pub use live::{LiveFigures, LiveSet};
pub use otlake_base::{Budget, Reservation};
pub use seal::{Due, Reason, Seal, SealLimits, Unsealed, Waited, covers};
pub use source::{Source, Tables};
pub use tail::{Tail, Tailed};

#[cfg(test)]
mod invariant_test;
#[cfg(test)]
mod live_test;
#[cfg(test)]
mod seal_test;
