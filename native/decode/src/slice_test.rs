use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use otlake_base::limits::RecordLimits;
use otlake_base::{ShardSet, Signal};
use prost::Message;

use crate::slice::{Slice, marked, of};

fn request() -> Bytes {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "a".into(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_001,
        ..Span::default()
    };
    let request = TracesData {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec().into()
}

#[test]
fn a_mark_goes_with_the_part_through_the_log_and_changes_no_row() {
    let part = request();
    let slice = Slice {
        request: 7 << 100,
        shards: [3, 499].into_iter().collect(),
    };
    let sent = marked(&part, &slice);
    assert_eq!(of(&sent), Some((slice, part.clone())));
    assert_eq!(of(&part), None);
    let limits = RecordLimits {
        attribute_value_bytes: 1,
        ..RecordLimits::default()
    };
    let decode = |body: &Bytes| crate::decode(Signal::Traces, body, "t", &limits).expect("rows");
    let (with, without) = (decode(&sent), decode(&part));
    assert_eq!(with.accepted, 1);
    assert_eq!(with.tables, without.tables);
    let logged = crate::to_log(sent.clone(), &with, &limits);
    assert_eq!(of(&crate::as_received(&logged)), Some((slice, part)));
    let replayed = crate::replay(Signal::Traces, &logged, "t").expect("rows");
    assert_eq!(replayed.tables, without.tables);
    assert_eq!(ShardSet::BYTES, 64);
}
