//! What of each table's live rows a statement needs, told from its optimized plan: what other
//! nodes need not send.
//!
//! A table that a statement names several times is gathered once, so that the statement sees one
//! moment of it; what is wanted is then what any of its scans wants.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, LogicalPlan, Operator, TableScan};
use otlake_base::{Table, Wanted};

use crate::engine::SCHEMA;

const NANOS_PER_MICRO: i64 = 1_000;

/// What the scans of one table restrict their rows to.
#[derive(Clone, Debug, PartialEq)]
struct Bounds {
    least: i64,
    most: i64,
    trace_id: Option<[u8; 16]>,
}

/// By table, of those that the plan scans: what it wants.
pub(crate) fn wanted(plan: &LogicalPlan) -> Result<Vec<(Table, Wanted)>> {
    let mut all: Vec<(Table, Wanted)> = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = table_of(scan)
        {
            let one = of_scan(table, scan);
            match all.iter_mut().find(|(of, _)| *of == table) {
                None => all.push((table, one)),
                Some((_, before)) => widen(before, one),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(all)
}

/// The table of a scan; none where it is of `information_schema`.
fn table_of(scan: &TableScan) -> Option<Table> {
    let name = &scan.table_name;
    let is_ours = name.schema().is_none_or(|schema| schema == SCHEMA);
    is_ours.then(|| Table::from_name(name.table())).flatten()
}

fn of_scan(table: Table, scan: &TableScan) -> Wanted {
    let mut bounds = Bounds {
        least: i64::MIN,
        most: i64::MAX,
        trace_id: None,
    };
    for filter in &scan.filters {
        narrow(table, filter, &mut bounds);
    }
    let columns = scan.projection.as_ref().map(|indices| {
        let schema = scan.source.schema();
        let names = indices.iter().map(|index| schema.field(*index).name());
        names.cloned().collect()
    });
    let is_bounded = bounds.least != i64::MIN || bounds.most != i64::MAX;
    Wanted {
        times: is_bounded.then_some((bounds.least, bounds.most)),
        trace_id: bounds.trace_id,
        columns,
        ..Wanted::default()
    }
}

/// Makes `wanted` what either of two scans wants.
fn widen(wanted: &mut Wanted, other: Wanted) {
    wanted.times = match (wanted.times, other.times) {
        (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
        _ => None,
    };
    wanted.trace_id = wanted
        .trace_id
        .filter(|_| wanted.trace_id == other.trace_id);
    wanted.columns = match (wanted.columns.take(), other.columns) {
        (Some(mut columns), Some(others)) => {
            for other in others {
                if !columns.contains(&other) {
                    columns.push(other);
                }
            }
            Some(columns)
        }
        _ => None,
    };
}

/// Takes in what a filter, which all rows have to pass, says of times and the trace.
fn narrow(table: Table, filter: &Expr, bounds: &mut Bounds) {
    match filter {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => {
            narrow(table, left, bounds);
            narrow(table, right, bounds);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                compare(table, &column.name, *op, value, bounds);
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                if let Some(op) = op.swap() {
                    compare(table, &column.name, op, value, bounds);
                }
            }
            _ => {}
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            if let Expr::Column(column) = &**expr {
                if let Expr::Literal(value, _) = &**low {
                    compare(table, &column.name, Operator::GtEq, value, bounds);
                }
                if let Expr::Literal(value, _) = &**high {
                    compare(table, &column.name, Operator::LtEq, value, bounds);
                }
            }
        }
        _ => {}
    }
}

fn compare(table: Table, column: &str, op: Operator, value: &ScalarValue, bounds: &mut Bounds) {
    if column == "trace_id" {
        if let (Operator::Eq, ScalarValue::FixedSizeBinary(16, Some(id))) = (op, value) {
            bounds.trace_id = id.as_slice().try_into().ok();
        }
        return;
    }
    // The first and the last nanosecond that the value stands for.
    let (first, last) = match value {
        ScalarValue::Int64(Some(nanos)) if column == table.time_column() => (*nanos, *nanos),
        ScalarValue::TimestampMicrosecond(Some(micros), _)
            if table.time_column().strip_suffix("_unix_nano") == Some(column) =>
        {
            let nanos = micros.saturating_mul(NANOS_PER_MICRO);
            // Wide enough whichever way the column rounds.
            let around = NANOS_PER_MICRO;
            (nanos.saturating_sub(around), nanos.saturating_add(around))
        }
        _ => return,
    };
    // Strict bounds are taken as if they were not: the plan filters the rows once more.
    match op {
        Operator::Eq => {
            bounds.least = bounds.least.max(first);
            bounds.most = bounds.most.min(last);
        }
        Operator::Gt | Operator::GtEq => bounds.least = bounds.least.max(first),
        Operator::Lt | Operator::LtEq => bounds.most = bounds.most.min(last),
        _ => {}
    }
}

#[cfg(test)]
#[path = "wanted_test.rs"]
mod wanted_test;
