//! `ExportTraceServiceRequest` to the columns of `spans`.

use arrow::array::ArrayRef;
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::{Result, Table};

use crate::any_value::Any;
use crate::attributes;
use crate::columns::{Arena, Ids, NULL, Optional, micros, numbers, texts};
use crate::decode::Tables;
use crate::groups::{Group, Records, Rows, add_row, walk};
use crate::notes;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Checked, Refusal, Tally, check_id, check_long, is_id, reason};
use crate::schema::{self, SPAN_TEXT_COLUMNS};
use crate::span_parts::{Events, Links};
use crate::wire::{Reader, Wire};

/// The fields of a span.
mod field {
    use crate::wire::tag::{bytes, fixed32, fixed64, varint};

    pub const TRACE_ID: u32 = bytes(1);
    pub const SPAN_ID: u32 = bytes(2);
    pub const TRACE_STATE: u32 = bytes(3);
    pub const PARENT_SPAN_ID: u32 = bytes(4);
    pub const NAME: u32 = bytes(5);
    pub const KIND: u32 = varint(6);
    pub const START: u32 = fixed64(7);
    pub const END: u32 = fixed64(8);
    pub const ATTRIBUTE: u32 = bytes(9);
    pub const DROPPED_ATTRIBUTES: u32 = varint(10);
    pub const EVENT: u32 = bytes(11);
    pub const DROPPED_EVENTS: u32 = varint(12);
    pub const LINK: u32 = bytes(13);
    pub const DROPPED_LINKS: u32 = varint(14);
    pub const STATUS: u32 = bytes(15);
    pub const FLAGS: u32 = fixed32(16);
}

const TEXT_COLUMNS: usize = SPAN_TEXT_COLUMNS.len();

/// The spans of a request.
#[derive(Default)]
pub struct Spans<'a> {
    scratch: Scratch<'a>,
    arena: Arena,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    parent_span_id: Ids<8>,
    trace_state: Vec<u128>,
    flags: Vec<i64>,
    name: Vec<u128>,
    kind: Vec<i32>,
    start: Vec<i64>,
    end: Vec<i64>,
    status_code: Vec<i32>,
    status_message: Vec<u128>,
    hot_text: [Vec<u128>; TEXT_COLUMNS],
    hot_status: Optional<i64>,
    attributes: Vec<u128>,
    dropped_attributes: Vec<i64>,
    events: Events,
    dropped_events: Vec<i64>,
    links: Links,
    dropped_links: Vec<i64>,
    origins: OriginColumns,
    /// Rows that have an origin.
    settled: usize,
}

/// Space that is used again for each span.
#[derive(Default)]
struct Scratch<'a> {
    attributes: Vec<&'a [u8]>,
    events: Vec<Reader<'a>>,
    links: Vec<Reader<'a>>,
    nested: Vec<&'a [u8]>,
}

/// Reads a request.
pub fn read<'a>(request: Reader<'a>, tally: &mut Tally<'_>) -> Wire<Spans<'a>> {
    let mut spans = Spans::default();
    spans.arena.0.reserve(request.len());
    walk(request, &mut spans, tally)?;
    Ok(spans)
}

impl<'a> Records<'a> for Spans<'a> {
    const FIELD: &'static str = "spans";
    const IS_ROW: bool = true;

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    #[inline]
    fn add(&mut self, span: Reader<'a>, group: &Group, tally: &mut Tally<'_>) -> Wire<()> {
        add_row(self, span, group, None, tally)
    }

    fn end_scope(&mut self, origin: Origin) {
        let rows = self.start.len();
        self.origins.push(origin, rows - self.settled);
        self.settled = rows;
    }
}

impl<'a> Rows<'a> for Spans<'a> {
    fn rows(&self) -> usize {
        self.start.len()
    }

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    #[inline]
    fn row(&mut self, mut span: Reader<'a>) -> Wire<Checked> {
        let scratch = &mut self.scratch;
        scratch.attributes.clear();
        scratch.events.clear();
        scratch.links.clear();
        let (mut trace_id, mut span_id, mut parent) = (&[][..], &[][..], &[][..]);
        let (mut trace_state, mut name, mut status_message) = ("", "", "");
        let (mut kind, mut status_code, mut flags) = (0, 0, 0);
        let (mut start, mut end) = (0, 0);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0, 0, 0);
        while let Some(tag) = span.tag()? {
            match tag {
                field::TRACE_ID => trace_id = span.next_bytes()?,
                field::SPAN_ID => span_id = span.next_bytes()?,
                field::TRACE_STATE => trace_state = span.next_text()?,
                field::PARENT_SPAN_ID => parent = span.next_bytes()?,
                field::NAME => name = span.next_text()?,
                field::KIND => kind = span.next_int32()?,
                field::START => start = span.next_fixed64()?,
                field::END => end = span.next_fixed64()?,
                field::ATTRIBUTE => {
                    let attribute = span.next_bytes()?;
                    span.keep(&mut scratch.attributes, attribute)?;
                }
                field::DROPPED_ATTRIBUTES => dropped_attributes = span.next_uint32()?,
                field::EVENT => {
                    let event = span.next_bytes()?;
                    span.keep(&mut scratch.events, span.within(event))?;
                }
                field::DROPPED_EVENTS => dropped_events = span.next_uint32()?,
                field::LINK => {
                    let link = span.next_bytes()?;
                    span.keep(&mut scratch.links, span.within(link))?;
                }
                field::DROPPED_LINKS => dropped_links = span.next_uint32()?,
                field::STATUS => {
                    let bytes = span.next_bytes()?;
                    let mut status = span.within(bytes);
                    while let Some((number, field)) = status.field()? {
                        match number {
                            2 => status_message = status.text(field)?,
                            3 => status_code = status.int32(field)?,
                            _ => {}
                        }
                    }
                }
                field::FLAGS => flags = span.next_fixed32()?,
                _ => {
                    if span.other(tag, |number| number <= 16)? == notes::REPLACED_FIELD {
                        span.request().note(notes::TEXT_REPLACED);
                    }
                }
            }
        }

        let mut hot = Hot::default();
        let at = self.arena.0.len();
        let cut = attributes::write_object_with(
            &span,
            &scratch.attributes,
            &mut self.arena.0,
            |key, value, out, _| {
                if may_be_column(key) {
                    // Text that JSON takes as it is stands before the closing quote.
                    hot.add(key, value, out.len() - 1);
                }
            },
        )?;
        self.attributes.push(self.arena.view_from(at));
        for (column, text) in self.hot_text.iter_mut().zip(hot.text) {
            column.push(text.map_or(NULL, |(text, at)| self.arena.text_at(text, at)));
        }
        self.hot_status.push(hot.status);
        let Scratch {
            events,
            links,
            nested,
            ..
        } = scratch;
        let arena = &mut self.arena;
        let events = self
            .events
            .push(&span, events, &mut dropped_events, nested, arena)?;
        let links = self
            .links
            .push(&span, links, &mut dropped_links, nested, arena)?;

        let odd = span.request().plausible.of_interval(start, end);
        if odd != 0 {
            span.request().note(odd);
        }
        let mut checked_parent = Ok(());
        if !parent.is_empty() && !is_id::<8>(parent) {
            checked_parent = check_parent(parent);
            // All zero says what an absent one says.
            span.request().note(notes::PARENT_SPAN_ID);
            parent = &[];
        }
        self.trace_id.push(trace_id);
        self.span_id.push(span_id);
        self.parent_span_id.push(parent);
        self.trace_state.push(self.arena.optional(trace_state));
        self.flags.push(flags);
        self.name.push(self.arena.text(name));
        self.kind.push(kind);
        self.status_code.push(status_code);
        self.status_message
            .push(self.arena.optional(status_message));
        self.dropped_attributes
            .push(attributes::dropped(dropped_attributes, cut));
        self.dropped_events.push(dropped_events);
        self.dropped_links.push(dropped_links);

        let checked = check_id::<16>("trace_id", trace_id, reason::TRACE_ID)
            .and_then(|()| check_id::<8>("span_id", span_id, reason::SPAN_ID))
            .and(checked_parent)
            .and_then(|()| {
                self.start
                    .push(check_long("start_time_unix_nano", start, reason::TIME)?);
                self.end
                    .push(check_long("end_time_unix_nano", end, reason::TIME)?);
                Ok(())
            });
        Ok(checked.and(events).and(links))
    }

    #[cold]
    fn cut_back(&mut self, rows: usize) {
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.parent_span_id.truncate(rows);
        for column in [
            &mut self.trace_state,
            &mut self.name,
            &mut self.status_message,
            &mut self.attributes,
        ]
        .into_iter()
        .chain(&mut self.hot_text)
        {
            column.truncate(rows);
        }
        for column in [
            &mut self.flags,
            &mut self.start,
            &mut self.end,
            &mut self.dropped_attributes,
            &mut self.dropped_events,
            &mut self.dropped_links,
        ] {
            column.truncate(rows);
        }
        self.kind.truncate(rows);
        self.status_code.truncate(rows);
        self.hot_status.truncate(rows);
        self.events.truncate(rows);
        self.links.truncate(rows);
    }
}

impl Spans<'_> {
    /// The rows as a batch.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE` where their text is too long for a batch.
    pub fn finish(mut self, tenant: &str) -> Result<Tables> {
        if self.start.is_empty() {
            return Ok(Vec::new());
        }
        let tenant = self.arena.text(tenant);
        let arena = self.arena.finish()?;
        let long = numbers::<Int64Type>;
        let durations = self
            .end
            .iter()
            .zip(&self.start)
            .map(|(end, start)| end - start)
            .collect();
        let mut columns: Vec<ArrayRef> = vec![
            self.trace_id.finish(),
            self.span_id.finish(),
            self.parent_span_id.finish(),
            texts(self.trace_state, &arena),
            long(self.flags),
            texts(self.name, &arena),
            numbers::<Int32Type>(self.kind),
            micros(&self.start),
            micros(&self.end),
            long(self.start.clone()),
            long(durations),
            numbers::<Int32Type>(self.status_code),
            texts(self.status_message, &arena),
        ];
        columns.extend(
            self.hot_text
                .into_iter()
                .map(|column| texts(column, &arena)),
        );
        columns.extend([
            self.hot_status.finish::<Int64Type>(),
            texts(self.attributes, &arena),
            long(self.dropped_attributes),
            self.events.finish(&arena),
            long(self.dropped_events),
            self.links.finish(&arena),
            long(self.dropped_links),
        ]);
        self.origins
            .finish(tenant, &self.start, &arena, &mut columns);
        crate::decode::batches(Table::Spans, columns)
    }
}

/// A span's attributes that are columns, too: the first of each that has the column's type.
#[derive(Default)]
struct Hot<'a> {
    /// With where it stands in the arena, if it does.
    text: [Option<(&'a str, Option<usize>)>; TEXT_COLUMNS],
    status: Option<i64>,
}

impl<'a> Hot<'a> {
    /// Adds an attribute; plain text of it stands before `end`.
    #[inline(never)]
    fn add(&mut self, key: &str, value: Any<'a>, end: usize) {
        match value {
            Any::Text(text) => {
                let mut columns = SPAN_TEXT_COLUMNS.iter().zip(&mut self.text);
                if let Some((_, column)) = columns.find(|((_, keys), _)| keys.contains(&key)) {
                    let at = text.plain.then(|| end - text.text.len());
                    column.get_or_insert((text.text, at));
                }
            }
            Any::Int(number) if schema::SPAN_STATUS_COLUMN.1.contains(&key) => {
                self.status.get_or_insert(number);
            }
            _ => {}
        }
    }
}

/// Whether a key is as long as one of those that are columns, which few others are.
#[inline(always)]
fn may_be_column(key: &str) -> bool {
    const LENGTHS: u64 = {
        let (mut lengths, mut column) = (0, 0);
        while column <= TEXT_COLUMNS {
            let keys = match column < TEXT_COLUMNS {
                true => SPAN_TEXT_COLUMNS[column].1,
                false => schema::SPAN_STATUS_COLUMN.1,
            };
            let mut key = 0;
            while key < keys.len() {
                lengths |= 1 << keys[key].len();
                key += 1;
            }
            column += 1;
        }
        lengths
    };
    key.len() < 64 && LENGTHS >> key.len() & 1 != 0
}

/// A parent's id is absent or has 8 bytes.
#[cold]
fn check_parent(id: &[u8]) -> Checked {
    if matches!(id.len(), 0 | 8) {
        return Ok(());
    }
    let what = format!("must be empty or 8 bytes, got {}", id.len());
    Err(Refusal::new(reason::PARENT_SPAN_ID, "parent_span_id", what))
}
