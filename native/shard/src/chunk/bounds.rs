//! Least and greatest texts, of bounded length.

/// Bytes of a bound in the footer and in the page index.
pub(crate) const BOUND_BYTES: usize = 64;

/// `text`, or a prefix of it.
pub(super) fn below(text: &str) -> Vec<u8> {
    let end = text.floor_char_boundary(BOUND_BYTES);
    text.as_bytes()[..end].to_vec()
}

/// `text`, or a shorter text that is above it; the whole where there is none.
pub(super) fn above(text: &str) -> Vec<u8> {
    let end = text.floor_char_boundary(BOUND_BYTES);
    let shorter = (end < text.len()).then(|| successor(&text[..end]));
    shorter
        .flatten()
        .unwrap_or_else(|| text.as_bytes().to_vec())
}

/// A text of at most as many characters that is above every text with this prefix.
fn successor(prefix: &str) -> Option<Vec<u8>> {
    prefix.char_indices().rev().find_map(|(at, last)| {
        // A range of characters steps over the surrogates, which are none.
        let next = (last..=char::MAX).nth(1)?;
        let mut text = prefix[..at].to_owned();
        text.push(next);
        Some(text.into_bytes())
    })
}
