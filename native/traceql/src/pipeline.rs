//! A pipeline of the tree, ready to be evaluated over chunks: its conditions and values are columns by
//! number, its spansets columns of booleans or lists of rows.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Float64Type;
use datafusion::logical_expr::{Expr, lit};
use otlake_base::limits::{TRACEQL_CONDITIONS, TRACEQL_DEPTH};
use otlake_base::{Code, Error, Result};
use serde_json::{Value as Json, json};

use crate::chunk::Chunk;
use crate::columns::Columns;
use crate::expression::{Shown, condition, number, value, weakened};
use crate::json::{any_value, double, duration, int, text};
use crate::structure;
use crate::tree::{
    Aggregate, Arithmetic, Comparison, Expression, Intrinsic, Query, Scalar, SpansetOperator,
    Spansets, Stage,
};

/// A value that is shown of each span.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) key: String,
    pub(crate) column: usize,
    pub(crate) shown: Shown,
}

/// What of the leaves has to match somewhere in a trace for it to be of any use.
#[derive(Clone, Debug)]
pub(crate) enum Need {
    Leaf(usize),
    Both(Box<Need>, Box<Need>),
    Either(Box<Need>, Box<Need>),
}

impl Need {
    /// Whether it is met where these leaves have matched.
    pub(crate) fn met(&self, leaves: u64) -> bool {
        match self {
            Need::Leaf(number) => leaves >> number & 1 == 1,
            Need::Both(left, right) => left.met(leaves) && right.met(leaves),
            Need::Either(left, right) => left.met(leaves) || right.met(leaves),
        }
    }
}

/// A pipeline.
#[derive(Debug)]
pub(crate) struct Pipeline {
    stages: Vec<Ready>,
    /// Every value that it takes.
    pub(crate) columns: Columns,
    /// The conditions of its spansets, as far as one span can tell: never less than they are.
    pub(crate) leaves: Vec<Expr>,
    pub(crate) need: Need,
    pub(crate) fields: Vec<Field>,
    shows: bool,
}

#[derive(Debug)]
enum Ready {
    Spansets(Node),
    Filter(Comparison, Number, Number),
    By(Field),
    Coalesce,
}

#[derive(Debug)]
enum Node {
    Leaf(usize),
    Operation(SpansetOperator, Box<Node>, Box<Node>),
    Pipeline(Vec<Ready>),
}

#[derive(Debug)]
enum Number {
    Constant(f64),
    Aggregate {
        function: Aggregate,
        column: Option<usize>,
        of_time: bool,
        key: String,
    },
    Binary(Arithmetic, Box<Number>, Box<Number>),
}

/// Spans of one trace that belong together.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) trace: usize,
    /// Rows of the chunk, the first to start first.
    pub(crate) rows: Vec<u32>,
    /// What was told of it: keys with values as JSON.
    pub(crate) attributes: Vec<(String, Json)>,
}

impl Pipeline {
    /// A query's pipeline; `shows`: whether its spans are shown with what is asked of them.
    ///
    /// # Errors
    /// `TRACEQL_TYPE`, `TRACEQL_REGEX`, `TRACEQL_TOO_LARGE`.
    pub(crate) fn new(query: &Query, shows: bool) -> Result<Pipeline> {
        let mut pipeline = Pipeline {
            stages: Vec::new(),
            columns: Columns::default(),
            leaves: Vec::new(),
            need: Need::Leaf(0),
            fields: Vec::new(),
            shows,
        };
        let (stages, need) = pipeline.stages(&query.pipeline, 0)?;
        pipeline.stages = stages;
        pipeline.need = need;
        Ok(pipeline)
    }

    /// Whether every span that a single condition holds of is in the result, and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        let is_leaf = matches!(&self.stages[..], [Ready::Spansets(Node::Leaf(_))]);
        is_leaf && !self.columns.has_late()
    }

    fn stages(&mut self, stages: &[Stage], depth: usize) -> Result<(Vec<Ready>, Need)> {
        let mut ready = Vec::with_capacity(stages.len());
        let mut need: Option<Need> = None;
        if !matches!(stages.first(), Some(Stage::Spansets { .. })) {
            let (node, all) = self.leaf(None)?;
            ready.push(Ready::Spansets(node));
            need = Some(all);
        }
        for stage in stages {
            ready.push(match stage {
                Stage::Spansets { spansets } => {
                    let (node, of) = self.node(spansets, depth)?;
                    need = Some(match need.take() {
                        None => of,
                        Some(before) => Need::Both(Box::new(before), Box::new(of)),
                    });
                    Ready::Spansets(node)
                }
                Stage::Filter {
                    operator,
                    left,
                    right,
                } => {
                    if matches!(operator, Comparison::Matches | Comparison::NotMatches) {
                        let message = "a number of a spanset compares with a number";
                        return Err(Error::new(Code::TraceqlType, message));
                    }
                    Ready::Filter(*operator, self.number(left)?, self.number(right)?)
                }
                Stage::By { expression } => {
                    let field = self.field(expression, format!("by({expression})"))?;
                    self.show(expression)?;
                    Ready::By(field)
                }
                Stage::Coalesce => Ready::Coalesce,
                Stage::Select { fields } => {
                    for field in fields {
                        self.show(field)?;
                    }
                    continue;
                }
            });
        }
        Ok((ready, need.unwrap_or(Need::Leaf(0))))
    }

    fn node(&mut self, spansets: &Spansets, depth: usize) -> Result<(Node, Need)> {
        if depth > TRACEQL_DEPTH {
            let message = format!("spansets are in each other more than {TRACEQL_DEPTH} times");
            return Err(Error::new(Code::TraceqlTooLarge, message));
        }
        match spansets {
            Spansets::Spans { condition } => self.leaf(condition.as_ref()),
            Spansets::Operation {
                operator,
                left,
                right,
            } => {
                let (left, of_left) = self.node(left, depth + 1)?;
                let (right, of_right) = self.node(right, depth + 1)?;
                let need = match structure::needs(*operator) {
                    (true, true) => Need::Both(Box::new(of_left), Box::new(of_right)),
                    (false, false) => Need::Either(Box::new(of_left), Box::new(of_right)),
                    _ => of_right,
                };
                Ok((
                    Node::Operation(*operator, Box::new(left), Box::new(right)),
                    need,
                ))
            }
            Spansets::Pipeline { stages } => {
                let (stages, need) = self.stages(stages, depth + 1)?;
                Ok((Node::Pipeline(stages), need))
            }
        }
    }

    fn leaf(&mut self, expression: Option<&Expression>) -> Result<(Node, Need)> {
        let (holds, may_hold) = match expression {
            Some(expression) => (condition(expression)?, weakened(expression)?),
            None => (lit(true), lit(true)),
        };
        if let Some(expression) = expression {
            let mut fields = Vec::new();
            expression.fields(&mut |field| fields.push(field));
            for field in fields {
                self.show(field)?;
            }
        }
        let number = match self.leaves.iter().position(|known| *known == may_hold) {
            Some(number) => number,
            None => {
                self.leaves.push(may_hold);
                self.leaves.len() - 1
            }
        };
        if self.leaves.len() > TRACEQL_CONDITIONS {
            let message = format!("there are more than {TRACEQL_CONDITIONS} spansets");
            return Err(Error::new(Code::TraceqlTooLarge, message));
        }
        Ok((Node::Leaf(self.columns.add(holds)), Need::Leaf(number)))
    }

    fn number(&mut self, scalar: &Scalar) -> Result<Number> {
        Ok(match scalar {
            Scalar::Value { value } => match value.number() {
                Some(number) => Number::Constant(number),
                None => {
                    let message = format!("{value} is not a number");
                    return Err(Error::new(Code::TraceqlType, message));
                }
            },
            Scalar::Aggregate { function, argument } => {
                let (column, of_time, of) = match (function, argument) {
                    (Aggregate::Count, _) => (None, false, String::new()),
                    (_, Some(argument)) => {
                        let (expr, of_time) = number(argument)?;
                        (Some(self.columns.add(expr)), of_time, argument.to_string())
                    }
                    (_, None) => {
                        let message = format!("{} takes a value", function.name());
                        return Err(Error::new(Code::TraceqlType, message));
                    }
                };
                Number::Aggregate {
                    function: *function,
                    column,
                    of_time,
                    key: format!("{}({of})", function.name()),
                }
            }
            Scalar::Binary {
                operator,
                left,
                right,
            } => Number::Binary(
                *operator,
                Box::new(self.number(left)?),
                Box::new(self.number(right)?),
            ),
        })
    }

    fn field(&mut self, expression: &Expression, key: String) -> Result<Field> {
        let (expr, shown) = value(expression)?;
        Ok(Field {
            key,
            column: self.columns.add(expr),
            shown,
        })
    }

    /// Shows an attribute or an intrinsic of each span, unless every span shows it anyway.
    fn show(&mut self, expression: &Expression) -> Result<()> {
        let key = match expression {
            _ if !self.shows => return Ok(()),
            Expression::Attribute { name, .. } => name.clone(),
            Expression::Intrinsic {
                name:
                    Intrinsic::Name
                    | Intrinsic::Duration
                    | Intrinsic::SpanId
                    | Intrinsic::TraceId
                    | Intrinsic::TraceDuration
                    | Intrinsic::RootName
                    | Intrinsic::RootServiceName
                    | Intrinsic::Parent,
            } => return Ok(()),
            Expression::Intrinsic { name } => name.name().to_owned(),
            _ => return Ok(()),
        };
        let field = self.field(expression, key)?;
        if !self.fields.iter().any(|known| known.column == field.column) {
            self.fields.push(field);
        }
        Ok(())
    }

    /// The spansets of the traces of a chunk.
    pub(crate) fn evaluate(&self, chunk: &Chunk) -> Result<Vec<Set>> {
        run(&self.stages, whole(&chunk.within, chunk), chunk)
    }
}

fn run(stages: &[Ready], mut sets: Vec<Set>, chunk: &Chunk) -> Result<Vec<Set>> {
    for stage in stages {
        chunk.in_time()?;
        sets = match stage {
            Ready::Spansets(Node::Pipeline(stages)) => run(stages, sets, chunk)?,
            Ready::Spansets(node) => selected(node, sets, chunk)?,
            Ready::Filter(operator, left, right) => {
                let mut kept = Vec::new();
                for mut set in sets {
                    chunk.in_time()?;
                    let mut told = Vec::new();
                    let left = left.of(&set, chunk, &mut told);
                    let right = right.of(&set, chunk, &mut told);
                    if left.zip(right).is_some_and(|(l, r)| operator.holds(l, r)) {
                        set.attributes.extend(told);
                        kept.push(set);
                    }
                }
                kept
            }
            Ready::By(field) => split(sets, field, chunk)?,
            Ready::Coalesce => joined(sets),
        };
    }
    Ok(sets)
}

/// What is left of each spanset. The first ones of all traces are looked at together, then the
/// second ones, and so on: a spanset is told apart from others of its trace alone.
fn selected(node: &Node, mut sets: Vec<Set>, chunk: &Chunk) -> Result<Vec<Set>> {
    let mut round: Vec<usize> = Vec::with_capacity(sets.len());
    for (at, set) in sets.iter().enumerate() {
        let is_next = at > 0 && sets[at - 1].trace == set.trace;
        round.push(if is_next { round[at - 1] + 1 } else { 0 });
    }
    let rounds = round.iter().max().map_or(0, |last| last + 1);
    for now in 0..rounds {
        chunk.in_time()?;
        let mut of = vec![false; chunk.within.len()];
        for (set, _) in sets.iter().zip(&round).filter(|(_, round)| **round == now) {
            for row in &set.rows {
                of[*row as usize] = true;
            }
        }
        let left = rows(node, &of, chunk)?;
        for (set, _) in sets
            .iter_mut()
            .zip(&round)
            .filter(|(_, round)| **round == now)
        {
            set.rows.retain(|row| left[*row as usize]);
        }
    }
    sets.retain(|set| !set.rows.is_empty());
    Ok(sets)
}

/// The rows of a spanset expression, of some rows.
fn rows(node: &Node, of: &[bool], chunk: &Chunk) -> Result<Vec<bool>> {
    Ok(match node {
        Node::Leaf(column) => {
            let holds = chunk.values[*column].as_boolean_opt();
            let holds =
                holds.ok_or_else(|| Error::new(Code::Internal, "a condition has no column"))?;
            let of = of.iter().enumerate();
            of.map(|(row, of)| *of && holds.is_valid(row) && holds.value(row))
                .collect()
        }
        Node::Operation(operator, left, right) => {
            let (left, right) = (rows(left, of, chunk)?, rows(right, of, chunk)?);
            structure::operate(*operator, &left, &right, &chunk.forest)
        }
        Node::Pipeline(stages) => {
            let mut left = vec![false; of.len()];
            for set in run(stages, whole(of, chunk), chunk)? {
                for row in set.rows {
                    left[row as usize] = true;
                }
            }
            left
        }
    })
}

/// One spanset for each trace that has rows.
fn whole(of: &[bool], chunk: &Chunk) -> Vec<Set> {
    let traces = chunk.forest.traces.iter().enumerate();
    let sets = traces.map(|(trace, rows)| Set {
        trace,
        rows: rows
            .clone()
            .filter(|row| of[*row])
            .map(|row| row as u32)
            .collect(),
        attributes: Vec::new(),
    });
    sets.filter(|set| !set.rows.is_empty()).collect()
}

fn split(sets: Vec<Set>, field: &Field, chunk: &Chunk) -> Result<Vec<Set>> {
    let column = &chunk.values[field.column];
    let mut groups: Vec<Set> = Vec::new();
    for set in sets {
        chunk.in_time()?;
        let mut places: HashMap<String, usize> = HashMap::new();
        for row in set.rows {
            let value = any_value(field.shown, column, row as usize);
            let value = value.unwrap_or_else(|| text("nil"));
            let next = groups.len();
            let place = *places.entry(value.to_string()).or_insert(next);
            if place == next {
                let mut attributes = set.attributes.clone();
                attributes.push((field.key.clone(), value));
                groups.push(Set {
                    trace: set.trace,
                    rows: Vec::new(),
                    attributes,
                });
            }
            groups[place].rows.push(row);
        }
    }
    Ok(groups)
}

fn joined(sets: Vec<Set>) -> Vec<Set> {
    let mut whole: Vec<Set> = Vec::new();
    for set in sets {
        match whole.last_mut() {
            Some(last) if last.trace == set.trace => last.rows.extend(set.rows),
            _ => whole.push(Set {
                attributes: Vec::new(),
                ..set
            }),
        }
    }
    for set in &mut whole {
        set.rows.sort_unstable();
        set.rows.dedup();
    }
    whole
}

impl Number {
    /// The number of a spanset; what was made of its spans is told.
    fn of(&self, set: &Set, chunk: &Chunk, told: &mut Vec<(String, Json)>) -> Option<f64> {
        match self {
            Number::Constant(number) => Some(*number),
            Number::Binary(operator, left, right) => {
                let (left, right) = (left.of(set, chunk, told), right.of(set, chunk, told));
                left.zip(right).map(|(l, r)| operator.of(l, r))
            }
            Number::Aggregate {
                function,
                column,
                of_time,
                key,
            } => {
                let number = match column {
                    None => Some(set.rows.len() as f64),
                    Some(column) => aggregate(*function, &chunk.values[*column], &set.rows),
                }?;
                let value = match (function, of_time) {
                    (Aggregate::Count, _) => int(number as i64),
                    (_, true) => text(duration(number as i64)),
                    _ => double(number),
                };
                told.push((key.clone(), value));
                Some(number)
            }
        }
    }
}

fn aggregate(function: Aggregate, column: &ArrayRef, rows: &[u32]) -> Option<f64> {
    let column = column.as_primitive_opt::<Float64Type>()?;
    let rows = rows.iter().map(|row| *row as usize);
    let values = rows
        .filter(|row| column.is_valid(*row))
        .map(|row| column.value(row));
    let (mut count, mut sum) = (0_usize, 0.0);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        count += 1;
        sum += value;
        least = least.min(value);
        most = most.max(value);
    }
    if count == 0 {
        return None;
    }
    Some(match function {
        Aggregate::Count => count as f64,
        Aggregate::Avg => sum / count as f64,
        Aggregate::Min => least,
        Aggregate::Max => most,
        Aggregate::Sum => sum,
    })
}

/// Keys with values as Tempo's messages have them.
pub(crate) fn key_values(attributes: impl IntoIterator<Item = (String, Json)>) -> Vec<Json> {
    let attributes = attributes.into_iter();
    attributes
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect()
}
