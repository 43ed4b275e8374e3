//! Append and fdatasync of 385 KB records: records and megabytes a second, and how long one
//! acknowledgement takes, by the number of appenders.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use otlake_base::{Clock, Metrics, Signal, SystemClock};
use otlake_log::{Durability, Log, LogConfig, Record};

const RECORD_BYTES: usize = 385_000;
const RUN: Duration = Duration::from_secs(2);

fn main() {
    println!("appenders  records/s     MB/s   p50 ms   p99 ms");
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
        let payload = Bytes::from(vec![7; RECORD_BYTES]);
        let clock = SystemClock;
        let began = clock.monotonic();
        let mut waits: Vec<f64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..appenders)
                .map(|_| {
                    let (log, payload) = (&log, payload.clone());
                    scope.spawn(move || {
                        let mut waits = Vec::new();
                        while clock.monotonic() - began < RUN {
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
                            let position =
                                answered.recv().expect("an answer").expect("it is durable");
                            waits.push((clock.monotonic() - sent).as_secs_f64() * 1e3);
                            log.release(Signal::Traces, position);
                        }
                        waits
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        let seconds = (clock.monotonic() - began).as_secs_f64();
        waits.sort_by(f64::total_cmp);
        let rate = waits.len() as f64 / seconds;
        println!(
            "{appenders:9}  {rate:9.0}  {:7.0}  {:7.2}  {:7.2}",
            rate * RECORD_BYTES as f64 / 1e6,
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
        );
    }
}
