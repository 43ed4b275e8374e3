//! OTLP bytes to Arrow columns, and back.
//!
//! A request is walked on the wire and its fields are written straight into columns; there is
//! no tree of objects in between. What is malformed fails the whole request; a record that OTLP
//! does not allow is refused alone and cut back out of every column.
//!
//! - `schema.rs`: the columns of the seven tables.
//! - `decode.rs`: a request to its rows. `spans.rs`, `logs.rs`, and `metrics.rs` with
//!   `metric_values.rs`, `histograms.rs` and `exemplars.rs`: each signal's messages.
//! - `wire.rs`: protobuf's wire format. `columns.rs`: columns that can be cut back.
//! - `attributes.rs`: OTLP values as JSON text. `origin.rs`: resource and scope, once for their
//!   rows. `series.rs`: a metric series' id. `rejections.rs`: what is refused, and why.
//! - `json/`: OTLP/JSON to protobuf and back. `encode/`: rows to OTLP protobuf.

mod attributes;
mod columns;
mod decode;
pub mod encode;
mod exemplars;
mod histograms;
pub mod json;
mod logs;
mod metric_values;
mod metrics;
mod origin;
mod rejections;
pub mod schema;
mod series;
mod spans;
mod wire;

#[cfg(test)]
mod decode_test;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod wire_test;

pub use decode::{Decoded, decode};
pub use rejections::Rejections;
