//! The walk that every signal's request has in common: resources, their scopes, their records.
//!
//! A scope's records are read when the scope is known, which may follow them: a series is named
//! by it. What a resource or a scope is refused for, each of its records is refused for.

use crate::notes::{Notes, REPLACED_FIELD, TEXT_REPLACED};
use crate::origin::Origin;
use crate::rejections::{Checked, Place, Refusal, Tally, or_refused};
use crate::texts::Arena;
use crate::wire::{Reader, Wire};

/// What the records of one scope have in common.
#[derive(Clone)]
pub struct Group {
    pub origin: Origin,
    pub place: Place,
    /// What was noted about the resource and the scope.
    pub notes: Notes,
    /// Why none of the records can be kept.
    pub refused: Option<Box<Refusal>>,
}

impl Group {
    /// A group of records that nobody sees.
    pub fn nobodys() -> Self {
        Self {
            origin: Origin::default(),
            place: Place {
                signal: "",
                resource: 0,
                scope: 0,
                record: 0,
                point: None,
            },
            notes: 0,
            refused: None,
        }
    }
}

/// The records of a signal.
pub trait Records<'a> {
    /// The field that holds them: `spans`, `log_records` or `metrics`.
    const FIELD: &'static str;
    /// Whether each is a row; else it has rows within it.
    const IS_ROW: bool;
    fn arena(&mut self) -> &mut Arena;
    /// Adds the rows of one record.
    fn add(&mut self, record: Reader<'a>, group: &Group, tally: &mut Tally<'_>) -> Wire<()>;
    /// So many records follow.
    fn expect(&mut self, _records: usize) {}
    /// The scope's records are read.
    fn end_scope(&mut self, origin: Origin);
}

/// Adds every record of a request.
pub fn walk<'a, R: Records<'a>>(
    mut request: Reader<'a>,
    records: &mut R,
    tally: &mut Tally<'_>,
) -> Wire<()> {
    let (mut resources, mut groups, mut parts) = (Vec::new(), Vec::new(), ScopeParts::default());
    let mut place = Place {
        signal: R::FIELD,
        resource: 0,
        scope: 0,
        record: 0,
        point: None,
    };
    while let Some((number, field)) = request.field()? {
        if number != 1 {
            continue;
        }
        let mut message = request.message(field)?;
        resources.clear();
        groups.clear();
        let (mut schema_url, mut refused, mut notes) = ("", None, 0);
        while let Some((number, field)) = message.field()? {
            match number {
                1 => message.keep(&mut resources, message.bytes(field)?)?,
                2 => message.keep(&mut groups, message.message(field)?)?,
                3 => schema_url = or_refused(message.text(field), &mut refused)?,
                REPLACED_FIELD => notes |= TEXT_REPLACED,
                _ => {}
            }
        }
        message.request().set_notes(0);
        let origin = Origin::resource(&message, &resources, schema_url, records.arena());
        let origin = or_refused(origin, &mut refused)?;
        let group = Group {
            origin,
            place,
            notes: message.request().take_notes() | notes,
            refused,
        };
        for (index, scope) in groups.drain(..).enumerate() {
            let mut group = group.clone();
            group.place.scope = index;
            scope_records(scope, group, &mut parts, records, tally)?;
        }
        place.resource += 1;
    }
    Ok(())
}

/// Space that is used again for each scope.
#[derive(Default)]
struct ScopeParts<'a> {
    scopes: Vec<&'a [u8]>,
    records: Vec<&'a [u8]>,
}

fn scope_records<'a, R: Records<'a>>(
    mut message: Reader<'a>,
    mut group: Group,
    parts: &mut ScopeParts<'a>,
    records: &mut R,
    tally: &mut Tally<'_>,
) -> Wire<()> {
    parts.scopes.clear();
    parts.records.clear();
    let mut schema_url = "";
    while let Some((number, field)) = message.field()? {
        match number {
            1 => message.keep(&mut parts.scopes, message.bytes(field)?)?,
            2 => message.keep(&mut parts.records, message.bytes(field)?)?,
            3 => schema_url = or_refused(message.text(field), &mut group.refused)?,
            REPLACED_FIELD => group.notes |= TEXT_REPLACED,
            _ => {}
        }
    }
    message.request().set_notes(0);
    let origin = group
        .origin
        .with_scope(&message, &parts.scopes, schema_url, records.arena());
    group.origin = or_refused(origin, &mut group.refused)?;
    group.notes |= message.request().take_notes();
    if R::IS_ROW {
        tally.receive(message.request(), parts.records.len())?;
    }
    records.expect(parts.records.len());
    for record in &parts.records {
        records.add(message.within(record), &group, tally)?;
        group.place.record += 1;
    }
    records.end_scope(group.origin);
    Ok(())
}

/// Columns that take one row after the other.
pub trait Rows<'a> {
    fn rows(&self) -> usize;
    fn arena(&mut self) -> &mut Arena;
    /// Adds a row. The columns are filled first and cut back on refusal: what is malformed
    /// within a refused record is still malformed.
    fn row(&mut self, record: Reader<'a>) -> Wire<Checked>;
    /// Cuts every column back to this many rows.
    fn cut_back(&mut self, rows: usize);
}

/// Adds the row of a record that was counted as received, or leaves nothing of it in any column,
/// and counts which.
#[inline(always)]
pub fn add_row<'a>(
    rows: &mut impl Rows<'a>,
    record: Reader<'a>,
    group: &Group,
    point: Option<usize>,
    tally: &mut Tally<'_>,
) -> Wire<()> {
    let request = record.request();
    request.set_notes(group.notes);
    let (before, text) = (rows.rows(), rows.arena().0.len());
    let outcome = rows.row(record);
    request.check_text(rows.arena().0.len())?;
    let notes = request.take_notes();
    if matches!(outcome, Ok(Ok(()))) && group.refused.is_none() {
        if notes != 0 {
            tally.keep(notes);
        }
        return Ok(());
    }
    rows.cut_back(before);
    rows.arena().0.truncate(text);
    tally.reject_record(outcome, group, point)
}
