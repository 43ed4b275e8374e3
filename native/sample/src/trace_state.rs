//! OpenTelemetry's member of W3C trace state, `ot=th:…;rv:…`, among the members of others.
//!
//! Sources: <https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/>,
//! <https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>,
//! <https://www.w3.org/TR/trace-context-2/#tracestate-header>.

/// One more than the greatest randomness: a threshold that nothing reaches.
pub(crate) const NEVER: u64 = 1 << BITS;
/// Bits of randomness, and of a threshold.
const BITS: u32 = 56;
const DIGITS: usize = 14;
/// Digits of a probability's threshold behind its leading `f`s, as SDKs are recommended to write.
const PRECISION: u32 = 4;
/// OpenTelemetry's key.
const KEY: &str = "ot";
/// Characters of its value.
const MAX_VALUE: usize = 256;
/// Members of a trace state.
const MAX_MEMBERS: usize = 32;
/// Characters of one.
const MAX_STATE: usize = 512;
/// Members that are longer go first.
const LONG_MEMBER: usize = 128;

/// The threshold of a probability, 2^-56 to 1: what rejects the rest.
pub(crate) fn threshold_of(probability: f64) -> u64 {
    let kept = (probability * NEVER as f64).round() as u64;
    let kept = kept.clamp(1, NEVER);
    let exact = NEVER - kept;
    if exact == 0 {
        return 0;
    }
    let length = u64::BITS - kept.leading_zeros();
    let precision = PRECISION + (BITS - length.min(BITS)) / 4;
    let shift = BITS.saturating_sub(4 * precision);
    let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
    let rounded = ((exact + half) >> shift) << shift;
    rounded.min(NEVER - 1)
}

/// A threshold as `th` writes it.
pub(crate) fn digits(threshold: u64) -> String {
    let digits = format!("{threshold:014x}");
    match digits.trim_end_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// What a trace id is by chance: its last 56 bits.
pub(crate) fn randomness_of(trace_id: &[u8; 16]) -> u64 {
    let low = u128::from_be_bytes(*trace_id) & u128::from(NEVER - 1);
    low as u64
}

/// What OpenTelemetry's member says of sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sampling {
    /// The explicit randomness.
    pub(crate) randomness: Option<u64>,
    /// The threshold that the span has passed.
    pub(crate) threshold: Option<u64>,
}

/// Reads it; what is not as the specification has it counts as absent.
pub(crate) fn sampling(state: &str) -> Sampling {
    let mut found = Sampling::default();
    let Some(value) = members(state).find_map(opentelemetry) else {
        return found;
    };
    for (key, value) in value.split(';').filter_map(|each| each.split_once(':')) {
        match key {
            "rv" if value.len() == DIGITS => found.randomness = hexadecimal(value),
            "th" => found.threshold = hexadecimal(value),
            _ => {}
        }
    }
    found
}

/// Up to 14 digits, with zeros in place of those that are not there.
fn hexadecimal(digits: &str) -> Option<u64> {
    let is_valid = (1..=DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| is_valid)?;
    Some(number << (4 * (DIGITS - digits.len())))
}

fn members(state: &str) -> impl Iterator<Item = &str> {
    let members = state.split(',').map(|each| each.trim_matches([' ', '\t']));
    members.filter(|member| !member.is_empty())
}

/// The value of OpenTelemetry's member; none of another's.
fn opentelemetry(member: &str) -> Option<&str> {
    let (key, value) = member.split_once('=')?;
    (key == KEY).then_some(value)
}

/// What became of a trace state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    /// It says what it has to, or more.
    AsItWas,
    /// This in its place.
    Now(String),
    /// OpenTelemetry's member has no room for it.
    NoRoom,
}

/// Has the trace state say that the span has passed `threshold`. One that has passed a stricter one says
/// that; one that says what it cannot have passed, by its own randomness, says ours alone. Members of
/// others stay, behind OpenTelemetry's, which is changed; beyond W3C's limits long ones go first, and
/// then the last.
pub(crate) fn mark(state: &str, threshold: u64, trace_id: &[u8; 16]) -> Marked {
    let said = sampling(state);
    let randomness = said.randomness.unwrap_or_else(|| randomness_of(trace_id));
    let passed = said.threshold.filter(|passed| *passed <= randomness);
    if threshold == 0 || passed.is_some_and(|passed| passed >= threshold) {
        return Marked::AsItWas;
    }
    let own = members(state).find_map(opentelemetry).unwrap_or("");
    let mut value = String::with_capacity(own.len() + DIGITS + 4);
    let others = own.split(';').filter(|each| !each.is_empty());
    for each in others.filter(|each| !each.starts_with("th:")) {
        value.push_str(each);
        value.push(';');
    }
    value.push_str("th:");
    value.push_str(&digits(threshold));
    if value.len() > MAX_VALUE {
        return Marked::NoRoom;
    }
    let others = members(state).filter(|member| opentelemetry(member).is_none());
    let mut members: Vec<&str> = others.collect();
    members.truncate(MAX_MEMBERS - 1);
    let first = KEY.len() + 1 + value.len();
    let length = |members: &[&str]| {
        let others: usize = members.iter().map(|member| member.len() + 1).sum();
        first + others
    };
    while length(&members) > MAX_STATE {
        let long = members.iter().position(|member| member.len() > LONG_MEMBER);
        match long {
            Some(at) => drop(members.remove(at)),
            None => drop(members.pop()),
        }
    }
    let mut state = String::with_capacity(length(&members));
    state.push_str(KEY);
    state.push('=');
    state.push_str(&value);
    for member in members {
        state.push(',');
        state.push_str(member);
    }
    Marked::Now(state)
}
