//! Which attributes there are, and which values one has, as `tempopb.SearchTagsV2Response` and
//! `SearchTagValuesV2Response`. The newest spans are asked first, and no older ones once there are as
//! many as are wanted.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use datafusion::logical_expr::{Expr, utils::disjunction};
use otlake_base::Result;
use otlake_base::limits::TRACEQL_TAGS;
use otlake_query::QueryEngine;
use serde_json::{Value as Json, json};

use crate::Answer;
use crate::chunk::named;
use crate::columns::columns_of;
use crate::expression::{Shown, values};
use crate::functions::{Function, keys};
use crate::invalid;
use crate::json::{any_value, plain, written};
use crate::pipeline::Pipeline;
use crate::request::{TagValuesRequest, TagsRequest, parse, within};
use crate::spans::{Part, Spans, WHOLE, column, fail, of_part};
use crate::tree::{Expression, Intrinsic, KINDS, Query, STATUSES};

/// What these are counted as.
const KIND: &str = "traceql_tags";

/// What every span has, as Tempo names it.
const INTRINSICS: [&str; 20] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:kind",
    "span:name",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

/// Where attributes are: the scope, the column, and what gives its keys.
const SCOPES: [(&str, &str, Function); 5] = [
    ("resource", "resource_attributes", Function::Keys),
    ("span", "attributes", Function::Keys),
    ("event", "events", Function::PartKeys),
    ("link", "links", Function::PartKeys),
    ("instrumentation", "scope_attributes", Function::Keys),
];

/// The keys of attributes by scope. `request` is `TraceqlScope & { scope, query, limit }` as JSON.
///
/// # Errors
/// `TRACEQL_REQUEST`, `TRACEQL_TYPE`, `TRACEQL_REGEX`, and those of queries.
pub async fn tags(engine: &QueryEngine, request: &str) -> Result<Answer> {
    let request: TagsRequest = parse(request)?;
    let limit = within(request.limit, TRACEQL_TAGS, "tags")?;
    let wanted = match request.scope.as_deref() {
        None | Some("" | "none") => None,
        Some(scope) => Some(scope),
    };
    let is_known =
        |scope: &str| scope == "intrinsic" || SCOPES.iter().any(|(name, ..)| *name == scope);
    if let Some(scope) = wanted.filter(|scope| !is_known(scope)) {
        return Err(invalid(format!(
            "`{scope}` is not a scope: resource, span, event, link, instrumentation or intrinsic"
        )));
    }
    let is_wanted = |scope: &str| wanted.is_none_or(|wanted| wanted == scope);
    let scopes: Vec<_> = SCOPES
        .into_iter()
        .filter(|(scope, ..)| is_wanted(scope))
        .collect();
    let filter = filter(request.query.as_ref())?;
    let times = request.scoped.times()?;
    let columns = scopes.iter().map(|(_, column, _)| (*column).to_owned());
    let columns = columns.chain(always(filter.as_ref()));
    let read = request.scoped.read(KIND, times, columns)?;
    let result = engine
        .read(read, |reading| async move {
            let read = Arc::clone(&reading);
            let spans = Spans::new(reading, times);
            let mut answers = Vec::new();
            let count = scopes.len() as f64;
            for (number, (scope, of, function)) in scopes.into_iter().enumerate() {
                let number = number as f64;
                let part = (number / count, (number + 1.0) / count);
                let keys_of = function.of(vec![column(of)]);
                let found = distinct(
                    (&spans, part),
                    filter.clone(),
                    keys_of,
                    limit,
                    |column, row, found| {
                        found.extend(keys(column.as_string_view().value(row)));
                    },
                );
                let tags: Vec<String> = found.await?.into_iter().take(limit).collect();
                if !tags.is_empty() {
                    answers.push(json!({ "name": scope, "tags": tags }));
                }
            }
            if is_wanted("intrinsic") {
                answers.push(json!({ "name": "intrinsic", "tags": INTRINSICS }));
            }
            let answer = json!({ "scopes": answers, "metrics": {} });
            written(&answer, || read.in_time())
        })
        .await?;
    Ok(Answer::of(result))
}

/// The values of an attribute or an intrinsic. `request` is `TraceqlScope & { tag, query, limit }` as
/// JSON.
///
/// # Errors
/// `TRACEQL_REQUEST`, `TRACEQL_TYPE`, `TRACEQL_REGEX`, and those of queries.
pub async fn tag_values(engine: &QueryEngine, request: &str) -> Result<Answer> {
    let request: TagValuesRequest = parse(request)?;
    let limit = within(request.limit, TRACEQL_TAGS, "values")?;
    let mut filter = filter(request.query.as_ref())?;
    let mut and = |more: Expr| {
        filter = Some(match filter.take() {
            Some(before) => before.and(more),
            None => more,
        });
    };
    let asked = match &request.tag {
        Expression::Attribute { parent: false, .. } => Some(values(&request.tag)?),
        Expression::Intrinsic { name } => match name {
            Intrinsic::RootName => {
                and(column("parent_span_id").is_null());
                Some((column("name"), Shown::Text))
            }
            Intrinsic::RootServiceName => {
                and(column("parent_span_id").is_null());
                Some((column("service_name"), Shown::Text))
            }
            Intrinsic::Name
            | Intrinsic::StatusMessage
            | Intrinsic::EventName
            | Intrinsic::InstrumentationName
            | Intrinsic::InstrumentationVersion => Some(values(&request.tag)?),
            // What is known without asking, or of no use as a list.
            _ => None,
        },
        _ => return Err(invalid("a tag is an attribute or an intrinsic")),
    };
    let times = request.scoped.times()?;
    let of = asked.iter().flat_map(|(expr, _)| columns_of(expr));
    let columns: Vec<String> = of.chain(always(filter.as_ref())).collect();
    let read = request.scoped.read(KIND, times, columns)?;
    let tag = request.tag;
    let result = engine
        .read(read, |reading| async move {
            let read = Arc::clone(&reading);
            let mut found: BTreeSet<(String, String)> = BTreeSet::new();
            match asked {
                Some((expr, shown)) => {
                    let spans = Spans::new(reading, times);
                    let each = |column: &_, row, found: &mut BTreeSet<_>| {
                        if let Some(value) = any_value(shown, column, row) {
                            typed(&value, found);
                        }
                    };
                    found = distinct((&spans, WHOLE), filter, expr, limit, each).await?;
                }
                None => {
                    let names: &[&str] = match tag {
                        Expression::Intrinsic {
                            name: Intrinsic::Status,
                        } => &STATUSES,
                        Expression::Intrinsic {
                            name: Intrinsic::Kind,
                        } => &KINDS,
                        _ => &[],
                    };
                    let keyword = |name: &&str| ("keyword".to_owned(), (*name).to_owned());
                    found.extend(names.iter().map(keyword));
                }
            }
            let found = found.into_iter().take(limit);
            let values = found.map(|(kind, value)| json!({ "type": kind, "value": value }));
            let values: Vec<Json> = values.collect();
            let answer = json!({ "tagValues": values, "metrics": {} });
            written(&answer, || read.in_time())
        })
        .await?;
    Ok(Answer::of(result))
}

/// What the spans have to be that are asked: any of the query's spansets.
fn filter(query: Option<&Query>) -> Result<Option<Expr>> {
    let Some(query) = query else {
        return Ok(None);
    };
    Ok(disjunction(Pipeline::new(query, false)?.leaves))
}

/// Columns that are read beside those that are asked for.
fn always(filter: Option<&Expr>) -> Vec<String> {
    let mut columns = vec!["start_time_unix_nano".to_owned()];
    columns.extend(filter.into_iter().flat_map(columns_of));
    columns
}

/// What is made of the different values of an expression.
async fn distinct<T: Ord>(
    (spans, part): (&Spans, Part),
    filter: Option<Expr>,
    expr: Expr,
    limit: usize,
    each: impl Fn(&arrow::array::ArrayRef, usize, &mut BTreeSet<T>),
) -> Result<BTreeSet<T>> {
    let mut found = BTreeSet::new();
    for window in spans.windows()? {
        spans
            .reading
            .part(of_part(part, window.part.0, window.part.1));
        let mut scan = spans.scan(window.times)?;
        if let Some(filter) = &filter {
            scan = scan.filter(filter.clone()).map_err(fail)?;
        }
        let plan = scan
            .project(vec![expr.clone().alias("value")])
            .map_err(fail)?;
        let plan = plan.aggregate(vec![column("value")], Vec::<Expr>::new());
        let plan = plan.map_err(fail)?.build().map_err(fail)?;
        spans
            .each(&plan, |batch| {
                let values = named(&batch, "value")?;
                for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
                    each(values, row, &mut found);
                }
                Ok(found.len() < limit)
            })
            .await?;
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// A value with Tempo's name of its type; of an array, those of its elements.
fn typed(value: &Json, found: &mut BTreeSet<(String, String)>) {
    let Some((member, inner)) = value.as_object().and_then(|members| members.iter().next()) else {
        return;
    };
    let kind = match member.as_str() {
        "stringValue" => "string",
        "intValue" => "int",
        "doubleValue" => "float",
        "boolValue" => "bool",
        "arrayValue" => {
            let elements = inner.get("values").and_then(Json::as_array);
            for element in elements.into_iter().flatten() {
                typed(element, found);
            }
            return;
        }
        _ => return,
    };
    found.insert((kind.to_owned(), plain(value)));
}
