//! What a split costs: `cargo test --release -p otlake-route -- --ignored --nocapture split`.

use opentelemetry_proto::tonic::trace::v1::Span;
use otlake_base::{Clock, Signal, SystemClock};

use crate::split::split;
use crate::testing::{owners, request, span, text};

const SPANS: u64 = 1_000;
const ROUNDS: u64 = 1_000;

#[test]
#[ignore = "it measures; it asserts nothing about time"]
fn nanoseconds_of_a_split() {
    for per_trace in [1, 10] {
        let spans = (0..SPANS).map(|number| Span {
            attributes: (0..8)
                .map(|key| text(&format!("http.attribute.{key}"), "a value of usual length"))
                .collect(),
            ..span(number / per_trace, number)
        });
        let body = request(spans.collect());
        for nodes in [1, 3, 9] {
            let owners = owners(nodes, &[]);
            let begun = SystemClock.monotonic();
            let mut bytes = 0;
            for _ in 0..ROUNDS {
                let slices = split(Signal::Traces, &body, &owners);
                bytes += slices.iter().map(|slice| slice.body.len()).sum::<usize>();
            }
            let nanos = (SystemClock.monotonic() - begun).as_nanos() as f64;
            let count = (SPANS * ROUNDS) as f64;
            println!(
                "{nodes} owners, {per_trace} spans in a trace, {} bytes each: {:.1} ns for a span, {:.2} bytes out for one in",
                body.len() as u64 / SPANS,
                nanos / count,
                bytes as f64 / (body.len() as u64 * ROUNDS) as f64,
            );
        }
    }
}
