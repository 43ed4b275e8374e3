//! Columns that say what attributes say, and ids of series, where these have changed.

use std::ptr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::nullif;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use otlake_base::Table;
use otlake_decode::schema::{SPAN_STATUS_COLUMN, SPAN_TEXT_COLUMNS, schema};
use otlake_decode::series::{Unordered, name_hash, series_id};
use otlake_query::attribute;

use crate::object::members;
use crate::target::{ATTRIBUTES, RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES, Target};
use crate::texts::{Rows, replace};

/// The resource attribute that `service_name` says.
const SERVICE_NAME: [&str; 1] = ["service.name"];

/// A column to make anew where another changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follower {
    /// The column with this number has the first text among these attributes of another.
    Text {
        at: usize,
        of: usize,
        keys: &'static [&'static str],
    },
    /// Likewise, the first integer.
    Integer {
        at: usize,
        of: usize,
        keys: &'static [&'static str],
    },
    /// The column is null: the text of another is all there is now.
    Null { at: usize },
    /// The column is the id of a series.
    Series { at: usize },
}

/// What follows a change; `has_key` tells which keys of attributes it can take away or bring.
pub fn followers(table: Table, target: &Target, has_key: impl Fn(&str) -> bool) -> Vec<Follower> {
    let schema = schema(table);
    let at = |name: &str| schema.column_with_name(name).map(|(at, _)| at);
    let concerned = |keys: &[&str]| keys.iter().any(|key| has_key(key));
    let mut followers = Vec::new();
    match target {
        Target::Column { name, .. } if name == "body" => {
            followers.extend(at("body_value").map(|at| Follower::Null { at }));
        }
        Target::Attribute {
            at: of,
            column,
            field: None,
            ..
        } => match &**column {
            ATTRIBUTES if table == Table::Spans => {
                for (name, keys) in SPAN_TEXT_COLUMNS {
                    let of = *of;
                    let text = at(name).map(|at| Follower::Text { at, of, keys });
                    followers.extend(text.filter(|_| concerned(keys)));
                }
                let (name, keys) = SPAN_STATUS_COLUMN;
                let of = *of;
                let integer = at(name).map(|at| Follower::Integer { at, of, keys });
                followers.extend(integer.filter(|_| concerned(keys)));
            }
            RESOURCE_ATTRIBUTES => {
                let (of, keys) = (*of, &SERVICE_NAME[..]);
                let text = at("service_name").map(|at| Follower::Text { at, of, keys });
                followers.extend(text.filter(|_| concerned(keys)));
            }
            _ => {}
        },
        _ => {}
    }
    if target.names_series() {
        followers.extend(at("series_id").map(|at| Follower::Series { at }));
    }
    followers
}

impl Follower {
    /// Makes the column anew where these rows changed.
    ///
    /// # Errors
    /// Arrow's.
    pub fn follow(
        &self,
        table: Table,
        columns: &mut [ArrayRef],
        rows: &Rows,
    ) -> Result<(), ArrowError> {
        let (at, column): (usize, ArrayRef) = match self {
            Follower::Text { at, of, keys } => {
                let first = |json: &str, out: &mut Vec<u8>| {
                    let mut texts = members(json)
                        .filter(|(key, _, value)| keys.contains(&&**key) && value.starts_with('"'));
                    let text = texts
                        .next()
                        .and_then(|(_, _, value)| attribute::text(value));
                    text.is_some_and(|text| {
                        out.extend_from_slice(text.as_bytes());
                        true
                    })
                };
                let (column, of) = (columns[*at].as_string_view(), columns[*of].as_string_view());
                (*at, replace(column, rows, of, first)?)
            }
            Follower::Integer { at, of, keys } => {
                let first = |json: &str| {
                    let values = members(json).filter(|(key, ..)| keys.contains(&&**key));
                    values
                        .filter_map(|(_, _, value)| attribute::int(value))
                        .next()
                };
                let (column, of) = (&columns[*at], columns[*of].as_string_view());
                let column = column.as_primitive::<Int64Type>();
                let value = |row: usize| match rows.value(row) {
                    true => first(of.value(row)),
                    false => column.is_valid(row).then(|| column.value(row)),
                };
                let column: Int64Array = (0..column.len()).map(value).collect();
                (*at, Arc::new(column))
            }
            Follower::Null { at } => {
                let rows = arrow::array::BooleanArray::new(rows.clone(), None);
                (*at, nullif(&columns[*at], &rows)?)
            }
            Follower::Series { at } => (*at, Arc::new(series(table, columns, *at, rows)?)),
        };
        columns[at] = column;
        Ok(())
    }
}

/// The ids of series, anew for these rows.
fn series(
    table: Table,
    columns: &[ArrayRef],
    at: usize,
    rows: &BooleanBuffer,
) -> Result<Int64Array, ArrowError> {
    let schema = schema(table);
    let texts = |name: &str| schema.index_of(name).map(|at| columns[at].as_string_view());
    let (name, attributes) = (texts("name")?, texts(ATTRIBUTES)?);
    let (scope_name, scope_version) = (texts("scope_name")?, texts("scope_version")?);
    let mut resource = Hashes::new(texts(RESOURCE_ATTRIBUTES)?);
    let mut scope = Hashes::new(texts(SCOPE_ATTRIBUTES)?);
    let mut attributes = Hashes::new(attributes);
    let mut ids = columns[at].as_primitive::<Int64Type>().values().to_vec();
    let text = |column: &'_ StringViewArray, row: usize| match column.is_valid(row) {
        true => column.value(row).to_owned(),
        false => String::new(),
    };
    for row in rows.set_indices() {
        let mut scope = scope.of(row);
        scope.add_scope(&text(scope_name, row), &text(scope_version, row));
        ids[row] = series_id(
            name_hash(name.value(row)),
            resource.of(row).value(),
            scope.value(),
            attributes.of(row).value(),
        );
    }
    Ok(Int64Array::from(ids))
}

/// Hashes of a column of attributes; rows of one text share one.
struct Hashes<'a> {
    column: &'a StringViewArray,
    last: Option<(&'a str, Unordered)>,
}

impl<'a> Hashes<'a> {
    fn new(column: &'a StringViewArray) -> Hashes<'a> {
        Hashes { column, last: None }
    }

    fn of(&mut self, row: usize) -> Unordered {
        let json = self.column.value(row);
        match self.last {
            Some((seen, hash)) if ptr::eq(seen, json) => hash,
            _ => {
                let mut hash = Unordered::default();
                members(json).for_each(|(_, member, _)| hash.add(member.as_bytes()));
                self.last = Some((json, hash));
                hash
            }
        }
    }
}
