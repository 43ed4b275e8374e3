use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::shop::Shop;

const RECORDS: usize = 1000;
const REQUESTS: u64 = 20;
const HOUR_NS: u64 = 3_600_000_000_000;
const UNTIL: u64 = 1_700_000_000_000_000_000;

fn shop() -> Shop {
    Shop::new(7, RECORDS, REQUESTS, (HOUR_NS, UNTIL))
}

fn spans(body: &[u8]) -> Vec<(String, Span)> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let resources = request.resource_spans.into_iter();
    let spans = resources.flat_map(|resource| {
        let attributes = resource.resource.unwrap_or_default().attributes;
        let service = attributes.into_iter().find(|one| one.key == "service.name");
        let service = format!("{:?}", service.and_then(|one| one.value));
        let scopes = resource.scope_spans.into_iter();
        scopes.flat_map(move |scope| {
            let service = service.clone();
            scope
                .spans
                .into_iter()
                .map(move |span| (service.clone(), span))
        })
    });
    spans.collect()
}

#[test]
fn a_request_has_just_its_records_and_tells_what_it_holds() {
    let mut shop = shop();
    let mut all = HashSet::new();
    for number in 0..REQUESTS {
        let first = shop.trace_id(number);
        shop.fill(number);
        let spans = spans(shop.bytes());
        assert_eq!(spans.len(), RECORDS);
        let made = shop.made.clone();
        assert_eq!(made.spans.iter().sum::<u64>(), RECORDS as u64);
        let failed = spans.iter().filter(|(_, span)| span.status.is_some());
        assert_eq!(made.errors.iter().sum::<u64>(), failed.count() as u64);
        let mut traces: HashMap<String, u64> = HashMap::new();
        for (_, span) in &spans {
            let id = span.trace_id.iter().map(|byte| format!("{byte:02x}"));
            *traces.entry(id.collect()).or_default() += 1;
            assert!(all.insert(span.span_id.clone()), "a span id comes twice");
            assert!(span.start_time_unix_nano >= shop.from);
            assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        }
        assert_eq!(made.traces, traces.len() as u64);
        assert_eq!(traces.get(&first), Some(&made.first_trace));
    }
}

#[test]
fn a_trace_is_one_tree_and_children_lie_within_their_parents() {
    let mut shop = shop();
    shop.fill(3);
    let spans = spans(shop.bytes());
    let by_id: HashMap<_, _> = spans
        .iter()
        .map(|(_, span)| (&span.span_id, span))
        .collect();
    let mut roots = HashSet::new();
    for (_, span) in &spans {
        if span.parent_span_id.is_empty() {
            assert!(roots.insert(&span.trace_id), "a trace has two roots");
            continue;
        }
        let parent = by_id[&span.parent_span_id];
        assert_eq!(parent.trace_id, span.trace_id);
        assert!(parent.start_time_unix_nano <= span.start_time_unix_nano);
        assert!(parent.end_time_unix_nano >= span.end_time_unix_nano);
    }
    assert_eq!(roots.len() as u64, shop.made.traces);
}

#[test]
fn an_hour_has_all_services_and_operations_and_its_requests_are_of_all_of_it() {
    let mut shop = shop();
    let (mut services, mut names) = (HashSet::new(), HashSet::new());
    let (mut first, mut last) = (u64::MAX, 0);
    for number in 0..REQUESTS {
        shop.fill(number);
        for (service, span) in spans(shop.bytes()) {
            services.insert(service);
            if span.kind == 2 {
                names.insert(span.name);
            }
            first = first.min(span.start_time_unix_nano);
            last = last.max(span.start_time_unix_nano);
        }
    }
    assert_eq!(services.len(), 20);
    assert!(names.len() > 200, "{} operations", names.len());
    assert!(first < UNTIL - HOUR_NS * 9 / 10 && last > UNTIL - HOUR_NS / 10);
    // The same again from the same seed.
    let mut again = self::shop();
    again.fill(5);
    shop.fill(5);
    assert_eq!(again.bytes(), shop.bytes());
}
