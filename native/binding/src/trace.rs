//! A trace as OTLP, part by part: whatever its size, no more of it is in memory than its reader
//! waits for.

use arrow::array::RecordBatch;
use futures::{StreamExt, stream};
use otlake_base::{Code, Error, Result, Signal, Table};
use otlake_query::BatchStream;
use otlake_query::pieces::fitting;

use crate::byte_stream::Chunks;

/// Rows of one part, and bytes of their values unless a single row has more. Spans of one resource
/// stand together within a part.
const PART_ROWS: usize = 8192;
const PART_BYTES: usize = 2 * 1024 * 1024;

/// What stands around the parts in JSON.
const HEAD: &[u8] = b"{\"resourceSpans\":[";
const TAIL: &[u8] = b"]}";

/// The spans as one `TracesData`, protobuf or JSON; `None` where there are none.
pub async fn encode(rows: BatchStream, json: bool) -> Result<Option<Chunks>> {
    let mut parts = Parts {
        rows,
        next: None,
        json,
        begun: false,
        ended: false,
    };
    let Some(first) = parts.next().await.transpose()? else {
        return Ok(None);
    };
    let rest = stream::unfold(parts, |mut parts| async move {
        let part = parts.next().await?;
        Some((part, parts))
    });
    Ok(Some(stream::iter([Ok(first)]).chain(rest).boxed()))
}

struct Parts {
    rows: BatchStream,
    /// Rows that the last part had no room for.
    next: Option<RecordBatch>,
    json: bool,
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
                // Protobuf needs no end, and no span is no trace.
                return (self.begun && self.json).then(|| Ok(TAIL.to_vec()));
            }
            Err(error) => Err(error),
        };
        self.ended = part.is_err();
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
                    None => break,
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

    fn part(&self, spans: &[(Table, RecordBatch)]) -> Result<Vec<u8>> {
        let protobuf = otlake_decode::encode::encode(spans)?;
        if !self.json {
            // Messages one after the other are one message: repeated fields go on.
            return Ok(protobuf);
        }
        let whole = otlake_decode::json::from_protobuf(Signal::Traces, &protobuf)?;
        let inner = whole
            .strip_prefix(HEAD)
            .and_then(|whole| whole.strip_suffix(TAIL))
            .ok_or_else(|| Error::new(Code::Internal, "a trace's JSON has another frame"))?;
        let before: &[u8] = if self.begun { b"," } else { HEAD };
        Ok([before, inner].concat())
    }
}
