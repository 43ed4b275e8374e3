//! OTLP values as JSON text that keeps each value's type (`docs/adr/0001`).
//!
//! The text is written while the wire is walked; nothing is built in between. `encode/` reads it
//! back.

use crate::json::base64;
use crate::notes;
use crate::request::{Bounds, Request};
use crate::wire::{Reader, Text, Value, Wire, plain_text, whole_varint};

/// Writes a list of `KeyValue` messages as one object; gives how many of them a limit cut off.
pub fn write_object(reader: &Reader<'_>, entries: &[&[u8]], out: &mut Vec<u8>) -> Wire<i64> {
    write_object_with(reader, entries, out, |_, _, _, _| {})
}

/// As `write_object`; `each` is shown every key, its value, all that is written so far, and where
/// the text of both begins in that.
#[inline]
pub fn write_object_with<'a>(
    reader: &Reader<'a>,
    entries: &[&'a [u8]],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&'a str, Any<'a>, &[u8], usize),
) -> Wire<i64> {
    let request = reader.request();
    let limit = request.limits().attributes;
    let (entries, cut) = request.cut_list(entries, limit, notes::ATTRIBUTES_CUT);
    let usual = request.takes_short_text;
    out.push(b'{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let start = out.len();
        if usual && write_usual(entry, out, &mut each) {
            continue;
        }
        let bounds = request.attribute();
        let (key, value) = key_value(&reader.within(entry), bounds)?;
        write_json_text(key, out);
        out.push(b':');
        let any = value.any(bounds)?;
        value.write(any, out, bounds)?;
        each(key.text, any, out, start);
    }
    out.push(b'}');
    Ok(cut)
}

/// The count of dropped attributes with those that a limit cut off.
#[inline]
pub fn dropped(counted: i64, cut: i64) -> i64 {
    (counted + cut).min(i64::from(u32::MAX))
}

/// Writes an entry as encoders write nearly all of them: the key, then a value of one member
/// that is no container, lengths of one byte, text that JSON takes as it is. Nothing is written
/// of any other, and false returned. Without this, a value passes through memory several times:
/// it takes as long again.
#[inline(always)]
fn write_usual<'a>(
    entry: &'a [u8],
    out: &mut Vec<u8>,
    each: &mut impl FnMut(&'a str, Any<'a>, &[u8], usize),
) -> bool {
    let &[0x0a, key_length @ ..0x80, ref rest @ ..] = entry else {
        return false;
    };
    let Some((key, &[0x12, value_length @ ..0x80, ref value @ ..])) =
        rest.split_at_checked(usize::from(key_length))
    else {
        return false;
    };
    if usize::from(value_length) != value.len() {
        return false;
    }
    let Some(key) = plain_text(key) else {
        return false;
    };
    let start = out.len();
    out.reserve(key.len() + value.len() + 24);
    match value {
        [0x0a, length @ ..0x80, text @ ..] if usize::from(*length) == text.len() => {
            let Some(text) = plain_text(text) else {
                return false;
            };
            write_plain(key, out);
            out.push(b':');
            write_plain(text, out);
            each(key, Any::Text(Text { text, plain: true }), out, start);
        }
        [0x18, number @ ..] => {
            let Some(number) = whole_varint(number) else {
                return false;
            };
            write_plain(key, out);
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
            each(key, Any::Int(number as i64), out, start);
        }
        _ => return false,
    }
    true
}

/// Writes the entries of a value that is a list of keys and values.
fn write_entries(
    reader: &Reader<'_>,
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

/// Which member of an `AnyValue` is set: the last one, as in every oneof.
#[derive(Clone, Copy)]
pub enum Any<'a> {
    Unset,
    Text(Text<'a>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The member that the array begins with; those of its kind that follow merge with it.
    Array(usize),
    /// As `Array`.
    KeyValues(usize),
    Bytes(&'a [u8]),
}

const ARRAY: u32 = 5;
const KEY_VALUES: u32 = 6;

/// An `AnyValue`: one message, or all the fields of this number in a message. To merge messages,
/// as protobuf does with a singular one that comes again, is to read one after the other.
#[derive(Clone, Copy)]
pub struct AnyValue<'a> {
    reader: Reader<'a>,
    merged: Option<u32>,
}

impl<'a> AnyValue<'a> {
    /// The value of a message that has none.
    fn unset(parent: &Reader<'a>) -> Self {
        Self {
            reader: parent.within(&[]),
            merged: None,
        }
    }

    /// A value was found as the field `number` of `parent`, maybe not for the first time.
    #[inline]
    pub fn found(slot: &mut Option<Self>, parent: &Reader<'a>, number: u32, reader: Reader<'a>) {
        *slot = Some(match slot {
            None => Self {
                reader,
                merged: None,
            },
            Some(_) => Self {
                reader: *parent,
                merged: Some(number),
            },
        });
    }

    /// The request that it is of.
    pub fn request(&self) -> &'a Request {
        self.reader.request()
    }

    /// Shows every field to `each`, with its number.
    #[inline]
    fn members(&self, mut each: impl FnMut(&Reader<'a>, u32, Value<'a>) -> Wire<()>) -> Wire<()> {
        let mut reader = self.reader;
        let Some(merged) = self.merged else {
            while let Some((number, field)) = reader.field()? {
                each(&reader, number, field)?;
            }
            return Ok(());
        };
        while let Some((number, field)) = reader.field()? {
            if number == merged {
                let mut part = reader.message(field)?;
                while let Some((number, field)) = part.field()? {
                    each(&part, number, field)?;
                }
            }
        }
        Ok(())
    }

    /// As much of the member that is set as the bounds allow.
    #[inline(always)]
    pub fn any(&self, bounds: Bounds) -> Wire<Any<'a>> {
        let any = self.whole(bounds)?;
        let (request, limit) = (self.reader.request(), bounds.text_bytes);
        Ok(match any {
            Any::Text(text) => Any::Text(request.cut_text(text, limit, notes::VALUE_CUT)),
            Any::Bytes(bytes) => Any::Bytes(request.cut_list(bytes, limit, notes::VALUE_CUT).0),
            any => any,
        })
    }

    /// Finds the member that is set; what others have replaced is checked within bounds.
    #[inline(always)]
    pub fn whole(&self, bounds: Bounds) -> Wire<Any<'a>> {
        // Nearly every value is one message with one member.
        let mut reader = self.reader;
        if self.merged.is_none()
            && let Some((number, field)) = reader.field()?
            && reader.is_empty()
        {
            return Ok(member(&reader, number, field, 0)?.unwrap_or(Any::Unset));
        }
        self.last_member(bounds)
    }

    #[inline(never)]
    fn last_member(&self, bounds: Bounds) -> Wire<Any<'a>> {
        let (mut any, mut seen, mut replaced) = (Any::Unset, 0, false);
        self.members(|reader, number, field| {
            let Some(next) = member(reader, number, field, seen)? else {
                return Ok(());
            };
            seen += 1;
            match (any, next) {
                (Any::Array(_), Any::Array(_)) | (Any::KeyValues(_), Any::KeyValues(_)) => {}
                (Any::Array(_) | Any::KeyValues(_), _) => {
                    replaced = true;
                    any = next;
                }
                _ => any = next,
            }
            Ok(())
        })?;
        if replaced {
            // What nobody sees is not noted.
            let notes = self.reader.request().take_notes();
            self.check_replaced(any, bounds)?;
            self.reader.request().set_notes(notes);
        }
        Ok(any)
    }

    /// Containers that another member has replaced must be well-formed, too. Those that count
    /// are left to `write`, so that none is read twice, whatever stands in it.
    #[cold]
    fn check_replaced(&self, any: Any<'a>, bounds: Bounds) -> Wire<()> {
        let Some(bounds) = self.deeper(bounds) else {
            return Ok(());
        };
        let kept = match any {
            Any::Array(since) | Any::KeyValues(since) => since,
            _ => usize::MAX,
        };
        let (mut seen, mut nowhere) = (0, Vec::new());
        self.members(|reader, number, field| {
            if seen < kept && matches!(number, ARRAY | KEY_VALUES) {
                let mut container = reader.message(field)?;
                while let Some((inner, field)) = container.field()? {
                    nowhere.clear();
                    if inner != 1 {
                        continue;
                    }
                    if number == ARRAY {
                        write_element(container.message(field)?, &mut nowhere, bounds)?;
                    } else {
                        write_entries(
                            &container,
                            &[container.bytes(field)?],
                            &mut nowhere,
                            bounds,
                        )?;
                    }
                }
            }
            seen += usize::from(matches!(number, 1..=7));
            Ok(())
        })
    }

    /// Writes the member that `any` found; a container that lies too deep becomes no value.
    #[inline]
    pub fn write(&self, any: Any<'a>, out: &mut Vec<u8>, bounds: Bounds) -> Wire<()> {
        match any {
            Any::Unset => out.extend_from_slice(b"null"),
            Any::Text(text) => write_json_text(text, out),
            Any::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Any::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Any::Double(value) => write_double(value, out),
            Any::Bytes(bytes) => {
                out.extend_from_slice(b"{\"$bytes\":\"");
                base64::encode(bytes, out);
                out.extend_from_slice(b"\"}");
            }
            Any::Array(since) => match self.deeper(bounds) {
                Some(bounds) => self.write_array(since, out, bounds)?,
                None => out.extend_from_slice(b"null"),
            },
            Any::KeyValues(since) => match self.deeper(bounds) {
                Some(bounds) => self.write_key_values(since, out, bounds)?,
                None => out.extend_from_slice(b"null"),
            },
        }
        Ok(())
    }

    /// The bounds within a container; None where none may open.
    fn deeper(&self, bounds: Bounds) -> Option<Bounds> {
        let depth = bounds.depth.checked_sub(1);
        if depth.is_none() {
            self.reader.request().note(notes::VALUE_DEPTH);
        }
        depth.map(|depth| Bounds { depth, ..bounds })
    }

    /// Shows every element of the containers from the member `since` on.
    fn elements(
        &self,
        since: usize,
        mut each: impl FnMut(&Reader<'a>, Value<'a>) -> Wire<()>,
    ) -> Wire<()> {
        let mut seen = 0;
        self.members(|reader, number, field| {
            if seen >= since && matches!(number, ARRAY | KEY_VALUES) {
                let mut container = reader.message(field)?;
                while let Some((number, field)) = container.field()? {
                    if number == 1 {
                        each(&container, field)?;
                    }
                }
            }
            seen += usize::from(matches!(number, 1..=7));
            Ok(())
        })
    }

    fn write_array(&self, since: usize, out: &mut Vec<u8>, bounds: Bounds) -> Wire<()> {
        out.push(b'[');
        let mut first = true;
        self.elements(since, |container, element| {
            if !first {
                out.push(b',');
            }
            first = false;
            write_element(container.message(element)?, out, bounds)
        })?;
        out.push(b']');
        Ok(())
    }

    fn write_key_values(&self, since: usize, out: &mut Vec<u8>, bounds: Bounds) -> Wire<()> {
        let mut entries = Vec::new();
        self.elements(since, |container, entry| {
            container.keep(&mut entries, container.bytes(entry)?)
        })?;
        write_entries(&self.reader, &entries, out, bounds)
    }
}

/// The member that a field of an `AnyValue` sets, the `seen`th of its message.
#[inline(always)]
fn member<'a>(
    reader: &Reader<'a>,
    number: u32,
    field: Value<'a>,
    seen: usize,
) -> Wire<Option<Any<'a>>> {
    Ok(Some(match number {
        1 => Any::Text(reader.json_text(field)?),
        2 => Any::Bool(reader.number(field)? != 0),
        3 => Any::Int(reader.number(field)? as i64),
        4 => Any::Double(reader.double(field)?),
        ARRAY => Any::Array(seen),
        KEY_VALUES => Any::KeyValues(seen),
        7 => Any::Bytes(reader.bytes(field)?),
        _ => return Ok(None),
    }))
}

fn write_element(reader: Reader<'_>, out: &mut Vec<u8>, bounds: Bounds) -> Wire<()> {
    let value = AnyValue {
        reader,
        merged: None,
    };
    value.write(value.any(bounds)?, out, bounds)
}

#[inline(always)]
fn write_json_text(text: Text<'_>, out: &mut Vec<u8>) {
    if text.plain {
        write_plain(text.text, out);
    } else {
        write_text(text.text, out);
    }
}

#[inline(always)]
fn write_plain(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Writes text in quotes.
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
