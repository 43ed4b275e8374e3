//! Protobuf: the first byte chooses the signal and whether the limits are narrow, the others are
//! the request.

#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/allocations.rs"]
mod allocations;
#[allow(dead_code)]
#[path = "../../tests/fuzz/checks.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;
use otlake_base::Signal;
use otlake_base::limits::RecordLimits;

/// Limits that nearly every record goes beyond.
const NARROW: RecordLimits = RecordLimits {
    attributes: 2,
    attribute_key_bytes: 3,
    attribute_value_bytes: 3,
    value_depth: 2,
    events: 1,
    links: 1,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let choice = usize::from(*first);
    let signal = Signal::ALL[choice % Signal::ALL.len()];
    let limits = match choice / Signal::ALL.len() % 2 {
        0 => RecordLimits::default(),
        _ => NARROW,
    };
    checks::protobuf(signal, body.to_vec(), limits);
});
