//! From SQL text to a plan that only reads, with its parameters bound as values.

use std::collections::HashMap;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::Dialect;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use otlake_base::{Code, Error, Result};
use serde_json::Value;

use crate::error::from_datafusion;
use crate::syntax;

/// Values for `$1`, `$2`, ….
#[derive(Clone, Debug)]
pub(crate) enum Parameters {
    /// As JSON gives them; an id may be hexadecimal text.
    Json(Vec<Value>),
    /// As Arrow gives them.
    Scalars(Vec<ScalarValue>),
}

/// A statement's plan with its parameters still open.
pub(crate) async fn plan(state: &SessionState, sql: &str) -> Result<LogicalPlan> {
    let fail = |error| from_datafusion(&error);
    let statement = state
        .sql_to_statement(sql, &Dialect::Generic)
        .map_err(fail)?;
    if !reads(&statement) {
        return Err(not_read_only());
    }
    let plan = state.statement_to_plan(statement).await.map_err(fail)?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|_| not_read_only())?;
    Ok(plan)
}

fn not_read_only() -> Error {
    Error::new(
        Code::QueryNotReadOnly,
        "only SELECT, EXPLAIN, SHOW and DESCRIBE are taken",
    )
}

fn reads(statement: &Statement) -> bool {
    match statement {
        Statement::Explain(explain) => reads(&explain.statement),
        Statement::Statement(statement) => matches!(
            statement.as_ref(),
            SqlStatement::Query(_)
                | SqlStatement::Explain { .. }
                | SqlStatement::ExplainTable { .. }
                | SqlStatement::ShowTables { .. }
                | SqlStatement::ShowColumns { .. }
                | SqlStatement::ShowVariable { .. }
                | SqlStatement::ShowFunctions { .. }
        ),
        _ => false,
    }
}

/// The statement's parameters, `$1` first; the type is absent where nothing tells it.
pub(crate) fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<FieldRef>>> {
    let fields = plan
        .get_parameter_fields()
        .map_err(|error| from_datafusion(&error))?;
    let mut numbered: HashMap<usize, Option<FieldRef>> = HashMap::new();
    for (name, field) in fields {
        let number = name
            .strip_prefix('$')
            .and_then(|digits| digits.parse::<usize>().ok())
            .filter(|number| *number > 0)
            .ok_or_else(|| {
                Error::new(
                    Code::QueryParameters,
                    format!("`{name}` is not a parameter's name: use $1, $2, …"),
                )
            })?;
        numbered.insert(number, field);
    }
    let count = numbered.len();
    (1..=count)
        .map(|number| {
            numbered.remove(&number).ok_or_else(|| {
                Error::new(
                    Code::QueryParameters,
                    format!("the statement has {count} parameters but no ${number}"),
                )
            })
        })
        .collect()
}

/// The plan with each parameter replaced by its value.
pub(crate) fn bind(plan: LogicalPlan, values: Parameters) -> Result<LogicalPlan> {
    let wanted = parameters(&plan)?;
    let given = match &values {
        Parameters::Json(values) => values.len(),
        Parameters::Scalars(values) => values.len(),
    };
    if given != wanted.len() {
        return Err(Error::new(
            Code::QueryParameters,
            format!(
                "the statement has {} parameters, {given} values were given",
                wanted.len()
            ),
        ));
    }
    if wanted.is_empty() {
        return Ok(plan);
    }
    let scalars = match values {
        Parameters::Scalars(values) => values,
        Parameters::Json(values) => values
            .into_iter()
            .zip(&wanted)
            .enumerate()
            .map(|(index, (value, field))| {
                let data_type = field.as_ref().map(|field| field.data_type());
                scalar(value, data_type)
                    .map_err(|what| Error::new(what.code, format!("${}: {}", index + 1, what)))
            })
            .collect::<Result<_>>()?,
    };
    let list = scalars
        .into_iter()
        .map(|value| ScalarAndMetadata::new(value, None))
        .collect();
    plan.replace_params_with_values(&ParamValues::List(list))
        .map_err(|error| Error::new(Code::QueryParameters, from_datafusion(&error)))
}

fn scalar(value: Value, wanted: Option<&DataType>) -> Result<ScalarValue> {
    let bad = |what: &str| Error::new(Code::QueryParameters, what);
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(value))),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), _, _) => Ok(ScalarValue::Int64(Some(value))),
            (None, Some(value), _) => Ok(ScalarValue::UInt64(Some(value))),
            (None, None, Some(value)) => Ok(ScalarValue::Float64(Some(value))),
            _ => Err(bad("the number is out of range")),
        },
        Value::String(text) => match wanted {
            Some(DataType::FixedSizeBinary(width)) => syntax::id(&text, *width)
                .map_err(|error| Error::new(Code::QueryParameters, error.message())),
            // An integer beyond 2^53 comes as text, as answers give it.
            Some(DataType::Int64) => match text.parse() {
                Ok(value) => Ok(ScalarValue::Int64(Some(value))),
                Err(_) => Err(bad("an integer is wanted")),
            },
            _ => Ok(ScalarValue::Utf8View(Some(text))),
        },
        Value::Array(_) | Value::Object(_) => {
            Err(bad("a string, number, boolean or null is wanted"))
        }
    }
}
