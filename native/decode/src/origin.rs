//! Who sent a record: resource and scope, encoded once for all the rows below them.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{Date32Type, Int64Type};

use crate::any_value::Any;
use crate::attributes;
use crate::columns::Numbers;
use crate::json_text;
use crate::series::Unordered;
use crate::texts::{Arena, NULL, same_texts, texts};
use crate::wire::{Reader, Wire};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// What the rows of one scope have in common, as views into the batch's arena.
#[derive(Clone, Copy, Default)]
pub struct Origin {
    service_name: u128,
    resource_attributes: u128,
    resource_dropped: i64,
    entity_refs: u128,
    resource_schema_url: u128,
    scope_name: u128,
    scope_version: u128,
    scope_attributes: u128,
    scope_dropped: i64,
    scope_schema_url: u128,
    /// A hash of the resource's attributes, for series.
    pub resource_hash: u64,
    /// A hash of the scope, for series.
    pub scope_hash: u64,
}

impl Origin {
    /// From the `Resource` messages of one group: more than one merge, as protobuf says.
    pub fn resource<'a>(
        parent: &Reader<'a>,
        resources: &[&'a [u8]],
        schema_url: &str,
        arena: &mut Arena,
    ) -> Wire<Origin> {
        let (mut entries, mut entity_refs, mut dropped) = (Vec::new(), Vec::new(), 0);
        for resource in resources {
            let mut resource = parent.within(resource);
            while let Some((number, field)) = resource.field()? {
                match number {
                    1 => resource.keep(&mut entries, resource.bytes(field)?)?,
                    2 => dropped = resource.uint32(field)?,
                    3 => resource.keep(&mut entity_refs, resource.message(field)?)?,
                    _ => {}
                }
            }
        }
        let start = arena.0.len();
        let (mut hash, mut service_name) = (Unordered::default(), None);
        let each = |key, value: Any<'a>, out: &[u8], at: usize| {
            hash.add(&out[at..]);
            if let ("service.name", Any::Text(name), None) = (key, value, service_name) {
                service_name = Some(name.text);
            }
        };
        let cut = attributes::write_object_with(*parent, &entries, &mut arena.0, each)?;
        let resource_attributes = arena.view_from(start);
        Ok(Origin {
            service_name: service_name.map_or(NULL, |name| arena.text(name)),
            resource_attributes,
            resource_dropped: attributes::dropped(dropped, cut),
            entity_refs: write_entity_refs(&entity_refs, arena)?,
            resource_schema_url: arena.optional(schema_url),
            scope_name: NULL,
            scope_version: NULL,
            scope_attributes: NULL,
            scope_dropped: 0,
            scope_schema_url: NULL,
            resource_hash: hash.value(),
            scope_hash: 0,
        })
    }

    /// The same resource with the scope of one group.
    pub fn with_scope<'a>(
        mut self,
        parent: &Reader<'a>,
        scopes: &[&'a [u8]],
        schema_url: &str,
        arena: &mut Arena,
    ) -> Wire<Origin> {
        let (mut name, mut version, mut entries) = ("", "", Vec::new());
        for scope in scopes {
            let mut scope = parent.within(scope);
            while let Some((number, field)) = scope.field()? {
                match number {
                    1 => name = scope.text(field)?,
                    2 => version = scope.text(field)?,
                    3 => scope.keep(&mut entries, scope.bytes(field)?)?,
                    4 => self.scope_dropped = scope.uint32(field)?,
                    _ => {}
                }
            }
        }
        let start = arena.0.len();
        let mut hash = Unordered::default();
        let each = |_, _: Any<'a>, out: &[u8], at: usize| hash.add(&out[at..]);
        let cut = attributes::write_object_with(*parent, &entries, &mut arena.0, each)?;
        self.scope_dropped = attributes::dropped(self.scope_dropped, cut);
        self.scope_attributes = arena.view_from(start);
        self.scope_name = arena.optional(name);
        self.scope_version = arena.optional(version);
        self.scope_schema_url = arena.optional(schema_url);
        hash.add_scope(name, version);
        self.scope_hash = hash.value();
        Ok(self)
    }
}

/// As OTLP/JSON writes `Resource.entity_refs`; null where there are none.
fn write_entity_refs(entity_refs: &[Reader<'_>], arena: &mut Arena) -> Wire<u128> {
    if entity_refs.is_empty() {
        return Ok(NULL);
    }
    let start = arena.0.len();
    for (index, entity_ref) in entity_refs.iter().enumerate() {
        let mut entity_ref = *entity_ref;
        let (mut schema_url, mut kind) = ("", "");
        let (mut id_keys, mut description_keys) = (Vec::new(), Vec::new());
        while let Some((number, field)) = entity_ref.field()? {
            match number {
                1 => schema_url = entity_ref.text(field)?,
                2 => kind = entity_ref.text(field)?,
                3 => entity_ref.keep(&mut id_keys, entity_ref.text(field)?)?,
                4 => entity_ref.keep(&mut description_keys, entity_ref.text(field)?)?,
                _ => {}
            }
        }
        arena.0.push(if index == 0 { b'[' } else { b',' });
        let out = &mut arena.0;
        out.extend_from_slice(b"{\"schemaUrl\":");
        json_text::write_text(schema_url, out);
        out.extend_from_slice(b",\"type\":");
        json_text::write_text(kind, out);
        for (name, keys) in [
            (&b",\"idKeys\":["[..], &id_keys),
            (&b",\"descriptionKeys\":["[..], &description_keys),
        ] {
            out.extend_from_slice(name);
            for (index, key) in keys.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json_text::write_text(key, out);
            }
            out.push(b']');
        }
        out.push(b'}');
    }
    arena.0.push(b']');
    Ok(arena.view_from(start))
}

/// The columns that every table ends with, as runs of rows with one origin.
#[derive(Default)]
pub struct OriginColumns(Vec<(Origin, usize)>);

impl OriginColumns {
    /// The next `rows` rows have this origin.
    pub fn push(&mut self, origin: Origin, rows: usize) {
        if rows > 0 {
            self.0.push((origin, rows));
        }
    }

    /// The columns in the schema's order, `tenant` and `day` included; `times` gives the day.
    pub fn finish(&self, tenant: u128, times: &[i64], arena: &Buffer, columns: &mut Vec<ArrayRef>) {
        let rows = times.len();
        let text = |of: fn(&Origin) -> u128| {
            if let [(first, _), others @ ..] = &self.0[..]
                && others.iter().all(|(origin, _)| of(origin) == of(first))
            {
                return same_texts(of(first), rows, arena);
            }
            let mut views = Vec::with_capacity(rows);
            for (origin, rows) in &self.0 {
                views.resize(views.len() + rows, of(origin));
            }
            texts(views, arena)
        };
        let long = |of: fn(&Origin) -> i64| {
            let mut values = Numbers::default();
            for (origin, rows) in &self.0 {
                values.repeat(of(origin), *rows);
            }
            values.finish::<Int64Type>()
        };
        let days: Vec<i32> = times
            .iter()
            .map(|time| time.div_euclid(NANOS_PER_DAY) as i32)
            .collect();
        columns.extend([
            text(|origin| origin.service_name),
            text(|origin| origin.resource_attributes),
            long(|origin| origin.resource_dropped),
            text(|origin| origin.entity_refs),
            text(|origin| origin.resource_schema_url),
            text(|origin| origin.scope_name),
            text(|origin| origin.scope_version),
            text(|origin| origin.scope_attributes),
            long(|origin| origin.scope_dropped),
            text(|origin| origin.scope_schema_url),
            same_texts(tenant, rows, arena),
            Arc::new(PrimitiveArray::<Date32Type>::new(
                ScalarBuffer::<i32>::from(days),
                None,
            )),
        ]);
    }
}
