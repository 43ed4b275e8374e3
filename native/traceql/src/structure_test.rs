use super::*;

/// Rows of one trace or more; `parents` by row, -1 for none. Ids are rows + 1.
fn forest(traces: &[&[i64]]) -> Forest {
    let (mut ranges, mut ids, mut parents) = (Vec::new(), Vec::new(), Vec::new());
    for trace in traces {
        let start = ids.len();
        for (row, parent) in trace.iter().enumerate() {
            ids.push((start + row + 1) as u64);
            parents.push(match parent {
                -1 => 0,
                parent => start as u64 + *parent as u64 + 1,
            });
        }
        ranges.push(start..ids.len());
    }
    Forest::new(ranges, &ids, parents)
}

fn mask(rows: usize, of: &[usize]) -> Vec<bool> {
    (0..rows).map(|row| of.contains(&row)).collect()
}

/// The rows of an operation on rows.
fn of(operator: Operator, left: &[usize], right: &[usize], forest: &Forest) -> Vec<usize> {
    let rows = forest.parent.len();
    let result = operate(operator, &mask(rows, left), &mask(rows, right), forest);
    (0..rows).filter(|row| result[*row]).collect()
}

/// ```text
///  0
///  |- 1
///  |  |- 2
///  |  `- 3
///  |     `- 4
///  `- 5
/// ```
fn tree() -> Forest {
    forest(&[&[-1, 0, 1, 1, 3, 0]])
}

/// All rows are of one trace.
fn of_one_trace(rows: usize) -> Vec<std::ops::Range<usize>> {
    std::iter::once(0..rows).collect()
}

#[test]
fn structural_operators_give_the_right_side() {
    let tree = tree();
    let all = [0, 1, 2, 3, 4, 5];
    for (operator, left, right, result) in [
        (Operator::Child, &[1][..], &all[..], &[2, 3][..]),
        (Operator::Descendant, &[1], &all, &[2, 3, 4]),
        (Operator::Parent, &[4, 2], &all, &[1, 3]),
        (Operator::Ancestor, &[4], &all, &[0, 1, 3]),
        (Operator::Sibling, &[2], &all, &[3]),
        (Operator::Sibling, &[2, 3], &all, &[2, 3]),
        (Operator::Sibling, &[0], &all, &[]),
        (Operator::Child, &[0], &[4], &[]),
        (Operator::Descendant, &[0], &[4], &[4]),
    ] {
        assert_eq!(
            of(operator, left, right, &tree),
            result,
            "{operator:?} {left:?} {right:?}"
        );
    }
}

#[test]
fn negated_operators_give_the_right_side_without_the_left() {
    let tree = tree();
    let all = [0, 1, 2, 3, 4, 5];
    for (operator, left, result) in [
        (Operator::NotChild, &[1][..], &[0, 1, 4, 5][..]),
        (Operator::NotDescendant, &[1], &[0, 1, 5]),
        (Operator::NotParent, &[4, 2], &[0, 2, 4, 5]),
        (Operator::NotAncestor, &[4], &[2, 4, 5]),
        (Operator::NotSibling, &[2], &[0, 1, 2, 4, 5]),
        (Operator::NotDescendant, &[], &all),
    ] {
        assert_eq!(
            of(operator, left, &all, &tree),
            result,
            "{operator:?} {left:?}"
        );
    }
}

#[test]
fn union_operators_give_both_sides() {
    let tree = tree();
    for (operator, left, right, result) in [
        (Operator::UnionChild, &[1, 5][..], &[2, 4][..], &[1, 2][..]),
        (Operator::UnionDescendant, &[1, 5], &[2, 4], &[1, 2, 4]),
        (Operator::UnionParent, &[2, 5], &[1], &[1, 2]),
        (Operator::UnionAncestor, &[4, 5], &[1], &[1, 4]),
        (Operator::UnionSibling, &[2], &[3, 4], &[2, 3]),
    ] {
        assert_eq!(
            of(operator, left, right, &tree),
            result,
            "{operator:?} {left:?} {right:?}"
        );
    }
}

#[test]
fn both_spansets_have_to_be_in_one_trace() {
    let two = forest(&[&[-1, 0], &[-1, 0, 0]]);
    assert_eq!(of(Operator::And, &[0, 2], &[3, 4], &two), [2, 3, 4]);
    assert_eq!(of(Operator::Or, &[0, 2], &[3], &two), [0, 2, 3]);
    assert_eq!(of(Operator::Descendant, &[0], &[1, 3], &two), [1]);
}

#[test]
fn circles_missing_parents_and_doubled_ids_end() {
    // 0 -> 1 -> 2 -> 0, a span that is its own parent, and one whose parent is not there.
    let circle = Forest::new(of_one_trace(5), &[1, 2, 3, 4, 5], vec![2, 3, 1, 4, 99]);
    assert_eq!(circle.order.len(), 5);
    let roots = circle
        .parent
        .iter()
        .filter(|parent| **parent == NONE)
        .count();
    assert_eq!(roots, 3);
    assert_eq!((circle.left, circle.right), (vec![0; 5], vec![0; 5]));
    // Two spans of one id: what names it as its parent has the first.
    let doubled = Forest::new(of_one_trace(3), &[7, 7, 8], vec![0, 0, 7]);
    assert_eq!(doubled.parent, [NONE, NONE, 0]);
    assert_eq!(doubled.children, [1, 0, 0]);
}

#[test]
fn nested_sets_number_each_span_on_the_way_down_and_up() {
    let tree = tree();
    assert_eq!(tree.left, [1, 2, 3, 5, 6, 10]);
    assert_eq!(tree.right, [12, 9, 4, 8, 7, 11]);
    assert_eq!(tree.nested_parent(), [-1, 1, 2, 2, 5, 1]);
    assert_eq!(tree.children, [2, 2, 0, 1, 0, 0]);
}

#[test]
fn a_deep_trace_takes_no_stack() {
    let rows = 200_000;
    let ids: Vec<u64> = (1..=rows).collect();
    let parents: Vec<u64> = (0..rows).collect();
    let forest = Forest::new(of_one_trace(rows as usize), &ids, parents);
    let all = vec![true; rows as usize];
    let under = operate(Operator::Descendant, &all, &all, &forest);
    assert_eq!(under.iter().filter(|row| **row).count(), rows as usize - 1);
}
