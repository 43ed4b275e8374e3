//! Who should have a copy of what.

use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// The members, and where files belong, as TypeScript decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesView {
    /// Every member, this node included, and whether it is there.
    pub members: Vec<(Arc<str>, bool)>,
    /// By the hash of a file's name: the nodes that should have it, best first. Where there are none,
    /// every member may.
    pub slots: Vec<Vec<Arc<str>>>,
}

impl FilesView {
    /// The other members that are there.
    pub(crate) fn others(&self, own: &str) -> Vec<Arc<str>> {
        let others = self.members.iter();
        let others = others.filter(|(name, alive)| *alive && **name != *own);
        others.map(|(name, _)| Arc::clone(name)).collect()
    }

    pub(crate) fn is_there(&self, node: &str) -> bool {
        self.members
            .iter()
            .any(|(name, alive)| *alive && **name == *node)
    }

    /// The nodes that should have a file, at most so many, best first.
    pub(crate) fn holders(&self, key: &str, copies: usize) -> Vec<Arc<str>> {
        let hash = xxh64(key.as_bytes(), 0);
        if self.slots.is_empty() {
            // Rendezvous hashing: as even, and without weights and zones.
            let mut ranked: Vec<(u64, Arc<str>)> = self
                .members
                .iter()
                .map(|(name, _)| (xxh64(name.as_bytes(), hash), Arc::clone(name)))
                .collect();
            ranked.sort_unstable();
            return ranked
                .into_iter()
                .take(copies)
                .map(|(_, name)| name)
                .collect();
        }
        let slot = &self.slots[(hash % self.slots.len() as u64) as usize];
        slot.iter().take(copies).cloned().collect()
    }
}
