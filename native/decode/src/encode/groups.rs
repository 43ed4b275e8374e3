//! Resource, scope and metric groups: found by their key, written once, put together at the end.

use std::collections::HashMap;
use std::hash::Hash;

use arrow::array::{Int64Array, RecordBatch};
use otlake_base::Result;

use super::attributes::write_attributes;
use super::columns::{Columns, Texts};
use super::corrupt;
use super::wire_writer::{LENGTH, WireWriter, varint_len};
use crate::json::read_repeated;
use crate::json::table::ENTITY_REFS;

/// What makes two rows' resource the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ResourceKey<'a> {
    attributes: &'a str,
    dropped: i64,
    entity_refs: &'a str,
    schema_url: &'a str,
}

/// What makes two rows' scope the same, within a resource.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ScopeKey<'a> {
    name: &'a str,
    version: &'a str,
    attributes: &'a str,
    dropped: i64,
    schema_url: &'a str,
}

/// A message under way: fields that come first, the children's, and fields that come last.
#[derive(Default)]
struct Group {
    head: Vec<u8>,
    records: WireWriter,
    tail: Vec<u8>,
}

#[derive(Default)]
struct Resource {
    group: Group,
    scopes: Vec<usize>,
}

#[derive(Default)]
struct Scope {
    group: Group,
    metrics: Vec<usize>,
}

/// Owned keys outlive the batch that they were first seen in.
type OwnedKey = Vec<u8>;

/// Every group of the message.
#[derive(Default)]
pub(super) struct Groups {
    resources: Vec<Resource>,
    scopes: Vec<Scope>,
    metrics: Vec<Metric>,
    by_resource: HashMap<OwnedKey, usize>,
    by_scope: HashMap<(usize, OwnedKey), usize>,
    by_metric: HashMap<(usize, OwnedKey), usize>,
}

/// A metric under way; its data message holds the points.
pub(super) struct Metric {
    head: Vec<u8>,
    /// The field of `Metric.data` that this kind of metric is.
    data: u32,
    points: WireWriter,
    /// The data message's fields beside the points.
    data_tail: Vec<u8>,
    tail: Vec<u8>,
}

/// The origin columns of a batch.
pub(super) struct Origin {
    resource_attributes: Texts,
    resource_dropped: Int64Array,
    entity_refs: Texts,
    resource_schema_url: Texts,
    scope_name: Texts,
    scope_version: Texts,
    scope_attributes: Texts,
    scope_dropped: Int64Array,
    scope_schema_url: Texts,
}

impl Origin {
    pub(super) fn of(batch: &RecordBatch) -> Result<Origin> {
        let columns = Columns::of(batch);
        Ok(Origin {
            resource_attributes: columns.texts("resource_attributes")?,
            resource_dropped: columns.longs("resource_dropped_attributes_count")?,
            entity_refs: columns.texts("resource_entity_refs")?,
            resource_schema_url: columns.texts("resource_schema_url")?,
            scope_name: columns.texts("scope_name")?,
            scope_version: columns.texts("scope_version")?,
            scope_attributes: columns.texts("scope_attributes")?,
            scope_dropped: columns.longs("scope_dropped_attributes_count")?,
            scope_schema_url: columns.texts("scope_schema_url")?,
        })
    }

    fn resource(&self, row: usize) -> ResourceKey<'_> {
        ResourceKey {
            attributes: self.resource_attributes.value(row),
            dropped: self.resource_dropped.value(row),
            entity_refs: self.entity_refs.value(row),
            schema_url: self.resource_schema_url.value(row),
        }
    }

    fn scope(&self, row: usize) -> ScopeKey<'_> {
        ScopeKey {
            name: self.scope_name.value(row),
            version: self.scope_version.value(row),
            attributes: self.scope_attributes.value(row),
            dropped: self.scope_dropped.value(row),
            schema_url: self.scope_schema_url.value(row),
        }
    }
}

/// Parts of a key behind their lengths, so that different parts never make the same key.
pub(super) fn owned_key(texts: &[&str], numbers: &[i64]) -> OwnedKey {
    let mut key = Vec::with_capacity(texts.iter().map(|text| text.len() + 8).sum());
    for text in texts {
        key.extend_from_slice(&(text.len() as u64).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    for number in numbers {
        key.extend_from_slice(&number.to_le_bytes());
    }
    key
}

/// The scope of each row of a batch: rows next to each other mostly share it, which is seen by
/// comparing the two rows, without a key.
pub(super) struct ScopeCursor<'a> {
    origin: &'a Origin,
    last: Option<(ResourceKey<'a>, usize, ScopeKey<'a>, usize)>,
}

impl<'a> ScopeCursor<'a> {
    pub(super) fn new(origin: &'a Origin) -> Self {
        Self { origin, last: None }
    }

    /// The index of the row's scope among `groups`.
    pub(super) fn scope(&mut self, row: usize, groups: &mut Groups) -> Result<usize> {
        let resource_key = self.origin.resource(row);
        let scope_key = self.origin.scope(row);
        let known = self.last.as_ref().filter(|last| last.0 == resource_key);
        if let Some((.., scope)) = known.filter(|last| last.2 == scope_key) {
            return Ok(*scope);
        }
        let resource = match known {
            Some((_, resource, ..)) => *resource,
            None => groups.resource(&resource_key)?,
        };
        let scope = groups.scope(resource, &scope_key)?;
        self.last = Some((resource_key, resource, scope_key, scope));
        Ok(scope)
    }
}

impl Groups {
    fn resource(&mut self, key: &ResourceKey<'_>) -> Result<usize> {
        let owned = owned_key(
            &[key.attributes, key.entity_refs, key.schema_url],
            &[key.dropped],
        );
        if let Some(index) = self.by_resource.get(&owned) {
            return Ok(*index);
        }
        let mut content = WireWriter::default();
        write_attributes(key.attributes, 1, &mut content)
            .map_err(|fault| corrupt("resource_attributes", fault))?;
        content.varint_unless_zero(2, key.dropped as u64);
        if !key.entity_refs.is_empty() {
            read_repeated(&ENTITY_REFS, key.entity_refs, &mut content)
                .map_err(|fault| corrupt("resource_entity_refs", fault))?;
        }
        let mut resource = Resource::default();
        resource.group.head = field_unless_empty(1, &content.bytes);
        resource.group.tail = field_unless_empty(3, key.schema_url.as_bytes());
        self.resources.push(resource);
        self.by_resource.insert(owned, self.resources.len() - 1);
        Ok(self.resources.len() - 1)
    }

    fn scope(&mut self, resource: usize, key: &ScopeKey<'_>) -> Result<usize> {
        let texts = [key.name, key.version, key.attributes, key.schema_url];
        let owned = (resource, owned_key(&texts, &[key.dropped]));
        if let Some(index) = self.by_scope.get(&owned) {
            return Ok(*index);
        }
        let mut content = WireWriter::default();
        content.bytes_unless_empty(1, key.name.as_bytes());
        content.bytes_unless_empty(2, key.version.as_bytes());
        write_attributes(key.attributes, 3, &mut content)
            .map_err(|fault| corrupt("scope_attributes", fault))?;
        content.varint_unless_zero(4, key.dropped as u64);
        let mut scope = Scope::default();
        scope.group.head = field_unless_empty(1, &content.bytes);
        scope.group.tail = field_unless_empty(3, key.schema_url.as_bytes());
        self.scopes.push(scope);
        let index = self.scopes.len() - 1;
        self.resources[resource].scopes.push(index);
        self.by_scope.insert(owned, index);
        Ok(index)
    }

    /// Where a scope's spans or log records are written.
    pub(super) fn records(&mut self, scope: usize) -> &mut WireWriter {
        &mut self.scopes[scope].group.records
    }

    /// The metric of a scope with this key; `make` gives its fields when it is new.
    pub(super) fn metric(
        &mut self,
        scope: usize,
        key: OwnedKey,
        make: impl FnOnce() -> Result<Metric>,
    ) -> Result<usize> {
        let key = (scope, key);
        if let Some(index) = self.by_metric.get(&key) {
            return Ok(*index);
        }
        self.metrics.push(make()?);
        let index = self.metrics.len() - 1;
        self.scopes[scope].metrics.push(index);
        self.by_metric.insert(key, index);
        Ok(index)
    }

    /// Where a metric's data points are written.
    pub(super) fn points(&mut self, metric: usize) -> &mut WireWriter {
        &mut self.metrics[metric].points
    }

    /// The whole message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for scope in &mut self.scopes {
            for metric in &scope.metrics {
                let metric = self.metrics[*metric].take_bytes();
                scope.group.records.bytes_field(2, &metric);
            }
        }
        let mut message = WireWriter::default();
        for resource in &self.resources {
            let scopes = resource
                .scopes
                .iter()
                .map(|scope| &self.scopes[*scope].group);
            let content: usize = scopes.clone().map(|scope| field_len(scope.len())).sum();
            message.tag(1, LENGTH);
            message.varint((resource.group.len() + content) as u64);
            message.bytes.extend_from_slice(&resource.group.head);
            for scope in scopes {
                message.tag(2, LENGTH);
                message.varint(scope.len() as u64);
                message.bytes.extend_from_slice(&scope.head);
                message.bytes.extend_from_slice(&scope.records.bytes);
                message.bytes.extend_from_slice(&scope.tail);
            }
            message.bytes.extend_from_slice(&resource.group.tail);
        }
        message.bytes
    }
}

impl Group {
    fn len(&self) -> usize {
        self.head.len() + self.records.bytes.len() + self.tail.len()
    }
}

impl Metric {
    /// A metric whose fields before and after `data` are given, and those of the data message
    /// beside its points.
    pub(super) fn new(head: Vec<u8>, data: u32, data_tail: Vec<u8>, tail: Vec<u8>) -> Metric {
        Metric {
            head,
            data,
            points: WireWriter::default(),
            data_tail,
            tail,
        }
    }

    /// The metric's content, which leaves it empty.
    fn take_bytes(&mut self) -> Vec<u8> {
        let mut message = WireWriter {
            bytes: std::mem::take(&mut self.head),
        };
        message.tag(self.data, LENGTH);
        message.varint((self.points.bytes.len() + self.data_tail.len()) as u64);
        message.bytes.append(&mut self.points.bytes);
        message.bytes.append(&mut self.data_tail);
        message.bytes.append(&mut self.tail);
        message.bytes
    }
}

/// The bytes of a length-delimited field with a number below 16.
fn field_len(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

fn field_unless_empty(number: u32, content: &[u8]) -> Vec<u8> {
    let mut wire = WireWriter::default();
    wire.bytes_unless_empty(number, content);
    wire.bytes
}
