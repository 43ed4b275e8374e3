//! What a node counts of tables' files where the nodes keep them on their own disks (docs/object-store.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Labels;

/// Every figure of files on the nodes' own disks. Each field is a handle.
pub struct FileMetrics {
    /// Copies on this node.
    pub held: Gauge,
    /// Bytes of them.
    pub held_bytes: Gauge,
    /// Of these, files that fewer nodes have than should, as of the last look.
    pub under_replicated: Gauge,
    /// Bytes that came from other nodes, by `purpose` (read, repair).
    pub fetched_bytes: Family<Labels, Counter>,
    /// Copies that another node was asked to take, by `outcome` (ok, failed).
    pub copies: Family<Labels, Counter>,
    /// Files that were refused because too few nodes took a copy.
    pub refused: Counter,
    /// Files that were taken with fewer copies than is set, because that is allowed.
    pub degraded: Counter,
}

impl FileMetrics {
    /// Registers all.
    pub(crate) fn new(registry: &mut Registry) -> FileMetrics {
        let held = Gauge::default();
        registry.register(
            "files_held",
            "Copies of tables' files on this node, where the nodes keep them",
            held.clone(),
        );
        let held_bytes = Gauge::default();
        registry.register_with_unit(
            "files_held_size",
            "Bytes of copies of tables' files on this node",
            Unit::Bytes,
            held_bytes.clone(),
        );
        let under_replicated = Gauge::default();
        registry.register(
            "files_under_replicated",
            "Files with a copy on this node that fewer nodes have than should",
            under_replicated.clone(),
        );
        let fetched_bytes = Family::<Labels, Counter>::default();
        registry.register_with_unit(
            "files_fetched",
            "Bytes of tables' files that came from other nodes, by purpose",
            Unit::Bytes,
            fetched_bytes.clone(),
        );
        let copies = Family::<Labels, Counter>::default();
        registry.register(
            "files_copies",
            "Copies of tables' files that another node was asked to take, by outcome",
            copies.clone(),
        );
        let refused = Counter::default();
        registry.register(
            "files_refused",
            "Files that were refused because too few nodes took a copy",
            refused.clone(),
        );
        let degraded = Counter::default();
        registry.register(
            "files_degraded",
            "Files that were taken with fewer copies than is set",
            degraded.clone(),
        );
        FileMetrics {
            held,
            held_bytes,
            under_replicated,
            fetched_bytes,
            copies,
            refused,
            degraded,
        }
    }

    /// Counts bytes that came from another node.
    pub fn fetched(&self, purpose: &'static str, bytes: u64) {
        let labels = vec![("purpose", purpose)];
        self.fetched_bytes.get_or_create(&labels).inc_by(bytes);
    }

    /// Counts a copy that another node was asked to take.
    pub fn copied(&self, is_taken: bool) {
        let outcome = if is_taken { "ok" } else { "failed" };
        self.copies.get_or_create(&vec![("outcome", outcome)]).inc();
    }
}
