//! Plain text: ASCII that stands in a JSON string as it is.

/// The bytes as text, where all are plain.
#[inline(always)]
pub fn plain_text(bytes: &[u8]) -> Option<&str> {
    // SAFETY: every byte is ASCII.
    is_plain(bytes).then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// Whether all bytes are plain; sixteen are looked at together.
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk() {
        // The last sixteen overlap those before them.
        let (chunks, _) = bytes.as_chunks();
        return chunks
            .iter()
            .fold(odd(*last), |found, chunk| found | odd(*chunk))
            == 0;
    }
    // Of fewer, the halves overlap.
    let mut block = [b' '; 16];
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        block[..8].copy_from_slice(first);
        block[8..].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        block[..4].copy_from_slice(first);
        block[4..8].copy_from_slice(last);
    } else {
        for (to, byte) in block.iter_mut().zip(bytes) {
            *to = *byte;
        }
    }
    odd(block) == 0
}

/// A bit for each byte that is not plain, the first byte's lowest.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn odd(bytes: [u8; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };
    let bytes = u128::from_le_bytes(bytes);
    // SAFETY: every such processor has SSE2.
    unsafe {
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        // As signed numbers, bytes beyond ASCII are less than a space, too.
        let control = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))) as u32
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use odd_anywhere as odd;

/// The same on any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
pub fn odd_anywhere(bytes: [u8; 16]) -> u32 {
    let odd = |byte: u8| !matches!(byte, b' '..=0x7f) || matches!(byte, b'"' | b'\\');
    let bits = bytes.iter().rev();
    bits.fold(0, |bits, byte| bits << 1 | u32::from(odd(*byte)))
}
