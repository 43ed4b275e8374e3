//! OTLP/JSON to OTLP/protobuf and back.
//!
//! OTLP/JSON is protobuf's JSON mapping with three changes (OTLP specification, "JSON Protobuf
//! Encoding"): trace and span ids are hexadecimal, enums are integers only, and receivers ignore
//! names that they do not know. One table of the messages drives both directions; neither builds
//! a tree of the request.
//!
//! - `table`: the messages and their fields.
//! - `lexer`: tokens of JSON text.
//! - `number`: integers and doubles as protobuf's JSON mapping spells them.
//! - `reader`: JSON text to protobuf bytes.
//! - `writer`: protobuf bytes to JSON text.
//! - `base64`: bytes as JSON carries them.
//! - `jaeger`, `jaeger_tags`: spans in protobuf to the JSON of Jaeger's query API.

pub mod base64;
mod jaeger;
mod jaeger_tags;
pub(crate) mod lexer;
mod number;
mod reader;
pub(crate) mod table;
mod writer;

#[cfg(test)]
mod jaeger_test;
#[cfg(test)]
mod json_test;
#[cfg(test)]
mod lexer_test;
#[cfg(test)]
mod per_record_test;
#[cfg(test)]
pub(crate) mod random_otlp_test;
#[cfg(test)]
mod reader_test;

use otlake_base::{Code, Error, Result, Signal, limits};

pub use jaeger::Jaeger;
pub(crate) use reader::read_repeated;

/// Nesting of arrays and objects in OTLP/JSON, and of messages in protobuf. A level of value
/// takes up to four levels of JSON (`AnyValue`, `KeyValueList`, its array, `KeyValue`), and eight
/// levels more hold the resource, the scope, the record and its parts. It is beyond
/// `MAX_VALUE_DEPTH`, so that a value nested too deeply costs its record and not the request.
pub(crate) const MAX_NESTING: usize = 4 * (limits::MAX_VALUE_DEPTH + 8);

/// The protobuf form of an OTLP/JSON export request of the signal (`ExportTraceServiceRequest`
/// and its like; `TracesData` and its like are the same on the wire).
///
/// Beyond the letter of OTLP/JSON it reads what protobuf's JSON mapping lets a reader accept:
/// the field names of the protocol definition (`trace_id`), numbers as strings, integers spelled
/// `1e3` or `1.0`, and base64 of either alphabet. Ids of a wrong length pass, and what is no
/// hexadecimal text becomes one, for the decoder to reject record by record; a record in whose
/// text half a surrogate pair was replaced has a mark.
///
/// # Errors
/// `OTLP_MALFORMED`, with the JSON path where there is one, for text that is not JSON and for
/// values of a wrong type, out of range, or nested more than `MAX_NESTING` deep.
pub fn to_protobuf(signal: Signal, json: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(json).map_err(|error| {
        Error::new(
            Code::OtlpMalformed,
            format!("not JSON: byte {} is not UTF-8", error.valid_up_to()),
        )
    })?;
    reader::read(table::request(signal), text)
        .map_err(|fault| Error::new(Code::OtlpMalformed, fault))
}

/// The OTLP/JSON text of an OTLP protobuf message of the signal (`TracesData`,
/// `ExportTraceServiceRequest` and their like).
///
/// 64-bit integers are decimal strings, ids lower-case hexadecimal, enums integers; default
/// values are left out except where their presence means something (oneofs, `optional`);
/// unknown fields are dropped.
///
/// # Errors
/// `OTLP_MALFORMED` for bytes that are not such a message.
pub fn from_protobuf(signal: Signal, protobuf: &[u8]) -> Result<Vec<u8>> {
    writer::write(table::request(signal), protobuf)
        .map_err(|message| Error::new(Code::OtlpMalformed, message))
}
