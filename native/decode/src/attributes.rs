//! OTLP values as JSON text that keeps each value's type (`docs/adr/0001`).
//!
//! The text is written while the wire is walked; nothing is built in between. `encode/` reads it
//! back.

use crate::any_value::{Any, AnyValue};
use crate::json_text::{escape, write_json_text};
use crate::notes;
use crate::request::Bounds;
use crate::usual::write_usual;
use crate::wire::{Reader, Text, Wire};

/// Writes a list of `KeyValue` messages as one object; gives how many of them a limit cut off.
pub fn write_object(reader: Reader<'_>, entries: &[&[u8]], out: &mut Vec<u8>) -> Wire<i64> {
    write_object_with(reader, entries, out, |_, _, _, _| {})
}

/// As `write_object`; `each` is shown every key, its value, all that is written so far, and where
/// the text of both begins in that.
#[inline]
pub fn write_object_with<'a>(
    reader: Reader<'a>,
    entries: &[&'a [u8]],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&'a str, Any<'a>, &[u8], usize),
) -> Wire<i64> {
    let request = reader.request();
    let limit = request.limits().attributes;
    let (entries, cut) = request.cut_list(entries, limit, notes::ATTRIBUTES_CUT);
    let usual = request.takes_short_text;
    let mut before = b'{';
    for entry in entries {
        let start = out.len() + 1;
        if usual && let Some((key, any)) = write_usual(request.from(entry), entry, before, out) {
            each(key, any, out, start);
        } else {
            out.push(before);
            let (key, any) = write_entry(reader.within(entry), out)?;
            each(key, any, out, start);
        }
        before = b',';
    }
    if entries.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(cut)
}

/// Writes an entry of an object, whatever it is.
#[inline(never)]
fn write_entry<'a>(entry: Reader<'a>, out: &mut Vec<u8>) -> Wire<(&'a str, Any<'a>)> {
    let bounds = entry.request().attribute();
    let (key, value) = key_value(&entry, bounds)?;
    write_json_text(key, out);
    out.push(b':');
    let any = value.any(bounds)?;
    value.write(any, out, bounds)?;
    Ok((key.text, any))
}

/// The count of dropped attributes with those that a limit cut off.
#[inline]
pub fn dropped(counted: i64, cut: i64) -> i64 {
    (counted + cut).min(i64::from(u32::MAX))
}

/// Writes the entries of a value that is a list of keys and values.
pub fn write_entries(
    reader: Reader<'_>,
    entries: &[&[u8]],
    out: &mut Vec<u8>,
    bounds: Bounds,
) -> Wire<()> {
    // A lone key that begins with `$` could be read as a marker.
    let escape_marker = entries.len() == 1;
    out.push(b'{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let (key, value) = key_value(&reader.within(entry), bounds)?;
        out.push(b'"');
        if escape_marker && key.text.starts_with('$') {
            out.push(b'$');
        }
        escape(key.text, out);
        out.extend_from_slice(b"\":");
        value.write(value.any(bounds)?, out, bounds)?;
    }
    out.push(b'}');
    Ok(())
}

/// The key and the value of a `KeyValue`.
#[inline(always)]
fn key_value<'a>(entry: &Reader<'a>, bounds: Bounds) -> Wire<(Text<'a>, AnyValue<'a>)> {
    let mut fields = *entry;
    let (mut key, mut value) = (Text::default(), None);
    while let Some((number, field)) = fields.field()? {
        match number {
            1 => key = fields.json_text(field)?,
            2 => AnyValue::found(&mut value, entry, number, fields.message(field)?),
            _ => {}
        }
    }
    let key = entry
        .request()
        .cut_text(key, bounds.key_bytes, notes::KEY_CUT);
    Ok((key, value.unwrap_or(AnyValue::unset(entry))))
}
