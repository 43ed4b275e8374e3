//! The rows of an answer as the OTLP that they came in, a bounded chunk at a time.

use arrow::array::RecordBatch;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use otlake_base::{Code, Error, Result, Table};
use otlake_decode::{encode, json};
use otlake_query::QueryResult;

/// Rows that one chunk is made of.
const CHUNK_ROWS: usize = 1024;

/// How OTLP is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Otlp {
    /// `TracesData` and its like. Messages one after the other are one message, so that the
    /// chunks together are, too.
    Protobuf,
    /// A `TracesData` or its like a line, as OTLP's file exporter writes them.
    JsonLines,
}

impl Otlp {
    /// The format of this name; none where it is another that answers have.
    pub fn from_name(name: &str) -> Option<Otlp> {
        match name {
            "otlp" => Some(Otlp::Protobuf),
            "otlp-json" => Some(Otlp::JsonLines),
            _ => None,
        }
    }
}

/// The answer as chunks.
///
/// # Errors
/// `QUERY_FORMAT` where its columns are not those of a table.
pub fn chunks(result: QueryResult, otlp: Otlp) -> Result<BoxStream<'static, Result<Vec<u8>>>> {
    let table = encode::table_of(&result.schema).ok_or_else(|| {
        Error::new(
            Code::QueryFormat,
            "OTLP is written of whole rows: ask for all columns of one table, \
             as in SELECT * FROM spans",
        )
    })?;
    let slices = result.stream.map_ok(|batch| {
        let starts = (0..batch.num_rows()).step_by(CHUNK_ROWS);
        stream::iter(starts.map(move |start| {
            Ok::<_, Error>(batch.slice(start, CHUNK_ROWS.min(batch.num_rows() - start)))
        }))
    });
    let chunks = slices
        .try_flatten()
        .map(move |rows: Result<RecordBatch>| chunk(table, rows?, otlp));
    Ok(chunks.boxed())
}

fn chunk(table: Table, rows: RecordBatch, otlp: Otlp) -> Result<Vec<u8>> {
    let protobuf = encode::encode(&[(table, rows)])?;
    if otlp == Otlp::Protobuf {
        return Ok(protobuf);
    }
    let mut line = json::from_protobuf(table.signal(), &protobuf)?;
    line.push(b'\n');
    Ok(line)
}
