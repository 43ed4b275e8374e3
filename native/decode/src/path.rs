//! Where in a request a byte stands, by the names of its fields: the request is walked again
//! with the table of OTLP's messages, so that the first walk need not remember where it is.

use std::fmt::Write;

use otlake_base::Signal;
use otlake_base::limits::RecordLimits;

use crate::json::table::{self, Kind, Label, MAX_FIELDS};
use crate::request::Request;
use crate::wire::{Reader, Value};

/// The path of the innermost field of a name whose bytes, without the first of them, reach over
/// the byte at `at`; empty where it is not in one.
pub fn path_at(signal: Signal, body: &[u8], at: usize) -> String {
    let request = Request::new(body, RecordLimits::NONE, u64::MAX);
    let mut message = table::request(signal);
    let mut reader = Reader::new(body, &request);
    let mut path = String::new();
    'within: loop {
        let mut seen = [0usize; MAX_FIELDS];
        loop {
            let start = reader.position();
            // What cannot be read is not entered: the path ends with the message around it.
            let Ok(Some((number, value))) = reader.field() else {
                return path;
            };
            let Some(index) = message.by_number(number, 0) else {
                continue;
            };
            if at <= start || at > reader.position() {
                seen[index] += 1;
                continue;
            }
            let field = &message.fields[index];
            let dot = if path.is_empty() { "" } else { "." };
            let _ = write!(path, "{dot}{}", field.name);
            if field.label == Label::Repeated {
                let _ = write!(path, "[{}]", seen[index]);
            }
            match (field.kind, value) {
                (Kind::Message(inner), Value::Bytes(bytes)) => {
                    message = inner;
                    reader = Reader::new(bytes, &request);
                    continue 'within;
                }
                _ => return path,
            }
        }
    }
}
