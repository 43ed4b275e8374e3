//! Quantiles of counts by powers of two, as Tempo makes them.

use std::collections::BTreeMap;

/// The value that so much of the counts is at or below: within a bucket, values are taken to grow
/// by the same factor from one to the next. `counts` are by the power of two that is the greatest
/// value of a bucket. None where there are no counts.
pub(crate) fn quantile(quantile: f64, counts: &BTreeMap<i64, u64>) -> Option<f64> {
    let total: u64 = counts.values().sum();
    if total == 0 {
        return None;
    }
    let wanted = ((quantile * total as f64).ceil() as u64).max(1);
    let (mut below, mut before) = (0, None);
    for (power, count) in counts {
        if below + count >= wanted || Some(power) == counts.keys().next_back() {
            let most = greatest(*power);
            let least = before.map_or(most / 2.0, greatest);
            let part = wanted.saturating_sub(below) as f64 / (*count).max(1) as f64;
            return Some(least * (most / least).powf(part));
        }
        below += count;
        before = Some(*power);
    }
    None
}

/// The greatest value of a bucket.
pub(crate) fn greatest(power: i64) -> f64 {
    2_f64.powi(i32::try_from(power).unwrap_or(i32::MAX))
}

/// The bucket of the whole part of a number; none below 2, as in Tempo.
pub(crate) fn power(number: f64) -> Option<i64> {
    let number = number.trunc();
    const MANTISSA_BITS: u32 = 52;
    const BIAS: i64 = 1023;
    if !(2.0..f64::INFINITY).contains(&number) {
        return None;
    }
    let bits = number.to_bits();
    let exponent = (bits >> MANTISSA_BITS) as i64 - BIAS;
    let is_exact = bits & ((1 << MANTISSA_BITS) - 1) == 0;
    Some(exponent + i64::from(!is_exact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_the_bucket_of_the_next_power_of_two() {
        for (number, of) in [
            (2.0, 1),
            (2.5, 1),
            (4.0, 2),
            (5.0, 3),
            (1_073_741_825.0, 31),
        ] {
            assert_eq!(power(number), Some(of));
        }
        assert_eq!(
            (power(1.9), power(-8.0), power(f64::NAN)),
            (None, None, None)
        );
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let counts = BTreeMap::from([(2, 1), (3, 2), (5, 1)]);
        // The second of the two in the bucket up to 8 is at its end.
        assert_eq!(quantile(0.75, &counts), Some(8.0));
        assert_eq!(quantile(0.25, &counts), Some(4.0));
        assert_eq!(quantile(1.0, &counts), Some(32.0));
        assert_eq!(quantile(0.0, &counts), Some(4.0));
        assert_eq!(quantile(0.5, &counts), Some(4.0 * 2_f64.sqrt()));
        assert_eq!(quantile(0.5, &BTreeMap::new()), None);
    }
}
