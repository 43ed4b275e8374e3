//! Writes protobuf fields to one growing buffer.
//!
//! A nested message is written in place: its length is one byte at first, and its bytes move up
//! where the length turns out to need more. Most messages are shorter than 128 bytes, and the
//! few long ones move at the speed of memory.

/// Protobuf's wire types.
pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const LENGTH: u32 = 2;
pub(crate) const FIXED32: u32 = 5;

/// A protobuf message being written.
#[derive(Default)]
pub(crate) struct WireWriter {
    pub(crate) bytes: Vec<u8>,
}

/// Where the content of an open nested message starts.
#[must_use]
pub(crate) struct Mark(usize);

impl WireWriter {
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    /// A length-delimited field, also where it is empty.
    pub(crate) fn bytes_field(&mut self, number: u32, value: &[u8]) {
        self.tag(number, LENGTH);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// A length-delimited field whose empty value is its absence.
    pub(crate) fn bytes_unless_empty(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_field(number, value);
        }
    }

    /// A varint field, also where it is zero.
    pub(crate) fn varint_field(&mut self, number: u32, value: u64) {
        self.tag(number, VARINT);
        self.varint(value);
    }

    /// A varint field whose zero is its absence.
    pub(crate) fn varint_unless_zero(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.varint_field(number, value);
        }
    }

    /// A fixed64, sfixed64 or double field, also where it is zero.
    pub(crate) fn fixed64_field(&mut self, number: u32, value: u64) {
        self.tag(number, FIXED64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A fixed64, sfixed64 or double field whose zero (not negative zero) is its absence.
    pub(crate) fn fixed64_unless_zero(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.fixed64_field(number, value);
        }
    }

    /// A fixed32 field whose zero is its absence.
    pub(crate) fn fixed32_unless_zero(&mut self, number: u32, value: u32) {
        if value != 0 {
            self.tag(number, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Opens a length-delimited field; what is written until `end` is its content.
    pub(crate) fn begin(&mut self, number: u32) -> Mark {
        self.tag(number, LENGTH);
        self.bytes.push(0);
        Mark(self.bytes.len())
    }

    /// Closes the field that `begin` opened.
    pub(crate) fn end(&mut self, mark: Mark) {
        let start = mark.0;
        let end = self.bytes.len();
        let mut length = end - start;
        let extra = varint_len(length as u64) - 1;
        if extra > 0 {
            self.bytes.resize(end + extra, 0);
            self.bytes.copy_within(start..end, start + extra);
        }
        let mut at = start - 1;
        while length >= 0x80 {
            self.bytes[at] = length as u8 | 0x80;
            length >>= 7;
            at += 1;
        }
        self.bytes[at] = length as u8;
    }
}

/// The bytes that a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The varint that carries a sint32.
pub(crate) fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}
