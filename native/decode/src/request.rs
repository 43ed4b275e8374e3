//! What all readers of one request share: its limits, what was counted so far, and what was
//! noted about the record at hand.

use std::cell::Cell;

use otlake_base::limits::{
    MAX_REQUEST_BUCKETS, MAX_REQUEST_RECORDS, MAX_REQUEST_TEXT_BYTES, MAX_VALUE_DEPTH, RecordLimits,
};

use crate::notes::{LIMITS, Notes, Plausible};
use crate::wire::{Fault, Malformed, Text, Wire};

/// One request under way.
#[derive(Debug)]
pub struct Request<'a> {
    body: &'a [u8],
    limits: RecordLimits,
    /// The times that look right.
    pub plausible: Plausible,
    /// Whether no key or text of less than 128 bytes is too long.
    pub takes_short_text: bool,
    records: Cell<usize>,
    buckets: Cell<usize>,
    notes: Cell<Notes>,
    limited: Cell<bool>,
}

/// What a value may be: of an attribute, or of a body, whose text no setting limits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Containers that may open.
    pub depth: usize,
    pub key_bytes: usize,
    pub text_bytes: usize,
}

impl<'a> Request<'a> {
    /// `now` is when it was received, in nanoseconds since 1970.
    pub fn new(body: &'a [u8], limits: RecordLimits, now: u64) -> Self {
        let shortest = limits.attribute_key_bytes.min(limits.attribute_value_bytes);
        Self {
            body,
            limits: RecordLimits {
                value_depth: limits.value_depth.min(MAX_VALUE_DEPTH),
                ..limits
            },
            plausible: Plausible::at(now),
            takes_short_text: shortest >= 127,
            records: Cell::new(0),
            buckets: Cell::new(0),
            notes: Cell::new(0),
            limited: Cell::new(false),
        }
    }

    pub fn limits(&self) -> &RecordLimits {
        &self.limits
    }

    /// Distance of bytes of the request from its start.
    pub fn offset(&self, bytes: &[u8]) -> usize {
        bytes.as_ptr() as usize - self.body.as_ptr() as usize
    }

    /// The request from the first of these bytes of it on.
    #[inline(always)]
    pub fn from(&self, bytes: &[u8]) -> &'a [u8] {
        &self.body[self.offset(bytes)..]
    }

    /// The bounds of an attribute's value.
    #[inline(always)]
    pub fn attribute(&self) -> Bounds {
        Bounds {
            depth: self.limits.value_depth,
            key_bytes: self.limits.attribute_key_bytes,
            text_bytes: self.limits.attribute_value_bytes,
        }
    }

    /// The bounds of a body.
    pub fn body(&self) -> Bounds {
        Bounds {
            key_bytes: usize::MAX,
            text_bytes: usize::MAX,
            ..self.attribute()
        }
    }

    /// Counts records, or the elements in them: a row of a few hundred bytes can stand as two
    /// bytes on the wire (I5).
    #[inline]
    pub fn count_records(&self, more: usize) -> Wire<()> {
        self.records.set(self.records.get() + more);
        self.check_records(self.records.get())
    }

    #[inline]
    pub fn check_records(&self, records: usize) -> Wire<()> {
        if records > MAX_REQUEST_RECORDS {
            return Err(too_large("a request has too many records"));
        }
        Ok(())
    }

    /// Counts bucket counts and bounds.
    pub fn count_buckets(&self, more: usize) -> Wire<()> {
        self.buckets.set(self.buckets.get() + more);
        if self.buckets.get() > MAX_REQUEST_BUCKETS {
            return Err(too_large("a request has too many buckets"));
        }
        Ok(())
    }

    /// Checks the text of all rows so far.
    #[inline]
    pub fn check_text(&self, bytes: usize) -> Wire<()> {
        if bytes > MAX_REQUEST_TEXT_BYTES {
            return Err(too_large("the text of a request's rows is too long"));
        }
        Ok(())
    }

    /// Notes something about the record at hand.
    #[cold]
    #[inline(never)]
    pub fn note(&self, notes: Notes) {
        self.notes.set(self.notes.get() | notes);
        if notes & LIMITS != 0 {
            self.limited.set(true);
        }
    }

    /// What was noted since the last time.
    #[inline]
    pub fn take_notes(&self) -> Notes {
        self.notes.replace(0)
    }

    /// Starts with these notes, which are known already.
    #[inline]
    pub fn set_notes(&self, notes: Notes) {
        self.notes.set(notes);
    }

    /// Whether the rows would be others without limits.
    pub fn limited(&self) -> bool {
        self.limited.get()
    }

    /// As much of a text as its limit allows, up to the end of a character.
    #[inline(always)]
    pub fn cut_text<'t>(&self, text: Text<'t>, limit: usize, note: Notes) -> Text<'t> {
        if text.text.len() <= limit {
            return text;
        }
        self.note(note);
        Text {
            text: &text.text[..text.text.floor_char_boundary(limit)],
            plain: text.plain,
        }
    }

    /// As many elements as their limit allows, and how many are cut off.
    #[inline(always)]
    pub fn cut_list<'l, T>(&self, list: &'l [T], limit: usize, note: Notes) -> (&'l [T], i64) {
        if list.len() <= limit {
            return (list, 0);
        }
        self.note(note);
        (&list[..limit], (list.len() - limit) as i64)
    }
}

#[cold]
#[inline(never)]
fn too_large(what: &'static str) -> Box<Malformed> {
    Box::new(Malformed {
        at: 0,
        what,
        fault: Fault::Size,
    })
}
