//! What is noted about a record that is kept: what was changed in it, and what looks wrong.
//! docs/validation.md explains each reason.

/// A set of the notes below.
pub type Notes = u16;

/// A list of notes with the reasons that the ledger counts them under.
type Reasons = [(Notes, &'static str)];

pub const KEY_CUT: Notes = 1 << 0;
pub const VALUE_CUT: Notes = 1 << 1;
pub const ATTRIBUTES_CUT: Notes = 1 << 2;
pub const VALUE_DEPTH: Notes = 1 << 3;
pub const EVENTS_CUT: Notes = 1 << 4;
pub const LINKS_CUT: Notes = 1 << 5;
pub const TRACE_ID: Notes = 1 << 6;
pub const SPAN_ID: Notes = 1 << 7;
pub const PARENT_SPAN_ID: Notes = 1 << 8;
pub const EXEMPLAR_ID: Notes = 1 << 9;
pub const END_BEFORE_START: Notes = 1 << 10;
pub const TIME_UNSET: Notes = 1 << 11;
pub const TIME_EARLY: Notes = 1 << 12;
pub const TIME_AHEAD: Notes = 1 << 13;
pub const TEXT_REPLACED: Notes = 1 << 14;

/// Changes that depend on the limits in force.
pub const LIMITS: Notes =
    KEY_CUT | VALUE_CUT | ATTRIBUTES_CUT | VALUE_DEPTH | EVENTS_CUT | LINKS_CUT;

/// What was changed.
pub const CHANGED: &Reasons = &[
    (KEY_CUT, "attribute_key_truncated"),
    (VALUE_CUT, "attribute_value_truncated"),
    (ATTRIBUTES_CUT, "attributes_dropped"),
    (VALUE_DEPTH, "value_too_deep"),
    (EVENTS_CUT, "events_dropped"),
    (LINKS_CUT, "links_dropped"),
    (TRACE_ID, "invalid_trace_id"),
    (SPAN_ID, "invalid_span_id"),
    (PARENT_SPAN_ID, "zero_parent_span_id"),
    (EXEMPLAR_ID, "invalid_exemplar_id"),
    (TEXT_REPLACED, "text_replaced"),
];

/// What was kept as it is and looks wrong.
pub const FLAGGED: &Reasons = &[
    (END_BEFORE_START, "end_before_start"),
    (TIME_UNSET, "time_unset"),
    (TIME_EARLY, "time_before_1973"),
    (TIME_AHEAD, "time_in_future"),
];

/// Times before this are taken to be no nanoseconds: today's seconds, milliseconds and
/// microseconds since 1970 are all smaller. It is in March 1973.
const PLAUSIBLE_NANOS: u64 = 100_000_000_000_000_000;

/// A clock may be ahead of ours by so much and be taken to be right: it is in another time zone
/// and says so to nobody.
const AHEAD_NANOS: u64 = 86_400_000_000_000;

/// A field that JSON's reader adds to a record, or to what records have in common, in whose text
/// it replaced half a surrogate pair. Protobuf keeps its number from every definition.
pub const REPLACED_FIELD: u32 = 19_001;

/// The times that look right.
#[derive(Clone, Copy, Debug)]
pub struct Plausible {
    latest: u64,
}

impl Plausible {
    /// At this time, in nanoseconds since 1970.
    pub fn at(now: u64) -> Self {
        Self {
            latest: now.saturating_add(AHEAD_NANOS),
        }
    }

    /// Notes what looks wrong about the times of an interval.
    #[inline(always)]
    pub fn of_interval(self, start: u64, end: u64) -> Notes {
        if start >= PLAUSIBLE_NANOS && end >= start && end <= self.latest {
            return 0;
        }
        self.of_odd_interval(start, end)
    }

    #[cold]
    #[inline(never)]
    fn of_odd_interval(self, start: u64, end: u64) -> Notes {
        self.of_time(start) | self.of_time(end) | of_order(start, end)
    }

    /// Notes what looks wrong about a time.
    #[inline(always)]
    pub fn of_time(self, time: u64) -> Notes {
        match time {
            PLAUSIBLE_NANOS.. if time <= self.latest => 0,
            PLAUSIBLE_NANOS.. => TIME_AHEAD,
            0 => TIME_UNSET,
            _ => TIME_EARLY,
        }
    }
}

/// Notes an end before the start; one that is not set is none.
#[inline(always)]
pub fn of_order(start: u64, end: u64) -> Notes {
    if end != 0 && end < start {
        END_BEFORE_START
    } else {
        0
    }
}
