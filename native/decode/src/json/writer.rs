//! Protobuf bytes to OTLP/JSON text.
//!
//! Protobuf may carry a message's fields in any order and the parts of one field far apart; a
//! JSON object names each field once. So the fields of a message are first listed, then sorted
//! into the table's order, then written. The lists of all open messages share one stack.

use super::table::{Field, Kind, Label, Message};
use super::{MAX_NESTING, base64};
use crate::encode::wire_writer::{FIXED32, FIXED64, LENGTH, VARINT};

/// What is wrong with the bytes.
type Result<T> = std::result::Result<T, &'static str>;

const TRUNCATED: &str = "the message ends within a field";
const WIRE_TYPE: &str = "a field has a wire type that its definition does not allow";

/// JSON is longer than protobuf; this is where its buffer starts.
const OUTPUT_FACTOR: usize = 2;

/// The OTLP/JSON text of a message.
pub(super) fn write(message: &'static Message, protobuf: &[u8]) -> Result<Vec<u8>> {
    let mut writer = Writer {
        out: Vec::with_capacity(protobuf.len().saturating_mul(OUTPUT_FACTOR)),
        fields: Vec::new(),
    };
    writer.message(message, &[protobuf], MAX_NESTING)?;
    Ok(writer.out)
}

/// A field's value as it stands on the wire.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// A field found in a message: its index in the table, and its place among those found.
#[derive(Clone, Copy)]
struct Found<'a> {
    index: usize,
    place: usize,
    value: Raw<'a>,
}

struct Writer<'a> {
    out: Vec<u8>,
    fields: Vec<Found<'a>>,
}

impl<'a> Writer<'a> {
    /// Writes a message, given as the parts whose concatenation it is.
    fn message(
        &mut self,
        message: &'static Message,
        parts: &[&'a [u8]],
        depth: usize,
    ) -> Result<()> {
        let depth = depth
            .checked_sub(1)
            .ok_or("the message is nested too deeply")?;
        let base = self.fields.len();
        let chosen = self.list(message, parts)?;
        self.fields[base..].sort_unstable_by_key(|found| (found.index, found.place));

        self.out.push(b'{');
        let mut start = base;
        while start < self.fields.len() {
            let index = self.fields[start].index;
            let run = self.fields[start..]
                .iter()
                .take_while(|found| found.index == index)
                .count();
            let field = &message.fields[index];
            match field.label {
                Label::Repeated | Label::Packed => {
                    self.repeated(field, start..start + run, depth)?
                }
                Label::Oneof => {
                    // A member counts from where it was last chosen; what came before is gone.
                    let dropped = self.fields[start..start + run]
                        .iter()
                        .take_while(|found| found.place < chosen)
                        .count();
                    if dropped < run {
                        self.singular(field, start + dropped..start + run, depth)?;
                    }
                }
                _ => self.singular(field, start..start + run, depth)?,
            }
            start += run;
        }
        self.fields.truncate(base);
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Lists the known fields; returns the place from which the oneof's last member was set.
    fn list(&mut self, message: &'static Message, parts: &[&'a [u8]]) -> Result<usize> {
        let mut place = 0;
        let mut member = None;
        let mut chosen = 0;
        let mut expected = 0;
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let (number, wire_type, value) = next_field(&mut rest)?;
                let Some(index) = message.by_number(number, expected) else {
                    continue;
                };
                // The same field again is as likely as the next one only where it is repeated.
                let field = &message.fields[index];
                let repeated = matches!(field.label, Label::Repeated | Label::Packed);
                expected = index + usize::from(!repeated);
                if wire_type != wire_type_of(field.kind)
                    && !(field.label == Label::Packed && wire_type == LENGTH)
                {
                    return Err(WIRE_TYPE);
                }
                if field.label == Label::Oneof && member != Some(index) {
                    member = Some(index);
                    chosen = place;
                }
                self.fields.push(Found {
                    index,
                    place,
                    value,
                });
                place += 1;
            }
        }
        Ok(chosen)
    }

    fn repeated(
        &mut self,
        field: &'static Field,
        run: std::ops::Range<usize>,
        depth: usize,
    ) -> Result<()> {
        self.name(field);
        self.out.push(b'[');
        for at in run {
            match (self.fields[at].value, field.kind) {
                (Raw::Bytes(part), Kind::Message(message)) => {
                    self.message(message, &[part], depth)?;
                    self.out.push(b',');
                }
                (Raw::Bytes(packed), _) if field.label == Label::Packed => {
                    let mut rest = packed;
                    while !rest.is_empty() {
                        let number = take_number(&mut rest, wire_type_of(field.kind))?;
                        self.number(field.kind, number);
                        self.out.push(b',');
                    }
                }
                (value, _) => {
                    self.scalar(field.kind, value)?;
                    self.out.push(b',');
                }
            }
        }
        if self.out.last() == Some(&b',') {
            self.out.pop();
        }
        self.out.extend_from_slice(b"],");
        Ok(())
    }

    /// Of a field that stands more than once, the last counts; messages merge.
    fn singular(
        &mut self,
        field: &'static Field,
        run: std::ops::Range<usize>,
        depth: usize,
    ) -> Result<()> {
        let last = self.fields[run.end - 1].value;
        if let Kind::Message(message) = field.kind {
            self.name(field);
            match last {
                Raw::Bytes(part) if run.len() == 1 => self.message(message, &[part], depth)?,
                _ => {
                    let parts: Vec<&[u8]> = self.fields[run]
                        .iter()
                        .filter_map(|found| match found.value {
                            Raw::Bytes(part) => Some(part),
                            Raw::Number(_) => None,
                        })
                        .collect();
                    self.message(message, &parts, depth)?;
                }
            }
        } else {
            let default = match last {
                Raw::Number(number) => number == 0,
                Raw::Bytes(bytes) => bytes.is_empty(),
            };
            if default && field.label == Label::Implicit {
                return Ok(());
            }
            self.name(field);
            self.scalar(field.kind, last)?;
        }
        self.out.push(b',');
        Ok(())
    }

    fn name(&mut self, field: &Field) {
        self.out.push(b'"');
        self.out.extend_from_slice(field.json.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn scalar(&mut self, kind: Kind, value: Raw<'_>) -> Result<()> {
        match value {
            Raw::Number(number) => self.number(kind, number),
            Raw::Bytes(bytes) => match kind {
                Kind::Text => {
                    let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
                    write_string(text, &mut self.out);
                }
                Kind::HexId => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    self.out.push(b'"');
                    for byte in bytes {
                        self.out.push(DIGITS[usize::from(byte >> 4)]);
                        self.out.push(DIGITS[usize::from(byte & 15)]);
                    }
                    self.out.push(b'"');
                }
                _ => {
                    self.out.push(b'"');
                    base64::encode(bytes, &mut self.out);
                    self.out.push(b'"');
                }
            },
        }
        Ok(())
    }

    fn number(&mut self, kind: Kind, number: u64) {
        let mut integer = itoa::Buffer::new();
        let (text, quoted) = match kind {
            Kind::Bool => (if number == 0 { "false" } else { "true" }, false),
            Kind::Enum | Kind::Int32 => (integer.format(number as i32), false),
            Kind::Uint32 | Kind::Fixed32 => (integer.format(number as u32), false),
            Kind::Sint32 => {
                let number = number as u32;
                (
                    integer.format((number >> 1) as i32 ^ -((number & 1) as i32)),
                    false,
                )
            }
            Kind::Int64 | Kind::Sfixed64 => (integer.format(number as i64), true),
            Kind::Double => return self.double(f64::from_bits(number)),
            _ => (integer.format(number), true),
        };
        if quoted {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(text.as_bytes());
        if quoted {
            self.out.push(b'"');
        }
    }

    fn double(&mut self, value: f64) {
        if value.is_finite() {
            self.out
                .extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
        } else if value.is_nan() {
            self.out.extend_from_slice(b"\"NaN\"");
        } else if value > 0.0 {
            self.out.extend_from_slice(b"\"Infinity\"");
        } else {
            self.out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

/// Appends a JSON string.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

fn wire_type_of(kind: Kind) -> u32 {
    match kind {
        Kind::Text | Kind::Base64 | Kind::HexId | Kind::Message(_) => LENGTH,
        Kind::Fixed32 => FIXED32,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => FIXED64,
        _ => VARINT,
    }
}

pub(super) fn next_field<'a>(rest: &mut &'a [u8]) -> Result<(u32, u32, Raw<'a>)> {
    let tag = take_number(rest, VARINT)?;
    let tag = u32::try_from(tag).map_err(|_| "a field's tag is out of range")?;
    let (number, wire_type) = (tag >> 3, tag & 7);
    if number == 0 {
        return Err("a field has the number 0");
    }
    let value = match wire_type {
        VARINT | FIXED64 | FIXED32 => Raw::Number(take_number(rest, wire_type)?),
        LENGTH => {
            let length = take_number(rest, VARINT)?;
            let length = usize::try_from(length).map_err(|_| TRUNCATED)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(TRUNCATED)?;
            *rest = after;
            Raw::Bytes(bytes)
        }
        _ => return Err("a field has a wire type that OTLP does not use"),
    };
    Ok((number, wire_type, value))
}

fn take_number(rest: &mut &[u8], wire_type: u32) -> Result<u64> {
    match wire_type {
        FIXED64 => {
            let (bytes, after) = rest.split_first_chunk::<8>().ok_or(TRUNCATED)?;
            *rest = after;
            Ok(u64::from_le_bytes(*bytes))
        }
        FIXED32 => {
            let (bytes, after) = rest.split_first_chunk::<4>().ok_or(TRUNCATED)?;
            *rest = after;
            Ok(u32::from_le_bytes(*bytes).into())
        }
        _ => {
            let mut value = 0u64;
            for (at, byte) in rest.iter().enumerate().take(10) {
                // The tenth byte has room for one bit only.
                if at == 9 && *byte > 1 {
                    break;
                }
                value |= u64::from(byte & 0x7f) << (7 * at);
                if *byte < 0x80 {
                    *rest = &rest[at + 1..];
                    return Ok(value);
                }
            }
            Err("a varint is malformed")
        }
    }
}
