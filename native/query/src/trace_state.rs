//! How many spans one stands for, as its trace state says.

/// The bits of a threshold, as OpenTelemetry has it.
const BITS: u32 = 56;
const DIGITS: usize = 14;

/// The inverse of the probability that a span was kept with, of the `th` in OpenTelemetry's member of its
/// trace state; 1 where there is none: then nothing says that others were left out.
/// (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/>)
pub(crate) fn adjusted_count(state: &str) -> f64 {
    let mut members = state.split(',').map(|each| each.trim_matches([' ', '\t']));
    let threshold = members
        .find_map(|member| member.strip_prefix("ot="))
        .and_then(|own| own.split(';').find_map(|each| each.strip_prefix("th:")))
        .and_then(threshold);
    let all = 1_u64 << BITS;
    threshold.map_or(1.0, |threshold| all as f64 / (all - threshold) as f64)
}

/// Up to 14 digits, with zeros in place of those that are not there.
fn threshold(digits: &str) -> Option<u64> {
    let is_valid = (1..=DIGITS).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| is_valid)?;
    Some(number << (4 * (DIGITS - digits.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_stands_for_as_many_as_its_threshold_rejects_with_it() {
        for (state, expected) in [
            ("ot=th:0", 1.0),
            ("ot=th:8", 2.0),
            ("a=b, ot=rv:ffffffffffffff;th:c ,c=d", 4.0),
            ("ot=th:E", 8.0),
            ("ot=th:ffffffffffffff", (1_u64 << BITS) as f64),
        ] {
            assert_eq!(adjusted_count(state), expected, "{state}");
        }
        let tenth = adjusted_count("ot=th:e666");
        assert!((tenth - 9.999_389).abs() < 1e-6, "{tenth}");
    }

    #[test]
    fn a_span_without_a_threshold_stands_for_itself() {
        for state in [
            "",
            "a=b",
            "ot=rv:ffffffffffffff",
            "ot=th:",
            "ot=th:xyz",
            "ot=th:123456789012345",
            "x@ot=th:8",
            "ott=th:8",
        ] {
            assert_eq!(adjusted_count(state), 1.0, "{state}");
        }
    }
}
