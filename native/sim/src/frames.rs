//! Just enough of a log segment's layout to break it with care.

use std::ops::Range;

const HEADER_BYTES: usize = 64;
const FRAME_BYTES: usize = 48;

/// Where the frames of a segment lie, up to the first that is none.
pub fn ranges(segment: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(head) = segment.get(at..at + FRAME_BYTES) {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let end = at + FRAME_BYTES + length;
        if head[..4] != *b"OTLF" || end > segment.len() {
            break;
        }
        ranges.push(at..end);
        at = end;
    }
    ranges
}

/// Gives every frame the checksum that fits its bytes.
pub fn reseal(mut segment: Vec<u8>) -> Vec<u8> {
    for range in ranges(&segment) {
        let sum = crc32c::crc32c(&segment[range.start + 8..range.end]);
        segment[range.start + 4..range.start + 8].copy_from_slice(&sum.to_le_bytes());
    }
    segment
}
