//! Records that are refused one by one, while the rest of their request is stored.

use std::fmt;

/// What was refused of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Records.
    pub count: u64,
    /// The first offending field, by its path, and what is wrong with it.
    pub first: Option<String>,
    /// Records by reason (`invalid_trace_id`, …).
    pub by_reason: Vec<(&'static str, u64)>,
}

impl Rejections {
    /// Refuses one record.
    #[cold]
    pub fn add(&mut self, place: Place, refusal: &Refusal) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(format!("{place}.{}: {}", refusal.field, refusal.what));
        }
        match self
            .by_reason
            .iter_mut()
            .find(|(reason, _)| *reason == refusal.reason)
        {
            Some((_, count)) => *count += 1,
            None => self.by_reason.push((refusal.reason, 1)),
        }
    }
}

/// Why a record is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A static name for the ledger.
    pub reason: &'static str,
    /// The field, by its name in OTLP.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl Refusal {
    /// The field is one of an element of the record.
    #[cold]
    pub fn of_element(self, list: &str, index: usize) -> Self {
        Self {
            field: format!("{list}[{index}].{}", self.field),
            ..self
        }
    }
}

/// Which record of a request.
#[derive(Clone, Copy)]
pub struct Place {
    /// `spans`, `log_records` or `metrics`; it names the groups above it, too.
    pub signal: &'static str,
    pub resource: usize,
    pub scope: usize,
    pub record: usize,
    /// The data point of a metric.
    pub point: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = match self.signal {
            "log_records" => "logs",
            other => other,
        };
        let Place {
            signal,
            resource,
            scope,
            record,
            point,
        } = self;
        write!(
            f,
            "resource_{group}[{resource}].scope_{group}[{scope}].{signal}[{record}]"
        )?;
        match point {
            Some(point) => write!(f, ".data_points[{point}]"),
            None => Ok(()),
        }
    }
}

/// An id must have `N` bytes and not be all zero; an empty one is allowed where it is optional.
#[inline]
pub fn check_id<const N: usize>(
    field: &str,
    id: &[u8],
    required: bool,
    reason: &'static str,
) -> Result<(), Refusal> {
    let refuse = |what: String| {
        Err(Refusal {
            reason,
            field: field.to_owned(),
            what,
        })
    };
    if id.len() == N {
        if required && id.iter().all(|byte| *byte == 0) {
            return refuse("must not be all zero".into());
        }
        return Ok(());
    }
    match (id.is_empty(), required) {
        (true, false) => Ok(()),
        (_, true) => refuse(format!("must be {N} bytes, got {}", id.len())),
        (_, false) => refuse(format!("must be empty or {N} bytes, got {}", id.len())),
    }
}

/// An unsigned number must fit a signed column.
#[inline]
pub fn check_long(field: &str, number: u64, reason: &'static str) -> Result<i64, Refusal> {
    i64::try_from(number).map_err(|_| Refusal {
        reason,
        field: field.to_owned(),
        what: format!("must be at most {}, got {number}", i64::MAX),
    })
}

/// Reasons, as the ledger counts them.
pub mod reason {
    pub const TRACE_ID: &str = "invalid_trace_id";
    pub const SPAN_ID: &str = "invalid_span_id";
    pub const PARENT_SPAN_ID: &str = "invalid_parent_span_id";
    pub const LINK: &str = "invalid_link";
    pub const EXEMPLAR: &str = "invalid_exemplar";
    pub const TIME: &str = "time_out_of_range";
    pub const COUNT: &str = "count_out_of_range";
    pub const BUCKETS: &str = "inconsistent_buckets";
}
