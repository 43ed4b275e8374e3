//! Events and links of spans, as elements of list columns.

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::Int64Type;

use crate::attributes;
use crate::columns::{Ids, Offsets, numbers};
use crate::notes;
use crate::rejections::{Checked, Refusal, check_long, reason};
use crate::schema;
use crate::texts::{Arena, texts};
use crate::wire::{Reader, Wire};

#[derive(Default)]
pub struct Events {
    offsets: Offsets,
    time: Vec<i64>,
    name: Vec<u128>,
    attributes: Vec<u128>,
    dropped: Vec<i64>,
}

#[derive(Default)]
pub struct Links {
    offsets: Offsets,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    trace_state: Vec<u128>,
    attributes: Vec<u128>,
    dropped: Vec<i64>,
    flags: Vec<i64>,
}

impl Events {
    /// So many more spans follow.
    pub fn expect(&mut self, more: usize) {
        self.offsets.expect(more);
    }

    /// Adds a span without events.
    #[inline(always)]
    pub fn push_none(&mut self) -> Checked {
        self.offsets.push_none();
        Ok(())
    }

    /// Adds a span's events; `dropped` counts those that a limit cuts off.
    #[inline(never)]
    pub fn push<'a>(
        &mut self,
        span: Reader<'a>,
        events: &[Reader<'a>],
        dropped: &mut i64,
        nested: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
    ) -> Wire<Checked> {
        let mut outcome = Ok(());
        let request = span.request();
        let (events, cut) = request.cut_list(events, request.limits().events, notes::EVENTS_CUT);
        *dropped = attributes::dropped(*dropped, cut);
        request.count_records(events.len())?;
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
            let cut = attributes::write_object(event, nested, &mut arena.0)?;
            self.attributes.push(arena.view_from(at));
            self.name.push(arena.text(name));
            self.dropped.push(attributes::dropped(dropped, cut));
            self.time.push(time as i64);
            let checked = check_long("time_unix_nano", time, reason::TIME)
                .map_err(|refusal| refusal.of_element("events", index));
            outcome = outcome.and(checked.map(|_| ()));
        }
        self.offsets.push(self.time.len());
        Ok(outcome)
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.time.truncate(elements);
        self.name.truncate(elements);
        self.attributes.truncate(elements);
        self.dropped.truncate(elements);
    }

    pub fn finish(self, arena: &Buffer) -> ArrayRef {
        self.offsets.finish_structs(
            &schema::EVENT,
            vec![
                numbers::<Int64Type>(self.time),
                texts(self.name, arena),
                texts(self.attributes, arena),
                numbers::<Int64Type>(self.dropped),
            ],
        )
    }
}

impl Links {
    /// So many more spans follow.
    pub fn expect(&mut self, more: usize) {
        self.offsets.expect(more);
    }

    /// Adds a span without links.
    #[inline(always)]
    pub fn push_none(&mut self) -> Checked {
        self.offsets.push_none();
        Ok(())
    }

    /// Adds a span's links; `dropped` counts those that a limit cuts off.
    #[inline(never)]
    pub fn push<'a>(
        &mut self,
        span: Reader<'a>,
        links: &[Reader<'a>],
        dropped: &mut i64,
        nested: &mut Vec<&'a [u8]>,
        arena: &mut Arena,
    ) -> Wire<Checked> {
        let mut outcome = Ok(());
        let request = span.request();
        let (links, cut) = request.cut_list(links, request.limits().links, notes::LINKS_CUT);
        *dropped = attributes::dropped(*dropped, cut);
        request.count_records(links.len())?;
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
            let cut = attributes::write_object(link, nested, &mut arena.0)?;
            self.attributes.push(arena.view_from(at));
            self.trace_id.push(trace_id);
            self.span_id.push(span_id);
            self.trace_state.push(arena.optional(trace_state));
            self.dropped.push(attributes::dropped(dropped, cut));
            self.flags.push(flags);
            // A link to nowhere (all zero) is allowed by the SDKs; one of another length is not
            // an id.
            let length = |field, id: &[u8], bytes| {
                if id.len() == bytes {
                    return Ok(());
                }
                let what = format!("must be {bytes} bytes, got {}", id.len());
                Err(Refusal::new(reason::LINK, field, what).of_element("links", index))
            };
            let checked =
                length("trace_id", trace_id, 16).and_then(|()| length("span_id", span_id, 8));
            outcome = outcome.and(checked);
        }
        self.offsets.push(self.trace_id.len());
        Ok(outcome)
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.trace_id.truncate(elements);
        self.span_id.truncate(elements);
        self.trace_state.truncate(elements);
        self.attributes.truncate(elements);
        self.dropped.truncate(elements);
        self.flags.truncate(elements);
    }

    pub fn finish(self, arena: &Buffer) -> ArrayRef {
        self.offsets.finish_structs(
            &schema::LINK,
            vec![
                self.trace_id.finish(),
                self.span_id.finish(),
                texts(self.trace_state, arena),
                texts(self.attributes, arena),
                numbers::<Int64Type>(self.dropped),
                numbers::<Int64Type>(self.flags),
            ],
        )
    }
}
