//! Numbers as protobuf's JSON mapping spells them: an integer may be written with a fraction of
//! zeros or an exponent, and any number may stand in a string.

use super::lexer::number_len;

/// Digits beyond which no 64-bit integer goes.
const MAX_DIGITS: i64 = 20;

/// The integer that `text` spells; none where it spells no integer or one beyond 20 digits.
pub(super) fn integer(text: &str) -> Option<i128> {
    if number_len(text.as_bytes()) != text.len() || text.is_empty() {
        return None;
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        whole(digits.as_bytes(), 0)?
    } else {
        scientific(digits)?
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Decimal digits, and as many zeros after them.
fn whole(digits: &[u8], zeros: i64) -> Option<i128> {
    if digits.len() as i64 + zeros > MAX_DIGITS {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Some(value * 10i128.pow(zeros as u32))
}

/// `1.50e2` is 150; `1.5` is no integer.
fn scientific(text: &str) -> Option<i128> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integral, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut digits = String::with_capacity(integral.len() + fraction.len());
    digits.push_str(integral);
    digits.push_str(fraction);
    let written = digits.len();
    let digits = digits.trim_end_matches('0');
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let trimmed = (written - digits.len()) as i64 - fraction.len() as i64;
    let zeros = exponent.checked_add(trimmed)?;
    if !(0..=MAX_DIGITS).contains(&zeros) {
        return None;
    }
    whole(significant.as_bytes(), zeros)
}

/// The double nearest to what `text` spells; none where it spells no number or one beyond the
/// largest double.
pub(super) fn double(text: &str) -> Option<f64> {
    if number_len(text.as_bytes()) != text.len() || text.is_empty() {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}
