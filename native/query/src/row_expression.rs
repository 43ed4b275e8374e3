//! SQL expressions over the rows of a batch, planned once and evaluated in columns: each row's value is
//! told by that row alone, and is the same whenever it is asked.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use otlake_base::{Code, Error, Result};

use crate::error::from_datafusion;
use crate::syntax::{self, Ids};

/// Functions whose results have no bound in what they are given (I5).
const UNBOUNDED: [&str; 10] = [
    "array_repeat",
    "array_resize",
    "generate_series",
    "list_repeat",
    "list_resize",
    "lpad",
    "range",
    "repeat",
    "rpad",
    "space",
];

/// Plans expressions.
pub struct RowExpressions(SessionState);

/// An expression over the rows of one schema.
#[derive(Clone)]
pub struct RowExpression {
    expression: Arc<dyn PhysicalExpr>,
    data_type: DataType,
}

impl RowExpressions {
    /// A planner with the functions and the syntax of queries.
    ///
    /// # Errors
    /// `QUERY_FAILED`.
    pub fn new() -> Result<RowExpressions> {
        let builder = SessionStateBuilder::new_with_default_features();
        let state = syntax::speaking(builder).map_err(|error| from_datafusion(&error))?;
        Ok(RowExpressions(state))
    }

    /// Plans an expression over batches of a schema.
    ///
    /// # Errors
    /// `QUERY_INVALID` where it is not SQL, names a column that is not there, has operands of the wrong
    /// types, or is not told by one row alone and always the same: aggregates, window functions,
    /// subqueries, parameters, and functions such as `now()`.
    pub fn plan(&self, sql: &str, schema: &SchemaRef) -> Result<RowExpression> {
        self.planned(sql, schema)
            .map_err(|error| from_datafusion(&error))
    }

    fn planned(&self, sql: &str, schema: &SchemaRef) -> Result<RowExpression, DataFusionError> {
        let state = &self.0;
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let options = state.config_options();
        let expression = state.create_logical_expr(sql, &columns)?.unalias();
        let check = |part: &Expr| match refused(part) {
            Some(what) => Err(DataFusionError::External(Box::new(Error::new(
                Code::QueryInvalid,
                what,
            )))),
            None => Ok(TreeNodeRecursion::Continue),
        };
        expression.apply(check)?;
        // Before types are made to agree: then a text beside an id is an id already.
        let expression = expression
            .transform_up(|part| Ids.rewrite(part, &columns, options))?
            .data;
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(columns.clone()))
            .with_config_options(Arc::clone(options))
            .build();
        let simplifier = ExprSimplifier::new(context);
        let expression = simplifier.simplify(simplifier.coerce(expression, &columns)?)?;
        let expression = state.create_physical_expr(expression, &columns)?;
        Ok(RowExpression {
            data_type: expression.data_type(schema)?,
            expression,
        })
    }
}

impl fmt::Debug for RowExpressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowExpressions")
    }
}

impl RowExpression {
    /// The type of its values.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Its value for each row.
    ///
    /// # Errors
    /// `QUERY_INVALID` where it has none for some row, such as a text that is cast to a number.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let values = self.expression.evaluate(batch);
        values
            .and_then(|values| values.into_array(batch.num_rows()))
            .map_err(|error| from_datafusion(&error))
    }
}

impl fmt::Debug for RowExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expression)
    }
}

/// Why a part of an expression is not taken.
fn refused(part: &Expr) -> Option<String> {
    Some(match part {
        Expr::AggregateFunction(function) => format!(
            "`{}` is an aggregate; only what one row alone tells is taken",
            function.func.name()
        ),
        Expr::WindowFunction(_) => {
            "a window function needs other rows; only what one row alone tells is taken".to_owned()
        }
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::SetComparison(_)
        | Expr::OuterReferenceColumn(..) => {
            "a subquery needs other rows; list the values, or use CASE".to_owned()
        }
        Expr::Placeholder(parameter) => {
            format!("`{}` is a parameter; write the value itself", parameter.id)
        }
        Expr::Unnest(_) => {
            "`unnest` makes other rows; only one value for each row is taken".to_owned()
        }
        Expr::ScalarVariable(..) => {
            "variables are not known here; write the value itself".to_owned()
        }
        Expr::ScalarFunction(function) => {
            let name = function.name();
            if function.func.signature().volatility != Volatility::Immutable {
                format!(
                    "`{name}` gives another value each time, and rows that are replayed after a crash \
                     would not be the same; use a column such as the row's time"
                )
            } else if UNBOUNDED.contains(&name) {
                format!("`{name}` can make values of any length, and is not taken")
            } else {
                return None;
            }
        }
        _ => return None,
    })
}
