//! TraceQL over the table of spans: a typed tree becomes plans of DataFusion and operations on
//! columns, and answers are the JSON mapping of Tempo's own messages.
//!
//! ```text
//!  tree --+--> conditions --> traces where they match, the newest first --> all spans of these
//!         |                                                                        |
//!         |         shown <-- pipeline over columns: structure, by, filters <------'
//!         `--> a plain filter with series --> one plan: filter, step of time, group, aggregate
//! ```
//!
//! - `tree`: a query as TypeScript parses it.
//! - `request`: what is asked.
//! - `expression`: an expression of the tree as one of DataFusion.
//! - `constant`, `functions`: comparisons with dynamically typed values, and with events and links.
//! - `columns`: the values that a query takes of spans.
//! - `spans`: scans within times, and windows of time.
//! - `candidates`: traces that may answer.
//! - `chunk`: all spans of some traces in memory.
//! - `forest`, `structure`: how spans lie to each other, and the operators on it.
//! - `pipeline`: spansets, and what they go through.
//! - `json`: values as Tempo's messages have them.
//! - `search`: `tempopb.SearchResponse`.
//! - `tags`: attributes that there are, and their values.
//! - `metrics/`: series of spans over time.

mod candidates;
mod chunk;
mod columns;
mod constant;
mod expression;
mod forest;
mod functions;
mod json;
mod metrics;
mod pipeline;
mod request;
mod search;
mod spans;
mod structure;
mod tags;
mod tree;

use otlake_base::{Code, Error, Missing, Session};
use otlake_query::ReadResult;

pub use metrics::metrics;
pub use search::search;
pub use tags::{tag_values, tags};

/// An answer, and what it saw.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message as JSON.
    pub json: String,
    /// The session token that covers what it shows, and what its own token covered.
    pub session: Session,
    /// Streams whose rows it may lack; none unless a partial answer was asked for.
    pub missing: Vec<Missing>,
}

impl Answer {
    fn of(result: ReadResult<String>) -> Answer {
        Answer {
            json: result.value,
            session: result.session,
            missing: result.missing,
        }
    }
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::new(Code::TraceqlRequest, message)
}

fn mistyped(message: impl std::fmt::Display) -> Error {
    Error::new(Code::TraceqlType, message)
}

#[cfg(test)]
mod metrics_test;
#[cfg(test)]
mod search_test;
#[cfg(test)]
mod tags_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod time_test;
