//! Traces as they were answered. An answer stands as long as the table holds the same rows: a
//! span that is acknowledged, and a file that comes or goes, make it forgotten (I7).

use std::sync::Arc;

use otlake_base::Moment;
use otlake_base::limits::TRACE_ANSWERS_BYTES;
use parking_lot::Mutex;

use super::bounded::Bounded;

/// What an entry takes beside its bytes and its tenant's name, in bytes.
const ENTRY_BYTES: usize = 256;

/// Which trace is asked for, by whom, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceForm {
    /// Its id.
    pub trace_id: [u8; 16],
    /// The tenant whose spans are seen; every tenant's where absent.
    pub tenant: Option<String>,
    /// Nanoseconds since 1970, first and last: files without a span that began within them are left
    /// out.
    pub times: Option<(i64, i64)>,
    /// How it is written.
    pub encoding: TraceEncoding,
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceEncoding {
    /// OTLP's `TracesData`.
    Protobuf,
    /// The same as OTLP/JSON.
    Json,
    /// The trace of Jaeger's query API, JSON.
    Jaeger,
}

/// An answer, and the moment that it is of.
type Kept = (Moment, Arc<[u8]>);

pub(crate) struct TraceAnswers(Mutex<Bounded<TraceForm, Kept>>);

impl TraceAnswers {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Bounded::new(TRACE_ANSWERS_BYTES)))
    }

    /// The answer of `moment`.
    pub(crate) fn get(&self, form: &TraceForm, moment: Moment) -> Option<Arc<[u8]>> {
        let (of, answer) = self.0.lock().get(form)?;
        (of == moment).then_some(answer)
    }

    /// Keeps an answer that was looked up at `moment` or later. It is given again at that moment
    /// alone, and then it was looked up at it: a moment never comes back.
    pub(crate) fn keep(&self, form: TraceForm, moment: Moment, answer: &[u8]) {
        let bytes = ENTRY_BYTES + form.tenant.as_ref().map_or(0, String::len) + answer.len();
        let mut answers = self.0.lock();
        if answers.takes(bytes) {
            answers.put(form, (moment, answer.into()), bytes);
        }
    }
}
