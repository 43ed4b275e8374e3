//! Pulls tokens out of JSON text (RFC 8259), for the OTLP/JSON reader and for the attribute
//! columns.
//!
//! Not `serde_json`: with the features that this build has, its numbers may be a unit in the
//! last place off, it refuses nesting that OTLP's own limit allows (four levels of JSON for one
//! level of value), and it hides whether a number was written as an integer or as a double,
//! which the attribute columns tell apart by spelling.

use std::borrow::Cow;

/// What is wrong with the text, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    /// From the innermost outwards.
    path: Vec<Segment>,
}

/// A step of a JSON path.
#[derive(Debug)]
pub(crate) enum Segment {
    Name(&'static str),
    Index(usize),
}

/// Boxed, so that the path that succeeds stays small.
pub(crate) type Result<T> = std::result::Result<T, Box<Fault>>;

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            message: message.into(),
            path: Vec::new(),
        })
    }

    /// The same fault, seen from one level further out.
    pub(crate) fn within(mut self: Box<Self>, segment: Segment) -> Box<Fault> {
        self.path.push(segment);
        self
    }
}

impl std::fmt::Display for Fault {
    /// `resourceSpans[0].scopeSpans[0].spans[3].traceId: must be …`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, segment) in self.path.iter().rev().enumerate() {
            match segment {
                Segment::Name(name) if i == 0 => write!(f, "{name}")?,
                Segment::Name(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        if !self.path.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// Reads JSON text from left to right.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// Whether half a surrogate pair was replaced since this was last cleared.
    pub(crate) replaced: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            replaced: false,
        }
    }

    /// The position, to return to with `rewind`.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// The first byte of the next token, which stays to be read.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
        None
    }

    /// The fault of a value that is not what it must be.
    pub(crate) fn wrong(&mut self, expected: &str) -> Box<Fault> {
        let got = match self.peek() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => return self.syntax(),
        };
        Fault::new(format!("must be {expected}, got {got}"))
    }

    /// The fault of text that is not JSON.
    pub(crate) fn syntax(&self) -> Box<Fault> {
        match self.text[self.at..].chars().next() {
            Some(found) => Fault::new(format!("not JSON: {found:?} at byte {}", self.at)),
            None => Fault::new("not JSON: the text ends too early"),
        }
    }

    /// Reads `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Reads `null` if it comes next.
    pub(crate) fn null(&mut self) -> Result<bool> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal("null").map(|()| true)
    }

    /// Reads a boolean.
    pub(crate) fn boolean(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b't') => self.literal("true").map(|()| true),
            Some(b'f') => self.literal("false").map(|()| false),
            _ => Err(self.wrong("a boolean")),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.syntax());
        }
        self.at += literal.len();
        Ok(())
    }

    /// After `{`: the next key, its colon read; none after the last.
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<Cow<'a, str>>> {
        if !self.more(first, b'}')? {
            return Ok(None);
        }
        if self.peek() != Some(b'"') {
            return Err(self.syntax());
        }
        let key = self.string()?;
        if !self.take(b':') {
            return Err(self.syntax());
        }
        Ok(Some(key))
    }

    /// After `[`: whether another element follows.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool> {
        self.more(first, b']')
    }

    fn more(&mut self, first: &mut bool, close: u8) -> Result<bool> {
        if self.take(close) {
            return Ok(false);
        }
        if !std::mem::replace(first, false) {
            if !self.take(b',') {
                return Err(self.syntax());
            }
            // A comma before the closing bracket is not JSON.
            if self.peek() == Some(close) {
                return Err(self.syntax());
            }
        }
        Ok(true)
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a string"));
        }
        self.at += 1;
        let start = self.at;
        self.plain();
        if self.next_is(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut owned = String::from(&self.text[start..self.at]);
        loop {
            if self.next_is(b'"') {
                self.at += 1;
                return Ok(Cow::Owned(owned));
            }
            if !self.next_is(b'\\') {
                // A control character, or the end.
                return Err(self.syntax());
            }
            self.at += 1;
            owned.push(self.escape()?);
            let start = self.at;
            self.plain();
            owned.push_str(&self.text[start..self.at]);
        }
    }

    fn next_is(&self, byte: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&byte)
    }

    /// Passes over what stands for itself within a string.
    fn plain(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
            .unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<char> {
        let Some(byte) = self.text.as_bytes().get(self.at) else {
            return Err(self.syntax());
        };
        let character = match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        Ok(character)
    }

    /// After `\u`. JavaScript's `JSON.stringify` writes half a surrogate pair as an escape;
    /// UTF-8 cannot hold it, so it becomes U+FFFD instead of sinking the whole request, and `replaced`
    /// tells.
    fn unicode(&mut self) -> Result<char> {
        let unit = self.four_digits()?;
        if (0xd800..0xdc00).contains(&unit) && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            let second = self.at;
            self.at += 2;
            let low = self.four_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = second;
        }
        Ok(char::from_u32(unit).unwrap_or_else(|| {
            self.replaced = true;
            char::REPLACEMENT_CHARACTER
        }))
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for digit in digits.ok_or_else(|| self.syntax())? {
            let value = (*digit as char).to_digit(16).ok_or_else(|| self.syntax())?;
            unit = unit << 4 | value;
        }
        self.at += 4;
        Ok(unit)
    }

    /// Reads a number and returns its spelling.
    pub(crate) fn number(&mut self) -> Result<&'a str> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong("a number"));
        }
        let rest = &self.text[self.at..];
        let length = number_len(rest.as_bytes());
        if length == 0 {
            return Err(Fault::new(format!(
                "not JSON: not a number at byte {}",
                self.at
            )));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// Passes over one value of at most `depth` levels of arrays and objects.
    pub(crate) fn skip(&mut self, depth: usize) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') if depth == 0 => Err(too_deep()),
            Some(b'{') => {
                self.at += 1;
                let mut first = true;
                while self.key(&mut first)?.is_some() {
                    self.skip(depth - 1)?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.at += 1;
                let mut first = true;
                while self.element(&mut first)? {
                    self.skip(depth - 1)?;
                }
                Ok(())
            }
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') => self.null().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ => Err(self.syntax()),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax()),
        }
    }
}

pub(crate) fn too_deep() -> Box<Fault> {
    Fault::new("is nested too deeply")
}

/// The length of the JSON number that `text` starts with; 0 where there is none.
pub(crate) fn number_len(text: &[u8]) -> usize {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return 0;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return 0;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return 0;
        }
        at += 1 + sign + exponent;
    }
    at
}
