//! Records that are refused one by one, while the rest of their request is stored, and the count
//! of what became of the others.

use std::fmt;

use otlake_base::Signal;

use crate::groups::Group;
use crate::notes::{self, Notes};
use crate::path::path_at;
use crate::request::Request;
use crate::wire::{Fault, Malformed, Wire};

/// Records by reason.
pub type ByReason = Vec<(&'static str, u64)>;

/// What was refused of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// Records.
    pub count: u64,
    /// The first offending field, by its path, and what is wrong with it.
    pub first: Option<String>,
    /// Records by reason (`invalid_trace_id`, …).
    pub by_reason: ByReason,
}

/// The sentence that tells a client what became of its records; None where all were stored as
/// they came.
pub fn message(rejections: &Rejections, changed: &ByReason) -> Option<String> {
    let list = |reasons: &ByReason| {
        let each = reasons
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if let Some(first) = &rejections.first {
        let by_reason = list(&rejections.by_reason);
        parts.push(format!("records refused: {by_reason}; the first: {first}"));
    }
    if !changed.is_empty() {
        parts.push(format!("records changed: {}", list(changed)));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What became of the records of a request.
pub struct Tally<'a> {
    signal: Signal,
    body: &'a [u8],
    /// Records that were looked at.
    pub received: u64,
    pub rejections: Rejections,
    /// Kept records with each note, by its bit.
    noted: [u64; Notes::BITS as usize],
}

impl<'a> Tally<'a> {
    pub fn new(signal: Signal, body: &'a [u8]) -> Self {
        Self {
            signal,
            body,
            received: 0,
            rejections: Rejections::default(),
            noted: [0; Notes::BITS as usize],
        }
    }

    /// Records come in; each is then kept or refused.
    pub fn receive(&mut self, request: &Request<'_>, records: usize) -> Wire<()> {
        self.received += records as u64;
        request.count_records(records)
    }

    /// A record is refused for what its group is refused for, or for its own outcome.
    #[cold]
    #[inline(never)]
    pub fn reject_record(
        &mut self,
        outcome: Wire<Checked>,
        group: &Group,
        point: Option<usize>,
    ) -> Wire<()> {
        let mut refused = None;
        let outcome = or_refused(outcome.map(Some), &mut refused)?;
        let own = outcome.and_then(Result::err).or(refused);
        if let Some(refusal) = group.refused.as_ref().or(own.as_ref()) {
            let place = Place {
                point,
                ..group.place
            };
            self.reject(place, refusal);
        }
        Ok(())
    }

    fn reject(&mut self, place: Place, refusal: &Refusal) {
        let rejections = &mut self.rejections;
        rejections.count += 1;
        rejections.first.get_or_insert_with(|| {
            let path = match &refusal.field {
                At::Field(field) => format!("{place}.{field}"),
                At::Byte(at) => path_at(self.signal, self.body, *at),
            };
            format!("{path}: {}", refusal.what)
        });
        let by_reason = &mut rejections.by_reason;
        match by_reason
            .iter_mut()
            .find(|(reason, _)| *reason == refusal.reason)
        {
            Some((_, count)) => *count += 1,
            None => by_reason.push((refusal.reason, 1)),
        }
    }

    /// A record is kept with these notes.
    #[cold]
    #[inline(never)]
    pub fn keep(&mut self, notes: Notes) {
        for (bit, count) in self.noted.iter_mut().enumerate() {
            *count += u64::from(notes >> bit & 1);
        }
    }

    /// The kept records by these reasons.
    pub fn noted(&self, reasons: &[(Notes, &'static str)]) -> ByReason {
        let count = |note: Notes| self.noted[note.trailing_zeros() as usize];
        let counted = reasons.iter().map(|(note, reason)| (*reason, count(*note)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// The kept records that were changed, by reason.
    pub fn changed(&self) -> ByReason {
        self.noted(notes::CHANGED)
    }

    /// The kept records that look wrong, by reason.
    pub fn flagged(&self) -> ByReason {
        self.noted(notes::FLAGGED)
    }
}

/// Why a record is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A static name for the ledger.
    pub reason: &'static str,
    /// Where.
    pub field: At,
    /// What is wrong.
    pub what: String,
}

/// Where in a request.
#[derive(Clone, Debug)]
pub enum At {
    /// A field of the record, by its name in OTLP.
    Field(String),
    /// A byte of the request.
    Byte(usize),
}

/// What a check allows, or why not.
pub type Checked<T = ()> = Result<T, Box<Refusal>>;

impl Refusal {
    /// A field of a record is not allowed.
    #[cold]
    pub fn new(reason: &'static str, field: &str, what: String) -> Box<Self> {
        Box::new(Self {
            reason,
            field: At::Field(field.to_owned()),
            what,
        })
    }

    /// The field is one of an element of the record.
    #[cold]
    pub fn of_element(mut self: Box<Self>, list: &str, index: usize) -> Box<Self> {
        if let At::Field(field) = &mut self.field {
            *field = format!("{list}[{index}].{field}");
        }
        self
    }
}

/// What reads to the end even where a text is not UTF-8: that is noted in `refused`.
#[inline]
pub fn or_refused<T: Default>(read: Wire<T>, refused: &mut Option<Box<Refusal>>) -> Wire<T> {
    match read {
        Err(malformed) if malformed.fault == Fault::Text => {
            refused.get_or_insert_with(|| text_refusal(&malformed));
            Ok(T::default())
        }
        read => read,
    }
}

#[cold]
fn text_refusal(malformed: &Malformed) -> Box<Refusal> {
    Box::new(Refusal {
        reason: reason::UTF8,
        field: At::Byte(malformed.at),
        what: malformed.what.to_owned(),
    })
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

/// An id must have `N` bytes and not be all zero.
#[inline]
pub fn check_id<const N: usize>(field: &str, id: &[u8], reason: &'static str) -> Checked {
    if is_id::<N>(id) {
        return Ok(());
    }
    let what = match id.len() == N {
        true => "must not be all zero".to_owned(),
        false => format!(
            "must be {N} bytes, {} hexadecimal digits in JSON, got {}",
            2 * N,
            id.len()
        ),
    };
    Err(Refusal::new(reason, field, what))
}

/// Whether it has `N` bytes and is not all zero.
#[inline(always)]
pub fn is_id<const N: usize>(id: &[u8]) -> bool {
    <&[u8; N]>::try_from(id).is_ok_and(|id| *id != [0; N])
}

/// An unsigned number must fit a signed column.
#[inline]
pub fn check_long(field: &str, number: u64, reason: &'static str) -> Checked<i64> {
    i64::try_from(number).map_err(|_| {
        let what = format!("must be at most {}, got {number}", i64::MAX);
        Refusal::new(reason, field, what)
    })
}

/// Reasons, as the ledger counts them.
pub mod reason {
    pub const UTF8: &str = "invalid_utf8";
    pub const TRACE_ID: &str = "invalid_trace_id";
    pub const SPAN_ID: &str = "invalid_span_id";
    pub const PARENT_SPAN_ID: &str = "invalid_parent_span_id";
    pub const LINK: &str = "invalid_link";
    pub const TIME: &str = "time_out_of_range";
    pub const COUNT: &str = "count_out_of_range";
    pub const BUCKETS: &str = "inconsistent_buckets";
    pub const ATTRIBUTES: &str = "attribute_limit";

    /// Every reason.
    #[cfg(test)]
    pub const ALL: [&str; 9] = [
        TRACE_ID,
        SPAN_ID,
        PARENT_SPAN_ID,
        LINK,
        TIME,
        COUNT,
        BUCKETS,
        ATTRIBUTES,
        UTF8,
    ];
}
