use super::lexer::{Lexer, number_len};
use super::number::{double, integer};

fn text(json: &str) -> Option<String> {
    Lexer::new(json).string().ok().map(|text| text.into_owned())
}

#[test]
fn strings_are_unescaped() {
    assert_eq!(text(r#""plain""#).unwrap(), "plain");
    assert_eq!(
        text(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#).unwrap(),
        "a\"\\/\u{8}\u{c}\n\r\té😀z"
    );
    assert_eq!(text("\"é😀\"").unwrap(), "é😀");
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    assert_eq!(text(r#""\ud83d!""#).unwrap(), "\u{fffd}!");
    assert_eq!(text(r#""\ud83d\u0041""#).unwrap(), "\u{fffd}A");
    assert_eq!(text(r#""\ude00""#).unwrap(), "\u{fffd}");
}

#[test]
fn what_is_no_string_is_refused() {
    for json in [
        "\"",
        "\"a",
        "\"\u{1}\"",
        "\"\n\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\"#,
        "a",
    ] {
        assert_eq!(text(json), None, "{json}");
    }
}

#[test]
fn numbers_follow_the_grammar() {
    for number in ["0", "-0", "12", "1.5", "1e3", "1E+3", "-1.25e-3", "0.0"] {
        assert_eq!(number_len(number.as_bytes()), number.len(), "{number}");
    }
    for number in ["", "-", "01", ".5", "1.", "1e", "1e+", "+1", "x"] {
        assert_ne!(
            number_len(number.as_bytes()),
            number.len().max(1),
            "{number}"
        );
    }
}

#[test]
fn integers_may_be_spelled_with_zeros_and_exponents() {
    for (spelled, value) in [
        ("0", 0),
        ("-0", 0),
        ("42", 42),
        ("1.0", 1),
        ("1e3", 1000),
        ("1.50e2", 150),
        ("1200e-2", 12),
        ("0.0e99999999999999999999", 0),
        ("-9223372036854775808", i64::MIN.into()),
        ("18446744073709551615", u64::MAX.into()),
        ("1844674407370955161.5e1", u64::MAX.into()),
    ] {
        assert_eq!(integer(spelled), Some(value), "{spelled}");
    }
    for spelled in [
        "",
        " 1",
        "1 ",
        "1.5",
        "1e-1",
        "1e99999999999999999999",
        "1e30",
        "0x1",
        "NaN",
        "١",
        "01",
    ] {
        assert_eq!(integer(spelled), None, "{spelled}");
    }
    assert_eq!(integer(&"9".repeat(1000)), None);
}

#[test]
fn doubles_are_the_nearest() {
    assert_eq!(double("0.1"), Some(0.1));
    assert_eq!(double("-0.0").map(f64::to_bits), Some((-0.0f64).to_bits()));
    assert_eq!(double("5e-324"), Some(5e-324));
    assert_eq!(double("1e999"), None);
    assert_eq!(double("inf"), None);
    assert_eq!(double("1_0"), None);
}

#[test]
fn any_value_can_be_passed_over() {
    let json = r#" {"a":[1,{"b":null,"c":[true,false,"x"]}],"d":{}} "#;
    let mut lexer = Lexer::new(json);
    lexer.skip(4).unwrap();
    lexer.end().unwrap();
    assert!(Lexer::new(json).skip(2).is_err());
    for json in [
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "[1 2]",
        "nul",
        "tru",
        "[",
        "{\"a\":",
    ] {
        assert!(Lexer::new(json).skip(9).is_err(), "{json}");
    }
}
