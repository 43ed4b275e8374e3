//! SQL over the lake: DataFusion on live batches and Parquet files, result formats, and the
//! Flight SQL server. It and `traceql` alone name DataFusion; it sees storage through
//! `base::TableSource` alone.
//!
//! - `engine`: sessions, limits, time-outs, cancellation.
//! - `limited`: a running query within its limits.
//! - `statement`: SQL text to a read-only plan; parameters as values.
//! - `syntax`: `attributes['key']`, ids as hexadecimal text.
//! - `functions`, `attribute`, `trace_state`: SQL functions, the one-pass reader of attribute text, and
//!   what a span stands for.
//! - `equal_text`: rows whose attributes do not have a text at all, told apart first.
//! - `groups`: groups by texts, by numbers of them first.
//! - `table`: a table of one moment and one tenant: live batches and pruned files.
//! - `wanted`: what of live rows a statement needs of other nodes.
//! - `progress`: queries that run, and how far each is.
//! - `reading`: plans of other crates over one table of one moment.
//! - `row_expression`: SQL expressions over the rows of a batch, planned once.
//! - `reader`: Parquet files, each byte checked before it is used.
//! - `local`: the machine's files.
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
mod equal_text;
mod error;
mod flight;
pub mod format;
mod functions;
mod groups;
mod json;
mod limited;
mod local;
mod memory;
pub mod pieces;
mod plain;
mod progress;
mod reader;
mod reading;
mod row_expression;
mod statement;
mod syntax;
mod table;
mod trace;
mod trace_state;
mod wanted;

pub use distributed::{Incoming, Outgoing, Wire, Workers};
pub use engine::{BatchStream, QueryConfig, QueryEngine, QueryRequest, QueryResult, named};
pub use error::from_datafusion;
pub use flight::{FlightConfig, FlightServer, Token};
pub use functions::{attribute_json, hexadecimal, to_hex};
pub use progress::{QueryState, RunningQuery};
pub use reading::{FileTimes, ReadRequest, ReadResult, Reading};
pub use row_expression::{RowExpression, RowExpressions};
pub use trace::{TraceEncoding, TraceForm};

#[cfg(test)]
mod attribute_test;
#[cfg(test)]
mod equal_text_test;
#[cfg(test)]
mod flight_test;
#[cfg(test)]
mod format_test;
#[cfg(test)]
mod pieces_test;
#[cfg(test)]
mod reader_test;
#[cfg(test)]
mod row_expression_test;
#[cfg(test)]
mod sample_test;
#[cfg(test)]
mod sql_test;
