//! OTLP values as JSON text that keeps each value's type (`docs/adr/0001`).
//!
//! The text is written while the wire is walked; nothing is built in between. `encode/` reads it
//! back.

use otlake_base::limits::MAX_VALUE_DEPTH;

use crate::json::base64;
use crate::wire::{Reader, Wire};

/// Writes a list of `KeyValue` messages as one object.
pub fn write_object(reader: &Reader<'_>, entries: &[&[u8]], out: &mut Vec<u8>) -> Wire<()> {
    write_object_with(reader, entries, out, |_, _, _| {})
}

/// As `write_object`; `each` is shown every key, its value, and the text of both as written.
#[inline]
pub fn write_object_with<'a>(
    reader: &Reader<'a>,
    entries: &[&'a [u8]],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&'a str, Any<'a>, &[u8]),
) -> Wire<()> {
    out.push(b'{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let start = out.len();
        let (key, value) = key_value(&reader.within(entry))?;
        write_text(key, out);
        out.push(b':');
        let value = match value {
            Some(value) => {
                let value = reader.within(value);
                let any = any(&value)?;
                write_value(&value, any, out, MAX_VALUE_DEPTH)?;
                any
            }
            None => {
                out.extend_from_slice(b"null");
                Any::Unset
            }
        };
        each(key, value, &out[start..]);
    }
    out.push(b'}');
    Ok(())
}

/// Writes the entries of a value that is a list of keys and values.
fn write_entries(
    reader: &Reader<'_>,
    entries: &[&[u8]],
    out: &mut Vec<u8>,
    depth: usize,
) -> Wire<()> {
    // A lone key that begins with `$` could be read as a marker.
    let escape_marker = entries.len() == 1;
    out.push(b'{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let (key, value) = key_value(&reader.within(entry))?;
        out.push(b'"');
        if escape_marker && key.starts_with('$') {
            out.push(b'$');
        }
        escape(key, out);
        out.extend_from_slice(b"\":");
        match value {
            Some(value) => write_any(&reader.within(value), out, depth)?,
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    Ok(())
}

/// The key of a `KeyValue`, and the bytes of its `AnyValue` where it has one.
#[inline]
pub fn key_value<'a>(entry: &Reader<'a>) -> Wire<(&'a str, Option<&'a [u8]>)> {
    let mut entry = *entry;
    let (mut key, mut value) = ("", None);
    while let Some((number, field)) = entry.field()? {
        match number {
            1 => key = entry.text(field)?,
            2 => value = Some(entry.bytes(field)?),
            _ => {}
        }
    }
    Ok((key, value))
}

/// The member of an `AnyValue` that is set: the last one, as in every oneof.
#[derive(Clone, Copy)]
pub enum Any<'a> {
    Unset,
    Text(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    KeyValues(&'a [u8]),
    Bytes(&'a [u8]),
}

#[inline]
pub fn any<'a>(reader: &Reader<'a>) -> Wire<Any<'a>> {
    let mut reader = *reader;
    let mut any = Any::Unset;
    while let Some((number, field)) = reader.field()? {
        any = match number {
            1 => Any::Text(reader.text(field)?),
            2 => Any::Bool(reader.number(field)? != 0),
            3 => Any::Int(reader.number(field)? as i64),
            4 => Any::Double(reader.double(field)?),
            5 => Any::Array(reader.bytes(field)?),
            6 => Any::KeyValues(reader.bytes(field)?),
            7 => Any::Bytes(reader.bytes(field)?),
            _ => any,
        };
    }
    Ok(any)
}

/// Writes an `AnyValue`; `depth` containers may still open.
pub fn write_any(reader: &Reader<'_>, out: &mut Vec<u8>, depth: usize) -> Wire<()> {
    write_value(reader, any(reader)?, out, depth)
}

fn write_value(reader: &Reader<'_>, any: Any<'_>, out: &mut Vec<u8>, depth: usize) -> Wire<()> {
    match any {
        Any::Unset => out.extend_from_slice(b"null"),
        Any::Text(text) => write_text(text, out),
        Any::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Any::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Any::Double(value) => write_double(value, out),
        Any::Bytes(bytes) => {
            out.extend_from_slice(b"{\"$bytes\":\"");
            base64::encode(bytes, out);
            out.extend_from_slice(b"\"}");
        }
        Any::Array(bytes) => {
            let depth = deeper(reader, depth)?;
            let mut array = reader.within(bytes);
            out.push(b'[');
            let mut first = true;
            while let Some((number, field)) = array.field()? {
                if number == 1 {
                    if !first {
                        out.push(b',');
                    }
                    first = false;
                    write_any(&array.message(field)?, out, depth)?;
                }
            }
            out.push(b']');
        }
        Any::KeyValues(bytes) => {
            let depth = deeper(reader, depth)?;
            let mut list = reader.within(bytes);
            let mut entries: Vec<&[u8]> = Vec::new();
            while let Some((number, field)) = list.field()? {
                if number == 1 {
                    entries.push(list.bytes(field)?);
                }
            }
            write_entries(reader, &entries, out, depth)?;
        }
    }
    Ok(())
}

fn deeper(reader: &Reader<'_>, depth: usize) -> Wire<usize> {
    depth
        .checked_sub(1)
        .ok_or_else(|| reader.malformed("a value is nested too deep"))
}

/// Writes text in quotes.
#[inline]
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// A double always has a point or an exponent, so that it never reads as an integer.
pub fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        let name: &[u8] = match value {
            f64::INFINITY => b"Infinity",
            f64::NEG_INFINITY => b"-Infinity",
            _ => b"NaN",
        };
        out.extend_from_slice(b"{\"$double\":\"");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\"}");
    }
}

/// For each byte: 0 where it stands for itself, else the letter behind the backslash.
static ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escapes[byte] = b'u';
        byte += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0a] = b'n';
    escapes[0x0c] = b'f';
    escapes[0x0d] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let letter = ESCAPES[usize::from(byte)];
        if letter == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        out.extend_from_slice(&[b'\\', letter]);
        if letter == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
    out.extend_from_slice(&bytes[start..]);
}
