//! How the spans of traces lie to each other: by parent, as an order in which parents come first, and
//! as nested sets. One pass over spans that are sorted by trace; whatever the parents say, it ends: a
//! circle is cut open. Nested sets are of what hangs on a span without a parent.
//!
//! ```text
//!   a 1..8          row     a  b  c  d
//!   |- b 2..5       parent  -  a  b  a
//!   |  `- c 3..4    left    1  2  3  6
//!   `- d 6..7       right   8  5  4  7
//! ```

use std::collections::HashMap;
use std::ops::Range;

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// The spans of several traces.
#[derive(Debug)]
pub(crate) struct Forest {
    /// Rows of each trace.
    pub(crate) traces: Vec<Range<usize>>,
    /// By row: the parent's.
    pub(crate) parent: Vec<u32>,
    /// Rows, each behind its parent.
    pub(crate) order: Vec<u32>,
    /// By row: where its nested set begins, within its trace; 0 where it is in none.
    pub(crate) left: Vec<i64>,
    /// By row: where it ends.
    pub(crate) right: Vec<i64>,
    /// By row: how many children it has.
    pub(crate) children: Vec<i64>,
    /// By row: the id that it says its parent has, 0 for none.
    pub(crate) parent_id: Vec<u64>,
}

impl Forest {
    /// Of spans that are sorted by trace; an id of 0 is none.
    pub(crate) fn new(traces: Vec<Range<usize>>, ids: &[u64], parent_id: Vec<u64>) -> Forest {
        let rows = ids.len();
        let mut forest = Forest {
            traces,
            parent: vec![NONE; rows],
            order: Vec::with_capacity(rows),
            left: vec![0; rows],
            right: vec![0; rows],
            children: vec![0; rows],
            parent_id,
        };
        let mut by_id: HashMap<u64, u32> = HashMap::new();
        for trace in 0..forest.traces.len() {
            let trace = forest.traces[trace].clone();
            by_id.clear();
            for row in trace.clone().rev() {
                // Of spans with one id the first is the parent.
                by_id.insert(ids[row], row as u32);
            }
            for row in trace.clone() {
                let parent = by_id.get(&forest.parent_id[row]).copied();
                let parent = parent.filter(|_| forest.parent_id[row] != 0);
                forest.parent[row] = parent
                    .filter(|parent| *parent as usize != row)
                    .unwrap_or(NONE);
            }
            forest.cut(trace.clone());
            forest.nest(trace);
        }
        forest
    }

    /// Opens the circles.
    fn cut(&mut self, trace: Range<usize>) {
        const NEW: u8 = 0;
        const ON_PATH: u8 = 1;
        const DONE: u8 = 2;
        let first = trace.start;
        let mut state = vec![NEW; trace.len()];
        let mut path = Vec::new();
        for row in trace {
            let mut at = row;
            while state[at - first] == NEW {
                state[at - first] = ON_PATH;
                path.push(at);
                let parent = self.parent[at];
                if parent == NONE {
                    break;
                }
                if state[parent as usize - first] == ON_PATH {
                    self.parent[at] = NONE;
                    break;
                }
                at = parent as usize;
            }
            for at in path.drain(..) {
                state[at - first] = DONE;
            }
        }
    }

    fn nest(&mut self, trace: Range<usize>) {
        let first = trace.start;
        // The children of each, in one list.
        let mut starts = vec![0_usize; trace.len() + 1];
        for row in trace.clone() {
            if self.parent[row] != NONE {
                starts[self.parent[row] as usize - first + 1] += 1;
            }
        }
        for row in trace.clone() {
            self.children[row] = starts[row - first + 1] as i64;
        }
        for at in 0..trace.len() {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut list = vec![0_usize; starts[trace.len()]];
        for row in trace.clone() {
            if self.parent[row] != NONE {
                let parent = self.parent[row] as usize - first;
                list[next[parent]] = row;
                next[parent] += 1;
            }
        }
        // Each span on the way down, with the child that is next.
        let mut way: Vec<(usize, usize)> = Vec::new();
        let mut number = 0;
        for root in trace {
            if self.parent[root] != NONE {
                continue;
            }
            way.push((root, starts[root - first]));
            // What hangs on a parent that is not there is in no set.
            let is_numbered = self.parent_id[root] == 0;
            number += i64::from(is_numbered);
            self.left[root] = if is_numbered { number } else { 0 };
            self.order.push(root as u32);
            while let Some((row, child)) = way.last_mut() {
                let (row, at) = (*row, *child);
                number += i64::from(is_numbered);
                if at == starts[row - first + 1] {
                    self.right[row] = if is_numbered { number } else { 0 };
                    way.pop();
                    continue;
                }
                *child += 1;
                let child = list[at];
                self.left[child] = if is_numbered { number } else { 0 };
                self.order.push(child as u32);
                way.push((child, starts[child - first]));
            }
        }
    }

    /// By row: where its parent's nested set begins; -1 for a root, 0 for what is in no set.
    pub(crate) fn nested_parent(&self) -> Vec<i64> {
        let parents = self.parent.iter().zip(&self.parent_id);
        let of = |(parent, id): (&u32, &u64)| match (*parent, *id) {
            (NONE, 0) => -1,
            (NONE, _) => 0,
            (parent, _) => self.left[parent as usize],
        };
        parents.map(of).collect()
    }
}
