//! One rule, planned for one table.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, StringViewBuilder,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, filter_record_batch, is_not_null, nullif};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::error::ArrowError;
use otlake_base::{Code, Error, Table};
use otlake_decode::{write_double, write_int, write_text};
use otlake_query::RowExpression;

use crate::evaluate::{evaluate, evaluate_for};
use crate::follow::{Follower, followers};
use crate::object;
use crate::redaction::Redactor;
use crate::route::Route;
use crate::target::Target;
use crate::texts::{Edited, Rows, edit, edit_nested};

/// What a rule did to a batch.
pub struct Applied {
    /// The rows that are left.
    pub batch: RecordBatch,
    /// How many it dropped.
    pub dropped: u64,
    /// How many have become another tenant's.
    pub routed: u64,
    /// How many it changed.
    pub changed: u64,
    /// How many an expression failed on, and a reason.
    pub failed: Option<(u64, Error)>,
}

/// A rule for the rows of one table.
#[derive(Debug)]
pub struct Rule {
    /// The table.
    pub table: Table,
    /// The condition; none where all rows are concerned.
    pub when: Option<RowExpression>,
    /// What becomes of the rows.
    pub effect: Effect,
}

/// What becomes of rows.
#[derive(Debug)]
pub enum Effect {
    /// They are not kept.
    Drop,
    /// They are another tenant's.
    Route(Route),
    /// They are changed.
    Edit(Vec<Edit>),
}

/// A change to one column, or to attributes.
#[derive(Debug)]
pub struct Edit {
    target: Target,
    change: Change,
    followers: Vec<Follower>,
}

/// What the change is.
#[derive(Debug)]
pub enum Change {
    Redact(Arc<Redactor>),
    Rename { from: String, to: String },
    Set(RowExpression),
}

impl Rule {
    /// Applies the rule.
    ///
    /// # Errors
    /// Arrow's: then nothing has changed.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Applied, ArrowError> {
        let mut failed = Failed::default();
        let mut rows = match &self.when {
            None => BooleanBuffer::new_set(batch.num_rows()),
            Some(when) => {
                let decided = evaluate(when, batch)?;
                failed.add(decided.failed);
                let decided = decided.values.as_boolean();
                match decided.nulls() {
                    Some(nulls) => decided.values() & nulls.inner(),
                    None => decided.values().clone(),
                }
            }
        };
        let mut applied = Applied {
            batch: batch.clone(),
            dropped: 0,
            routed: 0,
            changed: 0,
            failed: None,
        };
        if rows.count_set_bits() > 0 {
            match &self.effect {
                Effect::Drop => {
                    applied.dropped = rows.count_set_bits() as u64;
                    let kept = BooleanArray::new(!&rows, None);
                    applied.batch = filter_record_batch(batch, &kept)?;
                }
                Effect::Route(route) => {
                    (applied.batch, applied.routed) = route.apply(batch, &rows)?;
                }
                Effect::Edit(edits) => {
                    let values = self.values(edits, batch, &rows, &mut failed)?;
                    if let Some((failed, _)) = &failed.0 {
                        // A rule is whole or not at all.
                        rows = &rows & &!failed;
                    }
                    (applied.batch, applied.changed) = self.edit(edits, batch, &rows, &values)?;
                }
            }
        }
        applied.failed = failed
            .0
            .map(|(rows, error)| (rows.count_set_bits() as u64, error));
        Ok(applied)
    }

    /// The values of what is set, as they stand before anything is.
    fn values(
        &self,
        edits: &[Edit],
        batch: &RecordBatch,
        rows: &Rows,
        failed: &mut Failed,
    ) -> Result<Vec<Option<ArrayRef>>, ArrowError> {
        let mut all = Vec::with_capacity(edits.len());
        for edit in edits {
            let Change::Set(expression) = &edit.change else {
                all.push(None);
                continue;
            };
            let evaluated = evaluate_for(expression, batch, rows)?;
            failed.add(evaluated.failed);
            let values = match &edit.target {
                Target::Attribute { .. } => Arc::new(json(&evaluated.values)?),
                Target::Column { at, .. } => {
                    let data_type = batch.column(*at).data_type();
                    let values = cast(&evaluated.values, data_type)?;
                    let is_lost = |row: usize| {
                        rows.value(row) && values.is_null(row) && evaluated.values.is_valid(row)
                    };
                    let lost = BooleanBuffer::collect_bool(values.len(), is_lost);
                    if lost.count_set_bits() > 0 {
                        let what = format!("a number is too large for {data_type}");
                        let error = Error::new(Code::QueryInvalid, what);
                        failed.add(Some((lost, error)));
                    }
                    values
                }
            };
            all.push(Some(values));
        }
        Ok(all)
    }

    fn edit(
        &self,
        edits: &[Edit],
        batch: &RecordBatch,
        rows: &Rows,
        values: &[Option<ArrayRef>],
    ) -> Result<(RecordBatch, u64), ArrowError> {
        let mut columns = batch.columns().to_vec();
        let mut changed = BooleanBuffer::new_unset(batch.num_rows());
        // What follows is made once, however many changes it follows.
        let mut following: Vec<(&Follower, Rows)> = Vec::new();
        for (edit, values) in edits.iter().zip(values) {
            let Some((at, edited)) = edit.apply(&columns, rows, values.as_ref())? else {
                continue;
            };
            columns[at] = edited.column;
            changed = &changed | &edited.rows;
            for follower in &edit.followers {
                match following.iter_mut().find(|(known, _)| *known == follower) {
                    Some((_, rows)) => *rows = &*rows | &edited.rows,
                    None => following.push((follower, edited.rows.clone())),
                }
            }
        }
        for (follower, rows) in following {
            follower.follow(self.table, &mut columns, &rows)?;
        }
        let changed = changed.count_set_bits() as u64;
        Ok((RecordBatch::try_new(batch.schema(), columns)?, changed))
    }
}

impl Edit {
    /// The change, with what follows it; `has_key` tells which keys of attributes it can take away or
    /// bring.
    pub fn new(
        target: Target,
        change: Change,
        table: Table,
        has_key: impl Fn(&str) -> bool,
    ) -> Edit {
        let followers = followers(table, &target, has_key);
        Edit {
            target,
            change,
            followers,
        }
    }

    /// The column that it changes, by its number; none where nothing changes.
    fn apply(
        &self,
        columns: &[ArrayRef],
        rows: &Rows,
        values: Option<&ArrayRef>,
    ) -> Result<Option<(usize, Edited)>, ArrowError> {
        let (at, edited) = match (&self.target, &self.change) {
            (Target::Column { at, .. }, Change::Redact(by)) => {
                (*at, redact_column(&columns[*at], rows, by)?)
            }
            (
                Target::Column {
                    at,
                    is_text,
                    is_nullable,
                    ..
                },
                Change::Set(_),
            ) => {
                let empty_is_null = *is_text && *is_nullable;
                let edited =
                    values.map(|values| set_column(&columns[*at], rows, values, empty_is_null));
                (*at, edited.transpose()?)
            }
            (Target::Attribute { at, field, key, .. }, change) => {
                let change = |json: &str, value: &str, out: &mut Vec<u8>| match change {
                    Change::Redact(by) => object::redact(json, key, by, out),
                    Change::Rename { from, to } => object::rename(json, from, to, out),
                    Change::Set(_) => {
                        object::set(json, key.exact().unwrap_or_default(), value, out)
                    }
                };
                let edited = match field {
                    Some(field) => edit_nested(columns[*at].as_list(), field, rows, change)?,
                    None => {
                        let values = values.map(|values| values.as_string_view());
                        edit(columns[*at].as_string_view(), rows, values, change)?
                    }
                };
                (*at, edited)
            }
            (Target::Column { .. }, Change::Rename { .. }) => return Ok(None),
        };
        Ok(edited.map(|edited| (at, edited)))
    }
}

fn redact_column(
    column: &ArrayRef,
    rows: &Rows,
    by: &Redactor,
) -> Result<Option<Edited>, ArrowError> {
    if matches!(by, Redactor::Remove) {
        let rows = rows & is_not_null(column)?.values();
        let column = nullif(column, &BooleanArray::new(rows.clone(), None))?;
        return Ok((rows.count_set_bits() > 0).then_some(Edited { column, rows }));
    }
    edit(column.as_string_view(), rows, None, |text, _, out| {
        by.text(text).is_some_and(|text| {
            out.extend_from_slice(text.as_bytes());
            true
        })
    })
}

fn set_column(
    column: &ArrayRef,
    rows: &Rows,
    values: &ArrayRef,
    empty_is_null: bool,
) -> Result<Edited, ArrowError> {
    let rows = rows & is_not_null(values)?.values();
    let values = match empty_is_null {
        true => {
            let texts = values.as_string_view();
            let empty = |row: usize| texts.is_valid(row) && texts.value(row).is_empty();
            let empty = BooleanBuffer::collect_bool(values.len(), empty);
            nullif(values, &BooleanArray::new(empty, None))?
        }
        false => Arc::clone(values),
    };
    let column = zip(&BooleanArray::new(rows.clone(), None), &values, column)?;
    Ok(Edited { column, rows })
}

/// Rows that expressions failed on, with the first reason.
#[derive(Default)]
struct Failed(Option<(Rows, Error)>);

impl Failed {
    fn add(&mut self, more: Option<(Rows, Error)>) {
        self.0 = match (self.0.take(), more) {
            (Some((rows, error)), Some((more, _))) => Some((&rows | &more, error)),
            (failed, more) => failed.or(more),
        };
    }
}

/// Values as the JSON text of attributes.
fn json(values: &ArrayRef) -> Result<StringViewArray, ArrowError> {
    let mut texts = StringViewBuilder::with_capacity(values.len());
    let mut out = Vec::new();
    let mut each = |is_valid: bool, write: &dyn Fn(&mut Vec<u8>)| match is_valid {
        false => texts.append_null(),
        true => {
            out.clear();
            write(&mut out);
            texts.append_value(String::from_utf8_lossy(&out));
        }
    };
    match values.data_type() {
        DataType::Boolean => {
            let values = values.as_boolean();
            for row in 0..values.len() {
                let text: &[u8] = match values.value(row) {
                    true => b"true",
                    false => b"false",
                };
                each(values.is_valid(row), &|out| out.extend_from_slice(text));
            }
        }
        data_type if data_type.is_integer() => {
            let values = cast(values, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            for row in 0..values.len() {
                each(values.is_valid(row), &|out| {
                    write_int(values.value(row), out)
                });
            }
        }
        data_type if data_type.is_floating() => {
            let values = cast(values, &DataType::Float64)?;
            let values = values.as_primitive::<Float64Type>();
            for row in 0..values.len() {
                each(values.is_valid(row), &|out| {
                    write_double(values.value(row), out)
                });
            }
        }
        _ => {
            let values = cast(values, &DataType::Utf8View)?;
            let values = values.as_string_view();
            for row in 0..values.len() {
                each(values.is_valid(row), &|out| {
                    write_text(values.value(row), out)
                });
            }
        }
    }
    Ok(texts.finish())
}
