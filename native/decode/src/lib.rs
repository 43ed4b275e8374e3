//! OTLP bytes to Arrow columns, and back.
//!
//! A request is walked on the wire and its fields are written straight into columns; there is
//! no tree of objects in between. What is malformed fails the whole request; a record that OTLP
//! does not allow is refused alone and cut back out of every column (docs/validation.md).
//!
//! - `schema.rs`: the columns of the seven tables.
//! - `decode.rs`: a request to its rows. `groups.rs`: the walk of resources, scopes and records.
//!   `spans.rs` with `span_parts.rs` and `hot.rs`, `logs.rs`, and `metrics.rs` with
//!   `metric_values.rs`, `histograms.rs` and `exemplars.rs`: each signal's messages.
//! - `wire.rs`: protobuf's wire format. `request.rs`: what all readers of a request share, its
//!   limits among it. `columns.rs` with `texts.rs` and `zeros.rs`: columns that can be cut back.
//! - `attributes.rs` with `any_value.rs` and `json_text.rs`: OTLP values as JSON text; `usual.rs`
//!   with `plain.rs`: most of them, faster. `origin.rs`: resource and scope, once for their rows.
//!   `series.rs`: a metric series' id.
//! - `rejections.rs`: what is refused, and why. `notes.rs`: what is changed in a kept record, and
//!   what looks wrong. `path.rs`: where a byte stands. `logged.rs`: a request as the log keeps it.
//!   `slice.rs`: a part of a request that was split.
//! - `json/`: OTLP/JSON to protobuf and back. `encode/`: rows to OTLP protobuf.

mod any_value;
mod attributes;
mod columns;
mod decode;
pub mod encode;
mod exemplars;
mod groups;
mod histograms;
mod hot;
pub mod json;
mod json_text;
mod logged;
mod logs;
mod metric_values;
mod metrics;
mod notes;
mod origin;
mod path;
mod plain;
mod rejections;
mod request;
pub mod schema;
pub mod series;
pub mod slice;
mod span_parts;
mod spans;
mod texts;
mod usual;
mod wire;
mod zeros;

#[cfg(test)]
mod cost_test;
#[cfg(test)]
mod cut_test;
#[cfg(test)]
mod days_test;
#[cfg(test)]
mod decode_test;
#[cfg(test)]
mod flags_test;
#[cfg(test)]
mod limits_test;
#[cfg(test)]
mod parts_test;
#[cfg(test)]
mod reasons_test;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod slice_test;
#[cfg(test)]
mod texts_test;
#[cfg(test)]
mod usual_test;
#[cfg(test)]
mod wire_test;

pub use decode::{Decoded, Tables, decode, decode_received};
pub use json::base64;
pub use json_text::{write_double, write_int, write_text};
pub use logged::{as_received, replay, to_log};
pub use rejections::{ByReason, Rejections, message};
pub use zeros::own_bytes;
