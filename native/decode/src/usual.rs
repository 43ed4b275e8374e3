//! An attribute as encoders write nearly all of them: the key, then a value of one member that
//! is no container, lengths of one byte, text that JSON takes as it is.
//!
//! Its text is looked at and copied in blocks, from and into arrays that are long
//! enough for any such entry: what stands behind a text is copied with its end, and written over
//! by what follows. So no copy depends on a length, and each byte is read once.

use std::mem::MaybeUninit;

use crate::any_value::Any;
use crate::json_text::{write_double, write_int};
use crate::plain::odd;
use crate::wire::{Text, whole_varint};

/// Bytes that are copied together: most texts are one block.
const BLOCK: usize = 32;

/// The longest key or text.
const LONGEST: usize = 127;

/// Bytes from the start of an entry that are read: before each text is a tag and a length, before
/// the value's another two.
const READ: usize = 2 + LONGEST + 4 + LONGEST + BLOCK;

/// Bytes that are written: quotes and a colon around two texts.
const WRITTEN: usize = 1 + LONGEST + 3 + LONGEST + BLOCK;

type Written = [MaybeUninit<u8>; WRITTEN];

/// Writes `entry`, a `KeyValue`, as JSON and shows it to `each`, as `write_object_with` says.
/// Where it is not such an attribute, nothing is written, and None returned. `from` is the
/// request from the entry on.
#[inline(always)]
pub fn write_usual<'a>(
    from: &'a [u8],
    entry: &'a [u8],
    out: &mut Vec<u8>,
    each: &mut impl FnMut(&'a str, Any<'a>, &[u8], usize),
) -> Option<()> {
    let &[0x0a, key_length @ ..0x80, ref rest @ ..] = entry else {
        return None;
    };
    let key_length = usize::from(key_length);
    let (key, rest) = rest.split_at_checked(key_length)?;
    let &[0x12, value_length @ ..0x80, ref value @ ..] = rest else {
        return None;
    };
    if usize::from(value_length) != value.len() {
        return None;
    }
    // The last entries of a request have too few bytes behind them.
    let from = from.first_chunk::<READ>()?;
    let start = out.len();
    out.reserve(WRITTEN);
    let to = out.spare_capacity_mut().first_chunk_mut::<WRITTEN>()?;
    to[0].write(b'"');
    if !copy(from, 2, key_length, to, 1) {
        return None;
    }
    let any = if let [0x0a, length @ ..0x80, text @ ..] = value {
        if usize::from(*length) != text.len() {
            return None;
        }
        write(to, 1 + key_length, b"\":\"");
        let at = key_length + 4;
        if !copy(from, key_length + 6, text.len(), to, at) {
            return None;
        }
        to[at + text.len()].write(b'"');
        // SAFETY: so many bytes of `to` were written, without a gap.
        unsafe { out.set_len(start + at + text.len() + 1) };
        Any::Text(Text {
            text: plain(text),
            plain: true,
        })
    } else {
        let any = match value {
            [0x10, value @ ..=1] => Any::Bool(*value == 1),
            [0x18, number @ ..] => Any::Int(whole_varint(number)? as i64),
            [0x21, bits @ ..] => Any::Double(f64::from_le_bytes(bits.try_into().ok()?)),
            _ => return None,
        };
        write(to, 1 + key_length, b"\":");
        // SAFETY: as above.
        unsafe { out.set_len(start + key_length + 3) };
        match any {
            Any::Int(number) => write_int(number, out),
            Any::Double(number) => write_double(number, out),
            _ => out.extend_from_slice(if value[1] == 1 { b"true" } else { b"false" }),
        }
        any
    };
    each(plain(key), any, out, start);
    Some(())
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
