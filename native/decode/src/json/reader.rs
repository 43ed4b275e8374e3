//! OTLP/JSON text to protobuf bytes, in one pass.
//!
//! Each object writes its fields straight to the output, nested ones in place. A repeated key of
//! a singular field takes the earlier value out again, as JSON's last one counts; repeated keys
//! of a repeated field add up.

use super::lexer::{Fault, Lexer, Result, Segment, too_deep};
use super::table::{Field, Kind, Label, MAX_FIELDS, Message, is_noted};
use super::{MAX_NESTING, base64, number};
use crate::encode::wire_writer::{FIXED32, FIXED64, VARINT, WireWriter, zigzag};
use crate::notes::REPLACED_FIELD;

/// Protobuf is mostly shorter than its JSON; this share of the text is room enough to start.
const OUTPUT_SHARE: usize = 3;

/// The protobuf form of the JSON text of a message.
pub(super) fn read(message: &'static Message, text: &str) -> Result<Vec<u8>> {
    let mut wire = WireWriter {
        bytes: Vec::with_capacity(text.len() / OUTPUT_SHARE),
    };
    let mut reader = Reader {
        lexer: Lexer::new(text),
        wire: &mut wire,
    };
    reader.message(message, MAX_NESTING)?;
    reader.lexer.end()?;
    Ok(wire.bytes)
}

/// Writes the elements of a repeated field, given as the JSON text of its array.
pub(crate) fn read_repeated(
    field: &'static Field,
    text: &str,
    wire: &mut WireWriter,
) -> Result<()> {
    let mut reader = Reader {
        lexer: Lexer::new(text),
        wire,
    };
    reader.repeated(field, MAX_NESTING)?;
    reader.lexer.end()
}

struct Reader<'a, 'w> {
    lexer: Lexer<'a>,
    wire: &'w mut WireWriter,
}

/// Where in the output each singular field of a message was written; empty where it was not.
type Written = [(usize, usize); MAX_FIELDS];

impl Reader<'_, '_> {
    fn message(&mut self, message: &'static Message, depth: usize) -> Result<()> {
        if !self.lexer.take(b'{') {
            return Err(self.lexer.wrong("an object"));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(too_deep());
        };
        let mut written: Written = [(0, 0); MAX_FIELDS];
        // What is replaced in a record says nothing about what stands around it.
        let outside = std::mem::take(&mut self.lexer.replaced);
        let mut replaced = false;
        let mut expected = 0;
        let mut first = true;
        while let Some(key) = self.lexer.key(&mut first)? {
            let Some(index) = message.find(&key, expected) else {
                self.lexer.skip(depth)?;
                // What nobody reads is not changed.
                self.lexer.replaced = false;
                continue;
            };
            expected = index + 1;
            let field = &message.fields[index];
            match field.label {
                Label::Repeated | Label::Packed => self.repeated(field, depth),
                _ => self.singular(field, &mut written, index, depth),
            }
            .map_err(|fault| fault.within(Segment::Name(field.json)))?;
            replaced |= std::mem::take(&mut self.lexer.replaced);
        }
        if replaced && is_noted(message) {
            self.wire.varint_field(REPLACED_FIELD, 1);
            replaced = false;
        }
        self.lexer.replaced = outside | replaced;
        Ok(())
    }

    fn singular(
        &mut self,
        field: &'static Field,
        written: &mut Written,
        index: usize,
        depth: usize,
    ) -> Result<()> {
        let (start, end) = written[index];
        if start < end {
            self.wire.bytes.drain(start..end);
            written[index] = (0, 0);
            for later in written.iter_mut().filter(|later| later.0 >= end) {
                later.0 -= end - start;
                later.1 -= end - start;
            }
        }
        if self.lexer.null()? {
            return Ok(());
        }
        let start = self.wire.bytes.len();
        self.value(field, depth)?;
        written[index] = (start, self.wire.bytes.len());
        Ok(())
    }

    fn repeated(&mut self, field: &'static Field, depth: usize) -> Result<()> {
        if self.lexer.null()? {
            return Ok(());
        }
        if !self.lexer.take(b'[') {
            return Err(self.lexer.wrong("an array"));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(too_deep());
        };
        let start = self.wire.bytes.len();
        let packed = (field.label == Label::Packed).then(|| self.wire.begin(field.number));
        let mut index = 0;
        let mut first = true;
        while self.lexer.element(&mut first)? {
            self.value(field, depth)
                .map_err(|fault| fault.within(Segment::Index(index)))?;
            index += 1;
        }
        match packed {
            Some(_) if index == 0 => self.wire.bytes.truncate(start),
            Some(mark) => self.wire.end(mark),
            None => {}
        }
        Ok(())
    }

    /// One value of a field, with its tag unless it is packed; nothing where it is the default
    /// and the field has no presence.
    fn value(&mut self, field: &'static Field, depth: usize) -> Result<()> {
        match field.kind {
            Kind::Message(message) => {
                let mark = self.wire.begin(field.number);
                self.message(message, depth)?;
                self.wire.end(mark);
            }
            Kind::Text => {
                let text = self.lexer.string()?;
                self.bytes(field, text.as_bytes());
            }
            Kind::Base64 => {
                let text = self.lexer.string()?;
                let mut bytes = Vec::new();
                if !base64::decode(text.as_bytes(), &mut bytes) {
                    return Err(Fault::new("must be base64"));
                }
                self.bytes(field, &bytes);
            }
            Kind::HexId => {
                let text = self.lexer.string()?;
                self.hex(field, text.as_bytes());
            }
            Kind::Bool => {
                let value = self.lexer.boolean()?;
                self.varint(field, u64::from(value));
            }
            Kind::Enum => {
                if self.lexer.peek() == Some(b'"') {
                    return Err(Fault::new(
                        "must be the enum's integer: OTLP/JSON has no enum names",
                    ));
                }
                let value = self.integer(i32::MIN.into(), i32::MAX.into())?;
                self.varint(field, value as i64 as u64);
            }
            Kind::Int32 => {
                let value = self.integer(i32::MIN.into(), i32::MAX.into())?;
                self.varint(field, value as i64 as u64);
            }
            Kind::Uint32 => {
                let value = self.integer(0, u32::MAX.into())?;
                self.varint(field, value as u64);
            }
            Kind::Int64 => {
                let value = self.integer(i64::MIN.into(), i64::MAX.into())?;
                self.varint(field, value as i64 as u64);
            }
            Kind::Uint64 => {
                let value = self.integer(0, u64::MAX.into())?;
                self.varint(field, value as u64);
            }
            Kind::Sint32 => {
                let value = self.integer(i32::MIN.into(), i32::MAX.into())?;
                self.varint(field, zigzag(value as i32));
            }
            Kind::Fixed32 => {
                let value = self.integer(0, u32::MAX.into())? as u32;
                if self.tagged(field, FIXED32, value == 0) {
                    self.wire.bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
            Kind::Fixed64 => {
                let value = self.integer(0, u64::MAX.into())?;
                self.fixed64(field, value as u64);
            }
            Kind::Sfixed64 => {
                let value = self.integer(i64::MIN.into(), i64::MAX.into())?;
                self.fixed64(field, value as i64 as u64);
            }
            Kind::Double => {
                let value = self.double()?;
                self.fixed64(field, value.to_bits());
            }
        }
        Ok(())
    }

    /// Writes the tag where there is to be one; whether the value is to follow.
    fn tagged(&mut self, field: &Field, wire_type: u32, default: bool) -> bool {
        match field.label {
            Label::Packed => true,
            Label::Implicit if default => false,
            _ => {
                self.wire.tag(field.number, wire_type);
                true
            }
        }
    }

    fn varint(&mut self, field: &Field, value: u64) {
        if self.tagged(field, VARINT, value == 0) {
            self.wire.varint(value);
        }
    }

    fn fixed64(&mut self, field: &Field, value: u64) {
        if self.tagged(field, FIXED64, value == 0) {
            self.wire.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn bytes(&mut self, field: &Field, value: &[u8]) {
        if field.label == Label::Implicit {
            self.wire.bytes_unless_empty(field.number, value);
        } else {
            self.wire.bytes_field(field.number, value);
        }
    }

    /// An id. What is no hexadecimal text becomes an id of a wrong length, so that the decoder
    /// judges it with its record, and the others of the request are kept.
    fn hex(&mut self, field: &Field, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mark = self.wire.begin(field.number);
        let start = self.wire.bytes.len();
        for pair in text.chunks(2) {
            let digit = |at: usize| pair.get(at).and_then(|digit| (*digit as char).to_digit(16));
            let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                self.wire.bytes.push(0);
                if matches!(self.wire.bytes.len() - start, 8 | 16) {
                    self.wire.bytes.push(0);
                }
                break;
            };
            self.wire.bytes.push((high << 4 | low) as u8);
        }
        self.wire.end(mark);
    }

    fn integer(&mut self, least: i128, most: i128) -> Result<i128> {
        let value = match self.lexer.peek() {
            Some(b'"') => number::integer(&self.lexer.string()?),
            Some(b'-' | b'0'..=b'9') => number::integer(self.lexer.number()?),
            _ => return Err(self.lexer.wrong("an integer")),
        };
        value
            .filter(|value| (least..=most).contains(value))
            .ok_or_else(|| Fault::new(format!("must be an integer from {least} to {most}")))
    }

    fn double(&mut self) -> Result<f64> {
        let value = match self.lexer.peek() {
            Some(b'"') => match &*self.lexer.string()? {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => number::double(text),
            },
            Some(b'-' | b'0'..=b'9') => number::double(self.lexer.number()?),
            _ => return Err(self.lexer.wrong("a number")),
        };
        value.ok_or_else(|| {
            Fault::new("must be a double, or \"NaN\", \"Infinity\" or \"-Infinity\"")
        })
    }
}
