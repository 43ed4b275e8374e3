//! Which day a row is of, and how many a request may have: each becomes a file (I5).

use arrow::array::AsArray;
use arrow::datatypes::Date32Type;
use bytes::Bytes;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
use otlake_base::limits::{MAX_REQUEST_DAYS, RecordLimits};
use otlake_base::{Code, Result, Signal};
use prost::Message;

use crate::{Decoded, decode, replay};

const DAY: u64 = 86_400_000_000_000;

fn logs(times: impl IntoIterator<Item = (u64, u64)>) -> Bytes {
    let record = |(time, observed)| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        ..Default::default()
    };
    let scope_logs = vec![ScopeLogs {
        log_records: times.into_iter().map(record).collect(),
        ..Default::default()
    }];
    let resource_logs = vec![ResourceLogs {
        scope_logs,
        ..Default::default()
    }];
    Bytes::from(LogsData { resource_logs }.encode_to_vec())
}

fn decoded(body: &Bytes) -> Result<Decoded> {
    decode(Signal::Logs, body, "t", &RecordLimits::default())
}

fn days(decoded: &Decoded) -> Vec<i32> {
    let column = decoded.tables[0].1.column_by_name("day").unwrap();
    column.as_primitive::<Date32Type>().values().to_vec()
}

#[test]
fn a_log_record_without_a_time_is_of_the_day_of_its_observation() {
    let body = logs([(3 * DAY, 5 * DAY), (0, 5 * DAY), (0, 0)]);
    assert_eq!(days(&decoded(&body).unwrap()), [3, 5, 0]);
}

#[test]
fn i5_a_request_of_many_days_is_refused_whole_and_says_how_to_send_it() {
    let of = |days: usize| {
        // Each day twice, and not one after the other.
        let each = (0..2 * days).map(move |at| ((at % days) as u64 * DAY, 1));
        logs(each.map(|(time, observed)| (time + 1, observed)))
    };
    let taken = decoded(&of(MAX_REQUEST_DAYS)).unwrap();
    assert_eq!(taken.accepted, 2 * MAX_REQUEST_DAYS as u64);
    let body = of(MAX_REQUEST_DAYS + 1);
    let error = decoded(&body).unwrap_err();
    assert_eq!(error.code, Code::OtlpTooLarge);
    assert!(
        error.message.contains("send fewer days"),
        "{}",
        error.message
    );
    // What a log holds was acknowledged, maybe under another limit.
    let again = replay(Signal::Logs, &body, "t").unwrap();
    assert_eq!(again.accepted, 2 * (MAX_REQUEST_DAYS as u64 + 1));
}
