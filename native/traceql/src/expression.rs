//! An expression of the tree as one of DataFusion, over the columns of `spans` and, where it takes
//! the whole trace to tell it, over columns that `chunk` computes.
//!
//! Attributes are dynamically typed: a value that is compared with a constant is compared as its
//! stored type says, and what does not fit is false. A comparison with something that is missing is
//! null here, which a filter takes for false, and which is made false before it is negated.

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::functions::expr_fn::{coalesce, power};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator as Op, cast, lit};
use otlake_base::{Code, Error, Result};
use otlake_query::{attribute_json, hexadecimal};

use crate::constant::Test;
use crate::functions::{Function, Part};
use crate::tree::{Arithmetic, Comparison, Expression, Intrinsic, Operator, Scope, Unary, Value};

/// What a column that is computed of the whole trace begins with.
pub(crate) const OF_TRACE: &str = "__";
/// What stands before a column's name for that of the span's parent.
pub(crate) const OF_PARENT: &str = "__parent_";
/// Hexadecimal digits of a trace's id.
const TRACE_DIGITS: usize = 32;
/// Hexadecimal digits of a span's id.
const SPAN_DIGITS: usize = 16;

/// Attributes with a column of their own that has the text of exactly one key.
const TEXT_COLUMNS: [(&str, &str); 2] =
    [("http.route", "http_route"), ("rpc.method", "rpc_method")];

/// How a column of values is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Text.
    Text,
    /// `Int64`.
    Int,
    /// `Int64`, nanoseconds.
    Duration,
    /// `Float64`.
    Float,
    /// Booleans.
    Bool,
    /// The number of a status.
    Status,
    /// The number of a kind.
    Kind,
    /// The JSON text of an attribute's value.
    Raw,
}

/// An expression with its type.
#[derive(Clone, Debug)]
pub(crate) enum Typed {
    Constant(Value),
    Number {
        expr: Expr,
        shown: Shown,
    },
    Text(Expr),
    Bool(Expr),
    Status(Expr),
    Kind(Expr),
    /// An id as bytes, so many digits of it.
    Id(Expr, usize),
    /// The JSON text of a value, and where a span's attribute has it.
    Raw(Expr, Option<Stored>),
    /// Of any event or link: the list, and the span's start.
    Many(Part, [Expr; 2]),
    /// The id of the parent, which can only be there or not.
    Parent(Expr),
}

/// Where an attribute of a span is.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    key: String,
    /// The attribute texts; the first that has the key counts.
    texts: Vec<Expr>,
    /// The column of its own that has it where it is text.
    own: Option<Expr>,
}

/// What holds of a span, as a boolean that is never null.
///
/// # Errors
/// `TRACEQL_TYPE` where it is no condition, or compares what cannot be.
pub(crate) fn condition(expression: &Expression) -> Result<Expr> {
    Ok(boolean(typed(expression)?, expression)?.is_true())
}

/// What holds of every span that a condition may hold of, as far as a span alone can tell.
pub(crate) fn weakened(expression: &Expression) -> Result<Expr> {
    if !expression.is_of_trace() {
        return boolean(typed(expression)?, expression);
    }
    Ok(match expression {
        Expression::Binary {
            operator: Operator::And,
            left,
            right,
        } => weakened(left)?.and(weakened(right)?),
        Expression::Binary {
            operator: Operator::Or,
            left,
            right,
        } => weakened(left)?.or(weakened(right)?),
        _ => lit(true),
    })
}

/// A value to show or to group by, and how.
pub(crate) fn value(expression: &Expression) -> Result<(Expr, Shown)> {
    Ok(match typed(expression)? {
        Typed::Constant(constant) => {
            let shown = match constant {
                Value::Int(_) => Shown::Int,
                Value::Duration(_) => Shown::Duration,
                Value::Float(_) => Shown::Float,
                Value::Bool(_) => Shown::Bool,
                Value::Status(_) => Shown::Status,
                Value::SpanKind(_) => Shown::Kind,
                Value::String(_) | Value::Nil => Shown::Text,
            };
            (literal(&constant), shown)
        }
        Typed::Number { expr, shown } => (expr, shown),
        Typed::Text(expr) => (expr, Shown::Text),
        Typed::Bool(expr) => (expr, Shown::Bool),
        Typed::Status(expr) => (expr, Shown::Status),
        Typed::Kind(expr) => (expr, Shown::Kind),
        Typed::Id(expr, _) | Typed::Parent(expr) => (hexadecimal(expr), Shown::Text),
        Typed::Raw(expr, _) => (expr, Shown::Raw),
        Typed::Many(part, arguments) => (Function::First(part).of(arguments.into()), Shown::Raw),
    })
}

/// Every value that it has, as JSON text: of a list, an array of those of its elements.
pub(crate) fn values(expression: &Expression) -> Result<(Expr, Shown)> {
    match typed(expression)? {
        Typed::Many(part, arguments) => {
            Ok((Function::PartValues(part).of(arguments.into()), Shown::Raw))
        }
        _ => value(expression),
    }
}

/// A number of each span; null where it has none. And whether it is nanoseconds.
pub(crate) fn number(expression: &Expression) -> Result<(Expr, bool)> {
    let of = typed(expression)?;
    let nanos = matches!(
        of,
        Typed::Number {
            shown: Shown::Duration,
            ..
        } | Typed::Many(Part::TimeSinceStart, _)
    );
    Ok((as_double(of, expression)?, nanos))
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::new(Code::TraceqlType, message)
}

fn column(prefix: &str, name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(format!("{prefix}{name}")))
}

fn literal(value: &Value) -> Expr {
    match value {
        Value::Nil => lit(ScalarValue::Utf8View(None)),
        Value::String(text) => lit(ScalarValue::Utf8View(Some(text.clone()))),
        Value::Int(number) | Value::Duration(number) => lit(*number),
        Value::Float(number) => lit(*number),
        Value::Bool(value) => lit(*value),
        Value::Status(status) => lit(*status as i32),
        Value::SpanKind(kind) => lit(*kind as i32),
    }
}

fn typed(expression: &Expression) -> Result<Typed> {
    match expression {
        Expression::Value { value } => Ok(Typed::Constant(value.clone())),
        Expression::Attribute {
            scope,
            parent,
            name,
        } => Ok(attribute(
            *scope,
            if *parent { OF_PARENT } else { "" },
            name,
        )),
        Expression::Intrinsic { name } => Ok(intrinsic(*name)),
        Expression::Unary { operator, operand } => {
            let of = typed(operand)?;
            Ok(match operator {
                Unary::Not => Typed::Bool(match of {
                    // A value that is missing is neither true nor false.
                    of @ Typed::Raw(..) => !boolean(of, operand)?,
                    Typed::Many(part, arguments) => {
                        let test = Test::new(Comparison::Equal, &Value::Bool(false))?;
                        Function::Any(part, test).of(arguments.into())
                    }
                    of => boolean(of, operand)?.is_not_true(),
                }),
                Unary::Minus => match of {
                    Typed::Number { expr, shown } => Typed::Number { expr: -expr, shown },
                    Typed::Constant(Value::Int(number)) => {
                        Typed::Constant(Value::Int(number.wrapping_neg()))
                    }
                    Typed::Constant(Value::Duration(number)) => {
                        Typed::Constant(Value::Duration(number.wrapping_neg()))
                    }
                    of => Typed::Number {
                        expr: -as_double(of, operand)?,
                        shown: Shown::Float,
                    },
                },
            })
        }
        Expression::Binary {
            operator,
            left,
            right,
        } => {
            let (l, r) = (typed(left)?, typed(right)?);
            if let Some(comparison) = operator.comparison() {
                let compared = compare(comparison, decided(l), decided(r));
                return compared
                    .map(Typed::Bool)
                    .map_err(|error| within(error, expression));
            }
            match operator.arithmetic() {
                Some(arithmetic) => {
                    let of_time = |of: &Typed| {
                        matches!(of, Typed::Constant(Value::Duration(_)))
                            || matches!(
                                of,
                                Typed::Number {
                                    shown: Shown::Duration,
                                    ..
                                }
                            )
                    };
                    let keeps = matches!(arithmetic, Arithmetic::Add | Arithmetic::Subtract);
                    let of_time = keeps && of_time(&l) && of_time(&r);
                    let (l, r) = (as_double(l, left)?, as_double(r, right)?);
                    let expr = match arithmetic {
                        Arithmetic::Add => l + r,
                        Arithmetic::Subtract => l - r,
                        Arithmetic::Multiply => l * r,
                        Arithmetic::Divide => l / r,
                        Arithmetic::Modulo => l % r,
                        Arithmetic::Power => power(l, r),
                    };
                    Ok(match of_time {
                        true => Typed::Number {
                            expr: cast(expr, DataType::Int64),
                            shown: Shown::Duration,
                        },
                        false => Typed::Number {
                            expr,
                            shown: Shown::Float,
                        },
                    })
                }
                None => {
                    let (l, r) = (boolean(l, left)?, boolean(r, right)?);
                    Ok(Typed::Bool(match operator {
                        Operator::And => l.and(r),
                        _ => l.or(r),
                    }))
                }
            }
        }
    }
}

/// What a comparison gave is true or false where it is compared itself.
fn decided(of: Typed) -> Typed {
    match of {
        Typed::Bool(expr) => Typed::Bool(expr.is_true()),
        of => of,
    }
}

fn within(error: Error, expression: &Expression) -> Error {
    Error::new(error.code, format!("{}: {expression}", error.message))
}

fn attribute(scope: Scope, prefix: &str, name: &str) -> Typed {
    let stored = |texts: &[&str], own| {
        let texts: Vec<Expr> = texts.iter().map(|texts| column(prefix, texts)).collect();
        let raw = texts
            .iter()
            .map(|texts| attribute_json(texts.clone(), name));
        let mut raw: Vec<Expr> = raw.collect();
        let raw = match raw.pop() {
            Some(only) if raw.is_empty() => only,
            last => coalesce(raw.into_iter().chain(last).collect()),
        };
        let key = name.to_owned();
        Typed::Raw(raw, Some(Stored { key, texts, own }))
    };
    let start = column(prefix, "start_time_unix_nano");
    match scope {
        Scope::Resource if name == "service.name" => Typed::Text(column(prefix, "service_name")),
        Scope::Resource => stored(&["resource_attributes"], None),
        Scope::Span => {
            let own = TEXT_COLUMNS.iter().find(|(key, _)| *key == name);
            stored(&["attributes"], own.map(|(_, of)| column(prefix, of)))
        }
        Scope::Any => stored(&["attributes", "resource_attributes"], None),
        Scope::Instrumentation => stored(&["scope_attributes"], None),
        Scope::Event => Typed::Many(
            Part::Attribute(name.to_owned()),
            [column(prefix, "events"), start],
        ),
        Scope::Link => Typed::Many(
            Part::Attribute(name.to_owned()),
            [column(prefix, "links"), start],
        ),
    }
}

fn intrinsic(name: Intrinsic) -> Typed {
    let plain = |name: &str| column("", name);
    let events = || [plain("events"), plain("start_time_unix_nano")];
    let links = || [plain("links"), plain("start_time_unix_nano")];
    let whole = |name: &str| column(OF_TRACE, name);
    let int = |expr| Typed::Number {
        expr,
        shown: Shown::Int,
    };
    let or_empty = |expr| coalesce(vec![expr, lit(ScalarValue::Utf8View(Some(String::new())))]);
    match name {
        Intrinsic::Name => Typed::Text(plain("name")),
        Intrinsic::Duration => Typed::Number {
            expr: plain("duration_ns"),
            shown: Shown::Duration,
        },
        Intrinsic::Status => Typed::Status(plain("status_code")),
        Intrinsic::StatusMessage => Typed::Text(or_empty(plain("status_message"))),
        Intrinsic::Kind => Typed::Kind(plain("kind")),
        Intrinsic::Parent => Typed::Parent(plain("parent_span_id")),
        Intrinsic::SpanId => Typed::Id(plain("span_id"), SPAN_DIGITS),
        Intrinsic::ParentId => Typed::Id(plain("parent_span_id"), SPAN_DIGITS),
        Intrinsic::TraceId => Typed::Id(plain("trace_id"), TRACE_DIGITS),
        Intrinsic::EventName => Typed::Many(Part::Name, events()),
        Intrinsic::EventTimeSinceStart => Typed::Many(Part::TimeSinceStart, events()),
        Intrinsic::LinkTraceId => Typed::Many(Part::TraceId, links()),
        Intrinsic::LinkSpanId => Typed::Many(Part::SpanId, links()),
        Intrinsic::InstrumentationName => Typed::Text(or_empty(plain("scope_name"))),
        Intrinsic::InstrumentationVersion => Typed::Text(or_empty(plain("scope_version"))),
        Intrinsic::ChildCount => int(whole("child_count")),
        Intrinsic::NestedSetLeft => int(whole("nested_left")),
        Intrinsic::NestedSetRight => int(whole("nested_right")),
        Intrinsic::NestedSetParent => int(whole("nested_parent")),
        Intrinsic::TraceDuration => Typed::Number {
            expr: whole("trace_duration"),
            shown: Shown::Duration,
        },
        Intrinsic::RootName => Typed::Text(whole("root_name")),
        Intrinsic::RootServiceName => Typed::Text(whole("root_service")),
    }
}

fn first(part: Part, arguments: [Expr; 2]) -> Expr {
    Function::First(part).of(arguments.into())
}

fn as_double(of: Typed, expression: &Expression) -> Result<Expr> {
    Ok(match of {
        Typed::Constant(constant) => match constant.number() {
            Some(number) => lit(number),
            None => return Err(invalid(format!("{expression} is not a number"))),
        },
        Typed::Number { expr, .. } => cast(expr, DataType::Float64),
        Typed::Raw(raw, _) => Function::Number.of(vec![raw]),
        Typed::Many(part, arguments) => Function::Number.of(vec![first(part, arguments)]),
        _ => return Err(invalid(format!("{expression} is not a number"))),
    })
}

fn boolean(of: Typed, expression: &Expression) -> Result<Expr> {
    Ok(match of {
        Typed::Constant(Value::Bool(value)) => lit(value),
        Typed::Bool(expr) => expr,
        Typed::Raw(raw, _) => Function::Boolean.of(vec![raw]),
        Typed::Many(part, arguments) => {
            let test = Test::new(Comparison::Equal, &Value::Bool(true))?;
            Function::Any(part, test).of(arguments.into())
        }
        _ => return Err(invalid(format!("{expression} is neither true nor false"))),
    })
}

fn compare(operator: Comparison, left: Typed, right: Typed) -> Result<Expr> {
    let is_regex = matches!(operator, Comparison::Matches | Comparison::NotMatches);
    match (left, right) {
        (of, Typed::Constant(Value::Nil)) | (Typed::Constant(Value::Nil), of) => {
            existence(operator, of)
        }
        (Typed::Constant(left), right @ Typed::Constant(_)) if !is_regex => {
            let left = match left {
                Value::String(_) => Typed::Text(literal(&left)),
                Value::Bool(_) => Typed::Bool(literal(&left)),
                Value::Status(_) => Typed::Status(literal(&left)),
                Value::SpanKind(_) => Typed::Kind(literal(&left)),
                _ => Typed::Number {
                    expr: literal(&left),
                    shown: number_of(&left),
                },
            };
            with_constant(operator, left, right)
        }
        (of, constant @ Typed::Constant(_)) => with_constant(operator, of, constant),
        (_, _) if is_regex => Err(invalid("a regular expression stands on the right, as text")),
        (constant @ Typed::Constant(_), of) => with_constant(operator.swapped(), of, constant),
        (Typed::Many(part, arguments), right) => {
            compare(operator, Typed::Raw(first(part, arguments), None), right)
        }
        (left, Typed::Many(part, arguments)) => {
            compare(operator, left, Typed::Raw(first(part, arguments), None))
        }
        (Typed::Raw(left, _), Typed::Raw(right, _)) => {
            let numbers = |raw: &Expr| Function::Number.of(vec![raw.clone()]);
            let texts = |raw: &Expr| Function::String.of(vec![raw.clone()]);
            let booleans = |raw: &Expr| Function::Boolean.of(vec![raw.clone()]);
            let same = binary(operator, numbers(&left), numbers(&right)).or(binary(
                operator,
                texts(&left),
                texts(&right),
            ));
            Ok(match operator {
                Comparison::Equal | Comparison::NotEqual => {
                    same.or(binary(operator, booleans(&left), booleans(&right)))
                }
                _ => same,
            })
        }
        (Typed::Raw(raw, _), right) => compare(operator, like(raw, &right), right),
        (left, Typed::Raw(raw, _)) => {
            let right = like(raw, &left);
            compare(operator, left, right)
        }
        (left, right) => plain(operator, left, right),
    }
}

fn number_of(value: &Value) -> Shown {
    match value {
        Value::Float(_) => Shown::Float,
        Value::Duration(_) => Shown::Duration,
        _ => Shown::Int,
    }
}

fn existence(operator: Comparison, of: Typed) -> Result<Expr> {
    let there = match of {
        Typed::Constant(value) => lit(value != Value::Nil),
        Typed::Many(part, arguments) => Function::Any(part, Test::something()).of(arguments.into()),
        Typed::Raw(raw, _) => Function::Raw(Test::something()).of(vec![raw]),
        Typed::Number { expr, .. }
        | Typed::Text(expr)
        | Typed::Bool(expr)
        | Typed::Status(expr)
        | Typed::Kind(expr)
        | Typed::Id(expr, _)
        | Typed::Parent(expr) => expr.is_not_null(),
    };
    match operator {
        Comparison::Equal => Ok(!there),
        Comparison::NotEqual => Ok(there),
        _ => Err(invalid("nil compares with = and != alone")),
    }
}

fn with_constant(operator: Comparison, of: Typed, constant: Typed) -> Result<Expr> {
    let Typed::Constant(value) = &constant else {
        return plain(operator, of, constant);
    };
    let is_regex = matches!(operator, Comparison::Matches | Comparison::NotMatches);
    if is_regex
        || !matches!(
            value,
            Value::Status(_) | Value::SpanKind(_) | Value::Bool(_)
        )
    {
        // Any comparison can be.
    } else if !matches!(operator, Comparison::Equal | Comparison::NotEqual) {
        return Err(invalid(format!("{value} compares with = and != alone")));
    }
    match of {
        Typed::Raw(raw, stored) => {
            let test = Test::new(operator, value)?;
            let Some(Stored { key, texts, own }) = stored else {
                return Ok(Function::Raw(test).of(vec![raw]));
            };
            Ok(match (own, operator, value) {
                // The column has no empty text.
                (Some(own), Comparison::Equal, Value::String(text)) if !text.is_empty() => {
                    own.eq(literal(value))
                }
                _ => Function::Attribute(key, test).of(texts),
            })
        }
        Typed::Many(part, arguments) => {
            let test = Test::new(operator, value)?;
            Ok(Function::Any(part, test).of(arguments.into()))
        }
        Typed::Text(text) if is_regex => {
            Ok(Function::Text(Test::new(operator, value)?).of(vec![text]))
        }
        Typed::Constant(Value::String(text)) if is_regex => {
            Ok(lit(Test::new(operator, value)?.text(&text)))
        }
        Typed::Id(bytes, digits) => {
            let Value::String(text) = value else {
                return Err(invalid(format!("an id is text, and {value} is not")));
            };
            let is_equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
            match id(text, digits) {
                Some(id) if is_equality => Ok(binary(operator, bytes, lit(id))),
                _ => {
                    let test = Test::new(operator, value)?;
                    Ok(Function::Text(test).of(vec![hexadecimal(bytes)]))
                }
            }
        }
        of if is_regex => Err(invalid(format!(
            "a regular expression takes text, not {}",
            kind_of(&of)
        ))),
        of => {
            let constant = match value {
                Value::String(_) => Typed::Text(literal(value)),
                Value::Bool(_) => Typed::Bool(literal(value)),
                Value::Status(_) => Typed::Status(literal(value)),
                Value::SpanKind(_) => Typed::Kind(literal(value)),
                _ => Typed::Number {
                    expr: literal(value),
                    shown: number_of(value),
                },
            };
            plain(operator, of, constant)
        }
    }
}

/// The bytes of an id whose leading zeros may be left out.
fn id(text: &str, digits: usize) -> Option<ScalarValue> {
    let is_hex = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_hex || text.len() > digits {
        return None;
    }
    let padded = format!("{text:0>digits$}");
    let bytes = (0..digits).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(&padded[at..at + 2], 16).ok());
    let bytes: Option<Vec<u8>> = bytes.collect();
    Some(ScalarValue::FixedSizeBinary(
        digits as i32 / 2,
        Some(bytes?),
    ))
}

/// A dynamically typed value as the type of another.
fn like(raw: Expr, other: &Typed) -> Typed {
    match other {
        Typed::Number { .. } => Typed::Number {
            expr: Function::Number.of(vec![raw]),
            shown: Shown::Float,
        },
        Typed::Bool(_) => Typed::Bool(Function::Boolean.of(vec![raw])),
        Typed::Id(..) | Typed::Parent(_) | Typed::Text(_) => {
            Typed::Text(Function::String.of(vec![raw]))
        }
        // No attribute is a status or a kind.
        Typed::Status(_) => Typed::Status(lit(ScalarValue::Int32(None))),
        Typed::Kind(_) => Typed::Kind(lit(ScalarValue::Int32(None))),
        other => other.clone(),
    }
}

fn kind_of(of: &Typed) -> &'static str {
    match of {
        Typed::Constant(_) => "a constant",
        Typed::Number { .. } => "a number",
        Typed::Text(_) => "text",
        Typed::Bool(_) => "a boolean",
        Typed::Status(_) => "a status",
        Typed::Kind(_) => "a kind",
        Typed::Id(..) | Typed::Parent(_) => "an id",
        Typed::Raw(..) | Typed::Many(..) => "an attribute",
    }
}

/// A comparison of what has one type each.
fn plain(operator: Comparison, left: Typed, right: Typed) -> Result<Expr> {
    let is_equality = matches!(operator, Comparison::Equal | Comparison::NotEqual);
    let as_text = |of: Typed| match of {
        Typed::Id(bytes, _) | Typed::Parent(bytes) => Typed::Text(hexadecimal(bytes)),
        of => of,
    };
    let integral = |shown: Shown| matches!(shown, Shown::Int | Shown::Duration);
    match (as_text(left), as_text(right)) {
        (
            Typed::Number {
                expr: left,
                shown: l,
            },
            Typed::Number {
                expr: right,
                shown: r,
            },
        ) => {
            if integral(l) == integral(r) {
                return Ok(binary(operator, left, right));
            }
            let double = |expr| cast(expr, DataType::Float64);
            Ok(binary(operator, double(left), double(right)))
        }
        (Typed::Text(left), Typed::Text(right)) => Ok(binary(operator, left, right)),
        (Typed::Bool(left), Typed::Bool(right)) if is_equality => Ok(binary(operator, left, right)),
        (Typed::Status(left), Typed::Status(right)) | (Typed::Kind(left), Typed::Kind(right))
            if is_equality =>
        {
            Ok(binary(operator, left, right))
        }
        (left, right) => Err(invalid(format!(
            "{} does not compare with {} so",
            kind_of(&left),
            kind_of(&right)
        ))),
    }
}

fn binary(operator: Comparison, left: Expr, right: Expr) -> Expr {
    let op = match operator {
        Comparison::Equal => Op::Eq,
        Comparison::NotEqual => Op::NotEq,
        Comparison::Less => Op::Lt,
        Comparison::LessOrEqual => Op::LtEq,
        Comparison::Greater => Op::Gt,
        Comparison::GreaterOrEqual => Op::GtEq,
        Comparison::Matches => Op::RegexMatch,
        Comparison::NotMatches => Op::RegexNotMatch,
    };
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}
