//! Requests and answers as bytes. Protocol buffers around Arrow IPC: a node that is of another
//! version skips the fields that it does not know.
//!
//! ```text
//! request  Request
//! answer   Message { head } Message { batch } … Message { end }
//! batch    stream, sequence, tenant, and the batch as the continuation of one Arrow IPC stream,
//!          its buffers compressed with LZ4; a large batch comes in several with one position
//! ```

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use otlake_base::{Code, Error, Position, Result, StreamId, Table, Wanted};
use prost::Message as _;

/// What is asked of a node.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    pub(crate) table: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) tenant: Option<String>,
    #[prost(sint64, optional, tag = "3")]
    pub(crate) min_time: Option<i64>,
    #[prost(sint64, optional, tag = "4")]
    pub(crate) max_time: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(crate) trace_id: Option<Bytes>,
    #[prost(message, optional, tag = "6")]
    pub(crate) columns: Option<Names>,
    /// Batches of these streams alone; of all where there are none.
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(crate) streams: Vec<Bytes>,
    /// Batches as they become readable from here on, without an end.
    #[prost(bool, tag = "8")]
    pub(crate) follow: bool,
}

/// Names of columns.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Names {
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
}

/// A part of an answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Message {
    #[prost(oneof = "Part", tags = "1, 2, 3, 4")]
    pub(crate) part: Option<Part>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Part {
    #[prost(message, tag = "1")]
    Head(Head),
    #[prost(message, tag = "2")]
    Batch(Batch),
    #[prost(message, tag = "3")]
    End(End),
    /// So many batches were let go before a slow reader came to them.
    #[prost(uint64, tag = "4")]
    Skipped(u64),
}

/// What the answer is of.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Head {
    /// The table's version: it, and those after it, hold what the node does not send any more.
    #[prost(int64, tag = "1")]
    pub(crate) version: i64,
    /// The streams that the node answers for, and the last record of each.
    #[prost(message, repeated, tag = "2")]
    pub(crate) whole: Vec<Place>,
}

/// A position.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Place {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) stream: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
}

/// Rows of one record.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch {
    #[prost(message, optional, tag = "1")]
    pub(crate) place: Option<Place>,
    #[prost(string, tag = "2")]
    pub(crate) tenant: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) ipc: Bytes,
}

/// Nothing more comes, and nothing is missing.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct End {
    /// Messages with batches.
    #[prost(uint64, tag = "1")]
    pub(crate) batches: u64,
}

/// Another node's bytes are not what they should be.
pub(crate) fn malformed(what: impl std::fmt::Display) -> Error {
    let message = format!("a message between nodes is malformed: {what}");
    Error::new(Code::QueryIncomplete, message)
}

pub(crate) fn stream_bytes(stream: StreamId) -> Bytes {
    Bytes::copy_from_slice(&stream.0.to_be_bytes())
}

pub(crate) fn stream_of(bytes: &[u8]) -> Result<StreamId> {
    let id = bytes.try_into();
    let id = id.map_err(|_| malformed("a stream's name is not 16 bytes long"))?;
    Ok(StreamId(u128::from_be_bytes(id)))
}

impl From<Position> for Place {
    fn from(position: Position) -> Self {
        Place {
            stream: stream_bytes(position.stream),
            sequence: position.sequence,
        }
    }
}

impl Place {
    pub(crate) fn position(&self) -> Result<Position> {
        Ok(Position {
            stream: stream_of(&self.stream)?,
            sequence: self.sequence,
        })
    }
}

impl Request {
    /// What is wanted of a table, of these streams or of all.
    pub(crate) fn of(table: Table, wanted: &Wanted, streams: &[StreamId]) -> Request {
        let names = wanted.columns.clone();
        Request {
            table: table.name().to_owned(),
            tenant: wanted.tenant.as_deref().map(str::to_owned),
            min_time: wanted.times.map(|(least, _)| least),
            max_time: wanted.times.map(|(_, most)| most),
            trace_id: wanted.trace_id.map(|id| Bytes::copy_from_slice(&id)),
            columns: names.map(|names| Names { names }),
            streams: streams.iter().copied().map(stream_bytes).collect(),
            follow: false,
        }
    }

    /// The request of these bytes: the table, what is wanted of it, and of which streams.
    ///
    /// # Errors
    /// `QUERY_INCOMPLETE` where they are none of this version's.
    pub(crate) fn read(bytes: Bytes) -> Result<(Table, Wanted, Vec<StreamId>, bool)> {
        let request = Request::decode(bytes).map_err(malformed)?;
        let table = Table::from_name(&request.table)
            .ok_or_else(|| malformed(format!("there is no table `{}`", request.table)))?;
        let trace_id = match &request.trace_id {
            None => None,
            Some(id) => Some(
                id[..]
                    .try_into()
                    .map_err(|_| malformed("a trace id is not 16 bytes long"))?,
            ),
        };
        let times = match (request.min_time, request.max_time) {
            (None, None) => None,
            (least, most) => Some((least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX))),
        };
        let wanted = Wanted {
            tenant: request.tenant.as_deref().map(Arc::from),
            times,
            trace_id,
            columns: request.columns.map(|columns| columns.names),
            partial: false,
        };
        let streams = request.streams.iter().map(|stream| stream_of(stream));
        let streams = streams.collect::<Result<_>>()?;
        Ok((table, wanted, streams, request.follow))
    }
}

impl Part {
    pub(crate) fn write(self) -> Bytes {
        let part = Some(self);
        Bytes::from(Message { part }.encode_to_vec())
    }

    pub(crate) fn read(bytes: Bytes) -> Result<Part> {
        let message = Message::decode(bytes).map_err(malformed)?;
        message.part.ok_or_else(|| malformed("it is empty"))
    }
}

/// Writes batches of one schema.
pub(crate) struct BatchWriter(Option<StreamWriter<Vec<u8>>>);

impl BatchWriter {
    pub(crate) fn new() -> BatchWriter {
        BatchWriter(None)
    }

    /// The next piece of the IPC stream.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        let failed = |error| Error::new(Code::Internal, format!("encoding rows: {error}"));
        let writer = match &mut self.0 {
            Some(writer) => writer,
            none => {
                let options = IpcWriteOptions::default()
                    .try_with_compression(Some(CompressionType::LZ4_FRAME))
                    .map_err(failed)?;
                let writer =
                    StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options);
                none.insert(writer.map_err(failed)?)
            }
        };
        writer.write(batch).map_err(failed)?;
        Ok(Bytes::from(std::mem::take(writer.get_mut())))
    }
}

/// Reads what a `BatchWriter` wrote.
pub(crate) struct BatchReader {
    decoder: StreamDecoder,
    /// The table's columns; those of the batches are among them.
    schema: SchemaRef,
}

impl BatchReader {
    pub(crate) fn new(schema: SchemaRef) -> BatchReader {
        BatchReader {
            decoder: StreamDecoder::new(),
            schema,
        }
    }

    /// The batch of a piece.
    pub(crate) fn read(&mut self, ipc: Bytes) -> Result<RecordBatch> {
        let mut buffer = Buffer::from(ipc);
        let mut batch = None;
        while !buffer.is_empty() {
            let next = self.decoder.decode(&mut buffer).map_err(malformed)?;
            if let Some(next) = next
                && batch.replace(next).is_some()
            {
                return Err(malformed("a piece has more than one batch"));
            }
        }
        let batch = batch.ok_or_else(|| malformed("a piece has no batch"))?;
        for field in batch.schema().fields() {
            let own = self.schema.field_with_name(field.name());
            if !own.is_ok_and(|own| own.data_type() == field.data_type()) {
                let name = field.name();
                return Err(malformed(format!("the column `{name}` is of another type")));
            }
        }
        Ok(batch)
    }
}
