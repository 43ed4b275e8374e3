//! `ExportLogsServiceRequest` to the columns of `logs`.

use arrow::array::ArrayRef;
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::{Result, Table};

use crate::any_value::{Any, AnyValue};
use crate::attributes;
use crate::columns::{Arena, Ids, NULL, micros, numbers, texts};
use crate::decode::Tables;
use crate::groups::{Group, Records, Rows, add_row, walk};
use crate::notes;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Checked, Tally, check_long, reason};
use crate::wire::{Reader, Wire};

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
    flags: Vec<i64>,
    severity_number: Vec<i32>,
    severity_text: Vec<u128>,
    event_name: Vec<u128>,
    body: Vec<u128>,
    body_value: Vec<u128>,
    attributes: Vec<u128>,
    dropped_attributes: Vec<i64>,
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
    fn row(&mut self, mut record: Reader<'a>) -> Wire<Checked> {
        self.entries.clear();
        let whole = record;
        let (mut trace_id, mut span_id) = (&[][..], &[][..]);
        let (mut severity_text, mut event_name, mut body) = ("", "", None);
        let (mut severity_number, mut flags, mut dropped) = (0, 0, 0);
        let (mut time, mut observed_time) = (0, 0);
        while let Some((number, field)) = record.field()? {
            match number {
                1 => time = record.fixed64(field)?,
                2 => severity_number = record.int32(field)?,
                3 => severity_text = record.text(field)?,
                5 => AnyValue::found(&mut body, &whole, number, record.message(field)?),
                6 => record.keep(&mut self.entries, record.bytes(field)?)?,
                7 => dropped = record.uint32(field)?,
                8 => flags = record.fixed32(field)?,
                9 => trace_id = record.bytes(field)?,
                10 => span_id = record.bytes(field)?,
                11 => observed_time = record.fixed64(field)?,
                12 => event_name = record.text(field)?,
                notes::REPLACED_FIELD => record.request().note(notes::TEXT_REPLACED),
                _ => {}
            }
        }
        let (body, body_value) = self.body(body)?;
        self.body.push(body);
        self.body_value.push(body_value);
        let at = self.arena.0.len();
        let cut = attributes::write_object(&record, &self.entries, &mut self.arena.0)?;
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
        for column in [
            &mut self.time,
            &mut self.observed_time,
            &mut self.flags,
            &mut self.dropped_attributes,
        ] {
            column.truncate(rows);
        }
        for column in [
            &mut self.severity_text,
            &mut self.event_name,
            &mut self.body,
            &mut self.body_value,
            &mut self.attributes,
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
            long(self.flags),
            numbers::<Int32Type>(self.severity_number),
            texts(self.severity_text, &arena),
            texts(self.event_name, &arena),
            texts(self.body, &arena),
            texts(self.body_value, &arena),
            texts(self.attributes, &arena),
            long(self.dropped_attributes),
        ];
        self.origins.finish(tenant, &dated, &arena, &mut columns);
        crate::decode::batches(Table::Logs, columns)
    }
}
