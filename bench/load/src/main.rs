//! A load client for any OTLP server: distinct records, little work of its own.
//!
//! A request is built once; before each send its ids and times are written over in place, so
//! that no two records are the same and nothing is encoded twice; or, for benchmarks of questions, each
//! is a part of an hour of a shop's traces. Requests go over one or more
//! connections with a fixed number in flight. At the end one JSON object tells what was
//! acknowledged and how long each request took.
//!
//! - `options.rs`: the arguments.
//! - `template.rs`: the request, and where its ids and times stand.
//! - `shop.rs`: the traces of a shop, each request drawn anew; `plan.rs`: its services and operations.
//! - `random.rs`: numbers that look random.
//! - `sender.rs`: OTLP/gRPC and OTLP/HTTP over hyper.

mod options;
mod plan;
mod random;
mod sender;
mod shop;
#[cfg(test)]
mod shop_test;
mod template;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otlake_base::{Clock, SystemClock};
use tokio::sync::Mutex;

use crate::options::Options;
use crate::sender::{Outcome, Sender};
use crate::shop::{Made, Shop};
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

/// What requests are made by.
#[derive(Clone)]
enum Source {
    Template(Box<Template>),
    Shop(Box<Shop>),
}

impl Source {
    fn new(options: &Options, now: u64) -> Source {
        let Options {
            seed,
            records,
            requests,
            ..
        } = *options;
        if options.is_shop {
            let over_ns = options.over_seconds * 1_000_000_000;
            Source::Shop(Box::new(Shop::new(seed, records, requests, (over_ns, now))))
        } else {
            Source::Template(Box::new(Template::new(options.signal, records, seed)))
        }
    }

    /// Makes it request `number`.
    fn fill(&mut self, number: u64, now: u64) {
        match self {
            Source::Template(template) => template.fill(number, now),
            Source::Shop(shop) => shop.fill(number),
        }
    }

    /// The encoded request.
    fn body(&self) -> &[u8] {
        match self {
            Source::Template(template) => template.bytes(),
            Source::Shop(shop) => shop.bytes(),
        }
    }

    fn trace_id(&self, number: u64) -> String {
        match self {
            Source::Template(template) => template.trace_id(number),
            Source::Shop(shop) => shop.trace_id(number),
        }
    }

    /// What the last request held; of a shop.
    fn made(&self) -> Option<&Made> {
        match self {
            Source::Template(_) => None,
            Source::Shop(shop) => Some(&shop.made),
        }
    }
}

async fn run(options: Options) -> Result<String, String> {
    let clock = SystemClock;
    let options = Arc::new(options);
    let mut source = Source::new(&options, clock.unix_nano());
    source.fill(0, 0);
    let bytes_per_record = source.body().len() as f64 / options.records as f64;
    let tally = Arc::new(Tally::default());
    let latencies = Arc::new(Mutex::new(Vec::new()));
    // What the acknowledged requests of a shop hold, and the spans of the first trace of each.
    let held = Arc::new(Mutex::new((Made::default(), HashMap::new())));
    let next = Arc::new(AtomicU64::new(0));
    let started = clock.monotonic();
    let deadline = started + Duration::from_secs_f64(options.seconds);
    let mut workers = Vec::new();
    for connection in 0..options.connections {
        let sender = Sender::connect(&options).await?;
        let in_flight = options.in_flight / options.connections
            + usize::from(connection < options.in_flight % options.connections);
        for _ in 0..in_flight {
            let (options, tally, latencies, next, held) = (
                options.clone(),
                tally.clone(),
                latencies.clone(),
                next.clone(),
                held.clone(),
            );
            let (mut sender, mut source) = (sender.clone(), source.clone());
            workers.push(tokio::spawn(async move {
                let mut mine = Vec::new();
                let (mut made, mut firsts) = (Made::default(), Vec::new());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let now = clock.monotonic();
                    if number >= options.requests || now >= deadline {
                        break;
                    }
                    // Filled before it is due, which takes as long as sending does.
                    source.fill(number, clock.unix_nano());
                    let body = source.body();
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
                                if let Some(request) = source.made() {
                                    made.add(request);
                                    firsts.push((number, request.first_trace));
                                }
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
                let mut held = held.lock().await;
                held.0.add(&made);
                held.1.extend(firsts);
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
    let sample: Vec<u64> = (0..sampled)
        .map(|index| numbers[index * numbers.len() / sampled])
        .collect();
    let trace_ids: Vec<String> = sample.iter().map(|one| source.trace_id(*one)).collect();
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    let records = acknowledged * options.records as u64;
    let mut report = serde_json::json!({
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
    });
    if let Source::Shop(shop) = &source {
        let held = held.lock().await;
        let (made, firsts) = &*held;
        let services = shop.services().iter().zip(made.spans).zip(made.errors);
        let services = services.map(|((name, spans), errors)| {
            serde_json::json!({ "name": name, "spans": spans, "errors": errors })
        });
        report["shop"] = serde_json::json!({
            "from_unix_nano": shop.from.to_string(),
            "until_unix_nano": shop.until.to_string(),
            "traces": made.traces,
            "services": services.collect::<Vec<_>>(),
            "trace_spans": sample.iter().map(|one| firsts.get(one)).collect::<Vec<_>>(),
        });
    }
    Ok(report.to_string())
}
