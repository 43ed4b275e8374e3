//! A trace as OTLP or Jaeger has it, part by part: whatever its size, no more of it is in memory than its reader
//! waits for.

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
use napi::bindgen_prelude::BigInt;
use otlake_base::{Code, Consistency, Error, Missing, Result, Session, Signal, Table};
use otlake_decode::json::Jaeger;
use otlake_query::pieces::fitting;
use otlake_query::{BatchStream, QueryEngine, TraceEncoding, TraceForm};

use crate::byte_stream::Chunks;
use crate::records::TraceRequest;

/// A trace as it is sent.
pub enum Answer {
    /// All of it, where it is one part.
    Whole(Vec<u8>),
    /// More than one.
    Parts(Chunks),
}

/// A trace, and what it is of.
pub struct Found {
    /// As it is sent.
    pub answer: Answer,
    /// The session token that covers it.
    pub seen: Session,
    /// What it may lack.
    pub missing: Vec<Missing>,
}

/// Rows of one part, and bytes of their values unless a single row has more. Spans of one resource
/// stand together within a part.
const PART_ROWS: usize = 8192;
const PART_BYTES: usize = 2 * 1024 * 1024;

/// What stands around the parts in JSON.
const HEAD: &[u8] = b"{\"resourceSpans\":[";
const TAIL: &[u8] = b"]}";

/// What is asked for, and how fresh it has to be.
///
/// # Errors
/// `TRACE_ID`, `QUERY_FORMAT`, `TRACEQL_REQUEST`, `QUERY_CONSISTENCY`, `QUERY_SESSION`.
pub fn asked(request: TraceRequest) -> Result<(TraceForm, Consistency)> {
    let encoding = match request.encoding.as_str() {
        "json" => TraceEncoding::Json,
        "protobuf" => TraceEncoding::Protobuf,
        "jaeger" => TraceEncoding::Jaeger,
        other => {
            return Err(Error::new(
                Code::QueryFormat,
                format!("`{other}` is none of `json`, `protobuf` and `jaeger`"),
            ));
        }
    };
    let times = match (request.start_ns, request.end_ns) {
        (None, None) => None,
        (start, end) => Some((nanos(start, i64::MIN)?, nanos(end, i64::MAX)?)),
    };
    let form = TraceForm {
        trace_id: parse_trace_id(&request.trace_id)?,
        tenant: request.tenant,
        times,
        encoding,
    };
    let consistency =
        Consistency::parse(request.consistency.as_deref(), request.session.as_deref())?;
    Ok((form, consistency))
}

/// A time, or what stands for one that is open.
fn nanos(time: Option<BigInt>, open: i64) -> Result<i64> {
    match time.map(|time| time.get_i64()) {
        None => Ok(open),
        Some((nanos, true)) => Ok(nanos),
        Some((_, false)) => Err(Error::new(
            Code::TraceqlRequest,
            "a time is nanoseconds since 1970, in 63 bits",
        )),
    }
}

fn parse_trace_id(text: &str) -> Result<[u8; 16]> {
    let bad = || Error::new(Code::TraceId, format!("`{text}` is not a trace id"));
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let id = u128::from_str_radix(text, 16).map_err(|_| bad())?;
    if id == 0 {
        Err(bad())
    } else {
        Ok(id.to_be_bytes())
    }
}

/// The trace in its form, which is kept for the next time if it is not large; `None` where there is
/// none.
///
/// # Errors
/// As `QueryEngine::trace`.
pub async fn look_up(
    queries: &QueryEngine,
    form: TraceForm,
    consistency: Consistency,
    partial: bool,
) -> Result<Option<Found>> {
    // Taken before the read: what comes after it makes the answer forgotten.
    let moment = queries.moment(&consistency).ok().flatten();
    let found = queries
        .trace(
            form.trace_id,
            form.tenant.as_deref(),
            form.times,
            consistency,
            partial,
        )
        .await?;
    let (seen, missing) = (found.session, found.missing);
    let frame = Frame::of(&form);
    let answer = encode(found.stream, frame).await?;
    if let (Some(Answer::Whole(answer)), Some(moment)) = (&answer, moment) {
        queries.keep_trace(form, moment, answer);
    }
    Ok(answer.map(|answer| Found {
        answer,
        seen,
        missing,
    }))
}

/// What stands around the parts, and what was kept of them.
enum Frame {
    Protobuf,
    Json,
    Jaeger([u8; 16], Box<Jaeger>),
}

impl Frame {
    fn of(form: &TraceForm) -> Frame {
        match form.encoding {
            TraceEncoding::Protobuf => Frame::Protobuf,
            TraceEncoding::Json => Frame::Json,
            TraceEncoding::Jaeger => Frame::Jaeger(form.trace_id, Box::default()),
        }
    }

    fn tail(&self) -> Option<Vec<u8>> {
        match self {
            // Messages one after the other are one message: repeated fields go on.
            Frame::Protobuf => None,
            Frame::Json => Some(TAIL.to_vec()),
            Frame::Jaeger(_, jaeger) => Some(jaeger.tail()),
        }
    }
}

/// The spans as one trace; `None` where there are none.
async fn encode(rows: BatchStream, frame: Frame) -> Result<Option<Answer>> {
    let mut parts = Parts {
        rows,
        next: None,
        drained: false,
        frame,
        begun: false,
        ended: false,
    };
    let Some(first) = parts.next().await.transpose()? else {
        return Ok(None);
    };
    if parts.ended {
        return Ok(Some(Answer::Whole(first)));
    }
    let rest = stream::unfold(parts, |mut parts| async move {
        let part = parts.next().await?;
        Some((part, parts))
    });
    let parts = stream::iter([Ok(first)]).chain(rest).boxed();
    Ok(Some(Answer::Parts(parts)))
}

struct Parts {
    rows: BatchStream,
    /// Rows that the last part had no room for.
    next: Option<RecordBatch>,
    /// No more rows come.
    drained: bool,
    frame: Frame,
    begun: bool,
    ended: bool,
}

impl Parts {
    async fn next(&mut self) -> Option<Result<Vec<u8>>> {
        if self.ended {
            return None;
        }
        let part = match self.gather().await {
            Ok(spans) if !spans.is_empty() => self.part(&spans),
            Ok(_) => {
                self.ended = true;
                // No span is no trace.
                let tail = self.frame.tail().filter(|_| self.begun);
                return tail.map(Ok);
            }
            Err(error) => Err(error),
        };
        self.ended = part.is_err() || (self.drained && self.next.is_none());
        self.begun = true;
        Some(part)
    }

    /// The rows of the next part; none at the end.
    async fn gather(&mut self) -> Result<Vec<(Table, RecordBatch)>> {
        let mut gathered = Vec::new();
        let (mut rows, mut bytes) = (PART_ROWS, PART_BYTES);
        while rows > 0 {
            let batch = match self.next.take() {
                Some(batch) => batch,
                None => match self.rows.next().await {
                    Some(batch) => batch?,
                    None => {
                        self.drained = true;
                        break;
                    }
                },
            };
            let count = fitting(&batch, rows, bytes);
            let taken = batch.slice(0, count);
            let size = otlake_query::pieces::value_bytes(&taken);
            if size > bytes && !gathered.is_empty() {
                // Even its first row is more than there is room for.
                self.next = Some(batch);
                break;
            }
            rows -= count;
            bytes = bytes.saturating_sub(size);
            if count > 0 {
                gathered.push((Table::Spans, taken));
            }
            if count < batch.num_rows() {
                self.next = Some(batch.slice(count, batch.num_rows() - count));
                break;
            }
        }
        Ok(gathered)
    }

    fn part(&mut self, spans: &[(Table, RecordBatch)]) -> Result<Vec<u8>> {
        let protobuf = otlake_decode::encode::encode(spans)?;
        let mut part = match &mut self.frame {
            Frame::Protobuf => return Ok(protobuf),
            Frame::Json => {
                let whole = otlake_decode::json::from_protobuf(Signal::Traces, &protobuf)?;
                let inner = whole
                    .strip_prefix(HEAD)
                    .and_then(|whole| whole.strip_suffix(TAIL))
                    .ok_or_else(|| {
                        Error::new(Code::Internal, "a trace's JSON has another frame")
                    })?;
                let before: &[u8] = if self.begun { b"," } else { HEAD };
                [before, inner].concat()
            }
            Frame::Jaeger(trace_id, jaeger) => {
                let spans = jaeger.spans(&protobuf)?;
                let before = (!self.begun).then(|| Jaeger::head(trace_id));
                [before.unwrap_or_default(), spans].concat()
            }
        };
        if self.drained && self.next.is_none() {
            part.extend(self.frame.tail().unwrap_or_default());
        }
        Ok(part)
    }
}
