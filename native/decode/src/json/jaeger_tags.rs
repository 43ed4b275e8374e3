//! Attributes as the tags of Jaeger's JSON, and what reads them from protobuf.

use otlake_base::limits::MAX_VALUE_DEPTH;
use otlake_base::{Code, Error, Result};

use super::base64;
use super::writer::{Raw, next_field};
use crate::json_text::write_text;

/// Greatest integer that a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A list of `{"key", "type", "value"}`.
pub(super) struct Tags {
    out: Vec<u8>,
    is_first: bool,
}

impl Tags {
    /// A list behind what is there.
    pub(super) fn begin(mut out: Vec<u8>) -> Self {
        out.push(b'[');
        Tags {
            out,
            is_first: true,
        }
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.out.push(b']');
        self.out
    }

    fn head(&mut self, key: &str, kind: &str) {
        if !self.is_first {
            self.out.push(b',');
        }
        self.is_first = false;
        self.out.extend_from_slice(b"{\"key\":");
        write_text(key, &mut self.out);
        self.out.extend_from_slice(b",\"type\":");
        write_text(kind, &mut self.out);
        self.out.extend_from_slice(b",\"value\":");
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.head(key, "string");
        write_text(value, &mut self.out);
        self.out.push(b'}');
    }

    pub(super) fn truth(&mut self, key: &str) {
        self.head(key, "bool");
        self.out.extend_from_slice(b"true}");
    }

    pub(super) fn attribute(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let value = any_value(value)?;
        let kind = match value {
            Some((2, _)) => "bool",
            Some((3, _)) => "int64",
            Some((4, _)) => "float64",
            Some((7, _)) => "binary",
            _ => "string",
        };
        self.head(key, kind);
        match value {
            // Jaeger has no lists and maps: their JSON is a text.
            Some((5 | 6, _)) => {
                let mut nested = Vec::new();
                write_value(value, MAX_VALUE_DEPTH, &mut nested)?;
                write_text(text(&nested)?, &mut self.out);
            }
            None => write_text("", &mut self.out),
            _ => write_value(value, MAX_VALUE_DEPTH, &mut self.out)?,
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// The member of an `AnyValue`: its field number, and its value.
pub(super) type Member<'a> = Option<(u32, Raw<'a>)>;

pub(super) fn any_value(bytes: &[u8]) -> Result<Member<'_>> {
    fields(bytes).last().transpose()
}

/// A value as plain JSON.
fn write_value(value: Member<'_>, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    let inner = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| malformed("a value is nested too deeply"))
    };
    match value {
        Some((1, Raw::Bytes(bytes))) => write_text(text(bytes)?, out),
        Some((2, Raw::Number(number))) => {
            let word: &[u8] = if number == 0 { b"false" } else { b"true" };
            out.extend_from_slice(word);
        }
        Some((3, Raw::Number(number))) => {
            let number = number as i64;
            let digits = itoa::Buffer::new().format(number).to_owned();
            if number.unsigned_abs() > MAX_SAFE_INTEGER {
                write_text(&digits, out);
            } else {
                out.extend_from_slice(digits.as_bytes());
            }
        }
        Some((4, Raw::Number(bits))) => {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                let mut buffer = ryu::Buffer::new();
                out.extend_from_slice(buffer.format_finite(number).as_bytes());
            } else {
                let word = match number {
                    f64::INFINITY => "Infinity",
                    f64::NEG_INFINITY => "-Infinity",
                    _ => "NaN",
                };
                write_text(word, out);
            }
        }
        Some((5, Raw::Bytes(list))) => {
            let depth = inner()?;
            out.push(b'[');
            for (at, item) in messages(list, 1).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(any_value(item?)?, depth, out)?;
            }
            out.push(b']');
        }
        Some((6, Raw::Bytes(map))) => {
            let depth = inner()?;
            out.push(b'{');
            for (at, pair) in messages(map, 1).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                let (key, value) = key_value(pair?)?;
                write_text(key, out);
                out.push(b':');
                write_value(any_value(value)?, depth, out)?;
            }
            out.push(b'}');
        }
        Some((7, Raw::Bytes(bytes))) => {
            out.push(b'"');
            base64::encode(bytes, out);
            out.push(b'"');
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

pub(super) fn key_value(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let (mut key, mut value): (&str, &[u8]) = ("", &[]);
    for field in fields(bytes) {
        match field? {
            (1, Raw::Bytes(found)) => key = text(found)?,
            (2, Raw::Bytes(found)) => value = found,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The fields of a message in the order of the wire.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Raw<'_>)>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest).map_err(malformed);
        if field.is_err() {
            rest = &[];
        }
        Some(field.map(|(number, _, value)| (number, value)))
    })
}

/// The messages of one repeated field.
pub(super) fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8]>> {
    fields(bytes).filter_map(move |field| match field {
        Ok((found, Raw::Bytes(message))) if found == number => Some(Ok(message)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

pub(super) fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))
}

/// It is this node's own encoder that wrote the spans.
fn malformed(message: &str) -> Error {
    Error::new(Code::Internal, format!("spans to be shown: {message}"))
}
