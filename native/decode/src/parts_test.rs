//! Rows of the parts of a request, each decoded by itself, against the rows of the whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::logs::v1::{LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{MetricsData, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, TracesData};
use otlake_base::limits::RecordLimits;
use otlake_base::{ShardSet, Signal};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::json::random_otlp_test::{logs, metrics, traces};
use crate::reference::rows;
use crate::slice::{Slice, marked};
use crate::{decode, schema};

/// As many parts as nodes of a large cluster.
const PARTS: usize = 9;

/// Which part each record goes to, by turns.
fn places() -> impl Strategy<Value = Vec<usize>> {
    vec(0..PARTS, 1..40)
}

/// The rows of a request by table, in an order of their own, as text.
fn rows_of(signal: Signal, body: &Bytes) -> BTreeMap<&'static str, Vec<String>> {
    let decoded = decode(signal, body, "tenant", &RecordLimits::default()).unwrap();
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (table, batch) in &decoded.tables {
        assert_eq!(batch.schema(), schema::schema(*table));
        for column in batch.columns() {
            column.to_data().validate_full().unwrap();
        }
        let rows = rows(batch).into_iter().map(|row| format!("{row:?}"));
        found.entry(table.name()).or_default().extend(rows);
    }
    found
}

/// Checks that the parts have together the rows of the whole.
fn check(
    signal: Signal,
    whole: &impl Message,
    parts: &[impl Message],
) -> Result<(), TestCaseError> {
    let mut together: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        let slice = Slice {
            request: 7,
            shards: std::iter::once(at).collect::<ShardSet>(),
        };
        // As it comes: with its mark.
        let sent = marked(&part.encode_to_vec(), &slice);
        for (table, rows) in rows_of(signal, &sent) {
            together.entry(table).or_default().extend(rows);
        }
    }
    let mut expected = rows_of(signal, &whole.encode_to_vec().into());
    for rows in together.values_mut().chain(expected.values_mut()) {
        rows.sort_unstable();
    }
    prop_assert_eq!(together, expected);
    Ok(())
}

/// Every part of a request that has resources, scopes and records of these names.
macro_rules! parts {
    ($data:ident { $resources:ident: $resource:ident { $scopes:ident: $scope:ident { $records:ident } } },
     $whole:expr, $places:expr) => {{
        let (whole, mut places) = (&$whole, $places.iter().cycle());
        let mut parts = vec![$data::default(); PARTS];
        for resource in &whole.$resources {
            let mut of_resource = vec![
                $resource {
                    $scopes: Vec::new(),
                    ..resource.clone()
                };
                PARTS
            ];
            for scope in &resource.$scopes {
                let mut of_scope = vec![
                    $scope {
                        $records: Vec::new(),
                        ..scope.clone()
                    };
                    PARTS
                ];
                for record in &scope.$records {
                    of_scope[*places.next().unwrap()]
                        .$records
                        .push(record.clone());
                }
                for (part, scope) in of_resource.iter_mut().zip(of_scope) {
                    if !scope.$records.is_empty() {
                        part.$scopes.push(scope);
                    }
                }
            }
            for (part, resource) in parts.iter_mut().zip(of_resource) {
                if !resource.$scopes.is_empty() {
                    part.$resources.push(resource);
                }
            }
        }
        parts
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn parts_of_spans_have_the_rows_of_the_whole(
        of in vec(traces(), 1..4),
        places in places(),
    ) {
        let whole = TracesData {
            resource_spans: of.into_iter().flat_map(|data| data.resource_spans).collect(),
        };
        let parts = parts!(
            TracesData { resource_spans: ResourceSpans { scope_spans: ScopeSpans { spans } } },
            whole, places
        );
        check(Signal::Traces, &whole, &parts)?;
    }

    #[test]
    fn parts_of_log_records_have_the_rows_of_the_whole(
        of in vec(logs(), 1..4),
        places in places(),
    ) {
        let whole = LogsData {
            resource_logs: of.into_iter().flat_map(|data| data.resource_logs).collect(),
        };
        let parts = parts!(
            LogsData { resource_logs: ResourceLogs { scope_logs: ScopeLogs { log_records } } },
            whole, places
        );
        check(Signal::Logs, &whole, &parts)?;
    }

    #[test]
    fn parts_of_metrics_have_the_rows_of_the_whole(
        of in vec(metrics(), 1..4),
        places in places(),
    ) {
        let whole = MetricsData {
            resource_metrics: of.into_iter().flat_map(|data| data.resource_metrics).collect(),
        };
        let parts = parts!(
            MetricsData { resource_metrics: ResourceMetrics { scope_metrics: ScopeMetrics { metrics } } },
            whole, places
        );
        check(Signal::Metrics, &whole, &parts)?;
    }
}
