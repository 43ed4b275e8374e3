//! `WHERE attributes['key'] = 'text'`: most rows do not have the text anywhere in their attributes, which
//! is found out much faster than what the key's value is.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::functions::wanting;

/// Has what a filter compares with a text looked for as text first. Of filters alone, and there of what
/// all rows have to pass: elsewhere a value that is another and one that is not there are different.
#[derive(Debug)]
pub(crate) struct EqualText;

impl OptimizerRule for EqualText {
    fn name(&self) -> &str {
        "equal_text"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut is_other = false;
        let conditions = split_conjunction_owned(filter.predicate.clone());
        let conditions = conditions.into_iter().map(|condition| {
            let other = wanted_first(&condition);
            is_other |= other.is_some();
            other.unwrap_or(condition)
        });
        let Some(predicate) = conjunction(conditions.collect::<Vec<_>>()).filter(|_| is_other)
        else {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        };
        let filter = Filter::try_new(predicate, filter.input)?;
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    }
}

/// The comparison of an attribute with a text, in which the text is looked for first; none of anything else.
fn wanted_first(condition: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return None;
    };
    if *op != Operator::Eq {
        return None;
    }
    let (call, constant) = match (left.as_ref(), right.as_ref()) {
        (call, constant @ Expr::Literal(..)) | (constant @ Expr::Literal(..), call) => {
            (call, constant)
        }
        _ => return None,
    };
    let Expr::Literal(value, _) = constant else {
        return None;
    };
    let text = value.try_as_str()??;
    Some(wanting(call, text)?.eq(constant.clone()))
}
