//! What is kept as it is and looks wrong: times.

use bytes::Bytes;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Summary,
    SummaryDataPoint,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;
use prost::Message;

use crate::{Decoded, decode_received, replay, to_log};

const NOW: u64 = 1_767_225_600_000_000_000;
const DAY: u64 = 86_400_000_000_000;

/// Decodes at `NOW`. A replay, which knows no time, gives the same rows.
fn decoded(signal: Signal, body: &impl Message) -> Decoded {
    let (body, limits) = (Bytes::from(body.encode_to_vec()), RecordLimits::default());
    let decoded = decode_received(signal, &body, "t", &limits, NOW).unwrap();
    let logged = to_log(body, &decoded, &limits);
    assert_eq!(replay(signal, &logged, "t").unwrap().tables, decoded.tables);
    assert!(decoded.changed.is_empty() && !decoded.limited);
    decoded
}

fn traces(times: &[(u64, u64)]) -> TracesData {
    let span = |(number, (start, end)): (usize, &(u64, u64))| Span {
        trace_id: vec![number as u8 + 1; 16],
        span_id: vec![number as u8 + 1; 8],
        start_time_unix_nano: *start,
        end_time_unix_nano: *end,
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: times.iter().enumerate().map(span).collect(),
        ..Default::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..Default::default()
    }];
    TracesData { resource_spans }
}

fn logs(times: &[(u64, u64)]) -> LogsData {
    let record = |(time, observed): &(u64, u64)| LogRecord {
        time_unix_nano: *time,
        observed_time_unix_nano: *observed,
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: times.iter().map(record).collect(),
        ..Default::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..Default::default()
    }];
    LogsData { resource_logs }
}

fn metrics(data: Data) -> MetricsData {
    let scope_metrics = vec![ScopeMetrics {
        metrics: vec![Metric {
            name: "m".into(),
            data: Some(data),
            ..Default::default()
        }],
        ..Default::default()
    }];
    let resource_metrics = vec![ResourceMetrics {
        scope_metrics,
        ..Default::default()
    }];
    MetricsData { resource_metrics }
}

#[test]
fn spans_whose_times_look_wrong_are_kept_and_flagged() {
    let found = decoded(
        Signal::Traces,
        &traces(&[
            (NOW, NOW + 1),
            (NOW, NOW - 1),
            (NOW, 0),
            (0, 0),
            (NOW / 1000, NOW / 1000),
            (NOW, u64::MAX),
            (NOW, NOW + DAY),
            (NOW, NOW + DAY + 1),
            (NOW + 2 * DAY, NOW + DAY),
        ]),
    );
    assert_eq!((found.received, found.accepted), (9, 8));
    assert_eq!(found.rejections.by_reason, [("time_out_of_range", 1)]);
    assert_eq!(
        found.flagged,
        [
            ("end_before_start", 2),
            ("time_unset", 2),
            ("time_before_1973", 1),
            ("time_in_future", 2),
        ]
    );
}

#[test]
fn log_records_are_flagged_by_their_time_or_that_of_their_observation() {
    let found = decoded(
        Signal::Logs,
        &logs(&[
            (NOW, 0),
            (0, NOW),
            (0, 0),
            (NOW / 1000, NOW),
            (0, NOW / 1000),
            (NOW + 2 * DAY, NOW),
            (u64::MAX, NOW),
        ]),
    );
    assert_eq!((found.received, found.accepted), (7, 6));
    assert_eq!(
        found.flagged,
        [
            ("time_unset", 1),
            ("time_before_1973", 2),
            ("time_in_future", 1),
        ]
    );
}

#[test]
fn data_points_whose_times_look_wrong_are_kept_and_flagged_once() {
    let times = [
        (0, NOW),
        (NOW - 1, NOW),
        (NOW, NOW - 1),
        // No time at all is one thing that is wrong, not two.
        (NOW, 0),
        (0, NOW / 1000),
        (0, NOW + 2 * DAY),
        (u64::MAX, NOW),
    ];
    let number = |(start, time)| NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        ..Default::default()
    };
    let summary = |(start, time)| SummaryDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        ..Default::default()
    };
    for data in [
        Data::Gauge(Gauge {
            data_points: times.map(number).into(),
        }),
        Data::Summary(Summary {
            data_points: times.map(summary).into(),
        }),
    ] {
        let found = decoded(Signal::Metrics, &metrics(data));
        assert_eq!((found.received, found.accepted), (7, 6));
        assert_eq!(
            found.flagged,
            [
                ("end_before_start", 1),
                ("time_unset", 1),
                ("time_before_1973", 1),
                ("time_in_future", 1),
            ]
        );
    }
}
