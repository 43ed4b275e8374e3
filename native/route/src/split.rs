//! A request, split by the owners of its records.
//!
//! The request is walked once, and what is noted is places in it: for each owner the stretches of
//! records that are its own, and for each resource and scope the stretches of everything else in
//! it. A slice then is those stretches one after another, with new lengths around them. Nothing is
//! decoded but what says who owns a record:
//!
//! - a span: its trace id;
//! - a log record: its trace id where it has one, else its resource;
//! - a metric, whole with all its points: its name, scope and resource, that is what its series
//!   have in common.
//!
//! The same request and owners give the same slices, byte for byte: a resend is told by them.

use std::sync::Arc;

use bytes::Bytes;
use otlake_base::limits::MAX_REQUEST_RECORDS;
use otlake_base::{ShardSet, Signal, Table};

use crate::owners::{LOCAL, OwnerIndex, Owners, Placing};
use crate::shard::{SHARDS, hash};
use crate::slices::{Group, Layout, Run, Slices, Stretch};
use crate::wire::{Cursor, Field, Malformed};

/// What is one owner's of a request: an OTLP request too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Whose it is.
    pub owner: OwnerIndex,
    /// The request.
    pub body: Bytes,
}

/// How a request is to be split.
pub enum Plan {
    /// It is all one owner's. So is a request that is none, or without records, or with more than
    /// a request may have: what is wrong with it is for the local node to say.
    Whole(OwnerIndex),
    /// It is that of several: what was noted of it, and its slices.
    Slices(Slices, Vec<Layout>),
}

/// What the slices of a request may have together, in bytes, as a multiple of the request, beyond
/// `SPARE_BYTES`: a resource of many megabytes is not copied for each owner of one of its spans
/// (I5). Such a request goes whole to the owner of its first record.
const MAX_GROWTH: usize = 2;
/// What small requests may have in addition.
const SPARE_BYTES: usize = 64 * 1024;

/// The slices of a request, in the order of their owners; the request itself where it is all one
/// owner's.
pub fn split(signal: Signal, body: &Bytes, owners: &Owners) -> Vec<Slice> {
    match plan(signal, body, owners) {
        Plan::Whole(owner) => vec![Slice {
            owner,
            body: body.clone(),
        }],
        Plan::Slices(slices, layouts) => layouts
            .iter()
            .map(|layout| Slice {
                owner: layout.owner,
                body: slices.build(body, layout, &[], None),
            })
            .collect(),
    }
}

/// What is left of a request without the records of some shards; the request itself where it has
/// none of them, and none where it has no others. It must be one that can be read: what is wrong
/// with another is for whoever stores it to say, and all of it is left.
pub fn without(signal: Signal, body: &Bytes, shards: &ShardSet) -> Option<Bytes> {
    let owners = left_and_gone(shards);
    left(body, plan(signal, body, &owners))
}

/// What is left of a request for metrics without those whose points are of some tables; otherwise as
/// `without`.
pub fn without_tables(body: &Bytes, tables: &[Table]) -> Option<Bytes> {
    if tables.is_empty() {
        return Some(body.clone());
    }
    let owners = left_and_gone(&ShardSet::ALL);
    left(body, walked(Signal::Metrics, body, &owners, tables))
}

/// Two owners: `LOCAL`, and that of these shards.
fn left_and_gone(shards: &ShardSet) -> Owners {
    let names: [Arc<str>; 2] = ["left".into(), "gone".into()];
    let owner = |shard| Arc::clone(&names[usize::from(shards.contains(shard))]);
    let owners = SHARDS.map(|count| (0..count).map(owner).collect());
    let owners = Owners::new(Arc::clone(&names[0]), owners, &[], &names);
    owners.expect("two owners of every shard")
}

/// The slice of `LOCAL`.
fn left(body: &Bytes, plan: Plan) -> Option<Bytes> {
    match plan {
        Plan::Whole(LOCAL) => Some(body.clone()),
        Plan::Whole(_) => None,
        Plan::Slices(slices, layouts) => {
            let left = layouts.iter().find(|layout| layout.owner == LOCAL)?;
            Some(slices.build(body, left, &[], None))
        }
    }
}

/// Walks a request.
pub fn plan(signal: Signal, body: &[u8], owners: &Owners) -> Plan {
    walked(signal, body, owners, &[])
}

/// As `plan`; where tables are named, their metrics are `GONE`'s and all others `LOCAL`'s, whatever
/// their shards are.
fn walked(signal: Signal, body: &[u8], owners: &Owners, gone: &[Table]) -> Plan {
    // Places are kept in 32 bits; a larger request is refused in any case.
    if owners.is_alone() || u32::try_from(body.len()).is_err() {
        return Plan::Whole(LOCAL);
    }
    let mut walk = Walk {
        signal,
        body,
        owners,
        gone,
        slices: Slices::new(owners.names().len()),
        records: 0,
        placing: Owners::USUAL,
        resource: 0,
        scope: 0,
        last: None,
    };
    if walk.request() == Err(Malformed) {
        return Plan::Whole(LOCAL);
    }
    let slices = walk.slices;
    if let Some(owner) = slices.only() {
        return Plan::Whole(owner);
    }
    let layouts = slices.lay_out();
    let length: usize = layouts.iter().map(|layout| layout.length).sum();
    if length > body.len() * MAX_GROWTH + SPARE_BYTES {
        return Plan::Whole(slices.first());
    }
    Plan::Slices(slices, layouts)
}

/// The owner of what is left out.
const GONE: OwnerIndex = 1;

/// Where the fields are: of the request its resources, of a resource and a scope what they are
/// about, and of each what is in it.
const RESOURCES: u32 = 1;
const ABOUT: u32 = 1;
const WITHIN: u32 = 2;

struct Walk<'a> {
    signal: Signal,
    body: &'a [u8],
    owners: &'a Owners,
    /// Tables whose metrics are `GONE`'s; where there are none, shards decide.
    gone: &'a [Table],
    slices: Slices,
    records: usize,
    placing: Placing,
    /// The hash of the resource, and of it and the scope.
    resource: u64,
    scope: u64,
    /// The last trace id of this resource: spans of a trace often stand together.
    last: Option<(&'a [u8], (OwnerIndex, usize))>,
}

impl<'a> Walk<'a> {
    fn request(&mut self) -> Result<(), Malformed> {
        let mut fields = Cursor::new(self.body);
        while let Some(field) = fields.field()? {
            match field.message(RESOURCES) {
                Some(message) => self.resource_message(message)?,
                None => self.slices.around.push(stretch(0, &field)),
            }
            self.check_limits()?;
        }
        Ok(())
    }

    /// What is noted is bounded by the number of records, and a request with more is refused.
    fn check_limits(&self) -> Result<(), Malformed> {
        let stretches = self.slices.around.len() + self.slices.stretches.len();
        match self.records.max(stretches) > MAX_REQUEST_RECORDS {
            true => Err(Malformed),
            false => Ok(()),
        }
    }

    fn resource_message(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let offset = self.offset(message);
        let mark = self.slices.stretches.len();
        self.resource = 0;
        self.placing = Owners::USUAL;
        self.last = None;
        // The resource may stand behind its records; who owns those is known only by it.
        let mut length = 0;
        let mut has_scopes = false;
        let mut fields = Cursor::new(message);
        while let Some(field) = fields.field()? {
            if field.message(WITHIN).is_some() {
                has_scopes = true;
                continue;
            }
            if let Some(resource) = field.message(ABOUT) {
                self.resource = hash(resource, self.resource);
                if self.owners.has_rules() {
                    self.placing = self.owners.placing(resource, self.placing)?;
                }
            }
            length += field.end - field.start;
            self.slices.add_stretch(mark, stretch(offset, &field));
            self.check_limits()?;
        }
        let records = self.records;
        if has_scopes {
            self.slices
                .resources
                .push(Group::new(mark, &self.slices.stretches, length));
            let mut fields = Cursor::new(message);
            while let Some(field) = fields.field()? {
                if let Some(scope) = field.message(WITHIN) {
                    self.scope_message(scope)?;
                }
            }
        }
        if self.records == records {
            self.slices.stretches.truncate(mark);
            if has_scopes {
                self.slices.resources.pop();
            }
        }
        Ok(())
    }

    fn scope_message(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        if self.signal == Signal::Metrics {
            self.scope = self.resource;
            let mut fields = Cursor::new(message);
            while let Some(field) = fields.field()? {
                if let Some(scope) = field.message(ABOUT) {
                    self.scope = hash(scope, self.scope);
                }
            }
        }
        let offset = self.offset(message);
        let mark = self.slices.stretches.len();
        let scope = self.slices.scopes.len() as u32;
        let records = self.records;
        let mut length = 0;
        let mut fields = Cursor::new(message);
        while let Some(field) = fields.field()? {
            match field.message(WITHIN) {
                Some(record) => {
                    self.records += 1;
                    let (owner, shard) = self.owner(record)?;
                    let Stretch { start, end } = stretch(offset, &field);
                    self.slices.add_run(owner, shard, Run { scope, start, end });
                }
                None => {
                    length += field.end - field.start;
                    self.slices.add_stretch(mark, stretch(offset, &field));
                }
            }
            self.check_limits()?;
        }
        if self.records == records {
            self.slices.stretches.truncate(mark);
            return Ok(());
        }
        let resource = self.slices.resources.len() as u32 - 1;
        let group = Group::new(mark, &self.slices.stretches, length);
        self.slices.scopes.push((resource, group));
        Ok(())
    }

    #[inline]
    fn owner(&mut self, record: &'a [u8]) -> Result<(OwnerIndex, usize), Malformed> {
        match self.signal {
            Signal::Traces => {
                let id = first_or_last(record, 1)?;
                Ok(self.of_trace(id))
            }
            Signal::Logs => {
                let id = last(record, 9)?;
                if id.len() == 16 && *id != [0; 16] {
                    return Ok(self.of_trace(id));
                }
                Ok(self.owners.owner(self.signal, self.resource, self.placing))
            }
            Signal::Metrics => {
                if !self.gone.is_empty() {
                    let table = table_of(record)?;
                    let is_gone = table.is_some_and(|table| self.gone.contains(&table));
                    return Ok((if is_gone { GONE } else { LOCAL }, 0));
                }
                let key = hash(first_or_last(record, 1)?, self.scope);
                Ok(self.owners.owner(self.signal, key, self.placing))
            }
        }
    }

    #[inline]
    fn of_trace(&mut self, id: &'a [u8]) -> (OwnerIndex, usize) {
        if let Some((last, owner)) = self.last
            && last == id
        {
            return owner;
        }
        let owner = self.owners.owner(self.signal, hash(id, 0), self.placing);
        self.last = Some((id, owner));
        owner
    }

    /// Where a part of the request begins in it.
    fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr() as usize - self.body.as_ptr() as usize
    }
}

fn stretch(offset: usize, field: &Field<'_>) -> Stretch {
    // They fit: the request does.
    Stretch {
        start: (offset + field.start) as u32,
        end: (offset + field.end) as u32,
    }
}

/// The field of this number, which everybody writes first: then nothing behind it is looked at. Of
/// those who write it later the last one counts.
#[inline]
fn first_or_last(record: &[u8], number: u32) -> Result<&[u8], Malformed> {
    if let [tag, length, rest @ ..] = record
        && u32::from(*tag) == number << 3 | 2
        && *length < 0x80
        && let Some(first) = rest.get(..usize::from(*length))
    {
        return Ok(first);
    }
    last(record, number)
}

/// The table of a metric's points: of its kinds of data the last one counts; none where it has none.
fn table_of(metric: &[u8]) -> Result<Option<Table>, Malformed> {
    const KINDS: [(u32, Table); 5] = [
        (5, Table::MetricsGauge),
        (7, Table::MetricsSum),
        (9, Table::MetricsHistogram),
        (10, Table::MetricsExponentialHistogram),
        (11, Table::MetricsSummary),
    ];
    let mut found = None;
    let mut fields = Cursor::new(metric);
    while let Some(field) = fields.field()? {
        let kind = KINDS
            .into_iter()
            .find(|(number, _)| field.message(*number).is_some());
        found = kind.map(|(_, table)| table).or(found);
    }
    Ok(found)
}

/// The last field of this number; empty where there is none.
fn last(record: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut found: &[u8] = b"";
    let mut fields = Cursor::new(record);
    while let Some(field) = fields.field()? {
        found = field.message(number).unwrap_or(found);
    }
    Ok(found)
}
