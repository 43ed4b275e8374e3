//! Requests that are nearly whole, and bytes that are none.

use otlake_base::limits::RecordLimits;

use super::checks::varint;

/// Changes bytes at random; the same seed changes the same.
pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.random() % limit.max(1) as u64) as usize
    }

    /// A part of so many bytes; empty where there are none.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }

    /// Changes a few places, or takes in parts of another.
    pub fn protobuf(&mut self, body: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(body.len());
            match self.below(8) {
                0 => body.truncate(at),
                1 => {
                    let part = self.part(body.len());
                    body.drain(part);
                }
                2 => {
                    let part = self.part(body.len());
                    let part = body[part].to_vec();
                    body.splice(at..at, part);
                }
                3 => {
                    let part = self.part(other.len());
                    body.splice(at..at, other[part].iter().copied());
                }
                // Two requests in a row are one request: what is singular merges.
                4 => body.extend_from_slice(other),
                5 => {
                    let mut number = Vec::new();
                    varint(self.random() >> self.below(64), &mut number);
                    body.splice(at..at, number);
                }
                _ if body.is_empty() => {}
                6 => body[at] ^= 1 << self.below(8),
                _ => body[at] = self.random() as u8,
            }
        }
    }

    /// What JSON is made of.
    const TOKENS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\ud800",
        "null",
        "true",
        "-",
        "1e999",
        "\"NaN\"",
        "18446744073709551616",
        "[[[[[[[[",
        "\"spans\":",
        "\"traceId\":\"zz\",",
        "\"intValue\":\"9223372036854775807\"",
        "\u{0}",
        "é",
    ];

    /// As `protobuf`, with what JSON is made of.
    pub fn json(&mut self, body: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(body.len());
            match self.below(4) {
                0 => {
                    let token = Self::TOKENS[self.below(Self::TOKENS.len())];
                    body.splice(at..at, token.bytes());
                }
                1 => {
                    let part = self.part(body.len());
                    body.drain(part);
                }
                2 => {
                    let part = self.part(body.len());
                    let part = body[part].to_vec();
                    body.splice(at..at, part);
                }
                _ => self.protobuf(body, &[]),
            }
        }
    }

    /// Bytes that are nothing.
    pub fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(200)).map(|_| self.random() as u8).collect()
    }

    /// Tokens of JSON in no order, after the beginning of a request or not.
    pub fn text(&mut self) -> Vec<u8> {
        let mut out = String::new();
        if self.below(2) == 0 {
            out.push_str(r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"#);
        }
        for _ in 0..self.below(40) {
            out.push_str(Self::TOKENS[self.below(Self::TOKENS.len())]);
        }
        out.into_bytes()
    }

    /// Messages within messages, of field numbers that OTLP mostly knows.
    pub fn messages(&mut self) -> Vec<u8> {
        self.message(7)
    }

    fn message(&mut self, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.below(4) {
            // The outer fields are those that lead to records.
            let number = match depth {
                6.. => 1 + self.below(2),
                _ => 1 + self.below(17),
            };
            let kind = if depth > 3 {
                2
            } else {
                [0, 1, 2, 2, 2, 5][self.below(6)]
            };
            varint((number << 3 | kind) as u64, &mut out);
            match kind {
                0 => varint(self.random() >> self.below(64), &mut out),
                1 => out.extend_from_slice(&self.random().to_le_bytes()),
                5 => out.extend_from_slice(&(self.random() as u32).to_le_bytes()),
                _ => {
                    let inner = match depth.checked_sub(1) {
                        Some(depth) if self.below(4) > 0 => self.message(depth),
                        _ => vec![b'a'; [0, 8, 16, 5][self.below(4)]],
                    };
                    varint(inner.len() as u64, &mut out);
                    out.extend_from_slice(&inner);
                }
            }
        }
        out
    }

    /// The defaults, or limits that nearly everything goes beyond.
    pub fn limits(&mut self) -> RecordLimits {
        if self.below(2) == 0 {
            return RecordLimits::default();
        }
        RecordLimits {
            attributes: 1 + self.below(3),
            attribute_key_bytes: 1 + self.below(4),
            attribute_value_bytes: 1 + self.below(4),
            value_depth: 1 + self.below(3),
            events: 1 + self.below(2),
            links: 1 + self.below(2),
        }
    }
}
