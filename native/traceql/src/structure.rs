//! Two spansets by how their spans lie to each other, for all traces at once: which rows are of each
//! is a column of booleans, and so is the result.

use std::collections::HashMap;

use crate::forest::{Forest, NONE};
use crate::tree::SpansetOperator as Operator;

/// The rows of an operation on two spansets.
pub(crate) fn operate(
    operator: Operator,
    left: &[bool],
    right: &[bool],
    forest: &Forest,
) -> Vec<bool> {
    match operator {
        Operator::And => {
            let mut both = either(left, right);
            for trace in &forest.traces {
                let has = |rows: &[bool]| rows[trace.clone()].contains(&true);
                if !(has(left) && has(right)) {
                    both[trace.clone()].fill(false);
                }
            }
            both
        }
        Operator::Or => either(left, right),
        Operator::Child => those(right, &below(left, forest), true),
        Operator::Descendant => those(right, &under(left, forest), true),
        Operator::Parent => those(right, &above(left, forest), true),
        Operator::Ancestor => those(right, &over(left, forest), true),
        Operator::Sibling => those(right, &beside(left, forest), true),
        Operator::NotChild => those(right, &below(left, forest), false),
        Operator::NotDescendant => those(right, &under(left, forest), false),
        Operator::NotParent => those(right, &above(left, forest), false),
        Operator::NotAncestor => those(right, &over(left, forest), false),
        Operator::NotSibling => those(right, &beside(left, forest), false),
        Operator::UnionChild => either(
            &those(right, &below(left, forest), true),
            &those(left, &above(right, forest), true),
        ),
        Operator::UnionDescendant => either(
            &those(right, &under(left, forest), true),
            &those(left, &over(right, forest), true),
        ),
        Operator::UnionParent => either(
            &those(right, &above(left, forest), true),
            &those(left, &below(right, forest), true),
        ),
        Operator::UnionAncestor => either(
            &those(right, &over(left, forest), true),
            &those(left, &under(right, forest), true),
        ),
        Operator::UnionSibling => either(
            &those(right, &beside(left, forest), true),
            &those(left, &beside(right, forest), true),
        ),
    }
}

/// Whether each side has to have spans for the result to have any.
pub(crate) fn needs(operator: Operator) -> (bool, bool) {
    match operator {
        Operator::NotChild
        | Operator::NotDescendant
        | Operator::NotParent
        | Operator::NotAncestor
        | Operator::NotSibling => (false, true),
        Operator::Or => (false, false),
        _ => (true, true),
    }
}

fn either(left: &[bool], right: &[bool]) -> Vec<bool> {
    left.iter().zip(right).map(|(l, r)| *l || *r).collect()
}

/// The rows of `of` that lie so, or that do not.
fn those(of: &[bool], lie: &[bool], so: bool) -> Vec<bool> {
    of.iter()
        .zip(lie)
        .map(|(of, lie)| *of && *lie == so)
        .collect()
}

/// Rows whose parent is of these.
fn below(of: &[bool], forest: &Forest) -> Vec<bool> {
    let parents = forest.parent.iter();
    parents
        .map(|parent| *parent != NONE && of[*parent as usize])
        .collect()
}

/// Rows with an ancestor of these.
fn under(of: &[bool], forest: &Forest) -> Vec<bool> {
    let mut under = vec![false; of.len()];
    for row in &forest.order {
        let parent = forest.parent[*row as usize];
        if parent != NONE {
            let parent = parent as usize;
            under[*row as usize] = of[parent] || under[parent];
        }
    }
    under
}

/// Rows that are the parent of one of these.
fn above(of: &[bool], forest: &Forest) -> Vec<bool> {
    let mut above = vec![false; of.len()];
    for (row, parent) in forest.parent.iter().enumerate() {
        if *parent != NONE && of[row] {
            above[*parent as usize] = true;
        }
    }
    above
}

/// Rows with a descendant of these.
fn over(of: &[bool], forest: &Forest) -> Vec<bool> {
    let mut over = vec![false; of.len()];
    for row in forest.order.iter().rev() {
        let row = *row as usize;
        let parent = forest.parent[row];
        if parent != NONE && (of[row] || over[row]) {
            over[parent as usize] = true;
        }
    }
    over
}

/// Rows that have the parent of another row of these.
fn beside(of: &[bool], forest: &Forest) -> Vec<bool> {
    let mut beside = vec![false; of.len()];
    let mut counts: HashMap<u64, u32> = HashMap::new();
    for trace in &forest.traces {
        counts.clear();
        for row in trace.clone() {
            if of[row] && forest.parent_id[row] != 0 {
                *counts.entry(forest.parent_id[row]).or_default() += 1;
            }
        }
        for row in trace.clone() {
            let siblings = counts.get(&forest.parent_id[row]).copied().unwrap_or(0);
            beside[row] = siblings > u32::from(of[row]);
        }
    }
    beside
}

#[cfg(test)]
#[path = "structure_test.rs"]
mod structure_test;
