//! OTLP/JSON: the first byte chooses the signal, the others are the request.

#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/allocations.rs"]
mod allocations;
#[allow(dead_code)]
#[path = "../../tests/fuzz/checks.rs"]
mod checks;

use libfuzzer_sys::fuzz_target;
use otlake_base::Signal;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let signal = Signal::ALL[usize::from(*first) % Signal::ALL.len()];
    checks::json(signal, body);
});
