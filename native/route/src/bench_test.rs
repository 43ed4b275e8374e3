//! What a split costs: `cargo test --release -p otlake-route -- --ignored --nocapture split`; and what
//! the way of slices to an owner does, by calls and on a stream: the same with `way`.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use otlake_base::{Clock, Signal, SystemClock};

use crate::lane_testing::{Streams, pair};
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

/// Bytes of a slice: 111 spans.
const SLICE_BYTES: usize = 45_000;
const SLICES: usize = 20_000;
/// What stands for the owner's disk: whatever waits is stored so often.
const GROUP_COMMIT: Duration = Duration::from_millis(4);

/// Processor time of this process, in microseconds, as `proc_pid_stat(5)` tells it in ticks of 10 ms.
fn processor_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = [11, 12]
        .map(|at| fields[at].parse::<u64>().unwrap())
        .iter()
        .sum();
    ticks * 10_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures; it asserts nothing about time"]
async fn microseconds_of_a_slice_on_its_way() {
    for at_once in [1, 4, 16, 64] {
        for (name, streams) in [("calls", Streams::Unknown), ("stream", Streams::Served)] {
            let (a, b) = pair(streams).await;
            let owner = Arc::clone(&b.owner);
            let disk = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(GROUP_COMMIT).await;
                    let waiting = owner.given() - owner.ended();
                    let free = owner.go.available_permits();
                    owner.go.add_permits(waiting.saturating_sub(free));
                }
            });
            let count = SLICES.min(at_once * 1_000);
            let before = processor_micros();
            let clients = (0..at_once).map(|_| {
                let a = Arc::clone(&a);
                tokio::spawn(async move {
                    let body = vec![7; SLICE_BYTES];
                    for _ in 0..count / at_once {
                        a.send(&body).await.unwrap();
                    }
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.unwrap();
            }
            let micros = processor_micros() - before;
            disk.abort();
            let messages = a.messages() as usize + b.calls();
            println!(
                "{at_once} at once by {name}: {:.1} us of processor a slice, both sides; {:.2} slices a message",
                micros as f64 / count as f64,
                count as f64 / messages as f64,
            );
        }
    }
}
