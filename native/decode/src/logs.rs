//! `ExportLogsServiceRequest` to the columns of `logs`.

use arrow::array::ArrayRef;
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::{Result, Table};

use crate::any_value::{Any, AnyValue};
use crate::attributes;
use crate::columns::{Ids, Numbers, micros, numbers};
use crate::decode::Tables;
use crate::groups::{Group, Records, Rows, add_row, walk};
use crate::notes;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Checked, Tally, check_long, reason};
use crate::texts::{Arena, NULL, Texts, texts};
use crate::wire::{Reader, Wire};

/// The fields of a log record.
mod field {
    use crate::wire::tag::{bytes, fixed32, fixed64, varint};

    pub const TIME: u32 = fixed64(1);
    pub const SEVERITY_NUMBER: u32 = varint(2);
    pub const SEVERITY_TEXT: u32 = bytes(3);
    pub const BODY: u32 = bytes(5);
    pub const ATTRIBUTE: u32 = bytes(6);
    pub const DROPPED_ATTRIBUTES: u32 = varint(7);
    pub const FLAGS: u32 = fixed32(8);
    pub const TRACE_ID: u32 = bytes(9);
    pub const SPAN_ID: u32 = bytes(10);
    pub const OBSERVED_TIME: u32 = fixed64(11);
    pub const EVENT_NAME: u32 = bytes(12);
}

/// The log records of a request.
#[derive(Default)]
pub struct Logs<'a> {
    /// Space that is used again for each record.
    entries: Vec<&'a [u8]>,
    arena: Arena,
    time: Vec<i64>,
    observed_time: Vec<i64>,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    flags: Numbers<i64>,
    severity_number: Numbers<i32>,
    severity_text: Texts,
    event_name: Texts,
    body: Texts,
    body_value: Texts,
    attributes: Vec<u128>,
    dropped_attributes: Numbers<i64>,
    origins: OriginColumns,
    /// Rows that have an origin.
    settled: usize,
}

/// Reads a request.
pub fn read<'a>(request: Reader<'a>, tally: &mut Tally<'_>) -> Wire<Logs<'a>> {
    let mut logs = Logs::default();
    logs.arena.0.reserve(request.len());
    walk(request, &mut logs, tally)?;
    Ok(logs)
}

impl<'a> Records<'a> for Logs<'a> {
    const FIELD: &'static str = "log_records";
    const IS_ROW: bool = true;

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    #[inline]
    fn add(&mut self, record: Reader<'a>, group: &Group, tally: &mut Tally<'_>) -> Wire<()> {
        add_row(self, record, group, None, tally)
    }

    fn expect(&mut self, records: usize) {
        self.trace_id.expect(records);
        self.span_id.expect(records);
        self.severity_number.expect(records);
        for column in [&mut self.flags, &mut self.dropped_attributes] {
            column.expect(records);
        }
        for column in [
            &mut self.severity_text,
            &mut self.event_name,
            &mut self.body,
            &mut self.body_value,
        ] {
            column.expect(records);
        }
        self.time.reserve(records);
        self.observed_time.reserve(records);
        self.attributes.reserve(records);
    }

    fn end_scope(&mut self, origin: Origin) {
        let rows = self.time.len();
        self.origins.push(origin, rows - self.settled);
        self.settled = rows;
    }
}

impl<'a> Rows<'a> for Logs<'a> {
    fn rows(&self) -> usize {
        self.time.len()
    }

    fn arena(&mut self) -> &mut Arena {
        &mut self.arena
    }

    #[inline(never)]
    fn row(&mut self, whole: Reader<'a>) -> Wire<Checked> {
        self.entries.clear();
        let mut record = whole;
        let (mut trace_id, mut span_id) = (&[][..], &[][..]);
        let (mut severity_text, mut event_name, mut body) = ("", "", None);
        let (mut severity_number, mut flags, mut dropped) = (0, 0, 0);
        let (mut time, mut observed_time) = (0, 0);
        while let Some(tag) = record.tag()? {
            match tag {
                field::TIME => time = record.next_fixed64()?,
                field::SEVERITY_NUMBER => severity_number = record.next_int32()?,
                field::SEVERITY_TEXT => severity_text = record.next_text()?,
                field::BODY => {
                    let bytes = record.next_bytes()?;
                    AnyValue::found(&mut body, &whole, field::BODY >> 3, record.within(bytes));
                }
                field::ATTRIBUTE => {
                    let attribute = record.next_bytes()?;
                    record.keep(&mut self.entries, attribute)?;
                }
                field::DROPPED_ATTRIBUTES => dropped = record.next_uint32()?,
                field::FLAGS => flags = record.next_fixed32()?,
                field::TRACE_ID => trace_id = record.next_bytes()?,
                field::SPAN_ID => span_id = record.next_bytes()?,
                field::OBSERVED_TIME => observed_time = record.next_fixed64()?,
                field::EVENT_NAME => event_name = record.next_text()?,
                _ => {
                    let number = record.other(tag, |number| number <= 12 && number != 4)?;
                    if number == notes::REPLACED_FIELD {
                        record.request().note(notes::TEXT_REPLACED);
                    }
                }
            }
        }
        let (body, body_value) = self.body(body)?;
        self.body.push(body);
        self.body_value.push(body_value);
        let at = self.arena.0.len();
        let cut = attributes::write_object(record, &self.entries, &mut self.arena.0)?;
        self.attributes.push(self.arena.view_from(at));
        let request = record.request();
        self.trace_id.push_known(trace_id, request, notes::TRACE_ID);
        self.span_id.push_known(span_id, request, notes::SPAN_ID);
        // A record without a time has the one at which it was observed.
        let odd = request
            .plausible
            .of_time(if time == 0 { observed_time } else { time });
        if odd != 0 {
            request.note(odd);
        }
        self.flags.push(flags);
        self.severity_number.push(severity_number);
        self.severity_text.push(self.arena.optional(severity_text));
        self.event_name.push(self.arena.optional(event_name));
        self.dropped_attributes
            .push(attributes::dropped(dropped, cut));
        let times = check_long("time_unix_nano", time, reason::TIME).and_then(|time| {
            let field = "observed_time_unix_nano";
            self.observed_time
                .push(check_long(field, observed_time, reason::TIME)?);
            self.time.push(time);
            Ok(())
        });
        Ok(times)
    }

    #[cold]
    fn cut_back(&mut self, rows: usize) {
        self.trace_id.truncate(rows);
        self.span_id.truncate(rows);
        self.severity_number.truncate(rows);
        self.attributes.truncate(rows);
        for column in [&mut self.time, &mut self.observed_time] {
            column.truncate(rows);
        }
        for column in [&mut self.flags, &mut self.dropped_attributes] {
            column.truncate(rows);
        }
        for column in [
            &mut self.severity_text,
            &mut self.event_name,
            &mut self.body,
            &mut self.body_value,
        ] {
            column.truncate(rows);
        }
    }
}

impl Logs<'_> {
    /// The body's text, and its typed value where it is not text.
    #[inline(always)]
    fn body(&mut self, body: Option<AnyValue<'_>>) -> Wire<(u128, u128)> {
        let Some(body) = body else {
            return Ok((NULL, NULL));
        };
        let bounds = body.request().body();
        match body.whole(bounds)? {
            Any::Unset => Ok((NULL, NULL)),
            Any::Text(text) => Ok((self.arena.text(text.text), NULL)),
            any => self.typed_body(body, any),
        }
    }

    #[inline(never)]
    fn typed_body<'a>(&mut self, body: AnyValue<'a>, any: Any<'a>) -> Wire<(u128, u128)> {
        let at = self.arena.0.len();
        body.write(any, &mut self.arena.0, body.request().body())?;
        let view = self.arena.view_from(at);
        Ok((view, view))
    }

    /// The rows as a batch.
    ///
    /// # Errors
    /// `OTLP_TOO_LARGE` where their text is too long for a batch.
    pub fn finish(mut self, tenant: &str) -> Result<Tables> {
        if self.time.is_empty() {
            return Ok(Vec::new());
        }
        let tenant = self.arena.text(tenant);
        let arena = self.arena.finish()?;
        let long = numbers::<Int64Type>;
        // A record without a time is of the day on which it was observed.
        let times = self.time.iter().zip(&self.observed_time);
        let dated: Vec<i64> = times
            .map(|(time, observed)| if *time == 0 { *observed } else { *time })
            .collect();
        let mut columns: Vec<ArrayRef> = vec![
            micros(&self.time),
            micros(&self.observed_time),
            long(self.time),
            long(self.observed_time),
            self.trace_id.finish(),
            self.span_id.finish(),
            self.flags.finish::<Int64Type>(),
            self.severity_number.finish::<Int32Type>(),
            self.severity_text.finish(&arena),
            self.event_name.finish(&arena),
            self.body.finish(&arena),
            self.body_value.finish(&arena),
            texts(self.attributes, &arena),
            self.dropped_attributes.finish::<Int64Type>(),
        ];
        self.origins.finish(tenant, &dated, &arena, &mut columns);
        crate::decode::batches(Table::Logs, columns)
    }
}
