//! What is counted of the series that are derived from spans (docs/derived.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{Labels, by_table};
use crate::signal::Table;

/// What is at the ends of an edge.
pub const CONNECTIONS: [&str; 4] = ["direct", "messaging_system", "database", "virtual_node"];
/// Why something has no series of its own.
pub const REASONS: [&str; 2] = ["series", "refused"];
/// What it is.
pub const LEFT_OUT: [&str; 3] = ["spans", "edges", "points"];
/// Seconds, from 1 ms to 16 s, each bound four times the one before.
const SECONDS: [f64; 8] = [0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384];

/// Every figure of what is derived. Each field is a handle.
pub struct DeriveMetrics {
    /// Seconds that making the rows of one flush took, by `table` (metrics_sum, metrics_histogram).
    pub seconds: Family<Labels, Histogram, fn() -> Histogram>,
    /// What has no series of its own (I5), by `reason` and `of`.
    pub left_out: Family<Labels, Counter>,
    /// Edges between services that were told, by `connection`.
    pub edges: Family<Labels, Counter>,
    /// Halves of edges that nobody came for in time and that name nobody.
    pub unpaired: Counter,
    /// Halves of edges that wait for the other.
    pub waiting: Gauge,
    /// Series of all tenants that are known.
    pub series: Gauge,
}

impl DeriveMetrics {
    /// Registers all, at zero.
    pub(crate) fn new(registry: &mut Registry) -> DeriveMetrics {
        let make: fn() -> Histogram = || Histogram::new(SECONDS);
        let seconds = Family::<Labels, Histogram, fn() -> Histogram>::new_with_constructor(make);
        registry.register_with_unit(
            "derive_duration",
            "Making the derived rows of one flush",
            Unit::Seconds,
            seconds.clone(),
        );
        let left_out = Family::<Labels, Counter>::default();
        registry.register(
            "derive_left_out",
            "What has no derived series of its own (I5)",
            left_out.clone(),
        );
        let edges = Family::<Labels, Counter>::default();
        registry.register(
            "derive_edges",
            "Edges between services that were derived",
            edges.clone(),
        );
        let unpaired = Counter::default();
        registry.register(
            "derive_unpaired",
            "Halves of edges that nobody came for",
            unpaired.clone(),
        );
        let waiting = Gauge::default();
        registry.register(
            "derive_waiting",
            "Halves of edges that wait for the other",
            waiting.clone(),
        );
        let series = Gauge::default();
        registry.register(
            "derive_series",
            "Derived series that are known",
            series.clone(),
        );
        for table in Table::DERIVED {
            drop(seconds.get_or_create(&by_table(table)));
        }
        for connection in CONNECTIONS {
            drop(edges.get_or_create(&vec![("connection", connection)]));
        }
        for of in ["spans", "edges"] {
            drop(left_out.get_or_create(&vec![("reason", "series"), ("of", of)]));
        }
        DeriveMetrics {
            seconds,
            left_out,
            edges,
            unpaired,
            waiting,
            series,
        }
    }
}
