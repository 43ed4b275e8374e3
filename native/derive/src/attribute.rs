//! Finds attributes in a span's JSON text, as the decoder writes it, without building a tree.

use std::borrow::Cow;

/// The entries of the object `json`, as raw key and raw value; none where it is no object.
pub fn entries(json: &str) -> Entries<'_> {
    let rest = json.strip_prefix('{').unwrap_or("");
    Entries { rest }
}

/// See [`entries`].
pub struct Entries<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.trim_start_matches([' ', ',']);
        let end = text_end(rest)?;
        let (key, rest) = (rest.get(1..end - 1)?, rest.get(end..)?);
        let rest = rest.trim_start().strip_prefix(':')?.trim_start();
        let end = value_end(rest)?;
        let (value, rest) = (rest.get(..end)?, rest.get(end..)?);
        self.rest = rest;
        Some((key, value))
    }
}

/// Where the text that `json` begins with ends, its quote included.
fn text_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value that `json` begins with ends.
fn value_end(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    match bytes.first()? {
        b'"' => text_end(json),
        b'{' | b'[' => {
            let (mut at, mut depth) = (0, 0usize);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at += text_end(json.get(at..)?)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}')),
    }
}

/// A value as a label: a text's content, anything else as it is written; none for null and for a
/// text without content.
pub fn label(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => {
            let inner = value.get(1..value.len() - 1)?;
            let text = match inner.contains('\\') {
                true => Cow::Owned(unescaped(inner)),
                false => Cow::Borrowed(inner),
            };
            (!text.is_empty()).then_some(text)
        }
        b'n' => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

/// What stands between the quotes of a JSON text. The decoder wrote it, so it is well-formed; a
/// surrogate by itself cannot be in it, and would be told as U+FFFD.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut high = None;
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u32::from_str_radix(&digits, 16).unwrap_or(0xfffd);
                match (high.take(), unit) {
                    (None, 0xd800..=0xdbff) => high = Some(unit),
                    (Some(high), 0xdc00..=0xdfff) => {
                        let code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                        out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
                    }
                    _ => out.push(char::from_u32(unit).unwrap_or('\u{fffd}')),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// Of each key, in their order, the first value that is a label.
pub(crate) fn find<'a>(
    json: &'a str,
    keys: &[impl AsRef<str>],
    found: &mut Vec<Option<Cow<'a, str>>>,
) {
    found.clear();
    found.resize(keys.len(), None);
    if keys.is_empty() {
        return;
    }
    for (key, value) in entries(json) {
        // Keys that are asked for have nothing to escape, and one that is escaped is another.
        if let Some(at) = keys.iter().position(|wanted| wanted.as_ref() == key)
            && found[at].is_none()
        {
            found[at] = label(value);
        }
    }
}
