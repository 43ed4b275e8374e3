//! Ways between nodes that nothing goes over.

use std::collections::BTreeSet;

use crate::chance::Chance;

/// Ways that are cut, from one node to another.
#[derive(Clone, Debug, Default)]
pub struct Cuts(BTreeSet<(usize, usize)>);

impl Cuts {
    /// Whether what one says arrives at the other.
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        from == to || !self.0.contains(&(from, to))
    }

    pub fn ways(&self) -> &BTreeSet<(usize, usize)> {
        &self.0
    }

    /// Cuts a node off from one or most of the others, or them from it, or both.
    pub fn cut_off(&mut self, chance: &mut Chance, node: usize, nodes: usize) {
        let one_way = chance.below(3);
        let alone = chance
            .per_mille(400)
            .then(|| chance.below(nodes as u64) as usize);
        for other in 0..nodes {
            let is_left = match alone {
                Some(alone) => other != alone,
                None => chance.per_mille(250),
            };
            if other == node || is_left {
                continue;
            }
            if one_way != 1 {
                self.0.insert((node, other));
            }
            if one_way != 2 {
                self.0.insert((other, node));
            }
        }
    }

    /// Opens all of them again.
    pub fn heal(&mut self) {
        self.0.clear();
    }
}
