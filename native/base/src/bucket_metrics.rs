//! What the object store of the tables is asked, and how long it takes (docs/operations.md).

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::Labels;

/// What a store is asked for.
pub const OPERATIONS: [&str; 10] = [
    "get",
    "head",
    "list",
    "put",
    "delete",
    "copy",
    "create_upload",
    "put_part",
    "complete_upload",
    "abort_upload",
];
/// How a request ends; an answer that something is absent, or there already, is one.
pub const OUTCOMES: [&str; 2] = ["ok", "failed"];
/// Seconds, from 2 ms to a minute, each bound two or three times the one before.
const SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0];

/// Every figure of the object store. Each field is a handle.
pub struct BucketMetrics {
    /// Requests with all their retries, by `operation` and `outcome`.
    pub requests: Family<Labels, Counter>,
    /// Seconds of a request with all its retries, by `operation`.
    pub seconds: Family<Labels, Histogram, fn() -> Histogram>,
    /// Bytes of files that were put.
    pub sent_bytes: Counter,
    /// Bytes of files that were got.
    pub received_bytes: Counter,
}

impl BucketMetrics {
    /// Registers all.
    pub(crate) fn new(registry: &mut Registry) -> BucketMetrics {
        let requests = Family::<Labels, Counter>::default();
        registry.register(
            "bucket_requests",
            "Requests to the object store of the tables, by operation and outcome",
            requests.clone(),
        );
        let make: fn() -> Histogram = || Histogram::new(SECONDS);
        let seconds = Family::new_with_constructor(make);
        registry.register_with_unit(
            "bucket_request_duration",
            "From a request to the object store to its answer, by operation",
            Unit::Seconds,
            seconds.clone(),
        );
        let sent_bytes = Counter::default();
        registry.register_with_unit(
            "bucket_sent",
            "Bytes that were put into the object store",
            Unit::Bytes,
            sent_bytes.clone(),
        );
        let received_bytes = Counter::default();
        registry.register_with_unit(
            "bucket_received",
            "Bytes that were got from the object store",
            Unit::Bytes,
            received_bytes.clone(),
        );
        BucketMetrics {
            requests,
            seconds,
            sent_bytes,
            received_bytes,
        }
    }
}
