//! A reader of protobuf's wire format: bounds-checked, without copies, without recursion.

use otlake_base::Code;

use crate::plain::plain_text;
use crate::request::Request;

/// What stands behind a tag.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// Why bytes are not a message: the byte's distance from the start of the request, and what.
#[derive(Clone, Copy, Debug)]
pub struct Malformed {
    /// Distance from the start of the request, in bytes; behind the first byte of the field.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
    pub fault: Fault,
}

/// How far a fault reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no message: the request is refused.
    Message,
    /// A text is not UTF-8: the records that it belongs to are refused.
    Text,
    /// The request is too large.
    Size,
}

impl Malformed {
    /// The error's code, where the whole request is refused.
    pub fn code(&self) -> Code {
        match self.fault {
            Fault::Size => Code::OtlpTooLarge,
            Fault::Message | Fault::Text => Code::OtlpMalformed,
        }
    }
}

const NO_TAG: &str = "a field's tag is not one";
const WRONG_TYPE: &str = "a field has another wire type than OTLP says";

/// Tags, by the number of the field.
pub mod tag {
    pub const fn varint(number: u32) -> u32 {
        number << 3
    }

    pub const fn fixed64(number: u32) -> u32 {
        number << 3 | 1
    }

    pub const fn bytes(number: u32) -> u32 {
        number << 3 | 2
    }

    pub const fn fixed32(number: u32) -> u32 {
        number << 3 | 5
    }
}

pub type Wire<T> = Result<T, Box<Malformed>>;

/// Walks the fields of one message.
///
/// What is not made part of its caller takes it by value: a reader whose address nobody has
/// stays in registers.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    request: &'a Request<'a>,
}

impl<'a> Reader<'a> {
    /// A reader of bytes that lie in the request's.
    pub fn new(bytes: &'a [u8], request: &'a Request) -> Self {
        Self {
            bytes,
            at: 0,
            request,
        }
    }

    /// What all readers of the request share.
    #[inline(always)]
    pub fn request(&self) -> &'a Request<'a> {
        self.request
    }

    /// A reader of a message within the same request.
    pub fn within(&self, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            request: self.request,
        }
    }

    /// The next field's number and value; None at the end.
    ///
    /// It is made part of each loop that walks a message, so that nothing of what it returns
    /// passes through memory.
    #[inline(always)]
    pub fn field(&mut self) -> Wire<Option<(u32, Value<'a>)>> {
        let Some(tag) = self.tag()? else {
            return Ok(None);
        };
        Ok(Some((tag >> 3, self.value(tag)?)))
    }

    /// The next field's tag: its number and wire type, which `tag` names. None at the end.
    ///
    /// One `match` over tags is faster than one over wire types and then one over numbers.
    #[inline(always)]
    pub fn tag(&mut self) -> Wire<Option<u32>> {
        let Some(&byte) = self.bytes.get(self.at) else {
            return Ok(None);
        };
        if byte < 0x80 {
            self.at += 1;
            return Ok(Some(u32::from(byte)));
        }
        match u32::try_from(self.varint()?) {
            Ok(tag) => Ok(Some(tag)),
            Err(_) => Err(self.malformed(NO_TAG)),
        }
    }

    /// The value behind a tag.
    #[inline(always)]
    pub fn value(&mut self, tag: u32) -> Wire<Value<'a>> {
        if tag >> 3 == 0 {
            return Err(self.malformed(NO_TAG));
        }
        Ok(match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.next_fixed64()?),
            2 => Value::Bytes(self.next_bytes()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            _ => return Err(self.malformed("a field has a wire type that OTLP does not use")),
        })
    }

    /// The value behind a tag that no arm of a `match` took. It is read over, and its number
    /// given; where the message has a field of this number, its wire type is wrong.
    #[inline(always)]
    pub fn other(&mut self, tag: u32, known: impl Fn(u32) -> bool) -> Wire<u32> {
        let (number, at) = self.passed(tag, known)?;
        self.at = at;
        Ok(number)
    }

    #[cold]
    #[inline(never)]
    fn passed(mut self, tag: u32, known: impl Fn(u32) -> bool) -> Wire<(u32, usize)> {
        self.value(tag)?;
        let number = tag >> 3;
        if known(number) {
            return Err(self.wrong_type());
        }
        Ok((number, self.at))
    }

    /// A field that was just read has another wire type than OTLP says.
    #[cold]
    #[inline(never)]
    pub fn wrong_type(self) -> Box<Malformed> {
        self.malformed(WRONG_TYPE)
    }

    /// The bytes behind a tag of `tag::bytes`.
    #[inline(always)]
    pub fn next_bytes(&mut self) -> Wire<&'a [u8]> {
        let length = self.varint()?;
        if length > (self.bytes.len() - self.at) as u64 {
            return Err(self.malformed("a field is longer than its message"));
        }
        let start = self.at;
        self.at += length as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// The text behind a tag of `tag::bytes`.
    #[inline(always)]
    pub fn next_text(&mut self) -> Wire<&'a str> {
        let bytes = self.next_bytes()?;
        self.text(Value::Bytes(bytes))
    }

    /// The number behind a tag of `tag::fixed64`.
    #[inline(always)]
    pub fn next_fixed64(&mut self) -> Wire<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// The number behind a tag of `tag::fixed32`.
    #[inline(always)]
    pub fn next_fixed32(&mut self) -> Wire<i64> {
        Ok(i64::from(u32::from_le_bytes(self.take()?)))
    }

    /// The `uint32` behind a tag of `tag::varint`.
    #[inline(always)]
    pub fn next_uint32(&mut self) -> Wire<i64> {
        let number = self.varint()?;
        self.uint32(Value::Varint(number))
    }

    /// The `int32` or enum behind a tag of `tag::varint`.
    #[inline(always)]
    pub fn next_int32(&mut self) -> Wire<i32> {
        Ok(self.varint()? as i32)
    }

    #[inline(always)]
    pub fn varint(&mut self) -> Wire<u64> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        let (number, at) = self.long_varint()?;
        self.at = at;
        Ok(number)
    }

    #[inline(never)]
    fn long_varint(mut self) -> Wire<(u64, usize)> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.bytes.get(self.at) else {
                return Err(self.malformed("it ends within a number"));
            };
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value, self.at));
            }
        }
        Err(self.malformed("a number is longer than 64 bits"))
    }

    #[inline(always)]
    fn take<const N: usize>(&mut self) -> Wire<[u8; N]> {
        let Some(bytes) = self.bytes[self.at..].first_chunk::<N>() else {
            return Err(self.malformed("it ends within a number"));
        };
        self.at += N;
        Ok(*bytes)
    }

    /// Bytes of the message.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all of it was read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Distance of what is read next from the start of the request.
    pub fn position(self) -> usize {
        self.request.offset(self.bytes) + self.at
    }

    /// An error at the current place.
    #[cold]
    #[inline(never)]
    pub fn malformed(self, what: &'static str) -> Box<Malformed> {
        Box::new(Malformed {
            at: self.position(),
            what,
            fault: Fault::Message,
        })
    }

    #[cold]
    #[inline(never)]
    fn not_text(self, bytes: &[u8]) -> Box<Malformed> {
        Box::new(Malformed {
            at: self.request.offset(bytes),
            what: "must be UTF-8",
            fault: Fault::Text,
        })
    }

    /// Keeps a part of a message to read it later. The parts are counted before the records that
    /// they become are: a few bytes here stand for two on the wire.
    #[inline]
    pub fn keep<T>(&self, parts: &mut Vec<T>, part: T) -> Wire<()> {
        self.request.check_records(parts.len() + 1)?;
        parts.push(part);
        Ok(())
    }

    #[inline(always)]
    pub fn bytes(&self, value: Value<'a>) -> Wire<&'a [u8]> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    #[inline(always)]
    pub fn text(&self, value: Value<'a>) -> Wire<&'a str> {
        Ok(self.json_text(value)?.text)
    }

    /// Text that will be written as JSON: one pass tells whether it is UTF-8 and can stand as it
    /// is, where it is ASCII, as nearly all is.
    #[inline(always)]
    pub fn json_text(&self, value: Value<'a>) -> Wire<Text<'a>> {
        let bytes = self.bytes(value)?;
        if let Some(text) = plain_text(bytes) {
            return Ok(Text { text, plain: true });
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Text { text, plain: false }),
            Err(_) => Err(self.not_text(bytes)),
        }
    }

    #[inline(always)]
    pub fn message(&self, value: Value<'a>) -> Wire<Reader<'a>> {
        Ok(self.within(self.bytes(value)?))
    }

    #[inline(always)]
    pub fn number(&self, value: Value<'a>) -> Wire<u64> {
        match value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    /// A `uint32`: of a longer varint the low bits count, as everywhere in protobuf.
    #[inline(always)]
    pub fn uint32(&self, value: Value<'a>) -> Wire<i64> {
        Ok(i64::from(self.number(value)? as u32))
    }

    /// An `int32` or an enum.
    #[inline(always)]
    pub fn int32(&self, value: Value<'a>) -> Wire<i32> {
        Ok(self.number(value)? as i32)
    }

    /// A `sint32`.
    #[inline]
    pub fn sint32(&self, value: Value<'a>) -> Wire<i32> {
        let number = self.number(value)? as u32;
        Ok((number >> 1) as i32 ^ -((number & 1) as i32))
    }

    #[inline(always)]
    pub fn fixed64(&self, value: Value<'a>) -> Wire<u64> {
        match value {
            Value::Fixed64(number) => Ok(number),
            _ => Err(self.wrong_type()),
        }
    }

    #[inline(always)]
    pub fn double(&self, value: Value<'a>) -> Wire<f64> {
        self.fixed64(value).map(f64::from_bits)
    }

    #[inline(always)]
    pub fn fixed32(&self, value: Value<'a>) -> Wire<i64> {
        match value {
            Value::Fixed32(number) => Ok(i64::from(number)),
            _ => Err(self.wrong_type()),
        }
    }

    /// Each element of a repeated `fixed64` or `double`, packed or not; they are counted as
    /// buckets before the first is shown.
    pub fn each_fixed64(&self, value: Value<'a>, mut each: impl FnMut(u64)) -> Wire<()> {
        match value {
            Value::Fixed64(number) => {
                self.request.count_buckets(1)?;
                each(number);
            }
            Value::Bytes(bytes) => {
                let chunks = bytes.chunks_exact(8);
                if !chunks.remainder().is_empty() {
                    return Err(self.malformed("packed numbers end within a number"));
                }
                self.request.count_buckets(chunks.len())?;
                for chunk in chunks {
                    each(u64::from_le_bytes(std::array::from_fn(|index| {
                        chunk[index]
                    })));
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }

    /// As `each_fixed64`, of a repeated `uint64`.
    pub fn each_varint(&self, value: Value<'a>, mut each: impl FnMut(u64)) -> Wire<()> {
        match value {
            Value::Varint(number) => {
                self.request.count_buckets(1)?;
                each(number);
            }
            Value::Bytes(bytes) => {
                let ends = bytes.iter().filter(|byte| **byte < 0x80).count();
                self.request.count_buckets(ends)?;
                let mut packed = self.within(bytes);
                while !packed.is_empty() {
                    each(packed.varint()?);
                }
            }
            _ => return Err(self.wrong_type()),
        }
        Ok(())
    }
}

/// UTF-8 text.
#[derive(Clone, Copy, Default)]
pub struct Text<'a> {
    pub text: &'a str,
    /// Whether it can stand in a JSON string as it is.
    pub plain: bool,
}

/// The varint that all the bytes are.
#[inline(always)]
pub fn whole_varint(bytes: &[u8]) -> Option<u64> {
    let (last, others) = bytes.split_last()?;
    // Nine bytes hold 63 bits, so nothing overflows; longer ones are left to `Reader`.
    if *last >= 0x80 || others.len() > 8 {
        return None;
    }
    let mut number = u64::from(*last);
    for byte in others.iter().rev() {
        if *byte < 0x80 {
            return None;
        }
        number = number << 7 | u64::from(byte & 0x7f);
    }
    Some(number)
}
