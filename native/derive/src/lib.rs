//! Series derived from spans: request rate, errors and durations of each service's operations, and
//! the edges between services, as delta points in the metric tables (docs/derived.md).
//!
//! ```text
//!  seal of spans --Deriver::prepare--> halves paired, those that waited long enough let go of
//!                                        |
//!       for metrics_sum, then metrics_histogram:
//!         watermarks of the table --> Prepared::rows: of what the table does not hold yet
//!                                        |   one commit: files, {stream': last sequence, ...}
//!       then the spans themselves, one commit
//!                                        |
//!                                  Deriver::done: up to where the log may forget
//! ```
//!
//! Nothing here keeps a total. A file of derived points is made of the batches of one flush, and its
//! commit raises a watermark of its own for each stream, by the same compare-and-swap as any other
//! flush: what is repeated after a crash, or by another node, is filtered by that watermark as the
//! spans themselves are (I3). A span is in one batch, so it counts once.
//!
//! An edge can have its halves in two batches. The first waits, and its log record with it; so what
//! waits is there again after a crash. The edge is written by the commit that first covers both.
//! Halves that nobody came for become virtual nodes, or nothing, under a second watermark.
//!
//! - `attribute`: one attribute in a span's JSON text.
//! - `config`: what is derived, and by which bounds.
//! - `deriver`: the state of a node between flushes.
//! - `edge`: edges, and by which commit each is written.
//! - `half`: what of a span can be an edge or a half of one.
//! - `limiter`: series that are known, and how many there may be.
//! - `message`: protobuf's wire format, written.
//! - `points`: totals to an OTLP request, and by the decoder to rows.
//! - `prepared`: one flush: what is counted of it for each table.
//! - `spans`: the columns that are read.
//! - `totals`: spans and edges to sums, by series and interval.
//! - `waiting`: halves that wait for the other.

pub mod attribute;
mod config;
mod deriver;
mod edge;
mod half;
mod limiter;
mod message;
mod points;
mod prepared;
mod spans;
mod totals;
mod waiting;

pub use config::{DeriveConfig, kept_of};
pub use deriver::Deriver;
pub use points::names;
pub use prepared::{Prepared, SpanBatch, Watermarks};

#[cfg(test)]
mod attribute_test;
#[cfg(test)]
mod limiter_test;
#[cfg(test)]
mod prepared_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod waiting_test;
