//! An attribute as encoders write nearly all of them: the key, then a value of one member that
//! is no container, lengths of one byte, text that JSON takes as it is.
//!
//! Its text is looked at and copied in blocks, from and into arrays that are long
//! enough for any such entry: what stands behind a text is copied with its end, and written over
//! by what follows. So no copy depends on a length, and each byte is read once.

use std::mem::MaybeUninit;

use crate::any_value::Any;
use crate::json_text::{SHORT, short_digits, write_double, write_int};
use crate::plain::odd;
use crate::wire::{Text, whole_varint};

/// Bytes that are copied together: most texts are one block.
const BLOCK: usize = 32;

/// The longest key or text.
const LONGEST: usize = 127;

/// Bytes from the start of an entry that are read: before each text is a tag and a length, before
/// the value's another two.
const READ: usize = 2 + LONGEST + 4 + LONGEST + BLOCK;

/// Bytes that are written: what stands before the entry, then quotes and a colon around two texts.
const WRITTEN: usize = 2 + LONGEST + 3 + LONGEST + BLOCK;

type Written = [MaybeUninit<u8>; WRITTEN];

/// Writes `before` and then `entry`, a `KeyValue`, as JSON, and gives its key and value. Where it
/// is not such an attribute, nothing is written, and None returned. `from` is the request from
/// the entry on.
#[inline(always)]
pub fn write_usual<'a>(
    from: &'a [u8],
    entry: &[u8],
    before: u8,
    out: &mut Vec<u8>,
) -> Option<(&'a str, Any<'a>)> {
    // The last entries of a request have too few bytes behind them. What is read behind the
    // entry's end does not matter: its lengths must come to its own.
    let from = from.first_chunk::<READ>()?;
    let key_length = usize::from(from[1]);
    if from[0] != 0x0a || key_length > LONGEST || from[2 + key_length] != 0x12 {
        return None;
    }
    let value_at = key_length + 4;
    let value_length = usize::from(from[key_length + 3]);
    if value_length > LONGEST || value_at + value_length != entry.len() {
        return None;
    }
    let start = out.len();
    out.reserve(WRITTEN);
    let to = out.spare_capacity_mut().first_chunk_mut::<WRITTEN>()?;
    write(to, 0, &[before, b'"']);
    if !copy(from, 2, key_length, to, 2) {
        return None;
    }
    let key = plain(&from[2..2 + key_length]);
    if from[value_at] == 0x0a && value_length >= 2 {
        let length = usize::from(from[value_at + 1]);
        if length + 2 != value_length {
            return None;
        }
        write(to, 2 + key_length, b"\":\"");
        if !copy(from, value_at + 2, length, to, key_length + 5) {
            return None;
        }
        let end = key_length + 5 + length;
        write(to, end, b"\"");
        // SAFETY: so many bytes of `to` were written, without a gap.
        unsafe { out.set_len(start + end + 1) };
        let text = plain(&from[value_at + 2..value_at + 2 + length]);
        return Some((key, Any::Text(Text { text, plain: true })));
    }
    write(to, 2 + key_length, b"\":");
    let mut end = key_length + 4;
    let any = match &from[value_at..value_at + value_length] {
        [0x10, value @ ..=1] => Any::Bool(*value == 1),
        [0x18, number @ ..] => Any::Int(whole_varint(number)? as i64),
        [0x21, bits @ ..] => Any::Double(f64::from_le_bytes(bits.try_into().ok()?)),
        _ => return None,
    };
    if let Any::Int(number @ 0..SHORT) = any {
        let (digits, count) = short_digits(number as u64);
        write(to, end, &digits);
        end += count;
    }
    // SAFETY: as above.
    unsafe { out.set_len(start + end) };
    match any {
        Any::Int(0..SHORT) => {}
        Any::Int(number) => write_int(number, out),
        Any::Double(number) => write_double(number, out),
        Any::Bool(true) => out.extend_from_slice(b"true"),
        _ => out.extend_from_slice(b"false"),
    }
    Some((key, any))
}

/// Text of which no byte is odd.
#[inline(always)]
fn plain(bytes: &[u8]) -> &str {
    debug_assert!(bytes.is_ascii());
    // SAFETY: callers have seen that all of it is ASCII.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

#[inline(always)]
fn write<const N: usize>(to: &mut Written, at: usize, bytes: &[u8; N]) {
    to[at..at + N].write_copy_of_slice(bytes);
}

/// Copies a text and what stands behind it up to the end of a block; whether it is plain.
#[inline(always)]
fn copy(from: &[u8; READ], at: usize, length: usize, to: &mut Written, to_at: usize) -> bool {
    let (from, to) = (&from[at..], &mut to[to_at..]);
    let (mut odd, mut done) = (0, 0);
    while length - done > BLOCK {
        odd |= copy_block(from, to, done);
        done += BLOCK;
    }
    let last = copy_block(from, to, done);
    let behind = u64::MAX << (length - done);
    odd == 0 && u64::from(last) & !behind == 0
}

/// Copies a block and gives a bit for each of its bytes that is not plain.
#[inline(always)]
fn copy_block(from: &[u8], to: &mut [MaybeUninit<u8>], at: usize) -> u32 {
    let block = &from[at..at + BLOCK];
    to[at..at + BLOCK].write_copy_of_slice(block);
    let (halves, _) = block.as_chunks();
    odd(halves[0]) | odd(halves[1]) << 16
}
