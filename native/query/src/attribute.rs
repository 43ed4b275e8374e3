//! Finds one key in an attribute column's JSON text, in one pass and without building a tree; and
//! the elements of an array, likewise.
//!
//! The first entry whose key matches wins, as in OTLP. Text is unescaped only where it holds a
//! backslash; everything else is borrowed from the column.

use std::borrow::Cow;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

/// The raw JSON text of the value of `key` in the object `json`; `None` where the text is not
/// an object or has no such key.
pub fn find<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    for (name, value) in Entries::new(json)? {
        let matches = if name.as_bytes().contains(&b'\\') {
            unescape(name) == key
        } else {
            name == key
        };
        if matches {
            return Some(value);
        }
    }
    None
}

/// A text that a string value is compared with. JSON texts that cannot have it are told apart without
/// being taken to pieces: one without a backslash has the content of its strings as it is.
#[derive(Debug)]
pub struct Needle(Finder<'static>);

impl Needle {
    /// What is looked for.
    pub fn new(text: &str) -> Needle {
        Needle(Finder::new(text).into_owned())
    }

    /// Whether some string in `json` may be it, or have it within.
    pub fn may_be_in(&self, json: &str) -> bool {
        let json = json.as_bytes();
        self.0.find(json).is_some() || memchr(b'\\', json).is_some()
    }
}

/// A value as text: a string's content, a number or boolean as written, anything nested as
/// JSON; `None` for null. `{"$double":…}` and `{"$bytes":…}` give what they wrap.
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => Some(unescape(value.get(1..value.len() - 1)?)),
        b'n' => None,
        b'{' => Some(
            match wrapped(value, "$double").or(wrapped(value, "$bytes")) {
                Some(inner) => Cow::Borrowed(inner),
                None => Cow::Borrowed(value),
            },
        ),
        _ => Some(Cow::Borrowed(value)),
    }
}

/// An integer value; `None` for any other type, a double included.
pub fn int(value: &str) -> Option<i64> {
    value.parse().ok()
}

/// A number, integer or double.
pub fn double(value: &str) -> Option<f64> {
    match value.as_bytes().first()? {
        b'-' | b'0'..=b'9' => value.parse().ok(),
        b'{' => match wrapped(value, "$double")? {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A boolean.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The string in `{"<marker>":"<string>"}`; the writer escapes nothing in either.
fn wrapped<'a>(value: &'a str, marker: &str) -> Option<&'a str> {
    value
        .strip_prefix("{\"")?
        .strip_prefix(marker)?
        .strip_prefix("\":\"")?
        .strip_suffix("\"}")
}

/// The entries of an object: raw key (still escaped) and raw value. Ends at the first byte
/// that is not JSON.
pub struct Entries<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Entries<'a> {
    /// `None` where the text is not an object.
    pub fn new(json: &'a str) -> Option<Self> {
        let mut entries = Entries { json, at: 0 };
        entries.space();
        (entries.peek()? == b'{').then_some(())?;
        entries.at += 1;
        Some(entries)
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Past a string whose opening quote is at `at`.
    fn string(&mut self) -> Option<()> {
        let bytes = self.json.as_bytes();
        let mut at = self.at + 1;
        loop {
            at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
            if bytes[at] == b'"' {
                self.at = at + 1;
                return Some(());
            }
            at += 2;
        }
    }

    /// Past a value.
    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.peek()? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
            }
            _ => {
                while !matches!(
                    self.peek()?,
                    b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'
                ) {
                    self.at += 1;
                }
                Some(())
            }
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.space();
        if self.peek()? == b',' {
            self.at += 1;
            self.space();
        }
        if self.peek()? != b'"' {
            return None;
        }
        let key = self.at + 1;
        self.string()?;
        let name = self.json.get(key..self.at - 1)?;
        self.space();
        (self.peek()? == b':').then_some(())?;
        self.at += 1;
        self.space();
        let start = self.at;
        self.value()?;
        Some((name, self.json.get(start..self.at)?))
    }
}

/// The elements of an array, each as raw JSON text. Ends at the first byte that is not JSON.
pub struct Elements<'a>(Entries<'a>);

impl<'a> Elements<'a> {
    /// `None` where the text is not an array.
    pub fn new(json: &'a str) -> Option<Self> {
        let mut at = Entries { json, at: 0 };
        at.space();
        (at.peek()? == b'[').then_some(())?;
        at.at += 1;
        Some(Elements(at))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.space();
        if self.0.peek()? == b',' {
            self.0.at += 1;
            self.0.space();
        }
        if self.0.peek()? == b']' {
            return None;
        }
        let start = self.0.at;
        self.0.value()?;
        self.0.json.get(start..self.0.at)
    }
}

/// A JSON string's content without its escapes; a lone surrogate becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(escape) = rest.chars().next() else {
            break;
        };
        rest = &rest[escape.len_utf8()..];
        match escape {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'u' => {
                let (unit, after) = code_unit(rest);
                rest = after;
                let mut code = unit;
                if (0xd800..0xdc00).contains(&unit)
                    && let Some(tail) = rest.strip_prefix("\\u")
                {
                    let (low, after) = code_unit(tail);
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        rest = after;
                    }
                }
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => text.push(other),
        }
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Four hexadecimal digits and what follows them.
fn code_unit(text: &str) -> (u32, &str) {
    match text
        .get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    {
        Some(unit) => (unit, &text[4..]),
        None => (0xfffd, text),
    }
}
