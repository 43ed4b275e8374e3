//! `AnyValue`: which member of it is set, and its JSON text.

use crate::attributes::write_entries;
use crate::json::base64;
use crate::json_text::{write_double, write_int, write_json_text};
use crate::notes;
use crate::request::{Bounds, Request};
use crate::wire::{Reader, Text, Value, Wire};

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
    pub fn unset(parent: &Reader<'a>) -> Self {
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
    pub fn request(&self) -> &'a Request<'a> {
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
                        write_entries(container, &[container.bytes(field)?], &mut nowhere, bounds)?;
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
            Any::Int(value) => write_int(value, out),
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
        write_entries(self.reader, &entries, out, bounds)
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
