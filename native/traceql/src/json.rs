//! Values as the JSON mapping of OTLP's `AnyValue` in Tempo's messages.

use std::io;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use otlake_base::{Code, Error, Result};
use otlake_query::attribute;
use serde_json::{Map, Value as Json, json};

use crate::expression::Shown;
use crate::tree::{KINDS, STATUSES};

/// How much of a text is written before it is looked whether there is time for more, in bytes.
const LOOK_BYTES: usize = 64 * 1024;

/// A message as text, which takes long where it is large.
///
/// # Errors
/// That of `in_time`, which is asked now and then.
pub(crate) fn written(message: &Json, in_time: impl Fn() -> Result<()>) -> Result<String> {
    let mut writer = Writer {
        text: Vec::new(),
        next: 0,
        in_time,
        late: None,
    };
    let written = serde_json::to_writer(&mut writer, message);
    if let Some(late) = writer.late {
        return Err(late);
    }
    let internal = |error: &dyn std::fmt::Display| Error::new(Code::Internal, error);
    written.map_err(|error| internal(&error))?;
    String::from_utf8(writer.text).map_err(|error| internal(&error))
}

struct Writer<T> {
    text: Vec<u8>,
    /// Where it is looked again.
    next: usize,
    in_time: T,
    late: Option<Error>,
}

impl<T: Fn() -> Result<()>> io::Write for Writer<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() >= self.next {
            self.next = self.text.len() + LOOK_BYTES;
            if let Err(late) = (self.in_time)() {
                self.late = Some(late);
                return Err(io::Error::other("there is no time for more"));
            }
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value of a column; none where it is null.
pub(crate) fn any_value(shown: Shown, column: &ArrayRef, row: usize) -> Option<Json> {
    if column.is_null(row) {
        return None;
    }
    let named = |names: &[&str]| {
        let number = column.as_primitive::<Int32Type>().value(row);
        let name = usize::try_from(number).ok().and_then(|at| names.get(at));
        text(name.map_or_else(|| number.to_string(), |name| (*name).to_owned()))
    };
    Some(match shown {
        Shown::Text => text(column.as_string_view().value(row)),
        Shown::Int => int(column.as_primitive::<Int64Type>().value(row)),
        Shown::Duration => text(duration(column.as_primitive::<Int64Type>().value(row))),
        Shown::Float => double(column.as_primitive::<Float64Type>().value(row)),
        Shown::Bool => json!({ "boolValue": column.as_boolean().value(row) }),
        Shown::Status => named(&STATUSES),
        Shown::Kind => named(&KINDS),
        Shown::Raw => return raw(column.as_string_view().value(row)),
    })
}

/// `stringValue`.
pub(crate) fn text(text: impl Into<String>) -> Json {
    json!({ "stringValue": text.into() })
}

/// `intValue`: 64 bits are text in the JSON mapping of protobuf.
pub(crate) fn int(number: i64) -> Json {
    json!({ "intValue": number.to_string() })
}

/// `doubleValue`.
pub(crate) fn double(number: f64) -> Json {
    json!({ "doubleValue": number_json(number) })
}

/// A double as the JSON mapping of protobuf has it: what is no number is text.
pub(crate) fn number_json(number: f64) -> Json {
    match serde_json::Number::from_f64(number) {
        Some(number) => Json::Number(number),
        None if number.is_nan() => json!("NaN"),
        None if number > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

/// A stored value's JSON text.
pub(crate) fn raw(raw: &str) -> Option<Json> {
    let value: Json = serde_json::from_str(raw).ok()?;
    of_stored(&value)
}

fn of_stored(value: &Json) -> Option<Json> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(value) => json!({ "boolValue": value }),
        Json::Number(number) => match number.as_i64() {
            Some(number) => int(number),
            None => double(number.as_f64()?),
        },
        Json::String(value) => text(value.as_str()),
        Json::Array(values) => {
            let values: Vec<Json> = values.iter().filter_map(of_stored).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Json::Object(entries) => match wrapped(entries) {
            Some(value) => value,
            None => {
                let entries = entries.iter().filter_map(|(key, value)| {
                    Some(json!({ "key": key, "value": of_stored(value)? }))
                });
                let entries: Vec<Json> = entries.collect();
                json!({ "kvlistValue": { "values": entries } })
            }
        },
    })
}

/// `{"$double":…}` and `{"$bytes":…}`.
fn wrapped(entries: &Map<String, Json>) -> Option<Json> {
    let (marker, value) = entries.iter().next().filter(|_| entries.len() == 1)?;
    let value = value.as_str()?;
    match marker.as_str() {
        "$double" => {
            let whole = Json::Object(entries.clone()).to_string();
            Some(double(attribute::double(&whole)?))
        }
        "$bytes" => Some(json!({ "bytesValue": value })),
        _ => None,
    }
}

/// A value without its type, as labels of Prometheus are.
pub(crate) fn plain(value: &Json) -> String {
    let inner = value
        .as_object()
        .and_then(|members| members.values().next());
    match inner {
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => value.to_string(),
    }
}

/// Nanoseconds as Go writes a duration: `1m30s`, `1.5s`, `20ms`.
pub(crate) fn duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |unit: u64, name: &str| {
        let digits = unit.to_string().len() - 1;
        let (whole, rest) = (nanos / unit, nanos % unit);
        let rest = format!("{rest:0digits$}");
        match rest.trim_end_matches('0') {
            "" => format!("{sign}{whole}{name}"),
            rest => format!("{sign}{whole}.{rest}{name}"),
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        1_000_000_000..60_000_000_000 => fraction(1_000_000_000, "s"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = duration((nanos % 60_000_000_000) as i64);
            // Below a second Go keeps to seconds behind minutes.
            let seconds = match nanos % 60_000_000_000 {
                rest @ 1..1_000_000_000 => {
                    let digits = format!("{rest:09}");
                    format!("0.{}s", digits.trim_end_matches('0'))
                }
                _ => seconds,
            };
            match minutes / 60 {
                0 => format!("{sign}{minutes}m{seconds}"),
                hours => format!("{sign}{hours}h{}m{seconds}", minutes % 60),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_050_000_000, "1.05s"),
            (90_000_000_000, "1m30s"),
            (60_500_000_000, "1m0.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn stored_values_keep_their_types() {
        for (stored, value) in [
            (r#""a\"b""#, json!({"stringValue": "a\"b"})),
            ("9007199254740993", json!({"intValue": "9007199254740993"})),
            ("1.5", json!({"doubleValue": 1.5})),
            (r#"{"$double":"NaN"}"#, json!({"doubleValue": "NaN"})),
            ("true", json!({"boolValue": true})),
            (
                "[1,\"x\"]",
                json!({"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}),
            ),
        ] {
            assert_eq!(raw(stored), Some(value));
        }
        assert_eq!(raw("null"), None);
    }
}
