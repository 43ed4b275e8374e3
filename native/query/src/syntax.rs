//! What SQL means here beyond DataFusion: `attributes['key']`, `attributes->>'key'`, and ids
//! compared with hexadecimal text.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{FunctionRegistry, SessionStateDefaults};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, GetFieldAccess, Operator, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::equal_text::EqualText;
use crate::functions::{self, Function, from_hex};

/// A session that knows the extra syntax and functions.
pub(crate) fn speaking(builder: SessionStateBuilder) -> Result<SessionState> {
    let mut planners = SessionStateDefaults::default_expr_planners();
    planners.insert(0, Arc::new(Syntax));
    let builder = builder.with_optimizer_rule(Arc::new(EqualText));
    let mut state = builder.with_expr_planners(planners).build();
    for function in functions::all() {
        state.register_udf(Arc::new(function))?;
    }
    state.register_function_rewrite(Arc::new(Ids))?;
    Ok(state)
}

/// Plans the extra syntax; comes before DataFusion's own planners.
#[derive(Debug)]
pub(crate) struct Syntax;

impl ExprPlanner for Syntax {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        if is_text(&left, schema) {
            match op {
                BinaryOperator::LongArrow => return Ok(call(Function::Attr, left, right)),
                BinaryOperator::Arrow => return Ok(call(Function::AttrJson, left, right)),
                _ => {}
            }
        }
        let compares = matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
        );
        let (left, right) = if compares {
            let (left, right) = ids(left, right, schema)?;
            let (right, left) = ids(right, left, schema)?;
            (left, right)
        } else {
            (left, right)
        };
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }

    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if !is_text(&expr.expr, schema) {
            return Ok(PlannerResult::Original(expr));
        }
        match expr.field_access {
            GetFieldAccess::NamedStructField { name } => {
                Ok(call(Function::Attr, expr.expr, lit(name)))
            }
            GetFieldAccess::ListIndex { key } => Ok(call(Function::Attr, expr.expr, *key)),
            access => Ok(PlannerResult::Original(RawFieldAccessExpr {
                field_access: access,
                expr: expr.expr,
            })),
        }
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(
        expr.get_type(schema),
        Ok(DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8)
    )
}

fn call<T>(function: Function, json: Expr, key: Expr) -> PlannerResult<T> {
    PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(
        Arc::new(function.udf()),
        vec![json, key],
    )))
}

/// Where `left` is an id, a hexadecimal text in `right` becomes that id.
fn ids(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    if let Expr::Literal(value, _) = &right
        && let Some(Some(text)) = value.try_as_str()
        && let Ok(DataType::FixedSizeBinary(width)) = left.get_type(schema)
    {
        let id = id(text, width)?;
        return Ok((left, lit(id)));
    }
    Ok((left, right))
}

/// Hexadecimal text as an id of `width` bytes.
pub(crate) fn id(text: &str, width: i32) -> Result<ScalarValue> {
    match from_hex(text) {
        Some(bytes) if i32::try_from(bytes.len()) == Ok(width) => {
            Ok(ScalarValue::FixedSizeBinary(width, Some(bytes)))
        }
        _ => plan_err!(
            "`{text}` is not an id: {} hexadecimal digits are wanted",
            width * 2
        ),
    }
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// Does for `IN` lists and bound parameters what `Syntax` does for comparisons.
#[derive(Debug)]
pub(crate) struct Ids;

impl FunctionRewrite for Ids {
    fn name(&self) -> &str {
        "ids"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
                let (left, right) = ids(*left, *right, schema)?;
                let (right, left) = ids(right, left, schema)?;
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(left),
                    op,
                    Box::new(right),
                ))))
            }
            Expr::InList(InList {
                mut expr,
                list,
                negated,
            }) => {
                let mut items = Vec::with_capacity(list.len());
                for item in list {
                    let (column, item) = ids(*expr, item, schema)?;
                    expr = Box::new(column);
                    items.push(item);
                }
                Ok(Transformed::yes(Expr::InList(InList::new(
                    expr, items, negated,
                ))))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
