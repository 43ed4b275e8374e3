//! Which columns of spans a query takes: those that a scan computes of each span, and those that are
//! computed once the whole trace is there.

use std::collections::BTreeSet;

use datafusion::common::Column;
use datafusion::logical_expr::Expr;

use crate::expression::{OF_PARENT, OF_TRACE};

/// The values of a query, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    slots: Vec<Slot>,
}

/// A value of each span.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Slot {
    /// Computed by the scan.
    Early(Expr),
    /// Computed of the whole trace.
    Late(Expr),
}

impl Columns {
    /// The number of a value; equal ones have one.
    pub(crate) fn add(&mut self, expr: Expr) -> usize {
        let is_late = expr
            .column_refs()
            .iter()
            .any(|of| of.name().starts_with(OF_TRACE));
        let slot = match is_late {
            true => Slot::Late(expr),
            false => Slot::Early(expr),
        };
        match self.slots.iter().position(|known| *known == slot) {
            Some(number) => number,
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Every value.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether some are told by the whole trace alone.
    pub(crate) fn has_late(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Late(_)))
    }

    /// The table's columns that the late ones are computed of.
    pub(crate) fn base(&self) -> BTreeSet<String> {
        let mut base = BTreeSet::new();
        for slot in &self.slots {
            let Slot::Late(expr) = slot else {
                continue;
            };
            for of in expr.column_refs() {
                if let Some(of_table) = of_table(of) {
                    base.insert(of_table.to_owned());
                }
            }
        }
        base
    }

    /// The columns of the table whose parent's value is needed.
    pub(crate) fn of_parents(&self) -> BTreeSet<String> {
        let mut parents = BTreeSet::new();
        for slot in &self.slots {
            if let Slot::Late(expr) = slot {
                let names = expr.column_refs().into_iter();
                let names = names.filter_map(|of| of.name().strip_prefix(OF_PARENT));
                parents.extend(names.map(str::to_owned));
            }
        }
        parents
    }

    /// Every column of the table that any value is computed of.
    pub(crate) fn of_table(&self) -> BTreeSet<String> {
        let mut names = self.base();
        for slot in &self.slots {
            let (Slot::Early(expr) | Slot::Late(expr)) = slot;
            names.extend(columns_of(expr));
        }
        names
    }
}

/// The columns of the table that an expression is computed of.
pub(crate) fn columns_of(expr: &Expr) -> Vec<String> {
    let names = expr.column_refs().into_iter();
    names.filter_map(of_table).map(str::to_owned).collect()
}

fn of_table(column: &Column) -> Option<&str> {
    let name = column.name();
    match name.strip_prefix(OF_PARENT) {
        Some(of_parent) => Some(of_parent),
        None => (!name.starts_with(OF_TRACE)).then_some(name),
    }
}
