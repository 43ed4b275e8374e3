//! A reader of protobuf's wire format: bounds-checked, without copies, without recursion.

use otlake_base::limits::MAX_REQUEST_RECORDS;
use otlake_base::{Code, Error};

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
    /// Distance from the start of the request, in bytes.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
    /// `OTLP_MALFORMED`, or `OTLP_TOO_LARGE`.
    pub code: Code,
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        let Malformed { at, what, code } = malformed;
        Error::new(code, format!("the message is refused at byte {at}: {what}"))
    }
}

pub type Wire<T> = Result<T, Malformed>;

/// Walks the fields of one message.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Address of the request's first byte, so that an error can say where it is.
    origin: usize,
}

impl<'a> Reader<'a> {
    /// A reader of a whole request.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            origin: bytes.as_ptr() as usize,
        }
    }

    /// A reader of a message within the same request.
    pub fn within(&self, bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            origin: self.origin,
        }
    }

    /// The next field's number and value; None at the end.
    #[inline]
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

    #[inline]
    pub fn varint(&mut self) -> Wire<u64> {
        if let Some(&byte) = self.bytes.get(self.at)
            && byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(byte));
        }
        self.long_varint()
    }

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

    /// Whether all of it was read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// An error at the current place.
    #[cold]
    pub fn malformed(&self, what: &'static str) -> Malformed {
        Malformed {
            at: self.bytes.as_ptr() as usize + self.at - self.origin,
            what,
            code: Code::OtlpMalformed,
        }
    }

    /// Checks that what a request becomes in memory stays within bounds (I5): a row of a few
    /// hundred bytes can stand as two bytes on the wire.
    #[inline]
    pub fn check_records(&self, records: usize) -> Wire<()> {
        if records > MAX_REQUEST_RECORDS {
            return Err(Malformed {
                code: Code::OtlpTooLarge,
                ..self.malformed("a request has too many records")
            });
        }
        Ok(())
    }

    /// Keeps a part of a message to read it later. The parts are counted before the records that
    /// they become are: a few bytes here stand for two on the wire.
    #[inline]
    pub fn keep<T>(&self, parts: &mut Vec<T>, part: T) -> Wire<()> {
        self.check_records(parts.len() + 1)?;
        parts.push(part);
        Ok(())
    }

    #[inline]
    pub fn bytes(&self, value: Value<'a>) -> Wire<&'a [u8]> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
        }
    }

    #[inline]
    pub fn text(&self, value: Value<'a>) -> Wire<&'a str> {
        std::str::from_utf8(self.bytes(value)?).map_err(|_| self.malformed("text is not UTF-8"))
    }

    #[inline]
    pub fn message(&self, value: Value<'a>) -> Wire<Reader<'a>> {
        Ok(self.within(self.bytes(value)?))
    }

    #[inline]
    pub fn number(&self, value: Value<'a>) -> Wire<u64> {
        match value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
        }
    }

    /// A `uint32`: of a longer varint the low bits count, as everywhere in protobuf.
    #[inline]
    pub fn uint32(&self, value: Value<'a>) -> Wire<i64> {
        Ok(i64::from(self.number(value)? as u32))
    }

    /// An `int32` or an enum.
    #[inline]
    pub fn int32(&self, value: Value<'a>) -> Wire<i32> {
        Ok(self.number(value)? as i32)
    }

    /// A `sint32`.
    #[inline]
    pub fn sint32(&self, value: Value<'a>) -> Wire<i32> {
        let number = self.number(value)? as u32;
        Ok((number >> 1) as i32 ^ -((number & 1) as i32))
    }

    #[inline]
    pub fn fixed64(&self, value: Value<'a>) -> Wire<u64> {
        match value {
            Value::Fixed64(number) => Ok(number),
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
        }
    }

    #[inline]
    pub fn double(&self, value: Value<'a>) -> Wire<f64> {
        self.fixed64(value).map(f64::from_bits)
    }

    #[inline]
    pub fn fixed32(&self, value: Value<'a>) -> Wire<i64> {
        match value {
            Value::Fixed32(number) => Ok(i64::from(number)),
            _ => Err(self.malformed("a field has another wire type than OTLP says")),
        }
    }

    /// Each element of a repeated `fixed64` or `double`, packed or not.
    pub fn each_fixed64(&self, value: Value<'a>, mut each: impl FnMut(u64)) -> Wire<()> {
        match value {
            Value::Fixed64(number) => each(number),
            Value::Bytes(bytes) => {
                let chunks = bytes.chunks_exact(8);
                if !chunks.remainder().is_empty() {
                    return Err(self.malformed("packed numbers end within a number"));
                }
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

    /// Each element of a repeated `uint64`, packed or not.
    pub fn each_varint(&self, value: Value<'a>, mut each: impl FnMut(u64)) -> Wire<()> {
        match value {
            Value::Varint(number) => each(number),
            Value::Bytes(bytes) => {
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
