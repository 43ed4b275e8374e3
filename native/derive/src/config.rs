//! What is derived, and by which bounds.

use otlake_base::limits;

/// Every setting of what is derived.
#[derive(Clone, Debug, PartialEq)]
pub struct DeriveConfig {
    /// Calls and durations of each service's operations.
    pub span_metrics: bool,
    /// Edges between services.
    pub service_graph: bool,
    /// Attributes that become labels of calls and durations: of the span or, where it has none by
    /// that name, of its resource.
    pub dimensions: Vec<String>,
    /// Attributes of a client span that name whom it called, the first that is there.
    pub peer_attributes: Vec<String>,
    /// The upper bounds of a histogram's buckets, in seconds, ascending.
    pub bounds: Vec<f64>,
    /// What a point covers, in milliseconds.
    pub interval_ms: u64,
    /// Series of one tenant (I5).
    pub max_series: usize,
    /// How long half of an edge waits for the other, in milliseconds.
    pub edge_wait_ms: u64,
    /// Halves that wait (I5).
    pub max_waiting: usize,
    /// Bytes of rows whose records the log keeps for them (I5).
    pub max_kept_bytes: usize,
}

impl DeriveConfig {
    /// Whether anything is derived.
    pub fn is_on(&self) -> bool {
        self.span_metrics || self.service_graph
    }
}

/// What stands in [`DeriveConfig::peer_attributes`] by default, as Tempo has it, with the names of
/// databases and queues that the semantic conventions have now and had before.
pub const PEER_ATTRIBUTES: [&str; 8] = [
    "peer.service",
    "db.namespace",
    "db.name",
    "db.system.name",
    "db.system",
    "messaging.destination.name",
    "messaging.destination",
    "messaging.system",
];

/// The default bounds, those of Tempo's `span_metrics`: 2 ms to 16 s, each twice the one before.
pub const BOUNDS: [f64; 14] = [
    0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
    16.384,
];

impl Default for DeriveConfig {
    fn default() -> Self {
        DeriveConfig {
            span_metrics: false,
            service_graph: false,
            dimensions: Vec::new(),
            peer_attributes: PEER_ATTRIBUTES.map(str::to_owned).into(),
            bounds: BOUNDS.into(),
            interval_ms: limits::DERIVE_INTERVAL_MS,
            max_series: limits::DERIVE_MAX_SERIES,
            edge_wait_ms: limits::DERIVE_EDGE_WAIT_MS,
            max_waiting: limits::DERIVE_MAX_WAITING,
            max_kept_bytes: kept_of(limits::LOG_MAX_BYTES),
        }
    }
}

/// The part of a log of so many bytes that is kept for what waits, at most: what is left has to do for
/// flushes that the disk holds up.
pub fn kept_of(log_max_bytes: u64) -> usize {
    usize::try_from(log_max_bytes / 4).unwrap_or(usize::MAX)
}
