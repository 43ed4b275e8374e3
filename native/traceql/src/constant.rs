//! A comparison of one stored value with a constant. A stored attribute is JSON text that keeps its
//! OTLP type; a comparison between different types is never true.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use otlake_base::limits::TRACEQL_REGEX_BYTES;
use otlake_base::{Code, Error, Result};
use otlake_query::attribute::{self, Elements, Needle};
use regex::{Regex, RegexBuilder};

use crate::tree::{Comparison, Value};

/// What a stored value is compared with, and how.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    operator: Comparison,
    constant: Constant,
}

#[derive(Clone, Debug)]
enum Constant {
    /// Anything that is there.
    Something,
    Text(String),
    Pattern(Regex),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// What no attribute can be equal to.
    Nothing,
}

impl Test {
    /// A comparison with a constant.
    ///
    /// # Errors
    /// `TRACEQL_REGEX` for a regular expression that is none.
    pub(crate) fn new(operator: Comparison, value: &Value) -> Result<Test> {
        let constant = match (operator, value) {
            (Comparison::Matches | Comparison::NotMatches, Value::String(pattern)) => {
                Constant::Pattern(anchored(pattern)?)
            }
            (Comparison::Matches | Comparison::NotMatches, other) => {
                let message = format!("a regular expression is text, and {other} is not");
                return Err(Error::new(Code::TraceqlRegex, message));
            }
            (_, Value::String(text)) => Constant::Text(text.clone()),
            (_, Value::Int(number) | Value::Duration(number)) => Constant::Int(*number),
            (_, Value::Float(number)) => Constant::Float(*number),
            (_, Value::Bool(value)) => Constant::Bool(*value),
            (_, Value::Nil | Value::Status(_) | Value::SpanKind(_)) => Constant::Nothing,
        };
        Ok(Test { operator, constant })
    }

    /// Whether there is a value at all.
    pub(crate) fn something() -> Test {
        Test {
            operator: Comparison::Equal,
            constant: Constant::Something,
        }
    }

    /// The text that an attribute has to have to pass, as it is or within an array; none where others pass.
    pub(crate) fn needle(&self) -> Option<Needle> {
        match (&self.constant, self.operator) {
            (Constant::Text(text), Comparison::Equal) => Some(Needle::new(text)),
            _ => None,
        }
    }

    /// Whether a value's JSON text passes.
    pub(crate) fn raw(&self, raw: &str) -> bool {
        if matches!(self.constant, Constant::Something) {
            return raw != "null";
        }
        match raw.as_bytes().first() {
            Some(b'"') => attribute::text(raw).is_some_and(|text| self.text(&text)),
            Some(b'[') => self.array(raw),
            Some(b't' | b'f') => attribute::boolean(raw).is_some_and(|value| self.bool(value)),
            Some(b'n') | None => false,
            _ => match attribute::int(raw) {
                Some(number) => self.int(number),
                None => attribute::double(raw).is_some_and(|number| self.float(number)),
            },
        }
    }

    /// An array passes if an element does; where the comparison is negated, if all of them do.
    fn array(&self, raw: &str) -> bool {
        let Some(mut elements) = Elements::new(raw) else {
            return false;
        };
        match self.operator {
            Comparison::NotEqual | Comparison::NotMatches => elements.all(|raw| self.raw(raw)),
            _ => elements.any(|raw| self.raw(raw)),
        }
    }

    /// Whether text passes.
    pub(crate) fn text(&self, text: &str) -> bool {
        match (&self.constant, self.operator) {
            (Constant::Something, _) => true,
            (Constant::Pattern(pattern), Comparison::NotMatches) => !pattern.is_match(text),
            (Constant::Pattern(pattern), _) => pattern.is_match(text),
            (Constant::Text(constant), operator) => {
                let constant = constant.as_str();
                match operator {
                    Comparison::Equal => text == constant,
                    Comparison::NotEqual => text != constant,
                    Comparison::Less => text < constant,
                    Comparison::LessOrEqual => text <= constant,
                    Comparison::Greater => text > constant,
                    Comparison::GreaterOrEqual => text >= constant,
                    Comparison::Matches | Comparison::NotMatches => false,
                }
            }
            _ => false,
        }
    }

    /// Whether an integer passes.
    pub(crate) fn int(&self, number: i64) -> bool {
        match self.constant {
            Constant::Something => true,
            Constant::Int(constant) => match self.operator {
                Comparison::Equal => number == constant,
                Comparison::NotEqual => number != constant,
                Comparison::Less => number < constant,
                Comparison::LessOrEqual => number <= constant,
                Comparison::Greater => number > constant,
                Comparison::GreaterOrEqual => number >= constant,
                Comparison::Matches | Comparison::NotMatches => false,
            },
            Constant::Float(constant) => self.operator.holds(number as f64, constant),
            _ => false,
        }
    }

    fn float(&self, number: f64) -> bool {
        match self.constant {
            Constant::Int(constant) => self.operator.holds(number, constant as f64),
            Constant::Float(constant) => self.operator.holds(number, constant),
            _ => false,
        }
    }

    fn bool(&self, value: bool) -> bool {
        match (&self.constant, self.operator) {
            (Constant::Bool(constant), Comparison::Equal) => value == *constant,
            (Constant::Bool(constant), Comparison::NotEqual) => value != *constant,
            _ => false,
        }
    }

    fn identity(&self) -> Cow<'_, str> {
        Cow::Owned(format!("{:?} {:?}", self.operator, self.constant))
    }
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Test {}

impl Hash for Test {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// A regular expression that has to match all of a text, as Tempo's.
fn anchored(pattern: &str) -> Result<Regex> {
    let built = RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(TRACEQL_REGEX_BYTES)
        .build();
    built.map_err(|error| {
        let message = format!("`{pattern}` is not a regular expression: {error}");
        Error::new(Code::TraceqlRegex, message)
    })
}
