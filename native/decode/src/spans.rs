//! `ExportTraceServiceRequest` to the columns of `spans`.

use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::{Result, Table};

use crate::attributes;
use crate::columns::{Ids, Numbers, fit, kept_numbers, micros, numbers};
use crate::decode::Tables;
use crate::groups::{Group, Records, Rows, add_row, walk};
use crate::hot::{self, Hot};
use crate::notes;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Checked, Refusal, Tally, check_id, check_long, is_id, reason};
use crate::span_parts::{Events, Links};
use crate::texts::{Arena, Lately, Texts, texts};
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

/// The spans of a request.
#[derive(Default)]
pub struct Spans<'a> {
    scratch: Scratch<'a>,
    arena: Arena,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    parent_span_id: Ids<8>,
    trace_state: Texts,
    flags: Numbers<i64>,
    name: Vec<u128>,
    names: Lately<'a>,
    kind: Numbers<i32>,
    start: Vec<i64>,
    end: Vec<i64>,
    status_code: Numbers<i32>,
    status_message: Texts,
    hot: Hot<'a>,
    attributes: Vec<u128>,
    dropped_attributes: Numbers<i64>,
    events: Events,
    dropped_events: Numbers<i64>,
    links: Links,
    dropped_links: Numbers<i64>,
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

    fn expect(&mut self, spans: usize) {
        self.trace_id.expect(spans);
        self.span_id.expect(spans);
        self.parent_span_id.expect(spans);
        for column in [&mut self.trace_state, &mut self.status_message] {
            column.expect(spans);
        }
        for column in [&mut self.kind, &mut self.status_code] {
            column.expect(spans);
        }
        for column in [
            &mut self.flags,
            &mut self.dropped_attributes,
            &mut self.dropped_events,
            &mut self.dropped_links,
        ] {
            column.expect(spans);
        }
        self.hot.expect(self.start.len() + spans);
        self.events.expect(spans);
        self.links.expect(spans);
        self.name.reserve(spans);
        self.start.reserve(spans);
        self.end.reserve(spans);
        self.attributes.reserve(spans);
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
    fn row(&mut self, span: Reader<'a>) -> Wire<Checked> {
        let mut span = span;
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

        let row = self.start.len();
        let hot = &mut self.hot;
        let at = self.arena.0.len();
        let cut = attributes::write_object_with(
            span,
            &scratch.attributes,
            &mut self.arena.0,
            |key, value, out, _| {
                if let Some(column) = hot::column(key) {
                    hot.add(row, column, value, out.len() - 1);
                }
            },
        )?;
        self.attributes.push(self.arena.view_from(at));
        self.hot.end_row(&mut self.arena);
        let Scratch {
            events,
            links,
            nested,
            ..
        } = scratch;
        let arena = &mut self.arena;
        let events = match events.is_empty() {
            true => self.events.push_none(),
            false => self
                .events
                .push(span, events, &mut dropped_events, nested, arena)?,
        };
        let links = match links.is_empty() {
            true => self.links.push_none(),
            false => self
                .links
                .push(span, links, &mut dropped_links, nested, arena)?,
        };

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
        self.name.push(self.names.text(name, &mut self.arena));
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
        self.names.forget();
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.parent_span_id.truncate(rows);
        for column in [&mut self.trace_state, &mut self.status_message] {
            column.truncate(rows);
        }
        for column in [&mut self.name, &mut self.attributes] {
            column.truncate(rows);
        }
        for column in [&mut self.start, &mut self.end] {
            column.truncate(rows);
        }
        for column in [
            &mut self.flags,
            &mut self.dropped_attributes,
            &mut self.dropped_events,
            &mut self.dropped_links,
        ] {
            column.truncate(rows);
        }
        self.kind.truncate(rows);
        self.status_code.truncate(rows);
        self.hot.truncate(rows);
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
        let (rows, tenant) = (self.start.len(), self.arena.text(tenant));
        let arena = self.arena.finish()?;
        let start = ScalarBuffer::from(fit(self.start));
        let mut columns: Vec<ArrayRef> = vec![
            self.trace_id.finish(),
            self.span_id.finish(),
            self.parent_span_id.finish(),
            self.trace_state.finish(&arena),
            self.flags.finish::<Int64Type>(),
            texts(self.name, &arena),
            self.kind.finish::<Int32Type>(),
            micros(&start),
            micros(&self.end),
            kept_numbers::<Int64Type>(&start),
            numbers::<Int64Type>(durations(self.end, &start)),
            self.status_code.finish::<Int32Type>(),
            self.status_message.finish(&arena),
        ];
        self.hot.finish(rows, &arena, &mut columns);
        columns.extend([
            texts(self.attributes, &arena),
            self.dropped_attributes.finish::<Int64Type>(),
            self.events.finish(&arena),
            self.dropped_events.finish::<Int64Type>(),
            self.links.finish(&arena),
            self.dropped_links.finish::<Int64Type>(),
        ]);
        self.origins.finish(tenant, &start, &arena, &mut columns);
        crate::decode::batches(Table::Spans, columns)
    }
}

/// The ends, made durations in place.
fn durations(mut ends: Vec<i64>, starts: &[i64]) -> Vec<i64> {
    for (end, start) in ends.iter_mut().zip(starts) {
        *end -= start;
    }
    ends
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
