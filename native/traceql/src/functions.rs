//! What DataFusion's own functions cannot tell of a span: values that are dynamically typed, any of
//! its events or links, and membership in a set of traces.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::ptr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Float64Builder, Int64Array, ListArray,
    StringViewArray, StringViewBuilder, StructArray,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use otlake_query::attribute::{self, Entries};
use otlake_query::to_hex;
use serde_json::Value as Json;

use crate::constant::Test;
use crate::metrics::power;

/// A trace's id.
pub(crate) type TraceId = [u8; 16];

/// What of an event or a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// An attribute of this key.
    Attribute(String),
    /// An event's name.
    Name,
    /// Nanoseconds from the span's start to the event.
    TimeSinceStart,
    /// The trace that a link leads to.
    TraceId,
    /// The span that a link leads to.
    SpanId,
}

/// A function of spans.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    /// Whether the JSON text of a value passes; null is false.
    Raw(Test),
    /// Whether the attribute of this key passes, in the first of some attribute texts that has it.
    Attribute(String, Test),
    /// Whether a text passes; null is false.
    Text(Test),
    /// Whether any element of a list passes; the list, and the span's start.
    Any(Part, Test),
    /// The JSON text of the first element that has it; the list, and the span's start.
    First(Part),
    /// The number that a JSON text is, else null.
    Number,
    /// The text that it is, else null.
    String,
    /// The boolean that it is, else null.
    Boolean,
    /// The keys of a JSON object, each as JSON text, behind each other.
    Keys,
    /// The same of the attributes of all elements of a list.
    PartKeys,
    /// The values of all elements of a list as one JSON array.
    PartValues(Part),
    /// The power of two that a number's bucket ends at; null below 2.
    Power,
    /// Whether a trace's id is one of these.
    Traces(Traces),
}

/// Ids of traces; two sets are equal if they are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Traces(pub(crate) Arc<HashSet<TraceId>>);

impl PartialEq for Traces {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Traces {}

impl Hash for Traces {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Function {
    /// A call of it.
    pub(crate) fn of(self, arguments: Vec<Expr>) -> Expr {
        let signature = Signature::any(arguments.len(), Volatility::Immutable);
        ScalarUDF::new_from_impl(Udf {
            function: self,
            signature,
        })
        .call(arguments)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Udf {
    function: Function,
    signature: Signature,
}

impl ScalarUDFImpl for Udf {
    fn name(&self) -> &str {
        match self.function {
            Function::Raw(_) => "traceql_matches",
            Function::Attribute(..) => "traceql_attribute_matches",
            Function::Text(_) => "traceql_matches_text",
            Function::Any(..) => "traceql_any",
            Function::First(_) => "traceql_first",
            Function::Number => "traceql_number",
            Function::String => "traceql_string",
            Function::Boolean => "traceql_boolean",
            Function::Keys => "traceql_keys",
            Function::PartKeys => "traceql_part_keys",
            Function::PartValues(_) => "traceql_part_values",
            Function::Power => "traceql_power",
            Function::Traces(_) => "traceql_traces",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        Ok(format!("{:?}({})", self.function, args.join(", ")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Function::Raw(_)
            | Function::Attribute(..)
            | Function::Text(_)
            | Function::Any(..)
            | Function::Boolean
            | Function::Traces(_) => DataType::Boolean,
            Function::Number => DataType::Float64,
            Function::Power => DataType::Int64,
            _ => DataType::Utf8View,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let first = args.args[0].to_array(rows)?;
        let array: ArrayRef = match &self.function {
            Function::Raw(test) => Arc::new(passing(text(&first)?, |raw| test.raw(raw))),
            Function::Attribute(key, test) => {
                let columns = args.args.iter().map(|column| column.to_array(rows));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let texts = columns.iter().map(text).collect::<Result<Vec<_>>>()?;
                Arc::new(attributes_passing(&texts, key, test))
            }
            Function::Text(test) => Arc::new(passing(text(&first)?, |text| test.text(text))),
            Function::Any(part, test) => {
                let starts = args.args[1].to_array(rows)?;
                let list = Elements::new(&first, &starts)?;
                let passes = (0..rows).map(|row| list.any(row, part, test));
                Arc::new(BooleanArray::from_iter(passes.map(Some)))
            }
            Function::First(part) => {
                let starts = args.args[1].to_array(rows)?;
                let list = Elements::new(&first, &starts)?;
                let mut builder = StringViewBuilder::with_capacity(rows);
                for row in 0..rows {
                    let mut values = list.of(row).filter_map(|at| list.value(row, at, part));
                    builder.append_option(values.next());
                }
                Arc::new(builder.finish())
            }
            Function::PartValues(part) => {
                let starts = args.args[1].to_array(rows)?;
                let list = Elements::new(&first, &starts)?;
                let mut builder = StringViewBuilder::with_capacity(rows);
                for row in 0..rows {
                    let values = list.of(row).filter_map(|at| list.value(row, at, part));
                    let values: Vec<String> = values.collect();
                    let is_empty = values.is_empty();
                    builder.append_option((!is_empty).then(|| format!("[{}]", values.join(","))));
                }
                Arc::new(builder.finish())
            }
            Function::Number => {
                let mut builder = Float64Builder::with_capacity(rows);
                for raw in text(&first)? {
                    builder.append_option(raw.and_then(attribute::double));
                }
                Arc::new(builder.finish())
            }
            Function::String => {
                let mut builder = StringViewBuilder::with_capacity(rows);
                for raw in text(&first)? {
                    let raw = raw.filter(|raw| raw.starts_with('"'));
                    builder.append_option(raw.and_then(attribute::text));
                }
                Arc::new(builder.finish())
            }
            Function::Boolean => {
                let mut builder = BooleanBuilder::with_capacity(rows);
                for raw in text(&first)? {
                    builder.append_option(raw.and_then(attribute::boolean));
                }
                Arc::new(builder.finish())
            }
            Function::Keys => {
                let mut builder = StringViewBuilder::with_capacity(rows);
                let mut last: Option<(&str, String)> = None;
                for json in text(&first)? {
                    let Some(json) = json else {
                        builder.append_null();
                        continue;
                    };
                    match &last {
                        Some((before, keys)) if ptr::eq(*before, json) => {
                            builder.append_value(keys);
                        }
                        _ => {
                            let mut keys = String::new();
                            push_keys(json, &mut keys);
                            builder.append_value(&keys);
                            last = Some((json, keys));
                        }
                    }
                }
                Arc::new(builder.finish())
            }
            Function::PartKeys => {
                let list = Elements::new(&first, &first)?;
                let mut builder = StringViewBuilder::with_capacity(rows);
                for row in 0..rows {
                    let mut keys = String::new();
                    for at in list.of(row) {
                        push_keys(list.attributes(at), &mut keys);
                    }
                    builder.append_value(keys);
                }
                Arc::new(builder.finish())
            }
            Function::Power => {
                let Some(numbers) = first.as_primitive_opt::<Float64Type>() else {
                    return exec_err!("numbers are wanted, not {}", first.data_type());
                };
                Arc::new(Int64Array::from_iter(
                    numbers.iter().map(|n| n.and_then(power)),
                ))
            }
            Function::Traces(traces) => {
                let Some(ids) = first.as_fixed_size_binary_opt() else {
                    return exec_err!("ids are wanted, not {}", first.data_type());
                };
                let is_in = |id: Option<&[u8]>| {
                    let id: Option<TraceId> = id.and_then(|id| id.try_into().ok());
                    Some(id.is_some_and(|id| traces.0.contains(&id)))
                };
                Arc::new(BooleanArray::from_iter(ids.iter().map(is_in)))
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Whether each text passes. Rows of one resource share one text: it is looked at once.
fn passing(texts: &StringViewArray, passes: impl Fn(&str) -> bool) -> BooleanArray {
    let mut last: Option<(&str, bool)> = None;
    let each = texts.iter().map(|text| {
        let Some(text) = text else {
            return Some(false);
        };
        let passed = match last {
            Some((before, passed)) if ptr::eq(before, text) => passed,
            _ => passes(text),
        };
        last = Some((text, passed));
        Some(passed)
    });
    each.collect()
}

/// What passes of an attribute, which is in the first of these texts that has it.
fn attributes_passing(texts: &[&StringViewArray], key: &str, test: &Test) -> BooleanArray {
    let needle = test.needle();
    let may_pass = |json: &str| match &needle {
        Some(needle) => needle.may_be_in(json),
        None => true,
    };
    if let [texts] = texts {
        // Rows of one resource share one text, which is looked at once.
        return passing(texts, |json| {
            may_pass(json) && attribute::find(json, key).is_some_and(|raw| test.raw(raw))
        });
    }
    let rows = texts.first().map_or(0, |texts| texts.len());
    let passes = (0..rows).map(|row| {
        let of_row = texts.iter().filter(|texts| texts.is_valid(row));
        let mut of_row = of_row.map(|texts| texts.value(row));
        of_row.clone().any(may_pass)
            && of_row
                .find_map(|json| attribute::find(json, key))
                .is_some_and(|raw| test.raw(raw))
    });
    BooleanArray::from_iter(passes.map(Some))
}

fn text(array: &ArrayRef) -> Result<&StringViewArray> {
    match array.as_string_view_opt() {
        Some(array) => Ok(array),
        None => exec_err!("text is wanted, not {}", array.data_type()),
    }
}

fn push_keys(json: &str, keys: &mut String) {
    for (key, _) in Entries::new(json).into_iter().flatten() {
        keys.push('"');
        keys.push_str(key);
        keys.push('"');
    }
}

/// What `Function::Keys` has put behind each other.
pub(crate) fn keys(joined: &str) -> impl Iterator<Item = String> {
    let texts = serde_json::Deserializer::from_str(joined).into_iter::<String>();
    texts.map_while(Result::<_, serde_json::Error>::ok)
}

/// The elements of lists of events or links.
struct Elements<'a> {
    list: &'a ListArray,
    fields: &'a StructArray,
    attributes: &'a StringViewArray,
    starts: &'a ArrayRef,
}

impl<'a> Elements<'a> {
    fn new(list: &'a ArrayRef, starts: &'a ArrayRef) -> Result<Elements<'a>> {
        let Some(list) = list.as_list_opt::<i32>() else {
            return exec_err!("a list is wanted, not {}", list.data_type());
        };
        let Some(fields) = list.values().as_struct_opt() else {
            return exec_err!("a list of structs is wanted");
        };
        let attributes = fields.column_by_name("attributes");
        let Some(attributes) = attributes.and_then(|texts| texts.as_string_view_opt()) else {
            return exec_err!("elements with attributes are wanted");
        };
        Ok(Elements {
            list,
            fields,
            attributes,
            starts,
        })
    }

    fn of(&self, row: usize) -> std::ops::Range<usize> {
        if self.list.is_null(row) {
            return 0..0;
        }
        let offsets = self.list.value_offsets();
        offsets[row] as usize..offsets[row + 1] as usize
    }

    fn attributes(&self, at: usize) -> &'a str {
        self.attributes.value(at)
    }

    fn name(&self, at: usize) -> Option<&'a str> {
        let names = self.fields.column_by_name("name")?.as_string_view_opt()?;
        Some(names.value(at))
    }

    fn id(&self, at: usize, column: &str) -> Option<String> {
        let ids = self.fields.column_by_name(column)?;
        Some(to_hex(ids.as_fixed_size_binary_opt()?.value(at)))
    }

    fn since_start(&self, row: usize, at: usize) -> Option<i64> {
        let times = self.fields.column_by_name("time_unix_nano")?;
        let start = self.starts.as_primitive_opt::<Int64Type>()?.value(row);
        Some(
            times
                .as_primitive_opt::<Int64Type>()?
                .value(at)
                .wrapping_sub(start),
        )
    }

    fn any(&self, row: usize, part: &Part, test: &Test) -> bool {
        self.of(row).any(|at| match part {
            Part::Attribute(key) => {
                attribute::find(self.attributes(at), key).is_some_and(|raw| test.raw(raw))
            }
            Part::Name => self.name(at).is_some_and(|name| test.text(name)),
            Part::TimeSinceStart => self.since_start(row, at).is_some_and(|ns| test.int(ns)),
            Part::TraceId => self.id(at, "trace_id").is_some_and(|id| test.text(&id)),
            Part::SpanId => self.id(at, "span_id").is_some_and(|id| test.text(&id)),
        })
    }

    /// A value as JSON text.
    fn value(&self, row: usize, at: usize, part: &Part) -> Option<String> {
        match part {
            Part::Attribute(key) => attribute::find(self.attributes(at), key).map(str::to_owned),
            Part::Name => self.name(at).map(|name| Json::from(name).to_string()),
            Part::TimeSinceStart => self.since_start(row, at).map(|ns| ns.to_string()),
            Part::TraceId => self.id(at, "trace_id").map(|id| format!("\"{id}\"")),
            Part::SpanId => self.id(at, "span_id").map(|id| format!("\"{id}\"")),
        }
    }
}
