//! A load client for any OTLP server: distinct records, little work of its own.
//!
//! A request is built once; before each send its ids and times are written over in place, so
//! that no two records are the same and nothing is encoded twice. Requests go over one or more
//! connections with a fixed number in flight. At the end one JSON object tells what was
//! acknowledged and how long each request took.
//!
//! - `options.rs`: the arguments.
//! - `template.rs`: the request, and where its ids and times stand.
//! - `sender.rs`: OTLP/gRPC and OTLP/HTTP over hyper.

mod options;
mod sender;
mod template;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::{Clock, SystemClock};
use tokio::sync::Mutex;

use crate::options::Options;
use crate::sender::{Outcome, Sender};
use crate::template::Template;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(options)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// How long a refused request waits.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

async fn run(options: Options) -> Result<String, String> {
    let clock = SystemClock;
    let options = Arc::new(options);
    let template = Template::new(options.signal, options.records, options.seed);
    let bytes_per_record = template.bytes().len() as f64 / options.records as f64;
    let tally = Arc::new(Tally::default());
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let next = Arc::new(AtomicU64::new(0));
    let started = clock.monotonic();
    let deadline = started + Duration::from_secs_f64(options.seconds);
    let mut workers = Vec::new();
    for connection in 0..options.connections {
        let sender = Sender::connect(&options).await?;
        let in_flight = options.in_flight / options.connections
            + usize::from(connection < options.in_flight % options.connections);
        for _ in 0..in_flight {
            let (options, tally, latencies, next) = (
                options.clone(),
                tally.clone(),
                latencies.clone(),
                next.clone(),
            );
            let (mut sender, mut template) = (sender.clone(), template.clone());
            workers.push(tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let now = clock.monotonic();
                    if number >= options.requests || now >= deadline {
                        break;
                    }
                    // Filled before it is due, which takes as long as sending does.
                    let body = template.fill(number, clock.unix_nano());
                    let due = options.rate.map(|rate| {
                        let after = number as f64 * options.records as f64 / rate;
                        started + Duration::from_secs_f64(after)
                    });
                    // At a fixed rate a request that waited behind a slow answer counts from the
                    // time it was due: else that wait would be left out (coordinated omission). One
                    // that was early counts from when the timer let it go, which is up to some
                    // milliseconds late by itself.
                    let wait = due.and_then(|due| due.checked_sub(clock.monotonic()));
                    let begun = match wait {
                        Some(wait) => {
                            tokio::time::sleep(wait).await;
                            None
                        }
                        None => due,
                    };
                    loop {
                        let sent = begun.unwrap_or_else(|| clock.monotonic());
                        match sender.send(body).await {
                            Outcome::Acknowledged => {
                                tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                                let waited = (clock.monotonic() - sent).as_secs_f64() * 1e3;
                                mine.push((waited, number));
                            }
                            // As an exporter does it: the same request again, a little later.
                            Outcome::Refused => {
                                tally.refused.fetch_add(1, Ordering::Relaxed);
                                tokio::time::sleep(REFUSED_PAUSE).await;
                                if clock.monotonic() < deadline {
                                    continue;
                                }
                            }
                            Outcome::Failed(message) => {
                                tally.failed.fetch_add(1, Ordering::Relaxed);
                                if !options.keep_going {
                                    eprintln!("{message}");
                                }
                            }
                        }
                        break;
                    }
                    if sender.is_closed() {
                        break;
                    }
                }
                latencies.lock().await.append(&mut mine);
            }));
        }
    }
    for worker in workers {
        worker.await.map_err(|error| error.to_string())?;
    }
    let seconds = (clock.monotonic() - started).as_secs_f64();
    let (mut latencies, mut numbers): (Vec<f64>, Vec<u64>) =
        latencies.lock().await.drain(..).unzip();
    latencies.sort_by(f64::total_cmp);
    numbers.sort_unstable();
    let percentile = |share: f64| {
        let last = latencies.len().saturating_sub(1);
        latencies
            .get((last as f64 * share).round() as usize)
            .copied()
    };
    // Spread evenly over what was acknowledged.
    let sampled = options.trace_ids.min(numbers.len());
    let trace_ids: Vec<String> = (0..sampled)
        .map(|index| template.trace_id(numbers[index * numbers.len() / sampled]))
        .collect();
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    let records = acknowledged * options.records as u64;
    Ok(serde_json::json!({
        "signal": options.signal.name(),
        "records_per_request": options.records,
        "bytes_per_record": (bytes_per_record * 10.0).round() / 10.0,
        "requests_acknowledged": acknowledged,
        "requests_refused": tally.refused.load(Ordering::Relaxed),
        "requests_failed": tally.failed.load(Ordering::Relaxed),
        "records_acknowledged": records,
        "seconds": seconds,
        "records_per_second": records as f64 / seconds,
        "p50_ms": percentile(0.5),
        "p95_ms": percentile(0.95),
        "p99_ms": percentile(0.99),
        "max_ms": percentile(1.0),
        "trace_ids": trace_ids,
    })
    .to_string())
}
