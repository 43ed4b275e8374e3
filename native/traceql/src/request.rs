//! Requests as TypeScript writes them, one JSON text each.

use otlake_base::{Code, Consistency, Error, Result, Table, Wanted};
use otlake_query::ReadRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::spans::Times;
use crate::tree::{Expression, Query, optional_decimal};

/// What every request has.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scoped {
    query_id: Option<String>,
    tenant: Option<String>,
    consistency: Option<String>,
    session: Option<String>,
    partial: Option<bool>,
    #[serde(deserialize_with = "optional_decimal")]
    start_ns: Option<i64>,
    #[serde(deserialize_with = "optional_decimal")]
    end_ns: Option<i64>,
    timeout_ms: Option<f64>,
}

impl Scoped {
    /// Its times; an end is part of them.
    pub(crate) fn times(&self) -> Result<Times> {
        let times = Times {
            first: self.start_ns.unwrap_or(i64::MIN),
            last: self.end_ns.unwrap_or(i64::MAX),
        };
        if times.first > times.last {
            return Err(Error::new(
                Code::TraceqlRequest,
                "the end is before the start",
            ));
        }
        Ok(times)
    }

    /// Both ends of its times.
    ///
    /// # Errors
    /// `TRACEQL_REQUEST` where one is missing.
    pub(crate) fn bounds(&self) -> Result<(i64, i64)> {
        match (self.start_ns, self.end_ns) {
            (Some(start), Some(end)) if start < end => Ok((start, end)),
            (Some(_), Some(_)) => Err(Error::new(
                Code::TraceqlRequest,
                "the end is not behind the start",
            )),
            _ => Err(Error::new(
                Code::TraceqlRequest,
                "series need a start and an end",
            )),
        }
    }

    /// As the query engine takes it: what the plans need of these times, and these columns.
    pub(crate) fn read(
        &self,
        kind: &'static str,
        times: Times,
        columns: impl IntoIterator<Item = String>,
    ) -> Result<ReadRequest> {
        let is_bounded = times != Times::ALL;
        let mut names: Vec<String> = columns.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Ok(ReadRequest {
            kind,
            id: self.query_id.clone(),
            table: Table::Spans,
            tenant: self.tenant.clone(),
            consistency: Consistency::parse(self.consistency.as_deref(), self.session.as_deref())?,
            partial: self.partial.unwrap_or(false),
            timeout_ms: self.timeout_ms.map(|milliseconds| milliseconds as u64),
            wanted: Wanted {
                times: is_bounded.then_some((times.first, times.last)),
                columns: Some(names),
                ..Wanted::default()
            },
        })
    }
}

/// Traces by what their spans are.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchRequest {
    #[serde(flatten)]
    pub(crate) scoped: Scoped,
    pub(crate) query: Query,
    pub(crate) limit: u32,
    pub(crate) spans_per_spanset: u32,
    /// Whether none may be left out for one that is older.
    #[serde(default)]
    pub(crate) most_recent: bool,
}

/// The keys of attributes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagsRequest {
    #[serde(flatten)]
    pub(crate) scoped: Scoped,
    pub(crate) scope: Option<String>,
    pub(crate) query: Option<Query>,
    pub(crate) limit: u32,
}

/// The values of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TagValuesRequest {
    #[serde(flatten)]
    pub(crate) scoped: Scoped,
    pub(crate) tag: Expression,
    pub(crate) query: Option<Query>,
    pub(crate) limit: u32,
}

/// Series of spans.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricsRequest {
    #[serde(flatten)]
    pub(crate) scoped: Scoped,
    pub(crate) query: Query,
    #[serde(deserialize_with = "optional_decimal")]
    pub(crate) step_ns: Option<i64>,
    pub(crate) exemplars: u32,
}

/// A request of its text.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::new(Code::TraceqlRequest, error))
}

/// A limit of a request within the one that there is.
pub(crate) fn within(asked: u32, most: usize, what: &str) -> Result<usize> {
    let asked = asked as usize;
    if asked == 0 || asked > most {
        let message = format!("{what} are 1 to {most}, not {asked}");
        return Err(Error::new(Code::TraceqlRequest, message));
    }
    Ok(asked)
}
