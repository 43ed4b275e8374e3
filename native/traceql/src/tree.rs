//! The typed tree of a TraceQL query, as `ts/query/tree.ts` writes it: the same names, `kind` as tag.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A query: which spansets, and what is made of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// What spansets go through, one stage after the other.
    pub pipeline: Vec<Stage>,
    /// What series are made of them.
    pub metrics: Option<Metrics>,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Stage {
    /// Spansets by their spans.
    Spansets {
        /// Which.
        spansets: Spansets,
    },
    /// Spansets by a number made of their spans.
    Filter {
        /// How the two compare.
        operator: Comparison,
        /// One side.
        left: Scalar,
        /// The other.
        right: Scalar,
    },
    /// Splits spansets by a value of their spans.
    By {
        /// The value.
        expression: Expression,
    },
    /// Joins the spansets of a trace.
    Coalesce,
    /// Shows more of the spans.
    Select {
        /// Attributes and intrinsics.
        fields: Vec<Expression>,
    },
}

/// Spansets.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Spansets {
    /// `{ … }`
    Spans {
        /// What holds of each span; none for all.
        condition: Option<Expression>,
    },
    /// Two of them by how their spans lie to each other.
    Operation {
        /// How.
        operator: SpansetOperator,
        /// One side.
        left: Box<Spansets>,
        /// The other.
        right: Box<Spansets>,
    },
    /// `( { … } | … )`
    Pipeline {
        /// Its stages.
        stages: Vec<Stage>,
    },
}

/// How the spans of two spansets lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum SpansetOperator {
    #[serde(rename = "&&")]
    And,
    #[serde(rename = "||")]
    Or,
    #[serde(rename = ">")]
    Child,
    #[serde(rename = ">>")]
    Descendant,
    #[serde(rename = "<")]
    Parent,
    #[serde(rename = "<<")]
    Ancestor,
    #[serde(rename = "~")]
    Sibling,
    #[serde(rename = "!>")]
    NotChild,
    #[serde(rename = "!>>")]
    NotDescendant,
    #[serde(rename = "!<")]
    NotParent,
    #[serde(rename = "!<<")]
    NotAncestor,
    #[serde(rename = "!~")]
    NotSibling,
    #[serde(rename = "&>")]
    UnionChild,
    #[serde(rename = "&>>")]
    UnionDescendant,
    #[serde(rename = "&<")]
    UnionParent,
    #[serde(rename = "&<<")]
    UnionAncestor,
    #[serde(rename = "&~")]
    UnionSibling,
}

/// What is told of a span.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Expression {
    /// A constant.
    Value {
        /// It.
        value: Value,
    },
    /// An attribute.
    Attribute {
        /// Where it is looked for.
        scope: Scope,
        /// Whether of the span's parent.
        parent: bool,
        /// Its key.
        name: String,
    },
    /// What every span has.
    Intrinsic {
        /// Which.
        name: Intrinsic,
    },
    /// Of two.
    Binary {
        /// How.
        operator: Operator,
        /// One side.
        left: Box<Expression>,
        /// The other.
        right: Box<Expression>,
    },
    /// Of one.
    Unary {
        /// How.
        operator: Unary,
        /// Of what.
        operand: Box<Expression>,
    },
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "each is its name")]
pub enum Scope {
    /// The span first, then its resource.
    Any,
    Resource,
    Span,
    Event,
    Link,
    Instrumentation,
}

/// What joins two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum Operator {
    #[serde(rename = "&&")]
    And,
    #[serde(rename = "||")]
    Or,
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    #[serde(rename = "=~")]
    Matches,
    #[serde(rename = "!~")]
    NotMatches,
    #[serde(rename = "+")]
    Add,
    #[serde(rename = "-")]
    Subtract,
    #[serde(rename = "*")]
    Multiply,
    #[serde(rename = "/")]
    Divide,
    #[serde(rename = "%")]
    Modulo,
    #[serde(rename = "^")]
    Power,
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum Comparison {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
    #[serde(rename = "=~")]
    Matches,
    #[serde(rename = "!~")]
    NotMatches,
}

/// What is made of one expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum Unary {
    #[serde(rename = "-")]
    Minus,
    #[serde(rename = "!")]
    Not,
}

/// How numbers are reckoned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is its sign")]
pub enum Arithmetic {
    #[serde(rename = "+")]
    Add,
    #[serde(rename = "-")]
    Subtract,
    #[serde(rename = "*")]
    Multiply,
    #[serde(rename = "/")]
    Divide,
    #[serde(rename = "%")]
    Modulo,
    #[serde(rename = "^")]
    Power,
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "camelCase")]
pub enum Value {
    /// What is not there.
    Nil,
    /// Text.
    String(String),
    /// Decimal text of 64 bits.
    #[serde(deserialize_with = "decimal")]
    Int(i64),
    /// A number.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Nanoseconds, as decimal text.
    #[serde(deserialize_with = "decimal")]
    Duration(i64),
    /// A span's status.
    Status(Status),
    /// A span's kind.
    SpanKind(SpanKind),
}

/// A span's status, as OTLP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "each is its name")]
pub enum Status {
    Unset,
    Ok,
    Error,
}

/// A span's kind, as OTLP numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "each is its name")]
pub enum SpanKind {
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// The names of statuses, by number.
pub const STATUSES: [&str; 3] = ["unset", "ok", "error"];
/// The names of kinds, by number.
pub const KINDS: [&str; 6] = [
    "unspecified",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
];

/// What every span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is its name")]
pub enum Intrinsic {
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "duration")]
    Duration,
    #[serde(rename = "status")]
    Status,
    #[serde(rename = "statusMessage")]
    StatusMessage,
    #[serde(rename = "kind")]
    Kind,
    #[serde(rename = "parent")]
    Parent,
    #[serde(rename = "childCount")]
    ChildCount,
    #[serde(rename = "span:id")]
    SpanId,
    #[serde(rename = "span:parentID")]
    ParentId,
    #[serde(rename = "trace:id")]
    TraceId,
    #[serde(rename = "traceDuration")]
    TraceDuration,
    #[serde(rename = "rootName")]
    RootName,
    #[serde(rename = "rootServiceName")]
    RootServiceName,
    #[serde(rename = "event:name")]
    EventName,
    #[serde(rename = "event:timeSinceStart")]
    EventTimeSinceStart,
    #[serde(rename = "link:traceID")]
    LinkTraceId,
    #[serde(rename = "link:spanID")]
    LinkSpanId,
    #[serde(rename = "instrumentation:name")]
    InstrumentationName,
    #[serde(rename = "instrumentation:version")]
    InstrumentationVersion,
    #[serde(rename = "nestedSetLeft")]
    NestedSetLeft,
    #[serde(rename = "nestedSetRight")]
    NestedSetRight,
    #[serde(rename = "nestedSetParent")]
    NestedSetParent,
}

/// A number made of a spanset.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Scalar {
    /// A constant.
    Value {
        /// It.
        value: Value,
    },
    /// Over its spans.
    Aggregate {
        /// How.
        function: Aggregate,
        /// Of what; none for `count`.
        argument: Option<Expression>,
    },
    /// Of two.
    Binary {
        /// How.
        operator: Arithmetic,
        /// One side.
        left: Box<Scalar>,
        /// The other.
        right: Box<Scalar>,
    },
}

/// What is made of the spans of a spanset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "each is its name")]
pub enum Aggregate {
    Count,
    Avg,
    Min,
    Max,
    Sum,
}

/// Series of spans over time.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// What is made of the spans of a step.
    pub function: MetricsFunction,
    /// Of what; none where it counts.
    pub argument: Option<Expression>,
    /// A series for each of these values.
    pub by: Vec<Expression>,
    /// Of `quantile_over_time`, 0 to 1.
    pub quantiles: Vec<f64>,
    /// Of `compare`: what holds of the spans that are compared with others.
    pub selection: Option<Expression>,
    /// Of `compare`: values of an attribute that are told.
    pub top: u32,
    /// Of `compare`: the first nanosecond of what is compared.
    #[serde(deserialize_with = "optional_decimal")]
    pub start: Option<i64>,
    /// Of `compare`: the nanosecond behind its last.
    #[serde(deserialize_with = "optional_decimal")]
    pub end: Option<i64>,
    /// What is made of the series.
    pub then: Vec<SeriesStage>,
}

/// What is made of the spans of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is its name")]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    MinOverTime,
    MaxOverTime,
    AvgOverTime,
    SumOverTime,
    QuantileOverTime,
    HistogramOverTime,
    Compare,
}

/// What is made of series.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum SeriesStage {
    /// Those with the greatest values, step by step.
    Topk {
        /// How many.
        limit: u32,
    },
    /// Those with the least.
    Bottomk {
        /// How many.
        limit: u32,
    },
    /// Values that compare so.
    Filter {
        /// How.
        operator: Comparison,
        /// With what.
        value: Value,
    },
}

/// A number that JSON writes as decimal text.
pub(crate) fn decimal<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|_| D::Error::custom(format!("`{text}` is not an integer of 64 bits")))
}

/// The same, or null.
pub(crate) fn optional_decimal<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<i64>, D::Error> {
    let Some(text) = Option::<String>::deserialize(from)? else {
        return Ok(None);
    };
    let number = text.parse();
    number
        .map(Some)
        .map_err(|_| D::Error::custom(format!("`{text}` is not an integer of 64 bits")))
}

impl Operator {
    /// The comparison that it is.
    pub fn comparison(self) -> Option<Comparison> {
        Some(match self {
            Operator::Equal => Comparison::Equal,
            Operator::NotEqual => Comparison::NotEqual,
            Operator::Less => Comparison::Less,
            Operator::LessOrEqual => Comparison::LessOrEqual,
            Operator::Greater => Comparison::Greater,
            Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
            Operator::Matches => Comparison::Matches,
            Operator::NotMatches => Comparison::NotMatches,
            _ => return None,
        })
    }

    /// The arithmetic that it is.
    pub fn arithmetic(self) -> Option<Arithmetic> {
        Some(match self {
            Operator::Add => Arithmetic::Add,
            Operator::Subtract => Arithmetic::Subtract,
            Operator::Multiply => Arithmetic::Multiply,
            Operator::Divide => Arithmetic::Divide,
            Operator::Modulo => Arithmetic::Modulo,
            Operator::Power => Arithmetic::Power,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Operator::And => "&&",
            Operator::Or => "||",
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Matches => "=~",
            Operator::NotMatches => "!~",
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
            Operator::Power => "^",
        }
    }
}

impl Comparison {
    /// The same with its sides changed over.
    pub fn swapped(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }

    /// Whether numbers compare so.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Less => left < right,
            Comparison::LessOrEqual => left <= right,
            Comparison::Greater => left > right,
            Comparison::GreaterOrEqual => left >= right,
            Comparison::Matches | Comparison::NotMatches => false,
        }
    }
}

impl Arithmetic {
    /// The result, as of doubles.
    pub fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Arithmetic::Add => left + right,
            Arithmetic::Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Modulo => left % right,
            Arithmetic::Power => left.powf(right),
        }
    }
}

impl Value {
    /// It as a number; none where it is none.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(number) | Value::Duration(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }
}

impl Aggregate {
    /// Its name in TraceQL.
    pub fn name(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Avg => "avg",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Sum => "sum",
        }
    }
}

impl MetricsFunction {
    /// Its name in TraceQL.
    pub fn name(self) -> &'static str {
        match self {
            MetricsFunction::Rate => "rate",
            MetricsFunction::CountOverTime => "count_over_time",
            MetricsFunction::MinOverTime => "min_over_time",
            MetricsFunction::MaxOverTime => "max_over_time",
            MetricsFunction::AvgOverTime => "avg_over_time",
            MetricsFunction::SumOverTime => "sum_over_time",
            MetricsFunction::QuantileOverTime => "quantile_over_time",
            MetricsFunction::HistogramOverTime => "histogram_over_time",
            MetricsFunction::Compare => "compare",
        }
    }
}

impl Intrinsic {
    /// Its name in TraceQL.
    pub fn name(self) -> &'static str {
        match self {
            Intrinsic::Name => "name",
            Intrinsic::Duration => "duration",
            Intrinsic::Status => "status",
            Intrinsic::StatusMessage => "statusMessage",
            Intrinsic::Kind => "kind",
            Intrinsic::Parent => "parent",
            Intrinsic::ChildCount => "childCount",
            Intrinsic::SpanId => "span:id",
            Intrinsic::ParentId => "span:parentID",
            Intrinsic::TraceId => "trace:id",
            Intrinsic::TraceDuration => "traceDuration",
            Intrinsic::RootName => "rootName",
            Intrinsic::RootServiceName => "rootServiceName",
            Intrinsic::EventName => "event:name",
            Intrinsic::EventTimeSinceStart => "event:timeSinceStart",
            Intrinsic::LinkTraceId => "link:traceID",
            Intrinsic::LinkSpanId => "link:spanID",
            Intrinsic::InstrumentationName => "instrumentation:name",
            Intrinsic::InstrumentationVersion => "instrumentation:version",
            Intrinsic::NestedSetLeft => "nestedSetLeft",
            Intrinsic::NestedSetRight => "nestedSetRight",
            Intrinsic::NestedSetParent => "nestedSetParent",
        }
    }

    /// Whether it is told by the whole trace, not by the span alone.
    pub fn is_of_trace(self) -> bool {
        matches!(
            self,
            Intrinsic::ChildCount
                | Intrinsic::TraceDuration
                | Intrinsic::RootName
                | Intrinsic::RootServiceName
                | Intrinsic::NestedSetLeft
                | Intrinsic::NestedSetRight
                | Intrinsic::NestedSetParent
        )
    }
}

impl Scope {
    /// What stands before an attribute's key.
    pub fn prefix(self) -> &'static str {
        match self {
            Scope::Any => ".",
            Scope::Resource => "resource.",
            Scope::Span => "span.",
            Scope::Event => "event.",
            Scope::Link => "link.",
            Scope::Instrumentation => "instrumentation.",
        }
    }
}

impl Expression {
    /// Whether it takes the whole trace to tell it.
    pub fn is_of_trace(&self) -> bool {
        match self {
            Expression::Value { .. } => false,
            Expression::Attribute { parent, .. } => *parent,
            Expression::Intrinsic { name } => name.is_of_trace(),
            Expression::Binary { left, right, .. } => left.is_of_trace() || right.is_of_trace(),
            Expression::Unary { operand, .. } => operand.is_of_trace(),
        }
    }

    /// Calls `each` with every attribute and intrinsic in it.
    pub fn fields<'a>(&'a self, each: &mut impl FnMut(&'a Expression)) {
        match self {
            Expression::Value { .. } => {}
            Expression::Attribute { .. } | Expression::Intrinsic { .. } => each(self),
            Expression::Binary { left, right, .. } => {
                left.fields(each);
                right.fields(each);
            }
            Expression::Unary { operand, .. } => operand.fields(each),
        }
    }
}

/// As TraceQL writes it.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Value { value } => write!(f, "{value}"),
            Expression::Attribute {
                scope,
                parent,
                name,
            } => {
                let parent = if *parent { "parent." } else { "" };
                let scope = match (scope, parent) {
                    (Scope::Any, "parent.") => "",
                    _ => scope.prefix(),
                };
                write!(f, "{parent}{scope}{name}")
            }
            Expression::Intrinsic { name } => f.write_str(name.name()),
            Expression::Binary {
                operator,
                left,
                right,
            } => write!(f, "({left} {} {right})", operator.sign()),
            Expression::Unary { operator, operand } => {
                let sign = match operator {
                    Unary::Minus => "-",
                    Unary::Not => "!",
                };
                write!(f, "{sign}{operand}")
            }
        }
    }
}

/// As TraceQL writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => f.write_str("nil"),
            Value::String(text) => write!(f, "`{text}`"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Duration(nanos) => write!(f, "{nanos}ns"),
            Value::Status(status) => f.write_str(STATUSES[*status as usize]),
            Value::SpanKind(kind) => f.write_str(KINDS[*kind as usize]),
        }
    }
}
