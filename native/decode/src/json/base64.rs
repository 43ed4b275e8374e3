//! Base64 as OTLP/JSON carries bytes: written in the standard alphabet with padding; read also
//! in the URL-safe alphabet and without padding, as protobuf's JSON mapping demands.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const INVALID: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [INVALID; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

/// Appends the text of `bytes`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ];
        let word = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            out.push(if place <= chunk.len() {
                ALPHABET[(word >> (18 - 6 * place)) as usize & 63]
            } else {
                b'='
            });
        }
    }
}

/// Appends the bytes of `text`; false where it is not base64 (`out` is then unspecified).
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let text = match text {
        [rest @ .., b'=', b'='] if text.len().is_multiple_of(4) => rest,
        [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        _ => text,
    };
    out.reserve(text.len() / 4 * 3 + 2);
    for chunk in text.chunks(4) {
        let mut word = 0u32;
        for place in 0..4 {
            let value = chunk.get(place).map_or(0, |byte| VALUES[*byte as usize]);
            if value == INVALID {
                return false;
            }
            word = word << 6 | u32::from(value);
        }
        if chunk.len() == 1 {
            return false;
        }
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    true
}
