//! Batches of an answer as bytes of one of five formats, a bounded chunk at a time.

use std::mem;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use otlake_base::{Code, Error, Missing, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::engine::QueryResult;
use crate::error::from_arrow;
use crate::json::{Exact, Rows, text};
use crate::pieces::pieces;
use crate::plain;

/// Rows that one chunk of a text format comes from, at most.
const CHUNK_ROWS: usize = 1024;
/// Bytes of their values, at most, unless a single row has more.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Rows of a row group in a Parquet answer, which the writer holds in memory.
const ROW_GROUP_ROWS: usize = 131_072;
/// Memory of it, after which it is written however many rows it has.
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"columns":[{"name","type"}],"rows":[{…},…]}`; before it, where the answer is partial,
    /// `"missing":[{"stream","node","why"}]`.
    Json,
    /// A row object a line.
    Ndjson,
    /// A header, then rows; nested values are JSON text.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// The media type of the bytes.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    /// # Errors
    /// `QUERY_FORMAT`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "json" => Ok(Format::Json),
            "ndjson" => Ok(Format::Ndjson),
            "csv" => Ok(Format::Csv),
            "arrow" => Ok(Format::Arrow),
            "parquet" => Ok(Format::Parquet),
            other => Err(Error::new(
                Code::QueryFormat,
                format!("`{other}` is not a format"),
            )),
        }
    }
}

enum Writer {
    Json(Box<json::Writer<Vec<u8>, Rows>>),
    Ndjson(Box<json::Writer<Vec<u8>, LineDelimited>>),
    Csv(Box<csv::Writer<Buffer>>),
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

/// The CSV writer gives no way to its sink, so the sink is shared.
#[derive(Clone, Default)]
struct Buffer(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes batches of one schema.
pub struct Encoder {
    writer: Writer,
    schema: SchemaRef,
    csv: Buffer,
    /// What comes before the next chunk: JSON's head.
    head: Vec<u8>,
}

impl Encoder {
    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// `QUERY_FAILED` for a type that the format cannot hold.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Encoder> {
        let csv = Buffer::default();
        let mut head = Vec::new();
        let exact = || {
            json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .with_encoder_factory(Arc::new(Exact))
        };
        let mut plain = plain::schema(schema);
        let writer = match format {
            Format::Json => {
                head = json_head(schema);
                Writer::Json(Box::new(exact().build(Vec::new())))
            }
            Format::Ndjson => Writer::Ndjson(Box::new(exact().build(Vec::new()))),
            Format::Csv => {
                plain = flat(&plain);
                Writer::Csv(Box::new(csv::Writer::new(csv.clone())))
            }
            Format::Arrow => Writer::Arrow(Box::new(
                StreamWriter::try_new(Vec::new(), &plain).map_err(|error| from_arrow(&error))?,
            )),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                    .build();
                Writer::Parquet(Box::new(
                    ArrowWriter::try_new(Vec::new(), Arc::clone(&plain), Some(properties))
                        .map_err(failed)?,
                ))
            }
        };
        let mut encoder = Encoder {
            writer,
            schema: plain,
            csv,
            head,
        };
        if let Writer::Csv(_) = encoder.writer {
            // The header belongs to an answer without rows too.
            let empty = RecordBatch::new_empty(Arc::clone(schema));
            encoder.head = encoder.write(&empty)?;
        }
        Ok(encoder)
    }

    /// Has JSON begin with what the answer may lack.
    fn warn(&mut self, missing: &[Missing]) {
        let lack = |lack: &Missing| {
            let stream = lack.stream.map(|stream| stream.to_string());
            serde_json::json!({"stream": stream, "node": &*lack.node, "why": lack.why})
        };
        let lacks = serde_json::Value::Array(missing.iter().map(lack).collect());
        let head = String::from_utf8_lossy(&self.head).into_owned();
        if let Some(rest) = head.strip_prefix('{') {
            self.head = format!("{{\"missing\":{lacks},{rest}").into_bytes();
        }
    }

    /// The next chunk; it can be empty where the format gathers rows first.
    ///
    /// # Errors
    /// `QUERY_FAILED`.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.append(batch).map_err(|error| from_arrow(&error))
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let mut out = mem::take(&mut self.head);
        match &mut self.writer {
            Writer::Json(writer) => {
                writer.write(batch)?;
                out.append(writer.get_mut());
            }
            Writer::Ndjson(writer) => {
                writer.write(batch)?;
                out.append(writer.get_mut());
            }
            Writer::Csv(writer) => {
                let columns = batch
                    .schema_ref()
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .zip(self.schema.fields())
                    .map(|((from, column), to)| {
                        if column.data_type().is_nested() {
                            Ok(Arc::new(text(from, column)?) as _)
                        } else {
                            arrow::compute::cast(column, to.data_type())
                        }
                    })
                    .collect::<Result<Vec<_>, ArrowError>>()?;
                writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
                out.append(&mut self.csv.0.lock());
            }
            Writer::Arrow(writer) => {
                writer.write(&plain::batch(batch, &self.schema)?)?;
                out.append(writer.get_mut());
            }
            Writer::Parquet(writer) => {
                writer.write(&plain::batch(batch, &self.schema)?)?;
                if writer.memory_size() > ROW_GROUP_BYTES {
                    writer.flush()?;
                }
                out.append(writer.inner_mut());
            }
        }
        Ok(out)
    }

    /// The last chunk.
    ///
    /// # Errors
    /// `QUERY_FAILED`.
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut out = self.head;
        match self.writer {
            Writer::Json(_) => out.extend_from_slice(b"]}"),
            Writer::Ndjson(_) | Writer::Csv(_) => {}
            Writer::Arrow(mut writer) => {
                writer.finish().map_err(|error| from_arrow(&error))?;
                out.append(writer.get_mut());
            }
            Writer::Parquet(mut writer) => {
                writer.finish().map_err(failed)?;
                out.append(writer.inner_mut());
            }
        }
        Ok(out)
    }
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::new(Code::QueryFailed, error)
}

/// Nested columns become text.
fn flat(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        if field.data_type().is_nested() {
            Field::new(field.name(), DataType::Utf8, true)
        } else {
            field.as_ref().clone()
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn json_head(schema: &SchemaRef) -> Vec<u8> {
    let columns: Vec<serde_json::Value> = schema
        .fields()
        .iter()
        .map(
            |field| serde_json::json!({"name": field.name(), "type": type_name(field.data_type())}),
        )
        .collect();
    format!(
        "{{\"columns\":{},\"rows\":[",
        serde_json::Value::Array(columns)
    )
    .into_bytes()
}

/// A column's type as JSON answers name it: the Arrow type, views by their plain name.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8.to_string(),
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary.to_string(),
        other => other.to_string(),
    }
}

/// An answer as chunks of bytes. The first chunk waits for the first batch, so that a fault
/// before it is an error and not the end of a half-written answer.
pub fn encode(
    result: QueryResult,
    format: Format,
) -> Result<impl Stream<Item = Result<Bytes>> + Send> {
    let mut encoder = Encoder::new(format, &result.schema)?;
    if format == Format::Json && !result.missing.is_empty() {
        encoder.warn(&result.missing);
    }
    let slices = result.stream.flat_map(|batch| {
        let slices: Vec<Result<RecordBatch>> = match batch {
            Ok(batch) => pieces(&batch, CHUNK_ROWS, CHUNK_BYTES)
                .into_iter()
                .map(Ok)
                .collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(slices)
    });
    let chunks = stream::unfold(Some((encoder, Box::pin(slices))), |state| async move {
        let (mut encoder, mut slices) = state?;
        loop {
            let chunk = match slices.next().await {
                Some(Ok(batch)) => encoder.write(&batch),
                Some(Err(error)) => Err(error),
                None => return Some((encoder.finish().map(Bytes::from), None)),
            };
            match chunk {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => return Some((Ok(Bytes::from(chunk)), Some((encoder, slices)))),
                Err(error) => return Some((Err(error), None)),
            }
        }
    });
    Ok(chunks.filter(|chunk| {
        let keep = !matches!(chunk, Ok(bytes) if bytes.is_empty());
        std::future::ready(keep)
    }))
}
