//! The mix of runs and bit-packed groups in which the format keeps levels and places in a
//! dictionary (the Parquet format's `Encodings.md`, "RLE/Bit-Packing Hybrid").

/// Values of one bit-packed group.
const GROUP: usize = 8;
/// Values from which on a run is written as one; the format's own writers take the same.
const RUN: usize = GROUP;

/// Bits that the values 0 to `count - 1` need.
pub(super) fn bit_width(count: usize) -> u8 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()) as u8
}

/// Appends `values`, each of `width` bits, to `out`.
pub(super) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    // Where the values begin that stand in no run, always whole groups of them before a run.
    let mut packed = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let run = values[at..]
            .iter()
            .take_while(|other| **other == value)
            .count();
        // A run gives the group before it what that lacks.
        let lacking = (at - packed).next_multiple_of(GROUP) - (at - packed);
        if run >= lacking + RUN {
            let start = at + lacking;
            pack(&values[packed..start], width, out);
            encode_run(value, at + run - start, width, out);
            packed = at + run;
        }
        at += run;
    }
    pack(&values[packed..], width, out);
}

/// Appends `count` times the same value to `out`.
pub(super) fn encode_run(value: u32, count: usize, width: u8, out: &mut Vec<u8>) {
    if count == 0 {
        return;
    }
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(width.div_ceil(8))]);
}

/// Appends whole groups; the last one of a column may be filled up with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    let (mut word, mut bits) = (0u64, 0);
    for value in values {
        word |= u64::from(*value) << bits;
        bits += u32::from(width);
        if bits >= u32::BITS {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= u32::BITS;
            bits -= u32::BITS;
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..bits.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
