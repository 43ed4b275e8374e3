//! `ExportLogsServiceRequest` to the columns of `logs`.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use otlake_base::limits::MAX_VALUE_DEPTH;
use otlake_base::{Result, Table};

use crate::attributes::{self, Any, AnyValue};
use crate::columns::{Arena, Ids, NULL, micros, numbers, texts};
use crate::decode::Decoded;
use crate::origin::{Origin, OriginColumns};
use crate::rejections::{Place, Refusal, Rejections, check_id, check_long, reason};
use crate::wire::{Reader, Wire};

#[derive(Default)]
struct Logs {
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
}

pub fn decode(body: &[u8], tenant: &str) -> Result<Decoded> {
    let mut logs = Logs::default();
    logs.arena.0.reserve(body.len());
    let mut rejections = Rejections::default();
    logs.request(Reader::new(body), &mut rejections)?;
    let accepted = logs.time.len() as u64;
    let tables = if accepted == 0 {
        Vec::new()
    } else {
        vec![(Table::Logs, logs.finish(tenant)?)]
    };
    Ok(Decoded {
        tables,
        accepted,
        rejections,
    })
}

impl Logs {
    fn request(&mut self, mut request: Reader<'_>, rejections: &mut Rejections) -> Wire<()> {
        let mut entries = Vec::new();
        let mut resource_index = 0;
        while let Some((number, field)) = request.field()? {
            if number != 1 {
                continue;
            }
            let mut group = request.message(field)?;
            let (mut resources, mut scope_logs, mut schema_url) = (Vec::new(), Vec::new(), "");
            while let Some((number, field)) = group.field()? {
                match number {
                    1 => group.keep(&mut resources, group.bytes(field)?)?,
                    2 => group.keep(&mut scope_logs, group.message(field)?)?,
                    3 => schema_url = group.text(field)?,
                    _ => {}
                }
            }
            let origin = Origin::resource(&group, &resources, schema_url, &mut self.arena)?;
            for (scope_index, scope_logs) in scope_logs.into_iter().enumerate() {
                let place = Place {
                    signal: "log_records",
                    resource: resource_index,
                    scope: scope_index,
                    record: 0,
                    point: None,
                };
                self.scope(scope_logs, origin, place, &mut entries, rejections)?;
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
        entries: &mut Vec<&'a [u8]>,
        rejections: &mut Rejections,
    ) -> Wire<()> {
        let (mut scopes, mut schema_url) = (Vec::new(), "");
        let before = self.time.len();
        while let Some((number, field)) = group.field()? {
            match number {
                1 => group.keep(&mut scopes, group.bytes(field)?)?,
                2 => {
                    let record = group.message(field)?;
                    let (rows, text) = (self.time.len(), self.arena.0.len());
                    if let Err(refusal) = self.record(record, entries)? {
                        self.cut_back(rows, text);
                        rejections.add(place, &refusal);
                    }
                    group.check_records(self.time.len())?;
                    place.record += 1;
                }
                3 => schema_url = group.text(field)?,
                _ => {}
            }
        }
        let origin = origin.with_scope(&group, &scopes, schema_url, &mut self.arena)?;
        self.origins.push(origin, self.time.len() - before);
        Ok(())
    }

    #[inline]
    fn record<'a>(
        &mut self,
        mut record: Reader<'a>,
        entries: &mut Vec<&'a [u8]>,
    ) -> Wire<Result<(), Refusal>> {
        entries.clear();
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
                6 => record.keep(entries, record.bytes(field)?)?,
                7 => dropped = record.uint32(field)?,
                8 => flags = record.fixed32(field)?,
                9 => trace_id = record.bytes(field)?,
                10 => span_id = record.bytes(field)?,
                11 => observed_time = record.fixed64(field)?,
                12 => event_name = record.text(field)?,
                _ => {}
            }
        }
        let (body, body_value) = self.body(body)?;
        self.body.push(body);
        self.body_value.push(body_value);
        let at = self.arena.0.len();
        attributes::write_object(&record, entries, &mut self.arena.0)?;
        self.attributes.push(self.arena.view_from(at));
        self.trace_id.push(trace_id);
        self.span_id.push(span_id);
        self.flags.push(flags);
        self.severity_number.push(severity_number);
        self.severity_text.push(self.arena.optional(severity_text));
        self.event_name.push(self.arena.optional(event_name));
        self.dropped_attributes.push(dropped);
        Ok(
            check_id::<16>("trace_id", trace_id, false, reason::TRACE_ID)
                .and_then(|()| check_id::<8>("span_id", span_id, false, reason::SPAN_ID))
                .and_then(|()| {
                    self.time
                        .push(check_long("time_unix_nano", time, reason::TIME)?);
                    let field = "observed_time_unix_nano";
                    self.observed_time
                        .push(check_long(field, observed_time, reason::TIME)?);
                    Ok(())
                }),
        )
    }

    /// The body's text, and its typed value where it is not text.
    fn body(&mut self, body: Option<AnyValue<'_>>) -> Wire<(u128, u128)> {
        let Some(body) = body else {
            return Ok((NULL, NULL));
        };
        match body.any(MAX_VALUE_DEPTH)? {
            Any::Unset => Ok((NULL, NULL)),
            Any::Text(text) => Ok((self.arena.text(text.text), NULL)),
            any => {
                let at = self.arena.0.len();
                body.write(any, &mut self.arena.0, MAX_VALUE_DEPTH)?;
                let view = self.arena.view_from(at);
                Ok((view, view))
            }
        }
    }

    #[cold]
    fn cut_back(&mut self, rows: usize, text: usize) {
        self.arena.0.truncate(text);
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

    fn finish(mut self, tenant: &str) -> Result<RecordBatch> {
        let tenant = self.arena.text(tenant);
        let arena = self.arena.finish()?;
        let long = numbers::<Int64Type>;
        let mut columns: Vec<ArrayRef> = vec![
            micros(&self.time),
            micros(&self.observed_time),
            long(self.time.clone()),
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
        self.origins
            .finish(tenant, &self.time, &arena, &mut columns);
        crate::decode::batch(Table::Logs, columns)
    }
}
