//! The JSON text of attributes (docs/adr/0001), edited. Members that stay are copied as they stand, so
//! that their types and their order do.

use std::borrow::Cow;

use otlake_decode::write_text;
use otlake_query::attribute::{Entries, unescape};

use crate::redaction::Redactor;

/// A key, or many: `*` is any text.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// What stands between the stars.
    parts: Vec<String>,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let parts = text.split('*').map(str::to_owned).collect();
        Pattern { parts }
    }

    /// The one key that it is; none where it has a star.
    pub fn exact(&self) -> Option<&str> {
        match &self.parts[..] {
            [key] => Some(key),
            _ => None,
        }
    }

    /// Whether it takes this key.
    pub fn matches(&self, key: &str) -> bool {
        let (first, rest) = match &self.parts[..] {
            [key_alone] => return key_alone == key,
            [first, rest @ ..] => (first, rest),
            [] => return false,
        };
        let Some(mut key) = key.strip_prefix(&**first) else {
            return false;
        };
        let (middle, last) = match rest {
            [middle @ .., last] => (middle, last),
            [] => return key.is_empty(),
        };
        for part in middle {
            match key.find(&**part) {
                Some(at) => key = &key[at + part.len()..],
                None => return false,
            }
        }
        key.ends_with(&**last)
    }
}

/// A member's key without escapes.
fn plain(key: &str) -> Cow<'_, str> {
    match key.as_bytes().contains(&b'\\') {
        true => unescape(key),
        false => Cow::Borrowed(key),
    }
}

/// The members of an object: the key, and `"key":value` as it stands.
pub fn members(json: &str) -> impl Iterator<Item = (Cow<'_, str>, &str, &str)> {
    let start = json.as_ptr() as usize;
    Entries::new(json)
        .into_iter()
        .flatten()
        .map(move |(key, value)| {
            let from = key.as_ptr() as usize - start - 1;
            let upto = value.as_ptr() as usize - start + value.len();
            (plain(key), &json[from..upto], value)
        })
}

/// Begins the next member.
fn next(out: &mut Vec<u8>) {
    out.push(if out.is_empty() { b'{' } else { b',' });
}

fn end(out: &mut Vec<u8>) {
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
}

/// Writes the object with the values of these keys redacted; false, and nothing, where it has none.
pub fn redact(json: &str, keys: &Pattern, by: &Redactor, out: &mut Vec<u8>) -> bool {
    if !members(json).any(|(key, ..)| keys.matches(&key)) {
        return false;
    }
    for (key, member, value) in members(json) {
        if !keys.matches(&key) {
            next(out);
            out.extend_from_slice(member.as_bytes());
        } else if let Some(text) = by.value(value) {
            next(out);
            write_text(&key, out);
            out.push(b':');
            write_text(&text, out);
        }
    }
    end(out);
    true
}

/// Writes the object with a key in place of another; false, and nothing, where it has the one already or
/// lacks the other.
pub fn rename(json: &str, from: &str, to: &str, out: &mut Vec<u8>) -> bool {
    let mut has_from = false;
    for (key, ..) in members(json) {
        if key == to {
            return false;
        }
        has_from |= key == from;
    }
    if !has_from {
        return false;
    }
    for (key, member, value) in members(json) {
        next(out);
        if key == from {
            write_text(to, out);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        } else {
            out.extend_from_slice(member.as_bytes());
        }
    }
    end(out);
    true
}

/// Writes the object with this value of a key, at its place or at the end; false, and nothing, where it
/// has that already.
pub fn set(json: &str, key: &str, to: &str, out: &mut Vec<u8>) -> bool {
    let mut before = members(json).filter(|(known, ..)| known == key);
    if before.next().is_some_and(|(_, _, value)| value == to) && before.next().is_none() {
        return false;
    }
    let mut is_set = false;
    let write = |out: &mut Vec<u8>| {
        next(out);
        write_text(key, out);
        out.push(b':');
        out.extend_from_slice(to.as_bytes());
    };
    for (known, member, _) in members(json) {
        if known != key {
            next(out);
            out.extend_from_slice(member.as_bytes());
        } else if !is_set {
            is_set = true;
            write(out);
        }
    }
    if !is_set {
        write(out);
    }
    end(out);
    true
}
