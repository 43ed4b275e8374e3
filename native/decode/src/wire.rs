//! A reader of protobuf's wire format: bounds-checked, without copies, without recursion.

use otlake_base::Code;

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

pub type Wire<T> = Result<T, Box<Malformed>>;

/// Walks the fields of one message.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    request: &'a Request,
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
    pub fn request(&self) -> &'a Request {
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
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = (tag >> 3) as u32;
        if tag > u64::from(u32::MAX) || number == 0 {
            return Err(self.malformed("a field's tag is not one"));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => {
                let length = self.varint()?;
                if length > (self.bytes.len() - self.at) as u64 {
                    return Err(self.malformed("a field is longer than its message"));
                }
                let start = self.at;
                self.at += length as usize;
                Value::Bytes(&self.bytes[start..self.at])
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            _ => return Err(self.malformed("a field has a wire type that OTLP does not use")),
        };
        Ok(Some((number, value)))
    }

    #[inline(always)]
    pub fn varint(&mut self) -> Wire<u64> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Wire<u64> {
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
                return Ok(value);
            }
        }
        Err(self.malformed("a number is longer than 64 bits"))
    }

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
    pub fn position(&self) -> usize {
        self.request.offset(self.bytes) + self.at
    }

    /// An error at the current place.
    #[cold]
    #[inline(never)]
    pub fn malformed(&self, what: &'static str) -> Box<Malformed> {
        Box::new(Malformed {
            at: self.position(),
            what,
            fault: Fault::Message,
        })
    }

    #[cold]
    #[inline(never)]
    fn not_text(&self, bytes: &[u8]) -> Box<Malformed> {
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
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
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
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
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
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
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
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
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
            _ => return Err(self.malformed("a field has another wire type than OTLP says")),
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
            _ => return Err(self.malformed("a field has another wire type than OTLP says")),
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

/// Text that can stand in a JSON string as it is.
#[inline(always)]
pub fn plain_text(bytes: &[u8]) -> Option<&str> {
    // SAFETY: every byte is ASCII.
    is_plain(bytes).then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
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

/// Whether all bytes are ASCII that JSON does not escape; eight are looked at together.
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The high bit of each byte that is not plain. A borrow can mark a byte above one that is
    // not plain itself, which does no harm.
    let odd = |word: u64| {
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        (word | below(word, 0x20) | equal(b'"') | equal(b'\\')) & (ONES * 0x80)
    };
    let eight = |bytes: &[u8; 8]| odd(u64::from_ne_bytes(*bytes));
    let four = |bytes: &[u8; 4]| u64::from(u32::from_ne_bytes(*bytes));
    if let Some(last) = bytes.last_chunk::<8>() {
        // The last eight overlap those before them.
        let mut found = eight(last);
        for chunk in bytes.chunks_exact(8) {
            found |= chunk.first_chunk().map_or(0, eight);
        }
        return found == 0;
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => odd(four(first) | four(last) << 32) == 0,
        _ => bytes
            .iter()
            .all(|byte| matches!(byte, b' '..=0x7f) && !matches!(byte, b'"' | b'\\')),
    }
}
