//! A series' stable id: xxh3-64 over name, resource, scope and attributes, whatever the order
//! of the attributes. It is stored, so it must never change.

use xxhash_rust::xxh3::xxh3_64;

/// A hash of a set: the sum of its members' hashes.
#[derive(Clone, Copy, Default)]
pub struct Unordered(u64);

impl Unordered {
    /// Adds a member: of attributes, `"key":value` as it stands in their JSON text.
    pub fn add(&mut self, member: &[u8]) {
        self.0 = self.0.wrapping_add(xxh3_64(member));
    }

    /// Adds what a scope has beside its attributes.
    pub fn add_scope(&mut self, name: &str, version: &str) {
        self.add(name.as_bytes());
        self.add(&[&[0], version.as_bytes()].concat());
    }

    /// The hash.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// A hash of a metric's name.
pub fn name_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// The id of a series.
///
/// `name` is a hash, too: of the metric's name.
pub fn series_id(name: u64, resource: u64, scope: u64, attributes: u64) -> i64 {
    let mut parts = [0; 32];
    parts[..8].copy_from_slice(&name.to_le_bytes());
    parts[8..16].copy_from_slice(&resource.to_le_bytes());
    parts[16..24].copy_from_slice(&scope.to_le_bytes());
    parts[24..].copy_from_slice(&attributes.to_le_bytes());
    xxh3_64(&parts) as i64
}
