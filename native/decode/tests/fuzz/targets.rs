//! What the targets of cargo-fuzz do with the bytes they are given: the first chooses, the others
//! are the request. Here, and not in the targets, so that the compiler at hand checks it.

use otlake_base::Signal;
use otlake_base::limits::RecordLimits;

use super::checks;

/// Limits that nearly every record goes beyond.
const NARROW: RecordLimits = RecordLimits {
    attributes: 2,
    attribute_key_bytes: 3,
    attribute_value_bytes: 3,
    value_depth: 2,
    events: 1,
    links: 1,
};

/// Protobuf: the first byte chooses the signal and whether the limits are narrow.
pub fn decode(bytes: &[u8]) -> bool {
    let Some((first, body)) = bytes.split_first() else {
        return false;
    };
    let choice = usize::from(*first);
    let signal = Signal::ALL[choice % Signal::ALL.len()];
    let limits = match choice / Signal::ALL.len() % 2 {
        0 => RecordLimits::default(),
        _ => NARROW,
    };
    checks::protobuf(signal, body.to_vec(), limits)
}

/// OTLP/JSON: the first byte chooses the signal.
pub fn json(bytes: &[u8]) -> bool {
    let Some((first, body)) = bytes.split_first() else {
        return false;
    };
    let signal = Signal::ALL[usize::from(*first) % Signal::ALL.len()];
    checks::json(signal, body)
}
