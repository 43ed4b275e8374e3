//! `ExportTraceServiceRequest` to the columns of `spans`.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::{Result, Table};

use crate::attributes::{self, Any};
use crate::columns::{Arena, Ids, Offsets, Optional, micros, numbers, texts};
use crate::decode::Decoded;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Place, Refusal, Rejections, check_id, check_long, reason};
use crate::schema::{self, SPAN_TEXT_COLUMNS};
use crate::wire::{Reader, Wire};

const TEXT_COLUMNS: usize = SPAN_TEXT_COLUMNS.len();

#[derive(Default)]
struct Spans {
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
}

#[derive(Default)]
struct Events {
    offsets: Offsets,
    time: Vec<i64>,
    name: Vec<u128>,
    attributes: Vec<u128>,
    dropped: Vec<i64>,
}

#[derive(Default)]
struct Links {
    offsets: Offsets,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    trace_state: Vec<u128>,
    attributes: Vec<u128>,
    dropped: Vec<i64>,
    flags: Vec<i64>,
}

/// Space that is used again for each span.
#[derive(Default)]
struct Scratch<'a> {
    attributes: Vec<&'a [u8]>,
    events: Vec<Reader<'a>>,
    links: Vec<Reader<'a>>,
    nested: Vec<&'a [u8]>,
}

pub fn decode(body: &[u8], tenant: &str) -> Result<Decoded> {
    let mut spans = Spans::default();
    spans.arena.0.reserve(body.len());
    let mut rejections = Rejections::default();
    spans.request(Reader::new(body), &mut rejections)?;
    let accepted = spans.start.len() as u64;
    let tables = if accepted == 0 {
        Vec::new()
    } else {
        vec![(Table::Spans, spans.finish(tenant)?)]
    };
    Ok(Decoded {
        tables,
        accepted,
        rejections,
    })
}

impl Spans {
    fn request(&mut self, mut request: Reader<'_>, rejections: &mut Rejections) -> Wire<()> {
        let mut scratch = Scratch::default();
        let mut resource_index = 0;
        while let Some((number, field)) = request.field()? {
            if number != 1 {
                continue;
            }
            let mut group = request.message(field)?;
            let (mut resources, mut scope_spans, mut schema_url) = (Vec::new(), Vec::new(), "");
            while let Some((number, field)) = group.field()? {
                match number {
                    1 => group.keep(&mut resources, group.bytes(field)?)?,
                    2 => group.keep(&mut scope_spans, group.message(field)?)?,
                    3 => schema_url = group.text(field)?,
                    _ => {}
                }
            }
            let origin = Origin::resource(&group, &resources, schema_url, &mut self.arena)?;
            for (scope_index, scope_spans) in scope_spans.into_iter().enumerate() {
                let place = Place {
                    signal: "spans",
                    resource: resource_index,
                    scope: scope_index,
                    record: 0,
                    point: None,
                };
                self.scope(scope_spans, origin, place, &mut scratch, rejections)?;
            }
            resource_index += 1;
        }
        Ok(())
    }

    fn scope<'a>(
        &mut self,
        mut group: Reader<'a>,
        origin: Origin,
        mut place: Place,
        scratch: &mut Scratch<'a>,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        let (mut scopes, mut schema_url) = (Vec::new(), "");
        let before = self.start.len();
        while let Some((number, field)) = group.field()? {
            match number {
                1 => group.keep(&mut scopes, group.bytes(field)?)?,
                2 => {
                    let span = group.message(field)?;
                    let mark = self.mark();
                    if let Err(refusal) = self.span(span, scratch)? {
                        self.cut_back(mark);
                        rejections.add(place, &refusal);
                    }
                    let elements = self.events.time.len() + self.links.flags.len();
                    group.check_records(self.start.len() + elements)?;
                    place.record += 1;
                }
                3 => schema_url = group.text(field)?,
                _ => {}
            }
        }
        let origin = origin.with_scope(&group, &scopes, schema_url, &mut self.arena)?;
        self.origins.push(origin, self.start.len() - before);
        Ok(())
    }

    #[inline]
    fn span<'a>(
        &mut self,
        mut span: Reader<'a>,
        scratch: &mut Scratch<'a>,
    ) -> Wire<Result<(), Refusal>> {
        scratch.attributes.clear();
        scratch.events.clear();
        scratch.links.clear();
        let (mut trace_id, mut span_id, mut parent) = (&[][..], &[][..], &[][..]);
        let (mut trace_state, mut name, mut status_message) = ("", "", "");
        let (mut kind, mut status_code, mut flags) = (0, 0, 0);
        let (mut start, mut end) = (0, 0);
        let (mut dropped_attributes, mut dropped_events, mut dropped_links) = (0, 0, 0);
        while let Some((number, field)) = span.field()? {
            match number {
                1 => trace_id = span.bytes(field)?,
                2 => span_id = span.bytes(field)?,
                3 => trace_state = span.text(field)?,
                4 => parent = span.bytes(field)?,
                5 => name = span.text(field)?,
                6 => kind = span.int32(field)?,
                7 => start = span.fixed64(field)?,
                8 => end = span.fixed64(field)?,
                9 => span.keep(&mut scratch.attributes, span.bytes(field)?)?,
                10 => dropped_attributes = span.uint32(field)?,
                11 => span.keep(&mut scratch.events, span.message(field)?)?,
                12 => dropped_events = span.uint32(field)?,
                13 => span.keep(&mut scratch.links, span.message(field)?)?,
                14 => dropped_links = span.uint32(field)?,
                15 => {
                    let mut status = span.message(field)?;
                    while let Some((number, field)) = status.field()? {
                        match number {
                            2 => status_message = status.text(field)?,
                            3 => status_code = status.int32(field)?,
                            _ => {}
                        }
                    }
                }
                16 => flags = span.fixed32(field)?,
                _ => {}
            }
        }

        // The columns are filled first and cut back on refusal: what is malformed within a
        // refused span is still malformed.
        let mut hot_text = [None; TEXT_COLUMNS];
        let mut hot_status = None;
        let at = self.arena.0.len();
        attributes::write_object_with(
            &span,
            &scratch.attributes,
            &mut self.arena.0,
            |key, value, _| match value {
                Any::Text(text) => {
                    if let Some(column) = text_column(key) {
                        hot_text[column].get_or_insert(text.text);
                    }
                }
                Any::Int(number) if is_status(key) => {
                    hot_status.get_or_insert(number);
                }
                _ => {}
            },
        )?;
        self.attributes.push(self.arena.view_from(at));
        for (column, text) in self.hot_text.iter_mut().zip(hot_text) {
            column.push(text.map_or(crate::columns::NULL, |text| self.arena.text(text)));
        }
        self.hot_status.push(hot_status);
        let mut refused =
            self.events
                .push(&scratch.events, &mut scratch.nested, &mut self.arena)?;
        let links = self
            .links
            .push(&scratch.links, &mut scratch.nested, &mut self.arena)?;
        refused = refused.and(links);

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
        self.dropped_attributes.push(dropped_attributes);
        self.dropped_events.push(dropped_events);
        self.dropped_links.push(dropped_links);

        let checked = check_id::<16>("trace_id", trace_id, true, reason::TRACE_ID)
            .and_then(|()| check_id::<8>("span_id", span_id, true, reason::SPAN_ID))
            .and_then(|()| check_id::<8>("parent_span_id", parent, false, reason::PARENT_SPAN_ID))
            .and_then(|()| {
                self.start
                    .push(check_long("start_time_unix_nano", start, reason::TIME)?);
                self.end
                    .push(check_long("end_time_unix_nano", end, reason::TIME)?);
                Ok(())
            });
        Ok(checked.and(refused))
    }

    fn mark(&self) -> (usize, usize) {
        (self.start.len(), self.arena.0.len())
    }

    #[cold]
    fn cut_back(&mut self, (rows, text): (usize, usize)) {
        self.arena.0.truncate(text);
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

    fn finish(mut self, tenant: &str) -> Result<RecordBatch> {
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
            self.events.offsets.finish_structs(
                schema::event_fields(),
                vec![
                    long(self.events.time),
                    texts(self.events.name, &arena),
                    texts(self.events.attributes, &arena),
                    long(self.events.dropped),
                ],
            ),
            long(self.dropped_events),
            self.links.offsets.finish_structs(
                schema::link_fields(),
                vec![
                    self.links.trace_id.finish(),
                    self.links.span_id.finish(),
                    texts(self.links.trace_state, &arena),
                    texts(self.links.attributes, &arena),
                    long(self.links.dropped),
                    long(self.links.flags),
                ],
            ),
            long(self.dropped_links),
        ]);
        self.origins
            .finish(tenant, &self.start, &arena, &mut columns);
        crate::decode::batch(Table::Spans, columns)
    }
}

impl Events {
    fn push<'a>(
        &mut self,
        events: &[Reader<'a>],
        nested: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
    ) -> Wire<Result<(), Refusal>> {
        let mut outcome = Ok(());
        for (index, event) in events.iter().enumerate() {
            let mut event = *event;
            nested.clear();
            let (mut time, mut name, mut dropped) = (0, "", 0);
            while let Some((number, field)) = event.field()? {
                match number {
                    1 => time = event.fixed64(field)?,
                    2 => name = event.text(field)?,
                    3 => event.keep(nested, event.bytes(field)?)?,
                    4 => dropped = event.uint32(field)?,
                    _ => {}
                }
            }
            let at = arena.0.len();
            attributes::write_object(&event, nested, &mut arena.0)?;
            self.attributes.push(arena.view_from(at));
            self.name.push(arena.text(name));
            self.dropped.push(dropped);
            self.time.push(time as i64);
            let checked = check_long("time_unix_nano", time, reason::TIME)
                .map_err(|refusal| refusal.of_element("events", index));
            outcome = outcome.and(checked.map(|_| ()));
        }
        self.offsets.push(self.time.len());
        Ok(outcome)
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.time.truncate(elements);
        self.name.truncate(elements);
        self.attributes.truncate(elements);
        self.dropped.truncate(elements);
    }
}

impl Links {
    fn push<'a>(
        &mut self,
        links: &[Reader<'a>],
        nested: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
    ) -> Wire<Result<(), Refusal>> {
        let mut outcome = Ok(());
        for (index, link) in links.iter().enumerate() {
            let mut link = *link;
            nested.clear();
            let (mut trace_id, mut span_id, mut trace_state) = (&[][..], &[][..], "");
            let (mut dropped, mut flags) = (0, 0);
            while let Some((number, field)) = link.field()? {
                match number {
                    1 => trace_id = link.bytes(field)?,
                    2 => span_id = link.bytes(field)?,
                    3 => trace_state = link.text(field)?,
                    4 => link.keep(nested, link.bytes(field)?)?,
                    5 => dropped = link.uint32(field)?,
                    6 => flags = link.fixed32(field)?,
                    _ => {}
                }
            }
            let at = arena.0.len();
            attributes::write_object(&link, nested, &mut arena.0)?;
            self.attributes.push(arena.view_from(at));
            self.trace_id.push(trace_id);
            self.span_id.push(span_id);
            self.trace_state.push(arena.optional(trace_state));
            self.dropped.push(dropped);
            self.flags.push(flags);
            // A link to nowhere (all zero) is allowed by the SDKs; one of another length is not
            // an id.
            let length = |field, id: &[u8], bytes| {
                if id.len() == bytes {
                    return Ok(());
                }
                Err(Refusal {
                    reason: reason::LINK,
                    field: format!("links[{index}].{field}"),
                    what: format!("must be {bytes} bytes, got {}", id.len()),
                })
            };
            let checked =
                length("trace_id", trace_id, 16).and_then(|()| length("span_id", span_id, 8));
            outcome = outcome.and(checked);
        }
        self.offsets.push(self.trace_id.len());
        Ok(outcome)
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.trace_id.truncate(elements);
        self.span_id.truncate(elements);
        self.trace_state.truncate(elements);
        self.attributes.truncate(elements);
        self.dropped.truncate(elements);
        self.flags.truncate(elements);
    }
}

/// The column that an attribute is also read into (`schema::SPAN_TEXT_COLUMNS`).
#[inline]
fn text_column(key: &str) -> Option<usize> {
    // Most keys are none of these, and their first letters tell.
    if !matches!(key.as_bytes().first(), Some(b'h' | b'd' | b'r' | b'm')) {
        return None;
    }
    SPAN_TEXT_COLUMNS
        .iter()
        .position(|(_, keys)| keys.contains(&key))
}

#[inline]
fn is_status(key: &str) -> bool {
    schema::SPAN_STATUS_COLUMN.1.contains(&key)
}
