//! A bounded fuzzer: bytes of every kind go through JSON, decoding and encoding. Whatever they
//! are, nothing crashes or hangs, every column of what is taken has every row, and what is
//! allocated stays in proportion to the request.
//!
//! - `OTLAKE_FUZZ_SEED`: a number; without it, each run takes its own from the clock. It is
//!   printed, and gives the same requests again.
//! - `OTLAKE_FUZZ_CASES`: requests of each kind and signal.
//!
//! `fuzz/` has a target of cargo-fuzz for longer runs, with the same checks.

mod fuzz {
    pub mod allocations;
    pub mod checks;
    pub mod mutate;
    #[path = "../../src/json/random_otlp_test.rs"]
    #[allow(dead_code)]
    pub mod random_otlp;
    pub mod targets;
    pub mod watchdog;
}

use std::io::Write;

use bytes::Bytes;
use fuzz::allocations::peak_of;
use fuzz::checks::{self, MEMORY_PER_BYTE, MEMORY_SPARE};
use fuzz::mutate::Mutator;
use fuzz::random_otlp::{logs, metrics, traces};
use fuzz::targets;
use fuzz::watchdog::Watchdog;
use otlake_base::limits::RecordLimits;
use otlake_base::{Clock, Signal, SystemClock};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Past the test harness, which keeps what a test prints and loses it with a process that aborts
/// or overflows its stack.
fn tell(line: &str) {
    // Who closed our standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The seed of this run; printed, so that a failure can be seen again.
fn seed() -> u64 {
    let seed = number("OTLAKE_FUZZ_SEED").unwrap_or_else(|| SystemClock.unix_nano());
    tell(&format!("OTLAKE_FUZZ_SEED={seed}"));
    seed
}

fn cases(otherwise: u64) -> u64 {
    number("OTLAKE_FUZZ_CASES").unwrap_or(otherwise)
}

/// Random whole requests of a signal.
struct Requests(TestRunner);

impl Requests {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        Self(TestRunner::new_with_rng(Config::default(), random))
    }

    fn next(&mut self, signal: Signal) -> Vec<u8> {
        fn one<S: Strategy>(strategy: S, runner: &mut TestRunner) -> S::Value {
            strategy.new_tree(runner).expect("a value").current()
        }
        match signal {
            Signal::Traces => one(traces(), &mut self.0).encode_to_vec(),
            Signal::Metrics => one(metrics(), &mut self.0).encode_to_vec(),
            Signal::Logs => one(logs(), &mut self.0).encode_to_vec(),
        }
    }
}

#[test]
fn i5_no_bytes_crash_or_hang_it_or_take_memory_out_of_proportion() {
    let seed = seed();
    let watchdog = Watchdog::start(seed);
    let (mut requests, mut mutator) = (Requests::new(seed), Mutator::new(seed));
    let (mut taken, mut refused) = (0u64, 0u64);
    for case in 0..cases(1500) {
        for signal in Signal::ALL {
            watchdog.begins(case);
            let (whole, other) = (requests.next(signal), requests.next(signal));
            let json = otlake_decode::json::from_protobuf(signal, &whole).expect("it is OTLP");
            let mut mutated = whole.clone();
            mutator.protobuf(&mut mutated, &other);
            let mut mutated_json = json.clone();
            mutator.json(&mut mutated_json);
            for body in [whole, mutated, mutator.bytes(), mutator.messages()] {
                match checks::protobuf(signal, body, mutator.limits()) {
                    true => taken += 1,
                    false => refused += 1,
                }
            }
            for body in [json, mutated_json, mutator.bytes(), mutator.text()] {
                match checks::json(signal, &body) {
                    true => taken += 1,
                    false => refused += 1,
                }
            }
        }
    }
    tell(&format!("{taken} requests taken, {refused} refused"));
    // A fuzzer that only ever sees one side has stopped testing the other.
    assert!(taken > refused / 10 && refused > taken / 50);
}

/// The targets of cargo-fuzz take what a request is, whatever they are told to choose.
#[test]
fn the_targets_of_cargo_fuzz_make_the_same_checks() {
    let (mut requests, mut taken) = (Requests::new(seed()), 0);
    for first in 0..=u8::MAX {
        let signal = Signal::ALL[usize::from(first) % Signal::ALL.len()];
        let protobuf = requests.next(signal);
        let json = otlake_decode::json::from_protobuf(signal, &protobuf).expect("it is OTLP");
        taken += u32::from(targets::decode(&[&[first], &protobuf[..]].concat()));
        taken += u32::from(targets::json(&[&[first], &json[..]].concat()));
    }
    assert_eq!(taken, 2 * 256);
    assert!(!targets::decode(&[]) && !targets::json(&[]));
}

/// Values in values, far deeper than any limit: whoever recurses without one overflows his stack.
#[test]
fn i5_no_depth_overflows_the_stack() {
    const DEPTH: usize = 100_000;
    // An `AnyValue` of an array of one; of a list of one key and value; of both by turns.
    let (array, list): (&[u32], &[u32]) = (&[5, 1], &[6, 1, 2]);
    for turns in [[array, array], [list, list], [array, list]] {
        let value = turns.iter().cycle().take(DEPTH).copied();
        let value: Vec<u32> = value.flatten().copied().collect();
        for (signal, path) in checks::REPEATED {
            // From what is repeated to a value in it.
            let to_value: &[u32] = match (signal, *path) {
                (Signal::Logs, [1, 2, 2]) => &[5],
                (Signal::Traces, [1, 1, 1] | [1, 2, 1, 3] | [1, 2, 2, 9] | [1, 2, 2, 11, 3]) => {
                    &[2]
                }
                (Signal::Metrics, [1, 2, 2, 12]) => &[2],
                (Signal::Metrics, [1, 2, 2, 5, 1]) => &[7, 2],
                _ => continue,
            };
            let body = checks::nested(&[path, to_value, &value].concat());
            assert!(checks::protobuf(*signal, body, RecordLimits::default()));
        }
    }
    let deep = |open: &str, close: &str| [open.repeat(DEPTH), close.repeat(DEPTH)].concat();
    let array = deep(r#"{"arrayValue":{"values":["#, "]}}");
    let list = deep(r#"{"kvlistValue":{"values":[{"value":"#, "}]}}");
    for value in [array.as_str(), &list, &deep("[", "]"), &"[".repeat(DEPTH)] {
        let body = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#
        );
        assert!(!checks::json(Signal::Logs, body.as_bytes()));
        let unknown = format!(r#"{{"unknown":{value}}}"#);
        assert!(!checks::json(Signal::Logs, unknown.as_bytes()));
    }
}

/// The shortest forms of all that OTLP repeats, as many as fit.
#[test]
fn i5_the_smallest_elements_take_memory_in_proportion() {
    const COUNT: usize = 100_000;
    let mut worst = (0.0, String::new());
    for (signal, path) in checks::REPEATED {
        let body = Bytes::from(checks::repeat(path, COUNT));
        let (decoded, peak) = peak_of(|| {
            otlake_decode::decode(*signal, &body, "t", &RecordLimits::default()).is_ok()
        });
        assert!(decoded, "{path:?} of {signal:?} is OTLP");
        let factor = peak.saturating_sub(MEMORY_SPARE) as f64 / body.len() as f64;
        if factor > worst.0 {
            worst = (factor, format!("{path:?} of {signal:?}"));
        }
        assert!(
            factor <= MEMORY_PER_BYTE as f64,
            "{path:?} of {signal:?}: {factor:.0} bytes of memory for each of the request's"
        );
    }
    println!("at most {:.0} bytes for each: {}", worst.0, worst.1);
}
