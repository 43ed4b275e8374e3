//! The JSON text of attributes and bodies back to `KeyValue` and `AnyValue` messages, each value
//! with the type it came with.
//!
//! | text | value |
//! |---|---|
//! | `"x"`, `true` | string, bool |
//! | `1` | int: digits only |
//! | `1.0`, `1e300` | double: a point or an exponent |
//! | `{"$double":"NaN"}` | a double that JSON has no number for |
//! | `{"$bytes":"AQI="}` | bytes |
//! | `[…]`, `{…}` | array, key-value list (order and repeated keys kept) |
//! | `null` | a value of no type |
//!
//! A nested list of one entry whose key starts with `$` is written with one `$` more, so that it
//! is never taken for one of the two special forms.

use std::borrow::Cow;

use super::wire_writer::WireWriter;
use crate::json::lexer::{Fault, Lexer, Result, too_deep};
use crate::json::{MAX_NESTING, base64};

const KEY: u32 = 1;
const VALUE: u32 = 2;
/// The elements of `ArrayValue` and `KeyValueList`.
const VALUES: u32 = 1;
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;
const KVLIST: u32 = 6;
const BYTES: u32 = 7;

/// Writes an attribute list's text as repeated `KeyValue` fields of this number.
pub(super) fn write_attributes(text: &str, number: u32, wire: &mut WireWriter) -> Result<()> {
    if text.is_empty() || text == "{}" {
        return Ok(());
    }
    let mut lexer = Lexer::new(text);
    if !lexer.take(b'{') {
        return Err(lexer.wrong("an object"));
    }
    let mut first = true;
    while let Some(key) = lexer.key(&mut first)? {
        write_entry(&mut lexer, number, &key, wire, MAX_NESTING)?;
    }
    lexer.end()
}

/// Writes a value's text as an `AnyValue` field of this number.
pub(super) fn write_value(text: &str, number: u32, wire: &mut WireWriter) -> Result<()> {
    let mut lexer = Lexer::new(text);
    any_value(&mut lexer, number, wire, MAX_NESTING)?;
    lexer.end()
}

/// Writes a text as an `AnyValue` field of this number.
pub(super) fn write_text_value(text: &str, number: u32, wire: &mut WireWriter) {
    let mark = wire.begin(number);
    wire.bytes_field(STRING, text.as_bytes());
    wire.end(mark);
}

fn write_entry(
    lexer: &mut Lexer<'_>,
    number: u32,
    key: &str,
    wire: &mut WireWriter,
    depth: usize,
) -> Result<()> {
    let mark = wire.begin(number);
    wire.bytes_unless_empty(KEY, key.as_bytes());
    any_value(lexer, VALUE, wire, depth)?;
    wire.end(mark);
    Ok(())
}

fn any_value(
    lexer: &mut Lexer<'_>,
    number: u32,
    wire: &mut WireWriter,
    depth: usize,
) -> Result<()> {
    let mark = wire.begin(number);
    match lexer.peek() {
        Some(b'"') => wire.bytes_field(STRING, lexer.string()?.as_bytes()),
        Some(b't' | b'f') => wire.varint_field(BOOL, lexer.boolean()?.into()),
        Some(b'n') => {
            lexer.null()?;
        }
        Some(b'[') => array(lexer, wire, depth.checked_sub(1).ok_or_else(too_deep)?)?,
        Some(b'{') => object(lexer, wire, depth.checked_sub(1).ok_or_else(too_deep)?)?,
        _ => number_value(lexer, wire)?,
    }
    wire.end(mark);
    Ok(())
}

fn number_value(lexer: &mut Lexer<'_>, wire: &mut WireWriter) -> Result<()> {
    let text = lexer.number()?;
    if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        let value: f64 = text.parse().map_err(|_| Fault::new("must be a double"))?;
        wire.fixed64_field(DOUBLE, value.to_bits());
    } else {
        let value: i64 = text
            .parse()
            .map_err(|_| Fault::new("must be a 64-bit integer"))?;
        wire.varint_field(INT, value as u64);
    }
    Ok(())
}

fn array(lexer: &mut Lexer<'_>, wire: &mut WireWriter, depth: usize) -> Result<()> {
    lexer.take(b'[');
    let mark = wire.begin(ARRAY);
    let mut first = true;
    while lexer.element(&mut first)? {
        any_value(lexer, VALUES, wire, depth)?;
    }
    wire.end(mark);
    Ok(())
}

fn object(lexer: &mut Lexer<'_>, wire: &mut WireWriter, depth: usize) -> Result<()> {
    lexer.take(b'{');
    let mut first = true;
    let start = lexer.position();
    let mut key = lexer.key(&mut first)?;
    if let Some(special) = key.as_deref().filter(|key| key.starts_with('$')) {
        let value = lexer.position();
        lexer.skip(depth)?;
        if lexer.take(b'}') {
            lexer.rewind(value);
            match special {
                "$double" => {
                    let value = not_finite(&lexer.string()?)?;
                    wire.fixed64_field(DOUBLE, value.to_bits());
                    return close(lexer);
                }
                "$bytes" => {
                    let mut bytes = Vec::new();
                    if !base64::decode(lexer.string()?.as_bytes(), &mut bytes) {
                        return Err(Fault::new("must be base64"));
                    }
                    wire.bytes_field(BYTES, &bytes);
                    return close(lexer);
                }
                _ => key = Some(Cow::Owned(special[1..].to_owned())),
            }
        } else {
            lexer.rewind(start);
            first = true;
            key = lexer.key(&mut first)?;
        }
    }
    let mark = wire.begin(KVLIST);
    while let Some(name) = key {
        write_entry(lexer, VALUES, &name, wire, depth)?;
        key = lexer.key(&mut first)?;
    }
    wire.end(mark);
    Ok(())
}

fn close(lexer: &mut Lexer<'_>) -> Result<()> {
    if lexer.take(b'}') {
        Ok(())
    } else {
        Err(lexer.syntax())
    }
}

fn not_finite(name: &str) -> Result<f64> {
    match name {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Fault::new("must be NaN, Infinity or -Infinity")),
    }
}
