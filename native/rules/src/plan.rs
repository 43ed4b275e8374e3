//! A rule as it is written to one that can be applied; what is wrong with it is told with what to write
//! instead.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use otlake_base::Table;
use otlake_base::limits::{PROCESSING_CHANGES, PROCESSING_EXPRESSION_BYTES};
use otlake_decode::schema::schema;
use otlake_query::{RowExpression, RowExpressions};

use crate::config::{Action, Redaction, RuleConfig};
use crate::redaction::Redactor;
use crate::route::Route;
use crate::rule::{Change, Edit, Effect, Rule};
use crate::target::Target;

impl Rule {
    /// Plans a rule for one of its tables.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn plan(
        config: &RuleConfig,
        table: Table,
        expressions: &RowExpressions,
    ) -> Result<Rule, String> {
        let schema = schema(table);
        let when = match &config.when {
            None => None,
            Some(sql) => {
                let when = expression(sql, &schema, expressions)
                    .map_err(|error| format!("`when`: {error}"))?;
                if when.data_type() != &DataType::Boolean {
                    return Err(format!(
                        "`when`: `{sql}` is of type {}, not boolean: compare it with something",
                        when.data_type()
                    ));
                }
                Some(when)
            }
        };
        let effect = match &config.action {
            Action::Drop => Effect::Drop,
            Action::Route(tenant) => Effect::Route(Route::new(tenant, table)?),
            Action::Redact { targets, by } => {
                let redactor = Arc::new(Redactor::new(by));
                let edits = targets
                    .iter()
                    .map(|target| redaction(target, by, &redactor, table));
                Effect::Edit(edits.collect::<Result<_, _>>()?)
            }
            Action::Rename(pairs) => {
                let edits = pairs.iter().map(|(from, to)| renaming(from, to, table));
                Effect::Edit(edits.collect::<Result<_, _>>()?)
            }
            Action::Set(pairs) => {
                let edits = pairs.iter().map(|(target, sql)| {
                    setting(target, sql, table, expressions)
                        .map_err(|error| format!("`set` of {target}: {error}"))
                });
                Effect::Edit(edits.collect::<Result<_, _>>()?)
            }
        };
        match &effect {
            Effect::Edit(edits) if edits.is_empty() => {
                Err("it changes nothing: name what it changes".into())
            }
            Effect::Edit(edits) if edits.len() > PROCESSING_CHANGES => Err(format!(
                "it changes {} columns and attributes: make several rules, of {PROCESSING_CHANGES} at \
                 most",
                edits.len()
            )),
            _ => Ok(Rule {
                table,
                when,
                effect,
            }),
        }
    }
}

fn expression(
    sql: &str,
    schema: &SchemaRef,
    expressions: &RowExpressions,
) -> Result<RowExpression, String> {
    if sql.len() > PROCESSING_EXPRESSION_BYTES {
        return Err(format!(
            "it has {} bytes: write {PROCESSING_EXPRESSION_BYTES} at most",
            sql.len()
        ));
    }
    let planned = expressions.plan(sql, schema);
    planned.map_err(|error| format!("`{sql}`: {error}"))
}

fn redaction(
    target: &str,
    by: &Redaction,
    redactor: &Arc<Redactor>,
    table: Table,
) -> Result<Edit, String> {
    let target = Target::parse(target, table)?;
    if let Target::Column {
        name,
        is_text,
        is_nullable,
        ..
    } = &target
    {
        if !is_text {
            return Err(format!(
                "`{name}` is a number, and cannot be redacted: use `set`"
            ));
        }
        if matches!(by, Redaction::Remove) && !is_nullable {
            return Err(format!(
                "`{name}` is never null, and cannot be removed: redact it with a text"
            ));
        }
    }
    let keys = match &target {
        Target::Attribute { key, .. } => Some(key.clone()),
        Target::Column { .. } => None,
    };
    let has_key = move |key: &str| keys.as_ref().is_some_and(|keys| keys.matches(key));
    let change = Change::Redact(Arc::clone(redactor));
    Ok(Edit::new(target, change, table, has_key))
}

fn renaming(from: &str, to: &str, table: Table) -> Result<Edit, String> {
    let target = Target::parse(from, table)?;
    let Target::Attribute { key, .. } = &target else {
        return Err(format!(
            "`{from}` is a column; attributes alone can be renamed, as attributes['key']"
        ));
    };
    let Some(key) = key.exact().map(str::to_owned) else {
        return Err(format!(
            "{from}: `*` cannot be renamed; name each attribute"
        ));
    };
    if to.is_empty() || to.contains('*') || to.contains('[') {
        return Err(format!(
            "{from}: `{to}` is not a key; give the new key alone, such as http.request.method"
        ));
    }
    if key == to {
        return Err(format!("{from}: has that key already"));
    }
    let change = Change::Rename {
        from: key.clone(),
        to: to.to_owned(),
    };
    Ok(Edit::new(target, change, table, |known| {
        known == key || known == to
    }))
}

fn setting(
    target: &str,
    sql: &str,
    table: Table,
    expressions: &RowExpressions,
) -> Result<Edit, String> {
    let target = Target::parse(target, table)?;
    let value = expression(sql, &schema(table), expressions)?;
    let data_type = value.data_type();
    let is_text = matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let is_integer = data_type.is_integer() && data_type != &DataType::UInt64;
    let key = match &target {
        Target::Column {
            name,
            is_text: wants_text,
            ..
        } => {
            if *wants_text && !is_text {
                return Err(format!(
                    "`{name}` is text and `{sql}` is of type {data_type}: CAST(… AS VARCHAR)"
                ));
            }
            if !wants_text && !is_integer {
                return Err(format!(
                    "`{name}` is an integer and `{sql}` is of type {data_type}: CAST(… AS BIGINT)"
                ));
            }
            String::new()
        }
        Target::Attribute { field: Some(_), .. } => {
            return Err(
                "attributes of a row's events, links and exemplars cannot be set, for an expression \
                 has one value for each row; redact or rename them"
                    .to_owned(),
            );
        }
        Target::Attribute { key, .. } => {
            let is_number = is_integer || data_type.is_floating();
            if !is_text && !is_number && data_type != &DataType::Boolean {
                return Err(format!(
                    "`{sql}` is of type {data_type}, which no attribute has: cast it to VARCHAR, BIGINT, \
                     DOUBLE or BOOLEAN"
                ));
            }
            let Some(key) = key.exact() else {
                return Err("`*` cannot be set; name each attribute".to_owned());
            };
            key.to_owned()
        }
    };
    Ok(Edit::new(target, Change::Set(value), table, |known| {
        known == key
    }))
}
