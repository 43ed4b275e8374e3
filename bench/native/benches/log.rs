//! Append and fdatasync of 385 KB records: records a second by the number of appenders, and how
//! long one acknowledgement takes.
//!
//! `cargo bench --profile release --bench log` in `bench/native`.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use otlake_allocator as _;
use otlake_base::{Clock, Metrics, Signal, SystemClock};
use otlake_log::{Durability, Log, LogConfig, Record};

const RECORD_BYTES: usize = 385_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::ElementsAndBytes {
        elements: 1,
        bytes: RECORD_BYTES as u64,
    });
    for appenders in [1, 8, 64] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = LogConfig {
            dir: folder.path().to_owned(),
            segment_bytes: 128 << 20,
            max_bytes: 1 << 40,
            durability: Durability::Fsync,
        };
        let (log, _) = Log::open(config, Arc::new(SystemClock), Arc::new(Metrics::new()))
            .expect("the log opens");
        let waits = Mutex::new(Vec::new());
        group.bench_function(BenchmarkId::new("append", appenders), |bencher| {
            bencher.iter_custom(|records| append(&log, appenders, records, &waits));
        });
        let mut waits = waits.into_inner().expect("no panic");
        waits.sort_unstable();
        let share = |part| {
            waits
                .get(waits.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "log/append/{appenders}: acknowledged after {:.2?} (p50), {:.2?} (p99)",
            share(50),
            share(99)
        );
    }
    group.finish();
    criterion.final_summary();
}

/// Appends so many records from so many threads, each of which waits for its acknowledgement
/// before the next; how long it took.
fn append(log: &Log, appenders: u64, records: u64, waits: &Mutex<Vec<Duration>>) -> Duration {
    let clock = SystemClock;
    let payload = Bytes::from(vec![7; RECORD_BYTES]);
    let began = clock.monotonic();
    std::thread::scope(|scope| {
        for appender in 0..appenders {
            let mine = records / appenders + u64::from(appender < records % appenders);
            let payload = &payload;
            scope.spawn(move || {
                let mut waited = Vec::new();
                for _ in 0..mine {
                    let record = Record {
                        signal: Signal::Traces,
                        tenant: "default".into(),
                        received_unix_nano: clock.unix_nano(),
                        payload: payload.clone(),
                    };
                    let (answer, answered) = channel();
                    let sent = clock.monotonic();
                    log.append(
                        record,
                        Box::new(move |result| {
                            let _ = answer.send(result);
                        }),
                    );
                    let position = answered.recv().expect("an answer").expect("it is durable");
                    waited.push(clock.monotonic() - sent);
                    log.release(Signal::Traces, position);
                }
                waits.lock().expect("no panic").append(&mut waited);
            });
        }
    });
    clock.monotonic() - began
}
