//! SQL over the lake: DataFusion on live batches and Parquet files, result formats, and the
//! Flight SQL server. It and `traceql` alone name DataFusion; it sees storage through
//! `base::TableSource` alone.
//!
//! - `engine`: sessions, limits, time-outs, cancellation.
//! - `limited`: a running query within its limits.
//! - `statement`: SQL text to a read-only plan; parameters as values.
//! - `syntax`: `attributes['key']`, ids as hexadecimal text.
//! - `functions`, `attribute`: SQL functions, and the one-pass reader of attribute text.
//! - `table`: a table of one moment and one tenant: live batches and pruned files.
//! - `wanted`: what of live rows a statement needs of other nodes.
//! - `reading`: plans of other crates over one table of one moment.
//! - `reader`: Parquet files, each byte checked before it is used.
//! - `trace`: a trace by its id, past the planner.
//! - `distributed`: queries over many nodes.
//! - `memory`: what one query may hold of what all may hold.
//! - `format`, `json`: batches to JSON, NDJSON, CSV, Arrow IPC or Parquet, a chunk at a time.
//! - `pieces`: batches in pieces of a bounded size.
//! - `plain`: views to the plain types that every Arrow reader knows.
//! - `flight`: the Flight SQL server.
//! - `error`: DataFusion's errors as codes.
//!
//! ```text
//! SQL --statement--> plan --engine--> [ live batches | Parquet files ] --> RecordBatch stream
//!                                                                            |-> format (HTTP)
//!                                                                            `-> flight (gRPC)
//! ```

mod admission;
pub mod attribute;
mod distributed;
mod engine;
mod error;
mod flight;
pub mod format;
mod functions;
mod json;
mod limited;
mod memory;
pub mod pieces;
mod plain;
mod reader;
mod reading;
mod statement;
mod syntax;
mod table;
mod trace;
mod wanted;

pub use distributed::{Incoming, Outgoing, Wire, Workers};
pub use engine::{BatchStream, QueryConfig, QueryEngine, QueryRequest, QueryResult, named};
pub use error::from_datafusion;
pub use flight::{FlightConfig, FlightServer, Token};
pub use functions::{attribute_json, hexadecimal, to_hex};
pub use reading::{FileTimes, ReadRequest, ReadResult, Reading};
pub use trace::{TraceEncoding, TraceForm};

#[cfg(test)]
mod attribute_test;
#[cfg(test)]
mod engine_test;
#[cfg(test)]
mod flight_test;
#[cfg(test)]
mod format_test;
#[cfg(test)]
mod pieces_test;
#[cfg(test)]
mod reader_test;
#[cfg(test)]
mod sample_test;
#[cfg(test)]
mod sql_test;
