//! Exemplars of data points, and the numbers that exemplars and data points hold.

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;
use arrow::datatypes::{Float64Type, Int64Type};

use crate::attributes;
use crate::columns::{Ids, Offsets, Optional, numbers};
use crate::notes;
use crate::rejections::{Checked, Refusal, check_long, reason};
use crate::schema;
use crate::texts::{Arena, texts};
use crate::wire::{Reader, Wire};

/// A value that is a double, an integer, or absent.
#[derive(Clone, Copy, Default)]
pub struct Number {
    pub double: Option<f64>,
    pub int: Option<i64>,
}

impl Number {
    pub fn double(value: f64) -> Self {
        Self {
            double: Some(value),
            int: None,
        }
    }

    pub fn int(value: u64) -> Self {
        Self {
            double: Some(value as i64 as f64),
            int: Some(value as i64),
        }
    }
}

/// The exemplars of a metric table's points.
#[derive(Default)]
pub struct Exemplars {
    offsets: Offsets,
    time: Vec<i64>,
    value: Optional<f64>,
    value_int: Optional<i64>,
    span_id: Ids<8>,
    trace_id: Ids<16>,
    attributes: Vec<u128>,
    /// Exemplars of the point so far, and the first of them that is not allowed.
    in_point: usize,
    refused: Option<Box<Refusal>>,
}

impl Exemplars {
    pub fn begin(&mut self) {
        self.in_point = 0;
        self.refused = None;
    }

    pub fn push(&mut self, mut exemplar: Reader<'_>, arena: &mut Arena) -> Wire<()> {
        let (mut time, mut number) = (0, Number::default());
        let (mut span_id, mut trace_id, mut entries) = (&[][..], &[][..], Vec::new());
        while let Some((field_number, field)) = exemplar.field()? {
            match field_number {
                2 => time = exemplar.fixed64(field)?,
                3 => number = Number::double(exemplar.double(field)?),
                4 => span_id = exemplar.bytes(field)?,
                5 => trace_id = exemplar.bytes(field)?,
                6 => number = Number::int(exemplar.fixed64(field)?),
                7 => exemplar.keep(&mut entries, exemplar.bytes(field)?)?,
                _ => {}
            }
        }
        let request = exemplar.request();
        request.count_records(1)?;
        let at = arena.0.len();
        attributes::write_object(exemplar, &entries, &mut arena.0)?;
        self.attributes.push(arena.view_from(at));
        self.time.push(time as i64);
        self.value.push(number.double);
        self.value_int.push(number.int);
        self.span_id
            .push_known(span_id, request, notes::EXEMPLAR_ID);
        self.trace_id
            .push_known(trace_id, request, notes::EXEMPLAR_ID);
        if let Err(refusal) = check_long("time_unix_nano", time, reason::TIME) {
            self.refused
                .get_or_insert(refusal.of_element("exemplars", self.in_point));
        }
        self.in_point += 1;
        Ok(())
    }

    pub fn end(&mut self) -> Checked {
        self.offsets.push(self.time.len());
        self.refused.take().map_or(Ok(()), Err)
    }

    pub fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows);
        let elements = self.offsets.end();
        self.time.truncate(elements);
        self.value.truncate(elements);
        self.value_int.truncate(elements);
        self.span_id.truncate(elements);
        self.trace_id.truncate(elements);
        self.attributes.truncate(elements);
    }

    pub fn finish(self, arena: &Buffer) -> ArrayRef {
        self.offsets.finish_structs(
            &schema::EXEMPLAR,
            vec![
                numbers::<Int64Type>(self.time),
                self.value.finish::<Float64Type>(),
                self.value_int.finish::<Int64Type>(),
                self.span_id.finish(),
                self.trace_id.finish(),
                texts(self.attributes, arena),
            ],
        )
    }
}
