//! Protobuf's wire format, as far as a request is split: where fields begin and end, and which.

/// Bytes that are no message. The node's decoder says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Walks the fields of one message.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A field: where its tag begins and it ends in its message, and what it is.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub start: usize,
    pub end: usize,
    /// Number and wire type.
    tag: u32,
    /// What stands behind the length, of wire type 2.
    content: &'a [u8],
}

impl<'a> Field<'a> {
    /// The content, where it is the field of this number and has a length.
    #[inline]
    pub fn message(&self, number: u32) -> Option<&'a [u8]> {
        (self.tag == number << 3 | 2).then_some(self.content)
    }
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// The next field; None at the end.
    #[inline]
    pub fn field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        let start = self.at;
        if start >= self.bytes.len() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        if tag >> 3 == 0 {
            return Err(Malformed);
        }
        let mut content: &[u8] = b"";
        match tag & 7 {
            0 => drop(self.varint()?),
            1 => drop(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                content = self.take(length)?;
            }
            5 => drop(self.take(4)?),
            _ => return Err(Malformed),
        }
        Ok(Some(Field {
            start,
            end: self.at,
            tag,
            content,
        }))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        if length > self.bytes.len() - self.at {
            return Err(Malformed);
        }
        let start = self.at;
        self.at += length;
        Ok(&self.bytes[start..self.at])
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let &byte = self.bytes.get(self.at).ok_or(Malformed)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// Bytes of a varint.
pub fn varint_length(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Writes a varint.
pub fn put_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}
